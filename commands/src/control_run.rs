//! Asks for a run over all controls: `POST /v1/compliance/runs`; the process that runs controls takes it from the log.

use axum::extract::State;
use hub_domain::{
    control_run::{CODES, Command, LIMIT_REACHED, WAITING_COUNT_MAX, decide},
    id::PLATFORM_TENANT,
    text::{Remark, parsed},
};
use hub_event_store::repository::Prepared;
use hub_http::{Body, CommandHeaders, Created, PlatformCaller, Problem, Routes};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    Commands,
    dispatch::{Changed, Dispatch},
    documented::Documented,
};

/// What the log itself refuses for a run.
pub(crate) const CONDITIONS: &[(&str, &str)] = &[(decide::WAITING, LIMIT_REACHED.code)];

const DOCUMENTED: Documented = Documented::new("compliance", CODES);

/// So many runs wait at a time.
const MAXIMA: &[(&str, i64)] = &[(decide::WAITING, WAITING_COUNT_MAX)];

pub(crate) fn routes() -> Routes<Commands> {
    Routes::new().post("/v1/compliance/runs", "control_run:request", request, |op| {
        DOCUMENTED.command(
            op,
            "requestControlRun",
            "Run the controls now",
            "All controls are checked soon, beside the run of each day. The answer does not wait for it: the run tells when it is completed.",
        )
    })
}

/// Why the controls are run beside the run of the day.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RequestControlRun")]
struct Request {
    #[serde(deserialize_with = "parsed")]
    reason: Remark,
}

async fn request(
    caller: PlatformCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Request>,
) -> Result<Created<Changed>, Problem> {
    let dispatch = Dispatch::begin(&commands, &caller.caller, PLATFORM_TENANT.0, headers, body.fingerprint)?;
    let Request { reason } = body.value;
    let done = dispatch
        .execute_prepared(&commands.control_runs, Uuid::now_v7(), |_| {
            let command = Command::Request { reason: reason.clone() };
            async { Ok(Prepared { maxima: MAXIMA.to_vec(), ..Prepared::new(command) }) }
        })
        .await?;
    let location = format!("/v1/compliance/runs/{}", done.accepted.aggregate_id);
    Ok(done.receipt().created(location))
}
