//! Emergency accesses: one row each, for lists of what is open and of what somebody still has to review.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use hub_domain::{
    break_glass::{BreakGlass, Event, Verdict},
    id::RoleId,
    role::Principal,
    text::{Name, Remark},
};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{AggregateKey, FoldError, ReadModel, of_aggregate, to_micros};

/// The read model.
#[derive(Debug)]
pub struct BreakGlasses;

/// One emergency access.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BreakGlass")]
pub struct BreakGlassRow {
    pub tenant_id: Uuid,
    pub id: Uuid,
    pub opened_by: Principal,
    pub role_id: RoleId,
    pub reason: Remark,
    pub ticket: Name,
    pub status: BreakGlassStatus,
    /// When the access began.
    pub granted_from: DateTime<Utc>,
    /// When the access ends, or ended if it was not closed before.
    pub granted_until: DateTime<Utc>,
    /// Who ended the access before its time.
    pub closed_by: Option<Principal>,
    pub reviewed_by: Option<Principal>,
    pub verdict: Option<Verdict>,
    pub review_remark: Option<Remark>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The sequence of the stream.
    pub sequence: i64,
}

/// How far an emergency access is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakGlassStatus {
    /// Gives access until its end.
    Open,
    /// Over, and nobody has judged it yet.
    Unreviewed,
    /// Judged.
    Reviewed,
}

impl ReadModel for BreakGlasses {
    type Row = BreakGlassRow;
    type Key = AggregateKey;

    const NAME: &'static str = "break_glasses";
    const TABLE: &'static str = "break_glasses";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, BreakGlass::TYPE)
    }

    fn key_of(row: &BreakGlassRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(
        row: Option<BreakGlassRow>,
        key: &AggregateKey,
        event: &Recorded,
    ) -> Result<Option<BreakGlassRow>, FoldError> {
        match (row, event.decode()?) {
            (None, Event::Opened { by, role_id, reason, ticket, from, until }) => Ok(Some(BreakGlassRow {
                tenant_id: key.tenant_id,
                id: key.id,
                opened_by: by,
                role_id,
                reason,
                ticket,
                status: BreakGlassStatus::Open,
                granted_from: to_micros(from),
                granted_until: to_micros(until),
                closed_by: None,
                reviewed_by: None,
                verdict: None,
                review_remark: None,
                created_at: event.occurred_at,
                updated_at: event.occurred_at,
                sequence: event.sequence,
            })),
            (None, _) => Err(FoldError::row_missing(event)),
            (Some(row), change) => row.after(change, event).map(Some),
        }
    }
}

impl BreakGlassRow {
    fn after(mut self, change: Event, event: &Recorded) -> Result<Self, FoldError> {
        self.updated_at = event.occurred_at;
        self.sequence = event.sequence;
        match change {
            Event::Opened { .. } => return Err(FoldError::row_exists(event)),
            Event::Closed { by } => {
                self.status = BreakGlassStatus::Unreviewed;
                self.closed_by = Some(by);
            }
            Event::Ended {} => self.status = BreakGlassStatus::Unreviewed,
            Event::Reviewed { by, verdict, remark } => {
                self.status = BreakGlassStatus::Reviewed;
                self.reviewed_by = Some(by);
                self.verdict = Some(verdict);
                self.review_remark = Some(remark);
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use hub_domain::{
        break_glass::{BreakGlass, Event, Verdict},
        id::RoleId,
    };
    use uuid::Uuid;

    use super::{BreakGlassRow, BreakGlassStatus, BreakGlasses};
    use crate::testing::{AGGREGATE, History, TENANT, rows, start};

    fn after(events: Vec<Event>) -> BreakGlassRow {
        let opened = Event::Opened {
            by: "user:ada".parse().unwrap(),
            role_id: RoleId(Uuid::from_u128(7)),
            reason: "mail is down".parse().unwrap(),
            ticket: "OPS-12".parse().unwrap(),
            from: start(),
            until: start() + TimeDelta::minutes(30),
        };
        let mut history = History::default();
        for event in [opened].into_iter().chain(events) {
            history.push::<BreakGlass>(TENANT, AGGREGATE, &event);
        }
        rows::<BreakGlasses>(&history).unwrap().remove(0)
    }

    #[test]
    fn an_open_access_tells_who_has_what_until_when() {
        let row = after(vec![]);
        assert_eq!((row.status, row.opened_by.as_str()), (BreakGlassStatus::Open, "user:ada"));
        assert_eq!((row.granted_from, row.granted_until), (start(), start() + TimeDelta::minutes(30)));
    }

    #[test]
    fn what_is_over_waits_for_a_review() {
        let row = after(vec![Event::Closed { by: "user:eve".parse().unwrap() }]);
        assert_eq!((row.status, row.closed_by.unwrap().as_str()), (BreakGlassStatus::Unreviewed, "user:eve"));
        let row = after(vec![Event::Ended {}]);
        assert_eq!((row.status, row.closed_by), (BreakGlassStatus::Unreviewed, None));
    }

    #[test]
    fn a_review_tells_its_verdict() {
        let reviewed = Event::Reviewed {
            by: "user:bob".parse().unwrap(),
            verdict: Verdict::NotJustified,
            remark: "it was up".parse().unwrap(),
        };
        let row = after(vec![Event::Ended {}, reviewed]);
        assert_eq!((row.status, row.verdict), (BreakGlassStatus::Reviewed, Some(Verdict::NotJustified)));
        assert_eq!((row.reviewed_by.unwrap().as_str(), row.review_remark.unwrap().as_str()), ("user:bob", "it was up"));
    }
}
