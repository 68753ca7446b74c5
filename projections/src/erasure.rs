//! Erasures: one row each scope for which one was ever requested, with what became of the last request.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use hub_domain::{
    erasure::{Erasure, Event, Hold, Kept, Scope},
    role::Principal,
    text::Remark,
};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{AggregateKey, FoldError, ReadModel, of_aggregate, to_micros};

/// The read model.
#[derive(Debug)]
pub struct Erasures;

/// The erasure of one person's data, or of a whole tenant's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Erasure")]
pub struct ErasureRow {
    pub tenant_id: Uuid,
    /// The data subject's id, or the tenant's own.
    pub id: Uuid,
    pub scope: Scope,
    pub status: ErasureStatus,
    pub requested_by: Principal,
    pub reason: Remark,
    pub grace_days: u16,
    /// Why there is no grace period; empty when there is one.
    pub urgency: Remark,
    /// When the grace period ends.
    pub due_at: DateTime<Utc>,
    /// The legal holds that defer it.
    pub holds: Vec<Hold>,
    pub cancelled_by: Option<Principal>,
    /// The reason of the cancellation.
    pub cancelled_for: Option<Remark>,
    /// When the key was destroyed.
    pub destroyed_at: Option<DateTime<Utc>>,
    /// What remains and on what basis; empty until it is executed.
    pub kept: Vec<Kept>,
    /// When it was requested for the first time.
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The sequence of the stream.
    pub sequence: i64,
}

/// How far an erasure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErasureStatus {
    /// Its grace period is not over.
    Pending,
    /// Its time has come, and legal holds are in the way.
    Deferred,
    /// The key is being destroyed.
    Begun,
    /// The key is destroyed.
    Executed,
    /// Withdrawn before it had begun.
    Cancelled,
}

/// What the event says that an erasure was executed with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Executed {
    /// Whose data it was.
    pub scope: Scope,
    /// The key that is destroyed, which was the only way to read the data; also the data subject's id, or the tenant's.
    pub key_id: Uuid,
    pub destroyed_at: DateTime<Utc>,
    /// What remains, and on what basis.
    pub kept: Vec<Kept>,
}

impl ReadModel for Erasures {
    type Row = ErasureRow;
    type Key = AggregateKey;

    const NAME: &'static str = "erasures";
    const TABLE: &'static str = "erasures";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, Erasure::TYPE)
    }

    fn key_of(row: &ErasureRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(row: Option<ErasureRow>, key: &AggregateKey, event: &Recorded) -> Result<Option<ErasureRow>, FoldError> {
        match (row, event.decode()?) {
            (row, Event::Requested { scope, by, reason, grace_days, urgency, due_at }) => Ok(Some(ErasureRow {
                tenant_id: key.tenant_id,
                id: key.id,
                scope,
                status: ErasureStatus::Pending,
                requested_by: by,
                reason,
                grace_days,
                urgency,
                due_at: to_micros(due_at),
                holds: Vec::new(),
                cancelled_by: None,
                cancelled_for: None,
                destroyed_at: None,
                kept: Vec::new(),
                created_at: row.map_or(event.occurred_at, |row| row.created_at),
                updated_at: event.occurred_at,
                sequence: event.sequence,
            })),
            (None, _) => Err(FoldError::row_missing(event)),
            (Some(row), change) => Ok(Some(row.after(change, event))),
        }
    }
}

impl ErasureRow {
    fn after(mut self, change: Event, event: &Recorded) -> Self {
        self.updated_at = event.occurred_at;
        self.sequence = event.sequence;
        match change {
            Event::Requested { .. } => {} // Makes a new row.
            Event::Cancelled { by, reason } => {
                self.status = ErasureStatus::Cancelled;
                self.cancelled_by = Some(by);
                self.cancelled_for = Some(reason);
                self.holds = Vec::new();
            }
            Event::Deferred { holds } => {
                self.status = ErasureStatus::Deferred;
                self.holds = holds.into_iter().collect();
            }
            Event::Begun {} => {
                self.status = ErasureStatus::Begun;
                self.holds = Vec::new();
            }
            Event::Executed { destroyed_at, kept, .. } => {
                self.status = ErasureStatus::Executed;
                self.destroyed_at = Some(to_micros(destroyed_at));
                self.kept = kept;
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::TimeDelta;
    use hub_domain::erasure::{Erasure, Event, Hold, Scope, kept};

    use super::{ErasureRow, ErasureStatus, Erasures};
    use crate::testing::{AGGREGATE, History, TENANT, rows, start};

    fn requested() -> Event {
        Event::Requested {
            scope: Scope::Subject,
            by: "user:officer".parse().unwrap(),
            reason: "she asked for it".parse().unwrap(),
            grace_days: 7,
            urgency: "".parse().unwrap(),
            due_at: start() + TimeDelta::days(7),
        }
    }

    fn after(events: Vec<Event>) -> ErasureRow {
        let mut history = History::default();
        for event in events {
            history.push::<Erasure>(TENANT, AGGREGATE, &event);
        }
        rows::<Erasures>(&history).unwrap().remove(0)
    }

    fn deferred() -> Event {
        let hold = Hold { scope: Scope::Tenant, matter: "case-7".parse().unwrap() };
        Event::Deferred { holds: BTreeSet::from([hold]) }
    }

    #[test]
    fn an_erasure_shows_how_far_it_is_and_what_defers_it() {
        let row = after(vec![requested()]);
        assert_eq!((row.status, row.due_at), (ErasureStatus::Pending, start() + TimeDelta::days(7)));
        let row = after(vec![requested(), deferred()]);
        assert_eq!((row.status, row.holds.len()), (ErasureStatus::Deferred, 1));
        let row = after(vec![requested(), deferred(), Event::Begun {}]);
        assert_eq!((row.status, row.holds.len()), (ErasureStatus::Begun, 0));
    }

    #[test]
    fn an_executed_erasure_tells_what_remains() {
        let (destroyed_at, kept) = (start() + TimeDelta::days(8), kept(Scope::Subject));
        let executed = Event::Executed { scope: Scope::Subject, key_id: AGGREGATE, destroyed_at, kept: kept.clone() };
        let row = after(vec![requested(), Event::Begun {}, executed]);
        assert_eq!((row.status, row.destroyed_at, row.kept), (ErasureStatus::Executed, Some(destroyed_at), kept));
    }

    #[test]
    fn a_cancelled_erasure_tells_by_whom_until_it_is_requested_again() {
        let cancelled =
            Event::Cancelled { by: "user:ada".parse().unwrap(), reason: "she thought better of it".parse().unwrap() };
        let row = after(vec![requested(), deferred(), cancelled.clone()]);
        assert_eq!((row.status, row.cancelled_by.unwrap().as_str()), (ErasureStatus::Cancelled, "user:ada"));
        let row = after(vec![requested(), cancelled, requested()]);
        assert_eq!((row.status, row.cancelled_by, row.created_at), (ErasureStatus::Pending, None, start()));
    }
}
