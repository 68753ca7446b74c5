//! Findings of controls: one row each, resolved ones included, for lists and details.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
pub use hub_domain::finding::Severity;
use hub_domain::{
    finding::{Event, Finding, ReopenCause},
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
pub struct Findings;

/// One finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Finding")]
pub struct FindingRow {
    pub tenant_id: Uuid,
    pub id: Uuid,
    pub control_id: String,
    pub severity: Severity,
    /// The tenant that it concerns; null when it is the platform as a whole.
    pub concerned_tenant_id: Option<Uuid>,
    /// The thing, by its kind and id.
    pub about: String,
    /// What was wrong with it when it was opened last.
    pub what: String,
    pub status: FindingStatus,
    /// When it was found for the first time.
    pub opened_at: DateTime<Utc>,
    /// When it was opened again last; null if never.
    pub reopened_at: Option<DateTime<Utc>>,
    pub reopen_cause: Option<ReopenCause>,
    /// How often it was opened, the first time included.
    pub opened_count: u32,
    /// Who did the last thing about it; null as long as nobody has since it was opened.
    pub handled_by: Option<Principal>,
    pub remark: Option<Remark>,
    /// Until when its risk is accepted, while it is.
    pub accepted_until: Option<DateTime<Utc>>,
    /// When a run did not find it any more.
    pub verified_at: Option<DateTime<Utc>>,
    /// The last run that opened or verified it.
    pub run_id: Uuid,
    pub updated_at: DateTime<Utc>,
    /// The sequence of the finding's stream.
    pub sequence: i64,
}

/// How far a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingStatus {
    /// Nobody has said anything.
    Open,
    /// Somebody has seen it.
    Acknowledged,
    /// Somebody mends it.
    InRemediation,
    /// It may stay so until a date.
    RiskAccepted,
    /// Somebody says that it is mended; the next run tells.
    Resolved,
    /// The control does not find it any more.
    Verified,
}

impl ReadModel for Findings {
    type Row = FindingRow;
    type Key = AggregateKey;

    const NAME: &'static str = "findings";
    const TABLE: &'static str = "findings";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, Finding::TYPE)
    }

    fn key_of(row: &FindingRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(row: Option<FindingRow>, key: &AggregateKey, event: &Recorded) -> Result<Option<FindingRow>, FoldError> {
        match (row, event.decode()?) {
            (None, Event::Opened { control_id, severity, tenant_id, about, what, run_id }) => Ok(Some(FindingRow {
                tenant_id: key.tenant_id,
                id: key.id,
                control_id,
                severity,
                concerned_tenant_id: tenant_id.map(|tenant| tenant.0),
                about,
                what,
                status: FindingStatus::Open,
                opened_at: event.occurred_at,
                reopened_at: None,
                reopen_cause: None,
                opened_count: 1,
                handled_by: None,
                remark: None,
                accepted_until: None,
                verified_at: None,
                run_id,
                updated_at: event.occurred_at,
                sequence: event.sequence,
            })),
            (None, _) => Err(FoldError::row_missing(event)),
            (Some(row), change) => row.after(change, event).map(Some),
        }
    }
}

impl FindingRow {
    fn after(mut self, change: Event, event: &Recorded) -> Result<Self, FoldError> {
        self.updated_at = event.occurred_at;
        self.sequence = event.sequence;
        self.accepted_until = None;
        match change {
            Event::Opened { .. } => return Err(FoldError::row_exists(event)),
            Event::Reopened { cause, what, run_id } => {
                self.status = FindingStatus::Open;
                (self.reopened_at, self.reopen_cause) = (Some(event.occurred_at), Some(cause));
                (self.handled_by, self.remark, self.verified_at) = (None, None, None);
                self.opened_count += 1;
                (self.what, self.run_id) = (what, run_id);
            }
            Event::Acknowledged { by, remark } => self.handled(FindingStatus::Acknowledged, by, remark),
            Event::RemediationStarted { by, remark } => self.handled(FindingStatus::InRemediation, by, remark),
            Event::Resolved { by, remark } => self.handled(FindingStatus::Resolved, by, remark),
            Event::RiskAccepted { by, reason, until } => {
                self.handled(FindingStatus::RiskAccepted, by, reason);
                self.accepted_until = Some(to_micros(until));
            }
            Event::Verified { run_id } => {
                self.status = FindingStatus::Verified;
                self.verified_at = Some(event.occurred_at);
                self.run_id = run_id;
            }
        }
        Ok(self)
    }

    fn handled(&mut self, status: FindingStatus, by: Principal, remark: Remark) {
        (self.status, self.handled_by, self.remark) = (status, Some(by), Some(remark));
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use hub_domain::finding::{Event, Finding, ReopenCause, Severity};
    use uuid::Uuid;

    use super::{FindingRow, FindingStatus, Findings};
    use crate::testing::{AGGREGATE, History, TENANT, rows, start};

    const RUN: Uuid = Uuid::from_u128(5);

    fn after(events: Vec<Event>) -> FindingRow {
        let opened = Event::Opened {
            control_id: "emergency-access-reviewed".to_owned(),
            severity: Severity::High,
            tenant_id: None,
            about: "break_glass/1".to_owned(),
            what: "late".to_owned(),
            run_id: RUN,
        };
        let mut history = History::default();
        for event in [opened].into_iter().chain(events) {
            history.push::<Finding>(TENANT, AGGREGATE, &event);
        }
        rows::<Findings>(&history).unwrap().remove(0)
    }

    fn reopened(cause: ReopenCause) -> Event {
        Event::Reopened { cause, what: "later".to_owned(), run_id: Uuid::from_u128(6) }
    }

    #[test]
    fn what_people_do_about_it_shows_who_did_the_last_thing() {
        let row = after(vec![]);
        assert_eq!((row.status, row.handled_by, row.opened_count), (FindingStatus::Open, None, 1));
        let (by, remark) = ("user:ada".parse().unwrap(), "on it".parse().unwrap());
        let row = after(vec![Event::RemediationStarted { by, remark }]);
        assert_eq!((row.status, row.remark.unwrap().as_str()), (FindingStatus::InRemediation, "on it"));
        assert_eq!(row.handled_by.unwrap().as_str(), "user:ada");
    }

    #[test]
    fn an_accepted_risk_shows_its_end_as_long_as_it_is_accepted() {
        let until = start() + TimeDelta::days(30);
        let accepted = Event::RiskAccepted { by: "user:ada".parse().unwrap(), reason: "old".parse().unwrap(), until };
        let row = after(vec![accepted.clone()]);
        assert_eq!((row.status, row.accepted_until), (FindingStatus::RiskAccepted, Some(until)));
        let row = after(vec![accepted, reopened(ReopenCause::AcceptanceOver)]);
        assert_eq!((row.status, row.accepted_until, row.handled_by), (FindingStatus::Open, None, None));
    }

    #[test]
    fn what_comes_back_is_open_and_counted() {
        let row = after(vec![Event::Verified { run_id: Uuid::from_u128(7) }]);
        assert_eq!((row.status, row.verified_at), (FindingStatus::Verified, Some(row.updated_at)));
        let row = after(vec![Event::Verified { run_id: RUN }, reopened(ReopenCause::CameBack)]);
        assert_eq!((row.status, row.opened_count, row.what.as_str()), (FindingStatus::Open, 2, "later"));
        assert_eq!((row.verified_at, row.reopen_cause), (None, Some(ReopenCause::CameBack)));
        assert!(row.reopened_at.unwrap() > row.opened_at);
    }
}
