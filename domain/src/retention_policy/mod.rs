//! A retention policy: how long a tenant keeps the personal data of each class of events that nobody in particular owns.
//!
//! Such data (the networks that failed logins came from) is sealed under one key per class and month. When the last day of the month is
//! longer ago than the class is kept, the key expires and is destroyed; the events stay and can still be proven. One stream per tenant, whose
//! id is the tenant's; a tenant that has ordered nothing keeps what [`CLASSES`] say. A hold on the whole tenant keeps every key.

pub mod decide;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use chrono::{DateTime, Months, NaiveDate, NaiveTime, TimeDelta, Utc};
use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};
use uuid::Uuid;

use crate::{
    aggregate,
    personal::ACCESS_CLASS,
    refusal::{Code, Kind, Refusal},
    role::Principal,
    text::Key,
};

/// A class of events and for how long its personal data may be kept. Days count from the end of the month that the events are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    pub name: &'static str,
    /// What is sealed in it.
    pub meaning: &'static str,
    pub days_default: u32,
    /// So long incidents must at least be traceable.
    pub days_min: u32,
    /// No purpose justifies keeping it longer.
    pub days_max: u32,
}

/// Every class.
pub const CLASSES: &[Class] = &[Class {
    name: ACCESS_CLASS,
    meaning: "The networks that failed logins came from.",
    days_default: 365,
    days_min: 90,
    days_max: 1_830,
}];

/// The class of this name.
#[must_use]
pub fn class(name: &str) -> Option<&'static Class> {
    CLASSES.iter().find(|class| class.name == name)
}

/// The first month, by its first day, whose keys are still kept at `now`; those of all months before are expired.
#[must_use]
pub fn kept_from(now: DateTime<Utc>, days: u32) -> NaiveDate {
    let last = (now - TimeDelta::days(i64::from(days))).date_naive();
    month_of(last)
}

/// When a key of the month that begins at `period` expires.
#[must_use]
pub fn expires_at(period: NaiveDate, days: u32) -> DateTime<Utc> {
    let next = month_of(period).checked_add_months(Months::new(1)).unwrap_or(NaiveDate::MAX);
    next.and_time(NaiveTime::MIN).and_utc() + TimeDelta::days(i64::from(days))
}

fn month_of(day: NaiveDate) -> NaiveDate {
    use chrono::Datelike as _;
    day.with_day(1).expect("every month has a first day")
}

/// What has happened to a policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// A class is kept for so many days from now on.
    ClassSet { class: Key, days: u32, by: Principal },
    /// The time of a class's key is over, by the days that were kept then: it is being destroyed. `period` is the first day of its month.
    KeyExpired { class: Key, period: NaiveDate, key_id: Uuid, days: u32 },
    /// The key is destroyed: what was sealed under it can be read by nobody any more.
    KeyDestroyed { class: Key, period: NaiveDate, key_id: Uuid, destroyed_at: DateTime<Utc> },
}

/// What can be ordered.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    SetClass {
        class: Key,
        days: u32,
        by: Principal,
    },
    /// `held` tells whether the whole tenant is under a legal hold.
    Expire {
        class: Key,
        period: NaiveDate,
        key_id: Uuid,
        held: bool,
        now: DateTime<Utc>,
    },
    /// The key was destroyed.
    Complete {
        key_id: Uuid,
        destroyed_at: DateTime<Utc>,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no class {0}")]
    ClassUnknown(Key),
    #[error("the class is kept for {days_min} to {days_max} days")]
    DaysOutOfBounds { days_min: u32, days_max: u32 },
    #[error("the key's time is not over")]
    NotDue,
    #[error("the tenant is under a legal hold")]
    Held,
}

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code {
        code: "retention_policy_class_unknown",
        kind: Kind::Invalid,
        meaning: "There is no class of events with this name.",
    },
    Code {
        code: "retention_policy_days_out_of_bounds",
        kind: Kind::Invalid,
        meaning: "The class is to be kept for longer, or for shorter, than it may be.",
    },
    Code { code: "retention_policy_not_due", kind: Kind::Conflict, meaning: "The time of the key is not over." },
    Code { code: "retention_policy_held", kind: Kind::Conflict, meaning: "The whole tenant is under a legal hold." },
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::ClassUnknown(_) => "retention_policy_class_unknown",
            Self::DaysOutOfBounds { .. } => "retention_policy_days_out_of_bounds",
            Self::NotDue => "retention_policy_not_due",
            Self::Held => "retention_policy_held",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::ClassUnknown(_) | Self::DaysOutOfBounds { .. } => Kind::Invalid,
            Self::NotDue | Self::Held => Kind::Conflict,
        }
    }
}

/// A policy at one moment; one that was never written is that of [`CLASSES`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RetentionPolicy {
    /// The classes that are not kept for their default.
    days: BTreeMap<Key, u32>,
    /// The keys that are being destroyed; a few.
    expired: BTreeMap<Uuid, ClassKey>,
}

/// A key of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassKey {
    pub class: Key,
    /// The first day of its month.
    pub period: NaiveDate,
}

impl RetentionPolicy {
    /// For how many days the class is kept.
    #[must_use]
    pub fn days(&self, class: &Class) -> u32 {
        let own = self.days.iter().find(|(name, _)| name.as_str() == class.name);
        own.map_or(class.days_default, |(_, days)| *days)
    }

    /// The keys whose destruction has begun and is not known to have ended.
    pub fn expired(&self) -> impl Iterator<Item = Uuid> {
        self.expired.keys().copied()
    }
}

impl Aggregate for RetentionPolicy {
    const TYPE: &'static str = "retention_policy";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::ClassSet { class, days, .. } => drop(self.days.insert(class, days)),
            Event::KeyExpired { class, period, key_id, .. } => {
                self.expired.insert(key_id, ClassKey { class, period });
            }
            Event::KeyDestroyed { key_id, .. } => drop(self.expired.remove(&key_id)),
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", RetentionPolicy::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
