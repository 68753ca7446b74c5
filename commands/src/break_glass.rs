//! Commands on emergency access: `POST /v1/tenants/{tenant_id}/break-glass` and `.../break-glass/{break_glass_id}/<verb>`.

use axum::extract::State;
use hub_domain::{
    break_glass::{CODES, Command, LIMIT_REACHED, UNREVIEWED_COUNT_MAX, Verdict, decide},
    id::RoleId,
    text::{Name, Remark, parsed},
};
use hub_http::{Body, CommandHeaders, Created, Fingerprint, NoBody, Path, Problem, Receipt, Routes, TenantCaller};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    Commands,
    acting::{acting, acting_member},
    dispatch::{Changed, Dispatch},
    documented::Documented,
};

/// What the log itself refuses for an emergency access.
pub(crate) const CONDITIONS: &[(&str, &str)] = &[(decide::UNREVIEWED, LIMIT_REACHED.code)];

const DOCUMENTED: Documented = Documented::new("break-glass", CODES);

/// So many that nobody has reviewed a tenant.
const MAXIMA: &[(&str, i64)] = &[(decide::UNREVIEWED, UNREVIEWED_COUNT_MAX)];

/// Counts what somebody should look at at once.
pub(crate) const OPENED: &str = "hub_break_glass_opened_total";

pub(crate) fn routes() -> Routes<Commands> {
    let all = "/v1/tenants/{tenant_id}/break-glass";
    let one = "/v1/tenants/{tenant_id}/break-glass/{break_glass_id}";
    Routes::new()
        .post(all, "break_glass:open", open, |op| {
            DOCUMENTED.creation(
                op,
                "openBreakGlass",
                "Take a role in an emergency",
                "Whoever sends this holds the role at once, for the minutes given, and is reported. Only a principal of the tenant's own does so. \
                 Somebody else reviews it afterwards.",
            )
        })
        .post(&format!("{one}/close"), "break_glass:close", close, |op| {
            DOCUMENTED.creation(
                op,
                "closeBreakGlass",
                "End emergency access",
                "The role is held by it no longer, before its time is over.",
            )
        })
        .post(&format!("{one}/review"), "break_glass:review", review, |op| {
            DOCUMENTED.creation(
                op,
                "reviewBreakGlass",
                "Review emergency access",
                "Judges an emergency access that was closed or whose time is over. Nobody reviews an own one.",
            )
        })
}

#[derive(Debug, Deserialize, JsonSchema)]
struct BreakGlassPath {
    /// The emergency access's id.
    break_glass_id: Uuid,
}

/// A new emergency access.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OpenBreakGlass")]
struct Open {
    /// A live role of the tenant.
    role_id: RoleId,
    /// What has happened; not empty.
    #[serde(deserialize_with = "parsed")]
    reason: Remark,
    /// Where the emergency is worked on.
    #[serde(deserialize_with = "parsed")]
    ticket: Name,
    /// How long the role is held: from 1 to 60.
    minutes: u32,
}

/// What a reviewer finds.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReviewBreakGlass")]
struct Review {
    verdict: Verdict,
    #[serde(default, deserialize_with = "parsed")]
    remark: Remark,
}

async fn open(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Open>,
) -> Result<Created<Changed>, Problem> {
    let Open { role_id, reason, ticket, minutes } = body.value;
    let (by, now) = (acting_member(&caller)?, commands.store.now());
    let tenant_id = caller.tenant.id();
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let done = dispatch
        .execute_about_role(&commands, &commands.break_glasses, role_id, MAXIMA, &[], |role_live| Command::Open {
            by: by.clone(),
            role_id,
            role_live,
            reason: reason.clone(),
            ticket: ticket.clone(),
            minutes,
            now,
        })
        .await?;
    let id = done.accepted.aggregate_id;
    if !done.accepted.replayed {
        metrics::counter!(OPENED).increment(1);
        tracing::warn!(%tenant_id, break_glass_id = %id, role_id = %role_id.0, minutes, "emergency access was opened");
    }
    Ok(done.receipt().created(format!("/v1/tenants/{tenant_id}/break-glass/{id}")))
}

async fn close(
    caller: TenantCaller,
    Path(path): Path<BreakGlassPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    let command = Command::Close { by: acting(&caller)? };
    order(&commands, &caller, path, headers, body.fingerprint, command).await
}

async fn review(
    caller: TenantCaller,
    Path(path): Path<BreakGlassPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Review>,
) -> Result<Receipt<Changed>, Problem> {
    let Review { verdict, remark } = body.value;
    let command = Command::Review { by: acting(&caller)?, verdict, remark };
    order(&commands, &caller, path, headers, body.fingerprint, command).await
}

/// The way of every command that the emergency access decides alone.
async fn order(
    commands: &Commands,
    caller: &TenantCaller,
    BreakGlassPath { break_glass_id }: BreakGlassPath,
    headers: CommandHeaders,
    fingerprint: Fingerprint,
    command: Command,
) -> Result<Receipt<Changed>, Problem> {
    let dispatch = Dispatch::begin(commands, &caller.caller, caller.tenant.id(), headers, fingerprint)?;
    Ok(dispatch.execute_in_tenant(commands, &commands.break_glasses, break_glass_id, command, &[]).await?.receipt())
}
