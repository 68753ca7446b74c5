//! Legal holds: one row each scope that was ever held, with the matters that hold it now.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use hub_domain::{
    erasure::Scope,
    legal_hold::{Event, LegalHold},
    role::Principal,
    text::{Key, Remark},
};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{AggregateKey, FoldError, ReadModel, of_aggregate};

/// The read model.
#[derive(Debug)]
pub struct LegalHolds;

/// The holds on one person, or on a whole tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "LegalHold")]
pub struct LegalHoldRow {
    pub tenant_id: Uuid,
    /// The data subject's id, or the tenant's own.
    pub id: Uuid,
    pub scope: Scope,
    pub status: LegalHoldStatus,
    /// Those that hold it now, in the order in which they were placed; empty when it is free.
    pub matters: Vec<Matter>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The sequence of the stream.
    pub sequence: i64,
}

/// A matter that holds something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Matter {
    pub matter: Key,
    pub reason: Remark,
    pub placed_by: Principal,
    pub placed_at: DateTime<Utc>,
}

/// Whether anything holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LegalHoldStatus {
    Held,
    Free,
}

impl ReadModel for LegalHolds {
    type Row = LegalHoldRow;
    type Key = AggregateKey;

    const NAME: &'static str = "legal_holds";
    const TABLE: &'static str = "legal_holds";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, LegalHold::TYPE)
    }

    fn key_of(row: &LegalHoldRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(
        row: Option<LegalHoldRow>,
        key: &AggregateKey,
        event: &Recorded,
    ) -> Result<Option<LegalHoldRow>, FoldError> {
        match event.decode()? {
            Event::Placed { scope, matter, reason, by } => {
                let (created_at, mut matters) =
                    row.map_or_else(|| (event.occurred_at, Vec::new()), |row| (row.created_at, row.matters));
                matters.push(Matter { matter, reason, placed_by: by, placed_at: event.occurred_at });
                Ok(Some(LegalHoldRow {
                    tenant_id: key.tenant_id,
                    id: key.id,
                    scope,
                    status: LegalHoldStatus::Held,
                    matters,
                    created_at,
                    updated_at: event.occurred_at,
                    sequence: event.sequence,
                }))
            }
            Event::Released { matter, free, .. } => {
                let mut row = row.ok_or_else(|| FoldError::row_missing(event))?;
                row.matters.retain(|held| held.matter != matter);
                row.status = if free { LegalHoldStatus::Free } else { LegalHoldStatus::Held };
                (row.updated_at, row.sequence) = (event.occurred_at, event.sequence);
                Ok(Some(row))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hub_domain::{
        erasure::Scope,
        legal_hold::{Event, LegalHold},
    };

    use super::{LegalHoldRow, LegalHoldStatus, LegalHolds};
    use crate::testing::{AGGREGATE, History, TENANT, rows, start};

    fn placed(matter: &str) -> Event {
        let (reason, by) = ("a claim".parse().unwrap(), "user:counsel".parse().unwrap());
        Event::Placed { scope: Scope::Subject, matter: matter.parse().unwrap(), reason, by }
    }

    fn released(matter: &str, free: bool) -> Event {
        let (reason, by) = ("settled".parse().unwrap(), "user:counsel".parse().unwrap());
        Event::Released { scope: Scope::Subject, matter: matter.parse().unwrap(), reason, by, free }
    }

    fn after(events: Vec<Event>) -> LegalHoldRow {
        let mut history = History::default();
        for event in events {
            history.push::<LegalHold>(TENANT, AGGREGATE, &event);
        }
        rows::<LegalHolds>(&history).unwrap().remove(0)
    }

    #[test]
    fn the_matters_that_hold_it_now_are_shown() {
        let row = after(vec![placed("case-7"), placed("case-8"), released("case-7", false)]);
        let matters: Vec<_> = row.matters.iter().map(|held| held.matter.as_str()).collect();
        assert_eq!((row.status, matters), (LegalHoldStatus::Held, vec!["case-8"]));
        assert_eq!((row.created_at, row.sequence), (start(), 3));
    }

    #[test]
    fn what_is_free_stays_listed_and_is_held_again() {
        let free = vec![placed("case-7"), released("case-7", true)];
        let row = after(free.clone());
        assert_eq!((row.status, row.matters.len()), (LegalHoldStatus::Free, 0));
        let row = after([free, vec![placed("case-9")]].concat());
        assert_eq!((row.status, row.matters.len(), row.created_at), (LegalHoldStatus::Held, 1, start()));
    }
}
