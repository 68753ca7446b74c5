//! Commands on access requests: `POST /v1/tenants/{tenant_id}/access-requests` and `.../access-requests/{access_request_id}/<verb>`.

use axum::extract::State;
use hub_domain::{
    access_request::{CODES, Command, Error, LIMIT_REACHED, REQUEST_COUNT_MAX, decide},
    duty_set::Change,
    id::RoleId,
    text::{Remark, parsed},
};
use hub_event_store::repository::Prepared;
use hub_http::{
    Body, CommandHeaders, Created, Fingerprint, Granting, NoBody, Path, Problem, Receipt, Routes, TenantCaller,
};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    Commands,
    acting::{acting, acting_member},
    dispatch::{Changed, Dispatch, problem_of},
    documented::Documented,
    surroundings::look,
};

/// What the log itself refuses for an access request.
pub(crate) const CONDITIONS: &[(&str, &str)] = &[(decide::REQUESTS, LIMIT_REACHED.code)];

const DOCUMENTED: Documented = Documented::new("access-requests", CODES);

/// So many requests that are open or approved a tenant.
const MAXIMA: &[(&str, i64)] = &[(decide::REQUESTS, REQUEST_COUNT_MAX)];

pub(crate) fn routes() -> Routes<Commands> {
    let requests = "/v1/tenants/{tenant_id}/access-requests";
    let request = "/v1/tenants/{tenant_id}/access-requests/{access_request_id}";
    Routes::new()
        .post(requests, "access_request:submit", submit, |op| {
            DOCUMENTED.creation(
                op,
                "submitAccessRequest",
                "Ask for a role",
                "Whoever sends this asks to hold a role for a time, from the approval on. Only a principal of the tenant's own asks. The request \
                 stays open for seven days.",
            )
        })
        .post(&format!("{request}/approve"), "access_request:approve", approve, |op| {
            DOCUMENTED.creation(
                op,
                "approveAccessRequest",
                "Approve an access request",
                "The requester holds the role from now on, for the time asked for. Nobody approves an own request, or grants what he does not hold.",
            )
        })
        .post(&format!("{request}/deny"), "access_request:deny", deny, |op| {
            DOCUMENTED.creation(op, "denyAccessRequest", "Deny an access request", "The requester does not get the role.")
        })
        .post(&format!("{request}/withdraw"), "access_request:withdraw", withdraw, |op| {
            DOCUMENTED.creation(
                op,
                "withdrawAccessRequest",
                "Withdraw an access request",
                "Only whoever asked can take the request back.",
            )
        })
        .post(&format!("{request}/revoke"), "access_request:revoke", revoke, |op| {
            DOCUMENTED.creation(
                op,
                "revokeAccessRequest",
                "End approved access",
                "The requester no longer holds the role by this request, before its time is over.",
            )
        })
}

#[derive(Debug, Deserialize, JsonSchema)]
struct AccessRequestPath {
    /// The access request's id.
    access_request_id: Uuid,
}

/// A new access request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SubmitAccessRequest")]
struct Submit {
    /// A live role of the tenant.
    role_id: RoleId,
    /// What it is needed for; not empty.
    #[serde(deserialize_with = "parsed")]
    reason: Remark,
    /// How long the role is to be held: from 300 (five minutes) to 2592000 (thirty days).
    duration_seconds: u32,
}

/// What is said to a decision.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DecideAccessRequest")]
struct Decision {
    #[serde(default, deserialize_with = "parsed")]
    remark: Remark,
}

async fn submit(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Submit>,
) -> Result<Created<Changed>, Problem> {
    let Submit { role_id, reason, duration_seconds } = body.value;
    let (by, now) = (acting_member(&caller)?, commands.store.now());
    let tenant_id = caller.tenant.id();
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let done =
        dispatch
            .execute_about_role(&commands, &commands.access_requests, role_id, MAXIMA, &[], |role_live| {
                Command::Submit { by: by.clone(), role_id, role_live, reason: reason.clone(), duration_seconds, now }
            })
            .await?;
    let location = format!("/v1/tenants/{tenant_id}/access-requests/{}", done.accepted.aggregate_id);
    Ok(done.receipt().created(location))
}

async fn approve(
    caller: TenantCaller,
    Path(AccessRequestPath { access_request_id }): Path<AccessRequestPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Decision>,
) -> Result<Receipt<Changed>, Problem> {
    let Decision { remark } = body.value;
    let (by, now) = (acting(&caller)?, commands.store.now());
    let tenant_id = caller.tenant.id();
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let known = commands.access_requests.repository.load(tenant_id, access_request_id).await;
    let known = known.map_err(|error| problem_of(&error))?;
    // What is not there is told by the command itself.
    if let Some(RoleId(role_id)) = known.state.role_id() {
        dispatch.granting(&caller.pass, Granting { roles: vec![role_id], ..Granting::default() }).await?;
    }
    let done = dispatch
        .execute_prepared(&commands.access_requests, access_request_id, |attempt| {
            let (commands, by, remark) = (&commands, by.clone(), remark.clone());
            async move {
                let (_, tenant_guard) = commands.living_tenant(tenant_id, attempt).await?;
                let mut guards = vec![tenant_guard];
                let (request, _) =
                    look::<_, Error>(&commands.access_requests, tenant_id, access_request_id, attempt).await?;
                let mut role_live = false;
                // What role a request is about never changes.
                if let Some(role_id) = request.state.role_id() {
                    let (live, guard) = commands.role_live(tenant_id, role_id, attempt).await?;
                    role_live = live;
                    guards.push(guard);
                }
                let grant = request.state.prospective_grant(now).map(Change::Grant);
                let expected_counters = commands.duties_kept(tenant_id, grant.as_slice()).await?;
                let command = Command::Approve { by, role_live, remark, now };
                Ok(Prepared { guards, expected_counters, ..Prepared::new(command) })
            }
        })
        .await?;
    Ok(done.receipt())
}

async fn deny(
    caller: TenantCaller,
    Path(path): Path<AccessRequestPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Decision>,
) -> Result<Receipt<Changed>, Problem> {
    let Decision { remark } = body.value;
    let command = Command::Deny { by: acting(&caller)?, remark, now: commands.store.now() };
    order(&commands, &caller, path, headers, body.fingerprint, command).await
}

async fn withdraw(
    caller: TenantCaller,
    Path(path): Path<AccessRequestPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    let command = Command::Withdraw { by: acting(&caller)?, now: commands.store.now() };
    order(&commands, &caller, path, headers, body.fingerprint, command).await
}

async fn revoke(
    caller: TenantCaller,
    Path(path): Path<AccessRequestPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Decision>,
) -> Result<Receipt<Changed>, Problem> {
    let Decision { remark } = body.value;
    let command = Command::Revoke { by: acting(&caller)?, remark, now: commands.store.now() };
    order(&commands, &caller, path, headers, body.fingerprint, command).await
}

/// The way of every command that the request decides alone.
async fn order(
    commands: &Commands,
    caller: &TenantCaller,
    AccessRequestPath { access_request_id }: AccessRequestPath,
    headers: CommandHeaders,
    fingerprint: Fingerprint,
    command: Command,
) -> Result<Receipt<Changed>, Problem> {
    let dispatch = Dispatch::begin(commands, &caller.caller, caller.tenant.id(), headers, fingerprint)?;
    let done = dispatch.execute_in_tenant(commands, &commands.access_requests, access_request_id, command, &[]).await?;
    Ok(done.receipt())
}
