//! The frameworks: the list, and one of them with its requirements and the controls that are evidence of each.

use aide::transform::TransformOperation;
use axum::extract::State;
use hub_compliance::catalogue::{Framework, NOTICE, catalogue};
use hub_http::{Detail, Path, PlatformCaller, Problem, ReadConsistency, openapi::described};
use hub_projections::{control_check::ControlChecks, model::ReadModel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    TAG,
    standing::{Checks, ControlState, Counts, Standing},
};
use crate::state::Queries;

/// The frameworks.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Frameworks")]
pub(crate) struct ListAnswer {
    /// What this is not.
    notice: &'static str,
    /// The version of the controls that this process has.
    version: &'static str,
    frameworks: Vec<Summary>,
}

/// One framework in numbers.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "FrameworkSummary")]
struct Summary {
    id: &'static str,
    name: &'static str,
    edition: &'static str,
    /// How many of its requirements this platform can be evidence of; a framework has others.
    requirement_count: usize,
    /// How these stand.
    requirements: Counts,
}

/// One framework.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Framework")]
pub(crate) struct DetailAnswer {
    /// What this is not.
    notice: &'static str,
    /// The version of the controls that this process has.
    version: &'static str,
    id: &'static str,
    name: &'static str,
    edition: &'static str,
    requirements: Vec<RequirementState>,
}

/// What a framework asks for, and what is evidence of it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "FrameworkRequirement")]
struct RequirementState {
    /// As the framework numbers it.
    id: &'static str,
    title: &'static str,
    /// In our own words; the framework's are in the framework.
    text: &'static str,
    /// As the control of most concern stands.
    standing: Standing,
    controls: Vec<ControlState>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct FrameworkPath {
    /// The framework: `gdpr`, `hipaa`, `iso27001`, `pci-dss` or `soc2`.
    framework_id: String,
}

pub(crate) async fn list(
    PlatformCaller { caller, .. }: PlatformCaller,
    consistency: ReadConsistency,
    State(queries): State<Queries>,
) -> Result<Detail<ListAnswer>, Problem> {
    let mut reading = queries.reach_projection(caller.platform()?, ControlChecks::NAME, consistency).await?;
    let checks = Checks::read(&mut reading.connection).await?;
    let summary = |framework: &'static Framework| Summary {
        id: &framework.id,
        name: &framework.name,
        edition: &framework.edition,
        requirement_count: framework.requirements.len(),
        requirements: checks.of_framework(framework),
    };
    let frameworks = catalogue().frameworks.iter().map(summary).collect();
    Ok(Detail::unversioned(ListAnswer { notice: NOTICE, version: &catalogue().version, frameworks }, reading.position))
}

pub(crate) async fn detail(
    PlatformCaller { caller, .. }: PlatformCaller,
    Path(FrameworkPath { framework_id }): Path<FrameworkPath>,
    consistency: ReadConsistency,
    State(queries): State<Queries>,
) -> Result<Detail<DetailAnswer>, Problem> {
    let framework = catalogue().framework(&framework_id).ok_or_else(Problem::not_found)?;
    let mut reading = queries.reach_projection(caller.platform()?, ControlChecks::NAME, consistency).await?;
    let checks = Checks::read(&mut reading.connection).await?;
    let requirements = framework.requirements.iter().map(|requirement| RequirementState {
        id: &requirement.id,
        title: &requirement.title,
        text: &requirement.text,
        standing: checks.of_requirement(requirement),
        controls: requirement
            .controls
            .iter()
            .filter_map(|id| catalogue().control(id))
            .map(|control| checks.state(control))
            .collect(),
    });
    let answer = DetailAnswer {
        notice: NOTICE,
        version: &catalogue().version,
        id: &framework.id,
        name: &framework.name,
        edition: &framework.edition,
        requirements: requirements.collect(),
    };
    Ok(Detail::unversioned(answer, reading.position))
}

pub(crate) fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "The frameworks that the platform's controls are evidence for, with how many of their requirements stand how. Evidence, \
                       not a certification. Needs a key of the platform.";
    described(operation, "listFrameworks", TAG, "List frameworks", description)
}

pub(crate) fn describe_detail(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "The requirements of a framework that the platform can be evidence of, each with its controls, what they came to, when, \
                       and where in the sealed log that is written. Needs a key of the platform.";
    described(operation, "getFramework", TAG, "Read a framework", description)
}
