//! What people do about findings: `POST /v1/compliance/findings/{finding_id}/<verb>`.

use axum::extract::State;
use hub_domain::{
    finding::{CODES, Command},
    id::PLATFORM_TENANT,
    role::Principal,
    text::{Remark, parsed},
};
use hub_http::{Body, CommandHeaders, Fingerprint, Path, PlatformCaller, Problem, Receipt, Routes};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    Commands,
    dispatch::{Changed, Dispatch},
    documented::Documented,
    moment::Moment,
};

/// The log refuses nothing for a finding that the finding itself does not.
pub(crate) const CONDITIONS: &[(&str, &str)] = &[];

const DOCUMENTED: Documented = Documented::new("compliance", CODES);

pub(crate) fn routes() -> Routes<Commands> {
    let finding = "/v1/compliance/findings/{finding_id}";
    Routes::new()
        .post(&format!("{finding}/acknowledge"), "finding:acknowledge", acknowledge, |op| {
            DOCUMENTED.command(
                op,
                "acknowledgeFinding",
                "Acknowledge a finding",
                "Somebody has seen it. An acceptance of its risk is over by it.",
            )
        })
        .post(&format!("{finding}/start-remediation"), "finding:start-remediation", start_remediation, |op| {
            DOCUMENTED.command(
                op,
                "startFindingRemediation",
                "Begin to mend a finding",
                "Somebody does something about it. An acceptance of its risk is over by it.",
            )
        })
        .post(&format!("{finding}/resolve"), "finding:resolve", resolve, |op| {
            DOCUMENTED.command(
                op,
                "resolveFinding",
                "Say that a finding is mended",
                "The next run of the controls verifies it, or opens the finding again.",
            )
        })
        .post(&format!("{finding}/accept-risk"), "finding:accept-risk", accept_risk, |op| {
            DOCUMENTED.command(
                op,
                "acceptFindingRisk",
                "Accept the risk of a finding",
                "It may stay as it is until a moment within a year, for a reason. After that the next run opens it again.",
            )
        })
}

#[derive(Debug, Deserialize, JsonSchema)]
struct FindingPath {
    /// The finding's id.
    finding_id: Uuid,
}

/// What somebody says about a finding.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RemarkOnFinding")]
struct Remarked {
    #[serde(default, deserialize_with = "parsed")]
    remark: Remark,
}

/// How long a risk is accepted, and why.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AcceptFindingRisk")]
struct AcceptRisk {
    /// At least one character.
    #[serde(deserialize_with = "parsed")]
    reason: Remark,
    /// Within a year from now.
    #[serde(deserialize_with = "parsed")]
    until: Moment,
}

async fn acknowledge(
    caller: PlatformCaller,
    Path(path): Path<FindingPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Remarked>,
) -> Result<Receipt<Changed>, Problem> {
    let command = Command::Acknowledge { by: acting(&caller)?, remark: body.value.remark };
    order(&commands, &caller, path, headers, body.fingerprint, command).await
}

async fn start_remediation(
    caller: PlatformCaller,
    Path(path): Path<FindingPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Remarked>,
) -> Result<Receipt<Changed>, Problem> {
    let command = Command::StartRemediation { by: acting(&caller)?, remark: body.value.remark };
    order(&commands, &caller, path, headers, body.fingerprint, command).await
}

async fn resolve(
    caller: PlatformCaller,
    Path(path): Path<FindingPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Remarked>,
) -> Result<Receipt<Changed>, Problem> {
    let command = Command::Resolve { by: acting(&caller)?, remark: body.value.remark };
    order(&commands, &caller, path, headers, body.fingerprint, command).await
}

async fn accept_risk(
    caller: PlatformCaller,
    Path(path): Path<FindingPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<AcceptRisk>,
) -> Result<Receipt<Changed>, Problem> {
    let AcceptRisk { reason, until: Moment(until) } = body.value;
    let command = Command::AcceptRisk { by: acting(&caller)?, reason, until, now: commands.store.now() };
    order(&commands, &caller, path, headers, body.fingerprint, command).await
}

/// Whoever sends the command, as the domain names principals.
fn acting(caller: &PlatformCaller) -> Result<Principal, Problem> {
    caller.caller.principal.parse().map_err(|_| Problem::forbidden("this needs the key or token of a principal"))
}

/// The way of every command that the finding decides alone.
async fn order(
    commands: &Commands,
    caller: &PlatformCaller,
    FindingPath { finding_id }: FindingPath,
    headers: CommandHeaders,
    fingerprint: Fingerprint,
    command: Command,
) -> Result<Receipt<Changed>, Problem> {
    let dispatch = Dispatch::begin(commands, &caller.caller, PLATFORM_TENANT.0, headers, fingerprint)?;
    Ok(dispatch.execute(&commands.findings, finding_id, command).await?.receipt())
}
