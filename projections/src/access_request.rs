//! Access requests: one row each, for lists and details of who asked for what and what became of it.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use hub_domain::{
    access_request::{AccessRequest, Event},
    id::RoleId,
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
pub struct AccessRequests;

/// One access request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AccessRequest")]
pub struct AccessRequestRow {
    pub tenant_id: Uuid,
    pub id: Uuid,
    pub requested_by: Principal,
    pub role_id: RoleId,
    pub reason: Remark,
    pub duration_seconds: u32,
    pub status: AccessRequestStatus,
    /// When an open request expires.
    pub expires_at: DateTime<Utc>,
    /// Who approved or denied; null if nobody did.
    pub decided_by: Option<Principal>,
    /// What was said to the approval or denial.
    pub decision_remark: Option<Remark>,
    /// When the approved access began; null without an approval.
    pub granted_from: Option<DateTime<Utc>>,
    /// When the approved access ends, or ended if it was not revoked before; null without an approval.
    pub granted_until: Option<DateTime<Utc>>,
    /// Who took the access away before its end.
    pub revoked_by: Option<Principal>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The sequence of the request's stream.
    pub sequence: i64,
}

/// What became of an access request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessRequestStatus {
    /// Waits for a decision.
    Open,
    /// Gives access until its end.
    Approved,
    Denied,
    Withdrawn,
    Expired,
    /// Gave access, which was taken away.
    Revoked,
    /// Gave access, which is over.
    Finished,
}

impl ReadModel for AccessRequests {
    type Row = AccessRequestRow;
    type Key = AggregateKey;

    const NAME: &'static str = "access_requests";
    const TABLE: &'static str = "access_requests";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, AccessRequest::TYPE)
    }

    fn key_of(row: &AccessRequestRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(
        row: Option<AccessRequestRow>,
        key: &AggregateKey,
        event: &Recorded,
    ) -> Result<Option<AccessRequestRow>, FoldError> {
        match (row, event.decode()?) {
            (None, Event::Submitted { by, role_id, reason, duration_seconds, expires_at }) => {
                Ok(Some(AccessRequestRow {
                    tenant_id: key.tenant_id,
                    id: key.id,
                    requested_by: by,
                    role_id,
                    reason,
                    duration_seconds,
                    status: AccessRequestStatus::Open,
                    expires_at: to_micros(expires_at),
                    decided_by: None,
                    decision_remark: None,
                    granted_from: None,
                    granted_until: None,
                    revoked_by: None,
                    created_at: event.occurred_at,
                    updated_at: event.occurred_at,
                    sequence: event.sequence,
                }))
            }
            (None, _) => Err(FoldError::row_missing(event)),
            (Some(row), change) => row.after(change, event).map(Some),
        }
    }
}

impl AccessRequestRow {
    fn after(mut self, change: Event, event: &Recorded) -> Result<Self, FoldError> {
        self.updated_at = event.occurred_at;
        self.sequence = event.sequence;
        match change {
            Event::Submitted { .. } => return Err(FoldError::row_exists(event)),
            Event::Approved { by, remark, from, until } => {
                self.status = AccessRequestStatus::Approved;
                self.decided_by = Some(by);
                self.decision_remark = Some(remark);
                self.granted_from = Some(to_micros(from));
                self.granted_until = Some(to_micros(until));
            }
            Event::Denied { by, remark } => {
                self.status = AccessRequestStatus::Denied;
                self.decided_by = Some(by);
                self.decision_remark = Some(remark);
            }
            Event::Withdrawn {} => self.status = AccessRequestStatus::Withdrawn,
            Event::Expired {} => self.status = AccessRequestStatus::Expired,
            Event::Revoked { by, .. } => {
                self.status = AccessRequestStatus::Revoked;
                self.revoked_by = Some(by);
            }
            Event::Finished {} => self.status = AccessRequestStatus::Finished,
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use hub_domain::{
        access_request::{AccessRequest, Event},
        id::RoleId,
    };
    use uuid::Uuid;

    use super::{AccessRequestRow, AccessRequestStatus, AccessRequests};
    use crate::testing::{AGGREGATE, History, TENANT, rows, start};

    fn after(events: Vec<Event>) -> AccessRequestRow {
        let submitted = Event::Submitted {
            by: "user:ada".parse().unwrap(),
            role_id: RoleId(Uuid::from_u128(7)),
            reason: "a restore".parse().unwrap(),
            duration_seconds: 3600,
            expires_at: start() + TimeDelta::days(7),
        };
        let mut history = History::default();
        for event in [submitted].into_iter().chain(events) {
            history.push::<AccessRequest>(TENANT, AGGREGATE, &event);
        }
        rows::<AccessRequests>(&history).unwrap().remove(0)
    }

    fn approved() -> Event {
        Event::Approved {
            by: "user:bob".parse().unwrap(),
            remark: "for today".parse().unwrap(),
            from: start(),
            until: start() + TimeDelta::hours(1),
        }
    }

    #[test]
    fn a_submitted_request_waits_for_a_decision() {
        let row = after(vec![]);
        assert_eq!((row.status, row.requested_by.as_str()), (AccessRequestStatus::Open, "user:ada"));
        assert_eq!((row.expires_at, row.decided_by, row.granted_from), (start() + TimeDelta::days(7), None, None));
    }

    #[test]
    fn an_approval_tells_who_decided_and_from_when_until_when() {
        let row = after(vec![approved()]);
        assert_eq!(row.status, AccessRequestStatus::Approved);
        assert_eq!(row.decided_by.unwrap().as_str(), "user:bob");
        assert_eq!(row.decision_remark.unwrap().as_str(), "for today");
        assert_eq!((row.granted_from, row.granted_until), (Some(start()), Some(start() + TimeDelta::hours(1))));
    }

    #[test]
    fn each_end_has_a_status_of_its_own() {
        let denied = Event::Denied { by: "user:bob".parse().unwrap(), remark: "no".parse().unwrap() };
        let revoked = Event::Revoked { by: "user:eve".parse().unwrap(), remark: "done".parse().unwrap() };
        assert_eq!(after(vec![denied]).status, AccessRequestStatus::Denied);
        assert_eq!(after(vec![Event::Withdrawn {}]).status, AccessRequestStatus::Withdrawn);
        assert_eq!(after(vec![Event::Expired {}]).status, AccessRequestStatus::Expired);
        assert_eq!(after(vec![approved(), Event::Finished {}]).status, AccessRequestStatus::Finished);
        let row = after(vec![approved(), revoked]);
        assert_eq!((row.status, row.revoked_by.unwrap().as_str()), (AccessRequestStatus::Revoked, "user:eve"));
    }
}
