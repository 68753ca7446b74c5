//! Support accesses: one row each, for lists of who of the platform's staff may do what in a tenant.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use hub_domain::{
    id::RoleId,
    role::Principal,
    support_access::{Event, SupportAccess},
    text::Remark,
};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{AggregateKey, FoldError, ReadModel, of_aggregate, to_micros};

/// The read model.
#[derive(Debug)]
pub struct SupportAccesses;

/// One support access.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SupportAccess")]
pub struct SupportAccessRow {
    pub tenant_id: Uuid,
    pub id: Uuid,
    pub granted_by: Principal,
    /// A principal of the platform.
    pub staff: Principal,
    pub role_id: RoleId,
    pub reason: Remark,
    pub status: SupportAccessStatus,
    /// When the access began.
    pub granted_from: DateTime<Utc>,
    /// When the access ends, or ended if it was not revoked before.
    pub granted_until: DateTime<Utc>,
    /// Who took the access away before its end.
    pub revoked_by: Option<Principal>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The sequence of the stream.
    pub sequence: i64,
}

/// Whether a support access still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SupportAccessStatus {
    Granted,
    Revoked,
    Ended,
}

impl ReadModel for SupportAccesses {
    type Row = SupportAccessRow;
    type Key = AggregateKey;

    const NAME: &'static str = "support_accesses";
    const TABLE: &'static str = "support_accesses";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, SupportAccess::TYPE)
    }

    fn key_of(row: &SupportAccessRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(
        row: Option<SupportAccessRow>,
        key: &AggregateKey,
        event: &Recorded,
    ) -> Result<Option<SupportAccessRow>, FoldError> {
        match (row, event.decode()?) {
            (None, Event::Granted { by, staff, role_id, reason, from, until }) => Ok(Some(SupportAccessRow {
                tenant_id: key.tenant_id,
                id: key.id,
                granted_by: by,
                staff,
                role_id,
                reason,
                status: SupportAccessStatus::Granted,
                granted_from: to_micros(from),
                granted_until: to_micros(until),
                revoked_by: None,
                created_at: event.occurred_at,
                updated_at: event.occurred_at,
                sequence: event.sequence,
            })),
            (None, _) => Err(FoldError::row_missing(event)),
            (Some(row), change) => row.after(change, event).map(Some),
        }
    }
}

impl SupportAccessRow {
    fn after(mut self, change: Event, event: &Recorded) -> Result<Self, FoldError> {
        self.updated_at = event.occurred_at;
        self.sequence = event.sequence;
        match change {
            Event::Granted { .. } => return Err(FoldError::row_exists(event)),
            Event::Revoked { by } => {
                self.status = SupportAccessStatus::Revoked;
                self.revoked_by = Some(by);
            }
            Event::Ended {} => self.status = SupportAccessStatus::Ended,
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use hub_domain::{
        id::RoleId,
        support_access::{Event, SupportAccess},
    };
    use uuid::Uuid;

    use super::{SupportAccessRow, SupportAccessStatus, SupportAccesses};
    use crate::testing::{AGGREGATE, History, TENANT, rows, start};

    fn after(events: Vec<Event>) -> SupportAccessRow {
        let granted = Event::Granted {
            by: "user:owner".parse().unwrap(),
            staff: "user:sam".parse().unwrap(),
            role_id: RoleId(Uuid::from_u128(7)),
            reason: "a slow restore".parse().unwrap(),
            from: start(),
            until: start() + TimeDelta::days(1),
        };
        let mut history = History::default();
        for event in [granted].into_iter().chain(events) {
            history.push::<SupportAccess>(TENANT, AGGREGATE, &event);
        }
        rows::<SupportAccesses>(&history).unwrap().remove(0)
    }

    #[test]
    fn a_granted_access_tells_who_may_do_what_until_when() {
        let row = after(vec![]);
        assert_eq!((row.status, row.staff.as_str()), (SupportAccessStatus::Granted, "user:sam"));
        assert_eq!((row.granted_from, row.granted_until), (start(), start() + TimeDelta::days(1)));
    }

    #[test]
    fn an_access_ends_by_itself_or_is_revoked() {
        assert_eq!(after(vec![Event::Ended {}]).status, SupportAccessStatus::Ended);
        let row = after(vec![Event::Revoked { by: "user:owner".parse().unwrap() }]);
        assert_eq!((row.status, row.revoked_by.unwrap().as_str()), (SupportAccessStatus::Revoked, "user:owner"));
    }
}
