//! A run over all controls: whether it waits, or what it came to; read from the log itself.

use aide::transform::TransformOperation;
use axum::extract::State;
use chrono::{DateTime, Utc};
use hub_http::{Detail, Path, PlatformCaller, Problem, ReadConsistency, openapi::described};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use uuid::Uuid;

use super::TAG;
use crate::{failure::failed, reach::Source, state::Queries};

/// The last event of a run, with its place in the stream.
pub(crate) const LAST_OF_RUN: &str = "SELECT e.sequence, e.occurred_at, e.event_type, e.payload FROM events e \
     WHERE e.tenant_id = '00000000-0000-0000-0000-000000000001' AND e.aggregate_type = 'control_run' AND e.aggregate_id = $1 \
     ORDER BY e.sequence DESC LIMIT 1";

/// The type of the event that ends a run.
const COMPLETED: &str = "control_run.completed";

/// A run.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ControlRun")]
pub(crate) struct Answer {
    id: Uuid,
    status: RunStatus,
    /// When it was asked for, or completed.
    at: DateTime<Utc>,
    /// What it came to; null as long as it waits.
    outcome: Option<RunOutcome>,
    sequence: i64,
}

/// Whether a run has been done.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ControlRunStatus")]
enum RunStatus {
    Waiting,
    Completed,
}

/// How many controls came to what.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ControlRunOutcome")]
struct RunOutcome {
    /// The version of the controls.
    version: String,
    pass_count: u32,
    fail_count: u32,
    not_applicable_count: u32,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct RunPath {
    /// The run.
    control_run_id: Uuid,
}

pub(crate) async fn detail(
    PlatformCaller { caller, .. }: PlatformCaller,
    Path(RunPath { control_run_id }): Path<RunPath>,
    consistency: ReadConsistency,
    State(queries): State<Queries>,
) -> Result<Detail<Answer>, Problem> {
    let mut reading = queries.reach(caller.platform()?, Source::Log, consistency).await?;
    let last: Option<(i64, DateTime<Utc>, String, Json<serde_json::Value>)> = sqlx::query_as(LAST_OF_RUN)
        .bind(control_run_id)
        .fetch_optional(&mut *reading.connection)
        .await
        .map_err(failed)?;
    let (sequence, at, event_type, Json(payload)) = last.ok_or_else(Problem::not_found)?;
    let completed = event_type == COMPLETED;
    let outcome = completed.then(|| serde_json::from_value(payload)).transpose().map_err(|error| {
        tracing::error!(%error, %control_run_id, "the end of a run cannot be read");
        Problem::internal()
    })?;
    let status = if completed { RunStatus::Completed } else { RunStatus::Waiting };
    Ok(Detail::new(Answer { id: control_run_id, status, at, outcome, sequence }, sequence, reading.position))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Whether a run over all controls waits or is completed, and how many controls came to what. Needs a key of the platform.";
    described(operation, "getControlRun", TAG, "Read a run of the controls", description)
}
