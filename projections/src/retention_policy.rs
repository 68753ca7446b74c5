//! Retention: one row each class of a tenant for which it has ordered something, or of which a key was destroyed.

use chrono::{DateTime, NaiveDate, Utc};
use cqrs_es::Aggregate;
use hub_domain::{
    retention_policy::{CLASSES, Event, RetentionPolicy},
    role::Principal,
    text::Key,
};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{FoldError, ReadModel};

/// The read model.
#[derive(Debug)]
pub struct RetentionClasses;

/// A class of one tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RetentionClass")]
pub struct RetentionClassRow {
    pub tenant_id: Uuid,
    pub class: Key,
    /// For so many days the tenant wants it kept; the default of the class when null.
    pub days: Option<u32>,
    pub set_by: Option<Principal>,
    /// How many of its keys were destroyed.
    pub destroyed_count: u32,
    /// The first day of the last month of which a key was destroyed.
    pub destroyed_until: Option<NaiveDate>,
    pub updated_at: DateTime<Utc>,
}

/// One class of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RetentionClassKey {
    pub tenant_id: Uuid,
    pub class: String,
}

/// How long one class is kept. Days count from the end of the month that the events are of.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RetainedClass {
    pub class: &'static str,
    /// What is sealed in it.
    pub meaning: &'static str,
    pub days: u32,
    /// When the tenant orders nothing.
    pub days_default: u32,
    pub days_min: u32,
    pub days_max: u32,
    /// How many of its keys were destroyed.
    pub destroyed_count: u32,
    /// The first day of the last month of which a key was destroyed.
    pub destroyed_until: Option<NaiveDate>,
}

/// Every class that there is, with what these rows of one tenant say of it.
#[must_use]
pub fn retained(rows: &[RetentionClassRow]) -> Vec<RetainedClass> {
    let of = |name: &str| rows.iter().find(|row| row.class.as_str() == name);
    let classes = CLASSES.iter().map(|class| RetainedClass {
        class: class.name,
        meaning: class.meaning,
        days: of(class.name).and_then(|row| row.days).unwrap_or(class.days_default),
        days_default: class.days_default,
        days_min: class.days_min,
        days_max: class.days_max,
        destroyed_count: of(class.name).map_or(0, |row| row.destroyed_count),
        destroyed_until: of(class.name).and_then(|row| row.destroyed_until),
    });
    classes.collect()
}

impl ReadModel for RetentionClasses {
    type Row = RetentionClassRow;
    type Key = RetentionClassKey;

    const NAME: &'static str = "retention_classes";
    const TABLE: &'static str = "retention_classes";
    const KEY: &'static [&'static str] = &["tenant_id", "class"];

    fn concerns(event_type: &str) -> bool {
        matches!(event_type.split_once('.'), Some((RetentionPolicy::TYPE, "class_set" | "key_destroyed")))
    }

    fn key_of(row: &RetentionClassRow) -> RetentionClassKey {
        RetentionClassKey { tenant_id: row.tenant_id, class: row.class.as_str().to_owned() }
    }

    fn keys(event: &Recorded) -> Result<Vec<RetentionClassKey>, FoldError> {
        let class = match event.decode()? {
            Event::ClassSet { class, .. } | Event::KeyExpired { class, .. } | Event::KeyDestroyed { class, .. } => {
                class
            }
        };
        Ok(vec![RetentionClassKey { tenant_id: event.tenant_id, class: class.as_str().to_owned() }])
    }

    fn fold(
        row: Option<RetentionClassRow>,
        key: &RetentionClassKey,
        event: &Recorded,
    ) -> Result<Option<RetentionClassRow>, FoldError> {
        let fresh = |class: Key| RetentionClassRow {
            tenant_id: key.tenant_id,
            class,
            days: None,
            set_by: None,
            destroyed_count: 0,
            destroyed_until: None,
            updated_at: event.occurred_at,
        };
        let mut row = match event.decode()? {
            Event::ClassSet { class, days, by } => {
                RetentionClassRow { days: Some(days), set_by: Some(by), ..row.unwrap_or_else(|| fresh(class)) }
            }
            Event::KeyDestroyed { class, period, .. } => {
                let row = row.unwrap_or_else(|| fresh(class));
                RetentionClassRow {
                    destroyed_count: row.destroyed_count.saturating_add(1),
                    destroyed_until: row.destroyed_until.max(Some(period)),
                    ..row
                }
            }
            // A key that expires is destroyed in the next moment.
            Event::KeyExpired { .. } => return Ok(row),
        };
        row.updated_at = event.occurred_at;
        Ok(Some(row))
    }
}

#[cfg(test)]
mod tests {
    use hub_domain::retention_policy::{Event, RetentionPolicy};
    use uuid::Uuid;

    use super::{RetentionClassRow, RetentionClasses, retained};
    use crate::testing::{History, TENANT, rows, start};

    fn destroyed(period: &str) -> Event {
        let (class, period) = ("access".parse().unwrap(), period.parse().unwrap());
        Event::KeyDestroyed { class, period, key_id: Uuid::from_u128(7), destroyed_at: start() }
    }

    fn after(events: Vec<Event>) -> RetentionClassRow {
        let mut history = History::default();
        for event in events {
            history.push::<RetentionPolicy>(TENANT, TENANT, &event);
        }
        rows::<RetentionClasses>(&history).unwrap().remove(0)
    }

    #[test]
    fn a_class_tells_how_long_it_is_kept_and_until_when_it_is_gone() {
        let set = Event::ClassSet { class: "access".parse().unwrap(), days: 120, by: "user:officer".parse().unwrap() };
        let row = after(vec![set, destroyed("2025-02-01"), destroyed("2025-01-01")]);
        assert_eq!((row.days, row.destroyed_count), (Some(120), 2));
        assert_eq!(row.destroyed_until, Some("2025-02-01".parse().unwrap()));
        let row = after(vec![destroyed("2025-02-01")]);
        assert_eq!((row.days, retained(&[row])[0].days), (None, 365));
    }
}
