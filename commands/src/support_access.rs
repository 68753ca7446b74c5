//! Commands on support access: `POST /v1/tenants/{tenant_id}/support-access` and `.../support-access/{support_access_id}/<verb>`.

use axum::extract::State;
use hub_domain::{
    duty_set::Change,
    fact::{GrantFact, GrantSource, Home},
    id::RoleId,
    role::Principal,
    support_access::{CODES, Command, GRANTED_COUNT_MAX, LIMIT_REACHED, decide},
    text::{Remark, parsed},
};
use hub_http::{Body, CommandHeaders, Created, Granting, NoBody, Path, Problem, Receipt, Routes, TenantCaller};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    Commands,
    acting::{acting, acting_member},
    dispatch::{Changed, Dispatch},
    documented::Documented,
    moment::Moment,
};

/// What the log itself refuses for a support access.
pub(crate) const CONDITIONS: &[(&str, &str)] = &[(decide::GRANTED, LIMIT_REACHED.code)];

const DOCUMENTED: Documented = Documented::new("support-access", CODES);

/// So many that are granted a tenant.
const MAXIMA: &[(&str, i64)] = &[(decide::GRANTED, GRANTED_COUNT_MAX)];

pub(crate) fn routes() -> Routes<Commands> {
    let all = "/v1/tenants/{tenant_id}/support-access";
    let one = "/v1/tenants/{tenant_id}/support-access/{support_access_id}";
    Routes::new()
        .post(all, "support_access:grant", grant, |op| {
            DOCUMENTED.creation(
                op,
                "grantSupportAccess",
                "Let the platform's staff in",
                "Somebody of the platform's staff holds a role of the tenant from now on, for at most thirty days. Only a principal of the \
                 tenant's own grants it.",
            )
        })
        .post(&format!("{one}/revoke"), "support_access:revoke", revoke, |op| {
            DOCUMENTED.creation(
                op,
                "revokeSupportAccess",
                "End support access",
                "The role is held by it no longer, before its time is over.",
            )
        })
}

#[derive(Debug, Deserialize, JsonSchema)]
struct SupportAccessPath {
    /// The support access's id.
    support_access_id: Uuid,
}

/// A new support access.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "GrantSupportAccess")]
struct Grant {
    /// A principal of the platform: `user:`, `key:` or `service:` and a name.
    #[serde(deserialize_with = "parsed")]
    staff: Principal,
    /// A live role of the tenant.
    role_id: RoleId,
    /// What it is needed for; not empty.
    #[serde(deserialize_with = "parsed")]
    reason: Remark,
    /// Until this time, which is no longer included; at most thirty days from now.
    #[serde(deserialize_with = "parsed")]
    until: Moment,
}

async fn grant(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Grant>,
) -> Result<Created<Changed>, Problem> {
    let Grant { staff, role_id, reason, until: Moment(until) } = body.value;
    let (by, now) = (acting_member(&caller)?, commands.store.now());
    let tenant_id = caller.tenant.id();
    let held = Change::Grant(GrantFact {
        principal: staff.clone(),
        home: Home::Platform,
        role_id,
        from: now,
        until: Some(until),
        source: GrantSource::SupportAccess,
    });
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    dispatch.granting(&caller.pass, Granting { roles: vec![role_id.0], ..Granting::default() }).await?;
    let done = dispatch
        .execute_about_role(&commands, &commands.support_accesses, role_id, MAXIMA, &[held], |role_live| {
            Command::Grant {
                by: by.clone(),
                staff: staff.clone(),
                role_id,
                role_live,
                reason: reason.clone(),
                until,
                now,
            }
        })
        .await?;
    let location = format!("/v1/tenants/{tenant_id}/support-access/{}", done.accepted.aggregate_id);
    Ok(done.receipt().created(location))
}

async fn revoke(
    caller: TenantCaller,
    Path(SupportAccessPath { support_access_id }): Path<SupportAccessPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    let command = Command::Revoke { by: acting(&caller)? };
    let dispatch = Dispatch::begin(&commands, &caller.caller, caller.tenant.id(), headers, body.fingerprint)?;
    let done =
        dispatch.execute_in_tenant(&commands, &commands.support_accesses, support_access_id, command, &[]).await?;
    Ok(done.receipt())
}
