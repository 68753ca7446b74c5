//! Sets of duties: one row each until they are removed, for lists and details.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use hub_domain::{
    duty_set::{DutySet, Event},
    id::RoleId,
    text::{Key, Name},
};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{AggregateKey, FoldError, ReadModel, of_aggregate};

/// The read model.
#[derive(Debug)]
pub struct DutySets;

/// One set of duties.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DutySet")]
pub struct DutySetRow {
    pub tenant_id: Uuid,
    pub id: Uuid,
    pub key: Key,
    pub name: Name,
    pub role_ids: Vec<RoleId>,
    /// Nobody may hold more of the roles at a time.
    pub held_max: u32,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The sequence of the set's stream.
    pub sequence: i64,
}

impl ReadModel for DutySets {
    type Row = DutySetRow;
    type Key = AggregateKey;

    const NAME: &'static str = "duty_sets";
    const TABLE: &'static str = "duty_sets";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, DutySet::TYPE)
    }

    fn key_of(row: &DutySetRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(row: Option<DutySetRow>, key: &AggregateKey, event: &Recorded) -> Result<Option<DutySetRow>, FoldError> {
        match (row, event.decode()?) {
            (None, Event::Defined { key: set_key, name, roles, held_max }) => Ok(Some(DutySetRow {
                tenant_id: key.tenant_id,
                id: key.id,
                key: set_key,
                name,
                role_ids: roles.into_iter().collect(),
                held_max: count(held_max),
                created_at: event.occurred_at,
                updated_at: event.occurred_at,
                sequence: event.sequence,
            })),
            (None, _) => Err(FoldError::row_missing(event)),
            (Some(_), Event::Defined { .. }) => Err(FoldError::row_exists(event)),
            (Some(row), Event::Changed { name, roles, held_max }) => Ok(Some(DutySetRow {
                name,
                role_ids: roles.into_iter().collect(),
                held_max: count(held_max),
                updated_at: event.occurred_at,
                sequence: event.sequence,
                ..row
            })),
            (Some(_), Event::Removed {}) => Ok(None),
        }
    }
}

fn count(held_max: usize) -> u32 {
    u32::try_from(held_max).expect("a set has few roles")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hub_domain::{
        duty_set::{DutySet, Event},
        id::RoleId,
    };
    use uuid::Uuid;

    use super::{DutySetRow, DutySets};
    use crate::testing::{AGGREGATE, History, TENANT, rows};

    fn role(n: u128) -> RoleId {
        RoleId(Uuid::from_u128(n))
    }

    fn after(events: Vec<Event>) -> Vec<DutySetRow> {
        let defined = Event::Defined {
            key: "payments".parse().unwrap(),
            name: "Payments".parse().unwrap(),
            roles: BTreeSet::from([role(1), role(2)]),
            held_max: 1,
        };
        let mut history = History::default();
        for event in [defined].into_iter().chain(events) {
            history.push::<DutySet>(TENANT, AGGREGATE, &event);
        }
        rows::<DutySets>(&history).unwrap()
    }

    #[test]
    fn a_set_shows_what_it_is_now() {
        let row = after(vec![]).remove(0);
        assert_eq!((row.key.as_str(), row.held_max), ("payments", 1));
        assert_eq!(row.role_ids, [role(1), role(2)]);
        let roles = BTreeSet::from([role(1), role(2), role(3)]);
        let changed = Event::Changed { name: "All payments".parse().unwrap(), roles, held_max: 2 };
        let row = after(vec![changed]).remove(0);
        assert_eq!((row.key.as_str(), row.name.as_str(), row.held_max), ("payments", "All payments", 2));
        assert_eq!(row.role_ids, [role(1), role(2), role(3)]);
    }

    #[test]
    fn a_removed_set_has_no_row() {
        assert!(after(vec![Event::Removed {}]).is_empty());
    }
}
