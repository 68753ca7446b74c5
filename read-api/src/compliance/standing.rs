//! How controls stand by their last check, and requirements by their controls.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use hub_compliance::catalogue::{Control, Framework, Requirement};
use hub_http::Problem;
use hub_projections::{
    control_check::{ControlCheckRow, Outcome},
    finding::Severity,
};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::rows::{fetch, rows_of};

/// What each control came to last; as many rows as there ever were controls.
pub(crate) const LAST: &str = "SELECT to_jsonb(t) FROM control_checks t ORDER BY t.tenant_id, t.id";

/// How something stands. The order is that of concern: together things stand as the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ControlStanding")]
pub(crate) enum Standing {
    /// Something is not as demanded.
    Fail,
    /// Never checked.
    NotEvaluated,
    /// Nothing was found.
    Pass,
    /// There is nothing to look at.
    NotApplicable,
}

/// How many stand how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ControlStandingCounts")]
pub(crate) struct Counts {
    pass: u32,
    fail: u32,
    not_evaluated: u32,
    not_applicable: u32,
}

impl Counts {
    pub(crate) fn of(standings: impl IntoIterator<Item = Standing>) -> Self {
        let mut counts = Self::default();
        for standing in standings {
            *match standing {
                Standing::Fail => &mut counts.fail,
                Standing::NotEvaluated => &mut counts.not_evaluated,
                Standing::Pass => &mut counts.pass,
                Standing::NotApplicable => &mut counts.not_applicable,
            } += 1;
        }
        counts
    }
}

/// A control, and what its last check came to.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "ControlState")]
pub(crate) struct ControlState {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// What must be so.
    demand: &'static str,
    /// What it means when it is not.
    failure: &'static str,
    severity: Severity,
    /// How much is too much, in the unit; null where there is nothing to count.
    limit: Option<i64>,
    unit: Option<&'static str>,
    pub(crate) standing: Standing,
    /// The last check; null before the first one.
    pub(crate) last: Option<LastCheck>,
}

/// What a check came to, and where the evidence of it is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct LastCheck {
    run_id: Uuid,
    pub(crate) evaluated_at: DateTime<Utc>,
    /// The version of the controls that it was checked by.
    version: String,
    checked_count: u64,
    finding_count: u64,
    /// The stream that has every check of the control, among the platform's own events.
    aggregate_id: Uuid,
    /// The place of the evidence in the whole log.
    position: i64,
    /// Its place among the platform's own events, by which it is proven to be sealed.
    tenant_position: i64,
    /// The size of the platform's log of checkpoints when it was checked; null when nothing was sealed.
    sealed_size: Option<u64>,
    /// Its root, Base64.
    sealed_root: Option<String>,
}

/// The last check of each control, by the control's id.
pub(crate) struct Checks(HashMap<String, ControlCheckRow>);

impl Checks {
    pub(crate) async fn read(connection: &mut PgConnection) -> Result<Self, Problem> {
        let rows: Vec<ControlCheckRow> = fetch(rows_of(LAST), connection).await?;
        Ok(Self(rows.into_iter().map(|row| (row.control_id.clone(), row)).collect()))
    }

    pub(crate) fn standing(&self, control_id: &str) -> Standing {
        match self.0.get(control_id).map(|row| row.outcome) {
            None => Standing::NotEvaluated,
            Some(Outcome::Pass) => Standing::Pass,
            Some(Outcome::Fail) => Standing::Fail,
            Some(Outcome::NotApplicable) => Standing::NotApplicable,
        }
    }

    pub(crate) fn of_requirement(&self, requirement: &Requirement) -> Standing {
        let standings = requirement.controls.iter().map(|id| self.standing(id));
        standings.min().unwrap_or(Standing::NotEvaluated)
    }

    pub(crate) fn of_framework(&self, framework: &Framework) -> Counts {
        Counts::of(framework.requirements.iter().map(|requirement| self.of_requirement(requirement)))
    }

    pub(crate) fn state(&self, control: &'static Control) -> ControlState {
        let Control { id, title, demand, failure, severity, check, limit } = control;
        let last = self.0.get(id).map(|row| LastCheck {
            run_id: row.run_id,
            evaluated_at: row.evaluated_at,
            version: row.version.clone(),
            checked_count: row.checked_count,
            finding_count: row.finding_count,
            aggregate_id: row.id,
            position: row.position,
            tenant_position: row.tenant_position,
            sealed_size: row.sealed_size,
            sealed_root: row.sealed_root.clone(),
        });
        ControlState {
            id,
            title,
            demand,
            failure,
            severity: *severity,
            limit: *limit,
            unit: check.unit(),
            standing: self.standing(id),
            last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Counts, Standing};

    #[test]
    fn together_things_stand_as_the_one_of_most_concern() {
        let of = |standings: &[Standing]| standings.iter().min().copied();
        use Standing::{Fail, NotApplicable, NotEvaluated, Pass};
        assert_eq!(of(&[Pass, Fail, NotEvaluated]), Some(Fail));
        assert_eq!(of(&[Pass, NotEvaluated]), Some(NotEvaluated));
        assert_eq!(of(&[NotApplicable, Pass]), Some(Pass));
        assert_eq!(of(&[NotApplicable]), Some(NotApplicable));
        let counts = Counts::of([Pass, Pass, Fail, NotEvaluated, NotApplicable]);
        assert_eq!(counts, Counts { pass: 2, fail: 1, not_evaluated: 1, not_applicable: 1 });
    }
}
