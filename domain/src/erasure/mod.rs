//! An erasure: the personal data of one person, or of a whole tenant that has left, becomes unreadable for ever.
//!
//! One stream per scope: its id is the data subject's, or the tenant's own id for off-boarding. Personal data is sealed everywhere under the
//! scope's key, so destroying the key is all there is to do. Life: absent, pending for a grace period, then begun and executed; or cancelled,
//! after which it may be requested again. While a legal hold stands it is deferred and says by what. Once it has begun the key may be gone at
//! any moment, so nothing can stop it: whether a hold came before is decided by the order of the log.

pub mod decide;
mod kept;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};
use uuid::Uuid;

use crate::{
    aggregate,
    refusal::{Code, Kind, Refusal},
    role::Principal,
    text::{Key, Remark},
};

pub use self::kept::{Kept, kept};

/// Days between a request and its execution when nothing else is said.
pub const GRACE_DAYS_DEFAULT: u16 = 7;
/// The longest grace period: whoever asks to be forgotten is owed an answer within a month.
pub const GRACE_DAYS_MAX: u16 = 30;
/// At most so many erasures a tenant that are not executed yet; kept by the counter [`decide::OPEN`].
pub const OPEN_COUNT_MAX: i64 = 10_000;

/// Whose personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, AsRefStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Scope {
    /// One person's.
    Subject,
    /// Everything of the tenant.
    Tenant,
}

/// A legal hold in the way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    /// Whether it holds the person, or the whole tenant.
    pub scope: Scope,
    pub matter: Key,
}

/// What has happened to an erasure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// Executed at `due_at`, unless it is cancelled or held. `urgency` says why there is no grace period, and is empty when there is one.
    Requested { scope: Scope, by: Principal, reason: Remark, grace_days: u16, urgency: Remark, due_at: DateTime<Utc> },
    /// Withdrawn before it had begun.
    Cancelled { by: Principal, reason: Remark },
    /// Its time had come, and these holds, never none, were in the way.
    Deferred { holds: BTreeSet<Hold> },
    /// No hold was in the way: the key is being destroyed, and nothing stops it any more.
    Begun {},
    /// The key is destroyed, its id was `key_id`; `kept` is what remains, and on what basis.
    Executed { scope: Scope, key_id: Uuid, destroyed_at: DateTime<Utc>, kept: Vec<Kept> },
}

/// What is known of the key that is to be destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// There is no such key.
    Unknown,
    /// It is there.
    Live,
    /// It was destroyed.
    Destroyed,
}

/// What can be ordered.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `holds` stand in the way now. `leaving` tells, for a whole tenant, whether it is archived; for one person it is true.
    Request {
        scope: Scope,
        by: Principal,
        reason: Remark,
        grace_days: u16,
        urgency: Remark,
        key: KeyState,
        holds: BTreeSet<Hold>,
        leaving: bool,
        now: DateTime<Utc>,
    },
    Cancel {
        by: Principal,
        reason: Remark,
    },
    /// `holds` stand in the way now.
    Begin {
        holds: BTreeSet<Hold>,
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
    #[error("there is no such erasure")]
    NotFound,
    #[error("the tenant has no such data subject")]
    SubjectUnknown,
    #[error("an erasure is requested, and cancelled, with a reason")]
    ReasonMissing,
    #[error("the grace period has at most {GRACE_DAYS_MAX} days")]
    GraceOutOfBounds,
    #[error("an erasure without a grace period says in `urgency` why nobody may have time to object")]
    UrgencyMissing,
    #[error("held by {0}")]
    Held(Key),
    #[error("only an archived tenant is off-boarded")]
    TenantNotArchived,
    #[error("the erasure is already requested")]
    AlreadyRequested,
    #[error("it is erased already")]
    AlreadyErased,
    #[error("the erasure has begun and cannot be cancelled")]
    Begun,
    #[error("the grace period is not over")]
    NotDue,
    #[error("the erasure has not begun")]
    NotBegun,
}

