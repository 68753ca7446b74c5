//! Everything at a glance: how each framework and the controls stand, and what is open.

use std::collections::BTreeSet;

use aide::transform::TransformOperation;
use axum::extract::State;
use chrono::{DateTime, Utc};
use hub_compliance::catalogue::{Framework, NOTICE, catalogue};
use hub_http::{Detail, PlatformCaller, Problem, ReadConsistency, openapi::described};
use hub_projections::{control_check::ControlChecks, model::ReadModel};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;

use super::{
    TAG,
    standing::{Checks, Counts},
};
use crate::{failure::failed, state::Queries};

/// Findings that are not over, by control and severity: how many somebody has to do something about, since when, and how many rest.
pub(crate) const OPEN: &str = "SELECT t.control_id, t.severity, count(*) FILTER (WHERE t.status <> 'risk_accepted') AS open_count, \
     count(*) FILTER (WHERE t.status = 'risk_accepted') AS accepted_count, \
     min(coalesce(t.reopened_at, t.opened_at)) FILTER (WHERE t.status <> 'risk_accepted') AS oldest_at \
     FROM findings t WHERE t.status <> 'verified' GROUP BY t.control_id, t.severity";

/// Everything at a glance.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ComplianceDashboard")]
pub(crate) struct Answer {
    /// What this is not.
    notice: &'static str,
    /// The version of the controls that this process has.
    version: &'static str,
    /// When a control was checked last; null before the first run.
    last_evaluated_at: Option<DateTime<Utc>>,
    /// How all controls stand.
    controls: Counts,
    findings: Open,
    frameworks: Vec<OfFramework>,
}

/// One framework at a glance.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "FrameworkGlance")]
struct OfFramework {
    id: &'static str,
    name: &'static str,
    /// How its requirements stand.
    requirements: Counts,
    /// How the controls stand that are evidence of them.
    controls: Counts,
    /// What these have found.
    findings: Open,
}

/// What is not over.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "OpenFindings")]
struct Open {
    critical: i64,
    high: i64,
    medium: i64,
    low: i64,
    /// Their risk is accepted for now; they are in none of the others.
    accepted: i64,
    /// Since when the oldest has been open.
    oldest_at: Option<DateTime<Utc>>,
}

#[derive(Debug, FromRow)]
struct OpenRow {
    control_id: String,
    severity: String,
    open_count: i64,
    accepted_count: i64,
    oldest_at: Option<DateTime<Utc>>,
}

impl Open {
    fn of<'a>(rows: impl IntoIterator<Item = &'a OpenRow>) -> Self {
        let mut open = Self::default();
        for row in rows {
            *match row.severity.as_str() {
                "critical" => &mut open.critical,
                "high" => &mut open.high,
                "medium" => &mut open.medium,
                _ => &mut open.low,
            } += row.open_count;
            open.accepted += row.accepted_count;
            open.oldest_at = open.oldest_at.into_iter().chain(row.oldest_at).min();
        }
        open
    }
}

pub(crate) async fn dashboard(
    PlatformCaller { caller, .. }: PlatformCaller,
    consistency: ReadConsistency,
    State(queries): State<Queries>,
) -> Result<Detail<Answer>, Problem> {
    let mut reading = queries.reach_moment(caller.platform()?, ControlChecks::NAME, consistency).await?;
    let checks = Checks::read(&mut reading.connection).await?;
    let open: Vec<OpenRow> = sqlx::query_as(OPEN).fetch_all(&mut *reading.connection).await.map_err(failed)?;
    let catalogue = catalogue();
    let states: Vec<_> = catalogue.controls.iter().map(|control| checks.state(control)).collect();
    let of_framework = |framework: &'static Framework| {
        let ids: BTreeSet<&str> =
            framework.requirements.iter().flat_map(|one| &one.controls).map(String::as_str).collect();
        OfFramework {
            id: &framework.id,
            name: &framework.name,
            requirements: checks.of_framework(framework),
            controls: Counts::of(ids.iter().map(|id| checks.standing(id))),
            findings: Open::of(open.iter().filter(|row| ids.contains(row.control_id.as_str()))),
        }
    };
    let answer = Answer {
        notice: NOTICE,
        version: &catalogue.version,
        last_evaluated_at: states.iter().filter_map(|state| Some(state.last.as_ref()?.evaluated_at)).max(),
        controls: Counts::of(states.iter().map(|state| state.standing)),
        findings: Open::of(&open),
        frameworks: catalogue.frameworks.iter().map(of_framework).collect(),
    };
    Ok(Detail::unversioned(answer, reading.position))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "How the controls and each framework stand, and what is open by severity. Evidence, not a certification. Needs a key of \
                       the platform.";
    described(operation, "readComplianceDashboard", TAG, "Read the dashboard", description)
}
