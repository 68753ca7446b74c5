//! Controls: one row each, with what the last check came to.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
pub use hub_domain::control_check::Outcome;
use hub_domain::control_check::{ControlCheck, Evaluation, Event, Listed};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{AggregateKey, FoldError, ReadModel, of_aggregate};

/// The read model.
#[derive(Debug)]
pub struct ControlChecks;

/// What the last check of a control came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ControlCheck")]
pub struct ControlCheckRow {
    pub tenant_id: Uuid,
    /// The stream of the control, which has every check of it.
    pub id: Uuid,
    pub control_id: String,
    /// The version of the controls that it was checked by.
    pub version: String,
    pub run_id: Uuid,
    pub outcome: Outcome,
    /// How many things were looked at.
    pub checked_count: u64,
    /// How many of them are not as demanded.
    pub finding_count: u64,
    /// The first of them.
    pub findings: Vec<Listed>,
    /// The size of the platform's log of checkpoints before the check; null when nothing was sealed yet.
    pub sealed_size: Option<u64>,
    /// Its root, Base64.
    pub sealed_root: Option<String>,
    pub evaluated_at: DateTime<Utc>,
    /// Where the evidence stands in the whole log.
    pub position: i64,
    /// Where it stands among the platform's own events, for a proof that it is sealed.
    pub tenant_position: i64,
    /// The sequence of the control's stream: so often it was checked.
    pub sequence: i64,
}

impl ReadModel for ControlChecks {
    type Row = ControlCheckRow;
    type Key = AggregateKey;

    const NAME: &'static str = "control_checks";
    const TABLE: &'static str = "control_checks";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, ControlCheck::TYPE)
    }

    fn key_of(row: &ControlCheckRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(
        _row: Option<ControlCheckRow>,
        key: &AggregateKey,
        event: &Recorded,
    ) -> Result<Option<ControlCheckRow>, FoldError> {
        let Event::Evaluated(evaluation) = event.decode()?;
        let Evaluation { run_id, control_id, version, outcome, checked_count, finding_count, findings, sealed } =
            evaluation;
        let (sealed_size, sealed_root) = sealed.map(|sealed| (sealed.size, sealed.root)).unzip();
        Ok(Some(ControlCheckRow {
            tenant_id: key.tenant_id,
            id: key.id,
            control_id,
            version,
            run_id,
            outcome,
            checked_count,
            finding_count,
            findings,
            sealed_size,
            sealed_root,
            evaluated_at: event.occurred_at,
            position: event.position,
            tenant_position: event.tenant_position,
            sequence: event.sequence,
        }))
    }
}

#[cfg(test)]
mod tests {
    use hub_domain::control_check::{ControlCheck, Evaluation, Event, Listed, Outcome, Sealed};
    use uuid::Uuid;

    use super::ControlChecks;
    use crate::testing::{AGGREGATE, History, TENANT, rows};

    fn evaluated(finding_count: u64) -> Event {
        let about = "break_glass/1".to_owned();
        let listed = Listed { finding_id: Uuid::from_u128(1), tenant_id: None, about, what: "late".to_owned() };
        Event::Evaluated(Evaluation {
            run_id: Uuid::from_u128(5),
            control_id: "emergency-access-reviewed".to_owned(),
            version: "1-0011".to_owned(),
            outcome: if finding_count == 0 { Outcome::Pass } else { Outcome::Fail },
            checked_count: 4,
            finding_count,
            findings: (0..finding_count).map(|_| listed.clone()).collect(),
            sealed: (finding_count == 0).then(|| Sealed { size: 9, root: "cm9vdA==".to_owned() }),
        })
    }

    #[test]
    fn a_control_shows_its_last_check_and_where_the_evidence_stands() {
        let mut history = History::default();
        history.push::<ControlCheck>(TENANT, AGGREGATE, &evaluated(2));
        let row = rows::<ControlChecks>(&history).unwrap().remove(0);
        assert_eq!((row.outcome, row.finding_count, row.findings.len(), row.sealed_size), (Outcome::Fail, 2, 2, None));
        history.push::<ControlCheck>(TENANT, AGGREGATE, &evaluated(0));
        let row = rows::<ControlChecks>(&history).unwrap().remove(0);
        assert_eq!((row.outcome, row.findings.len(), row.sealed_size), (Outcome::Pass, 0, Some(9)));
        assert_eq!((row.position, row.sequence), (2, 2));
    }
}