/// The tenant has [`OPEN_COUNT_MAX`] erasures that are not executed.
///
/// No state of one knows how many others there are: the store counts [`OPEN`](decide::OPEN) in the transaction that appends.
pub const LIMIT_REACHED: Code = Code {
    code: "erasure_limit_reached",
    kind: Kind::LimitReached,
    meaning: "As many erasures of the tenant wait for their execution as are allowed at a time.",
};

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code { code: "erasure_not_found", kind: Kind::NotFound, meaning: "There is no such erasure." },
    Code {
        code: "erasure_subject_unknown",
        kind: Kind::NotFound,
        meaning: "The tenant has no data subject with the id or e-mail address given.",
    },
    Code {
        code: "erasure_reason_missing",
        kind: Kind::Invalid,
        meaning: "An erasure is requested, and cancelled, with a reason.",
    },
    Code {
        code: "erasure_grace_out_of_bounds",
        kind: Kind::Invalid,
        meaning: "The grace period has at most thirty days.",
    },
    Code {
        code: "erasure_urgency_missing",
        kind: Kind::Invalid,
        meaning: "An erasure without a grace period says in `urgency` why it cannot wait.",
    },
    Code {
        code: "erasure_held",
        kind: Kind::Conflict,
        meaning: "A legal hold on the person or on the whole tenant is in the way; release it first.",
    },
    Code {
        code: "erasure_tenant_not_archived",
        kind: Kind::Conflict,
        meaning: "Only an archived tenant is off-boarded.",
    },
    Code {
        code: "erasure_already_requested",
        kind: Kind::Conflict,
        meaning: "The erasure is requested already and waits for its execution.",
    },
    Code { code: "erasure_already_erased", kind: Kind::Conflict, meaning: "The personal data is erased already." },
    Code {
        code: "erasure_begun",
        kind: Kind::Conflict,
        meaning: "The erasure has begun; what is destroyed cannot be brought back.",
    },
    Code { code: "erasure_not_due", kind: Kind::Conflict, meaning: "The grace period of the erasure is not over." },
    Code { code: "erasure_not_begun", kind: Kind::Conflict, meaning: "The erasure has not begun." },
    LIMIT_REACHED,
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "erasure_not_found",
            Self::SubjectUnknown => "erasure_subject_unknown",
            Self::ReasonMissing => "erasure_reason_missing",
            Self::GraceOutOfBounds => "erasure_grace_out_of_bounds",
            Self::UrgencyMissing => "erasure_urgency_missing",
            Self::Held(_) => "erasure_held",
            Self::TenantNotArchived => "erasure_tenant_not_archived",
            Self::AlreadyRequested => "erasure_already_requested",
            Self::AlreadyErased => "erasure_already_erased",
            Self::Begun => "erasure_begun",
            Self::NotDue => "erasure_not_due",
            Self::NotBegun => "erasure_not_begun",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound | Self::SubjectUnknown => Kind::NotFound,
            Self::ReasonMissing | Self::GraceOutOfBounds | Self::UrgencyMissing => Kind::Invalid,
            Self::Held(_)
            | Self::TenantNotArchived
            | Self::AlreadyRequested
            | Self::AlreadyErased
            | Self::Begun
            | Self::NotDue
            | Self::NotBegun => Kind::Conflict,
        }
    }
}

/// An erasure at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum Erasure {
    /// Not requested.
    #[default]
    Absent,
    /// Requested; waits for the end of its grace period, or for these holds.
    Open { scope: Scope, due_at: DateTime<Utc>, holds: BTreeSet<Hold> },
    /// The key is being destroyed.
    Begun { scope: Scope },
    /// The key is destroyed.
    Executed,
    /// Withdrawn; may be requested again.
    Cancelled,
}

impl Erasure {
    /// When something is due: a moment of the past while holds are in the way, or while the key is being destroyed.
    #[must_use]
    pub fn due_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Open { due_at, .. } => Some(*due_at),
            Self::Begun { .. } => Some(DateTime::UNIX_EPOCH),
            Self::Absent | Self::Executed | Self::Cancelled => None,
        }
    }

    /// Whose data it is about, while it is not at its end.
    #[must_use]
    pub fn scope(&self) -> Option<Scope> {
        match self {
            Self::Open { scope, .. } | Self::Begun { scope } => Some(*scope),
            Self::Absent | Self::Executed | Self::Cancelled => None,
        }
    }

    /// Whether the key is destroyed or is being destroyed, so that a hold comes too late.
    #[must_use]
    pub fn begun(&self) -> bool {
        matches!(self, Self::Begun { .. } | Self::Executed)
    }
}

/// When an erasure that is requested now is executed.
#[must_use]
pub fn due_after(now: DateTime<Utc>, grace_days: u16) -> DateTime<Utc> {
    now + TimeDelta::days(i64::from(grace_days))
}

impl Aggregate for Erasure {
    const TYPE: &'static str = "erasure";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match (&mut *self, event) {
            (_, Event::Requested { scope, due_at, .. }) => {
                *self = Self::Open { scope, due_at, holds: BTreeSet::new() };
            }
            (_, Event::Cancelled { .. }) => *self = Self::Cancelled,
            (Self::Open { holds, .. }, Event::Deferred { holds: found }) => *holds = found,
            (Self::Open { scope, .. }, Event::Begun {}) => *self = Self::Begun { scope: *scope },
            (_, Event::Executed { .. }) => *self = Self::Executed,
            // No such history is ever written.
            (
                Self::Absent | Self::Begun { .. } | Self::Executed | Self::Cancelled,
                Event::Deferred { .. } | Event::Begun {},
            ) => {}
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", Erasure::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
