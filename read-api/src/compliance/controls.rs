//! All controls, each with what its last check came to.

use aide::transform::TransformOperation;
use axum::extract::State;
use hub_compliance::catalogue::{NOTICE, catalogue};
use hub_http::{Detail, PlatformCaller, Problem, ReadConsistency, openapi::described};
use hub_projections::{control_check::ControlChecks, model::ReadModel};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    TAG,
    standing::{Checks, ControlState},
};
use crate::state::Queries;

/// All controls.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Controls")]
pub(crate) struct Answer {
    /// What this is not.
    notice: &'static str,
    /// The version of the controls that this process has.
    version: &'static str,
    controls: Vec<ControlState>,
}

pub(crate) async fn list(
    PlatformCaller { caller, .. }: PlatformCaller,
    consistency: ReadConsistency,
    State(queries): State<Queries>,
) -> Result<Detail<Answer>, Problem> {
    let mut reading = queries.reach_projection(caller.platform()?, ControlChecks::NAME, consistency).await?;
    let checks = Checks::read(&mut reading.connection).await?;
    let controls = catalogue().controls.iter().map(|control| checks.state(control)).collect();
    Ok(Detail::unversioned(Answer { notice: NOTICE, version: &catalogue().version, controls }, reading.position))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "What the platform demands of itself, whether it was so when it was last checked, and where in the sealed log that is \
                       written. Needs a key of the platform.";
    described(operation, "listControls", TAG, "List controls", description)
}
