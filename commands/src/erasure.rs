//! Commands on erasures: `POST /v1/tenants/{tenant_id}/erasures`, `.../erasures/{erasure_id}/cancel`, `/v1/tenants/{tenant_id}/off-board`.
//!
//! What happens when the grace period is over is in `process/erasure.rs`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use hub_domain::{
    erasure::{
        CODES, Command, GRACE_DAYS_DEFAULT, GRACE_DAYS_MAX, Kept, LIMIT_REACHED, OPEN_COUNT_MAX, Scope, decide,
        due_after, kept,
    },
    text::{Remark, parsed},
};
use hub_event_store::repository::Prepared;
use hub_http::{Body, CommandHeaders, Created, Fingerprint, Path, Problem, Receipt, Routes, TenantCaller};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::{
    Commands,
    acting::acting,
    dispatch::{Changed, Dispatch},
    documented::Documented,
    forgetting::Subject,
};

/// What the log itself refuses for an erasure.
pub(crate) const CONDITIONS: &[(&str, &str)] = &[(decide::OPEN, LIMIT_REACHED.code)];

const DOCUMENTED: Documented = Documented::new("erasures", CODES);

/// So many that are not executed a tenant.
const MAXIMA: &[(&str, i64)] = &[(decide::OPEN, OPEN_COUNT_MAX)];

pub(crate) fn routes() -> Routes<Commands> {
    let tenant = "/v1/tenants/{tenant_id}";
    Routes::new()
        .post(&format!("{tenant}/erasures"), "erasure:request", request, |op| {
            DOCUMENTED.creation(
                op,
                "requestErasure",
                "Erase somebody's personal data",
                "When the grace period is over, the key that everything personal about the person is sealed with is destroyed, which nothing \
                 brings back. Until then the request can be cancelled; a legal hold that is placed meanwhile defers it. The answer says \
                 what remains, and on what basis.",
            )
        })
        .post(&format!("{tenant}/erasures/{{erasure_id}}/cancel"), "erasure:cancel", cancel, |op| {
            DOCUMENTED.command(
                op,
                "cancelErasure",
                "Cancel an erasure",
                "Possible until its execution has begun, also while a legal hold defers it.",
            )
        })
        .post(&format!("{tenant}/off-board"), "tenant:off-board", off_board, |op| {
            DOCUMENTED.creation(
                op,
                "offBoardTenant",
                "Erase all personal data of a tenant",
                "For an archived tenant, by the platform only: when the grace period is over, the key that wraps all keys of the tenant is \
                 destroyed. The log itself stays and can still be verified. The erasure bears the tenant's own id.",
            )
        })
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ErasurePath {
    /// The data subject's id, or the tenant's own for its off-boarding.
    erasure_id: Uuid,
}

/// A request to be forgotten.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RequestErasure")]
struct Request {
    /// `{"id": ..}` or `{"email": ..}`.
    whom: Subject,
    /// On what grounds; not empty. It stays readable for ever, so it names nobody.
    #[serde(deserialize_with = "parsed")]
    reason: Remark,
    /// So many days it can be cancelled; at most 30.
    #[serde(default = "grace_days_default")]
    #[schemars(range(max = GRACE_DAYS_MAX))]
    grace_days: u16,
    /// Needed when `grace_days` is 0: why it cannot wait.
    #[serde(default, deserialize_with = "parsed")]
    urgency: Remark,
}

/// The end of what is known about a tenant's people.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OffBoardTenant")]
struct OffBoard {
    /// On what grounds; not empty. It stays readable for ever, so it names nobody.
    #[serde(deserialize_with = "parsed")]
    reason: Remark,
    /// So many days it can be cancelled; at most 30.
    #[serde(default = "grace_days_default")]
    #[schemars(range(max = GRACE_DAYS_MAX))]
    grace_days: u16,
    /// Needed when `grace_days` is 0: why it cannot wait.
    #[serde(default, deserialize_with = "parsed")]
    urgency: Remark,
}

const fn grace_days_default() -> u16 {
    GRACE_DAYS_DEFAULT
}

/// Why an erasure is cancelled.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CancelErasure")]
struct Cancel {
    /// Not empty. It stays readable for ever, so it names nobody.
    #[serde(deserialize_with = "parsed")]
    reason: Remark,
}

/// What is going to happen.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ErasureRequested")]
struct Requested {
    #[serde(flatten)]
    changed: Changed,
    /// When the grace period ends.
    due_at: DateTime<Utc>,
    /// What will remain, and on what basis.
    kept: Vec<Kept>,
}

/// What is asked for, whoever it is about.
struct Asked {
    scope: Scope,
    id: Uuid,
    reason: Remark,
    grace_days: u16,
    urgency: Remark,
}

async fn request(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Request>,
) -> Result<Created<Requested>, Problem> {
    let Request { whom, reason, grace_days, urgency } = body.value;
    let id = commands.subject_id(caller.tenant.id(), &whom).await?;
    let asked = Asked { scope: Scope::Subject, id, reason, grace_days, urgency };
    ask(&commands, &caller, headers, body.fingerprint, asked).await
}

async fn off_board(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<OffBoard>,
) -> Result<Created<Requested>, Problem> {
    let OffBoard { reason, grace_days, urgency } = body.value;
    let asked = Asked { scope: Scope::Tenant, id: caller.tenant.id(), reason, grace_days, urgency };
    ask(&commands, &caller, headers, body.fingerprint, asked).await
}

async fn ask(
    commands: &Commands,
    caller: &TenantCaller,
    headers: CommandHeaders,
    fingerprint: Fingerprint,
    asked: Asked,
) -> Result<Created<Requested>, Problem> {
    let Asked { scope, id, reason, grace_days, urgency } = asked;
    let (by, tenant_id, now) = (acting(caller)?, caller.tenant.id(), commands.store.now());
    let dispatch = Dispatch::begin(commands, &caller.caller, tenant_id, headers, fingerprint)?
        .keeping(json!({ "due_at": due_after(now, grace_days), "kept": kept(scope) }));
    let done = dispatch
        .execute_prepared(&commands.erasures, id, |_| {
            let (by, reason, urgency) = (by.clone(), reason.clone(), urgency.clone());
            async move {
                let archived = commands.known_tenant(tenant_id).await?;
                let key = commands.key_of(tenant_id, scope, id).await?;
                let found = commands.in_the_way(tenant_id, scope, id).await?;
                let command = Command::Request {
                    scope,
                    by,
                    reason,
                    grace_days,
                    urgency,
                    key,
                    holds: found.holds,
                    leaving: scope == Scope::Subject || archived,
                    now,
                };
                Ok(Prepared {
                    guards: found.guards,
                    expected_counters: found.expected_counters,
                    maxima: MAXIMA.to_vec(),
                    ..Prepared::new(command)
                })
            }
        })
        .await?;
    let location = format!("/v1/tenants/{tenant_id}/erasures/{}", done.accepted.aggregate_id);
    let requested = Requested { changed: done.changed(), due_at: done.kept("due_at")?, kept: done.kept("kept")? };
    Ok(done.receipt_with(requested).created(location))
}

async fn cancel(
    caller: TenantCaller,
    Path(ErasurePath { erasure_id }): Path<ErasurePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Cancel>,
) -> Result<Receipt<Changed>, Problem> {
    let command = Command::Cancel { by: acting(&caller)?, reason: body.value.reason };
    let dispatch = Dispatch::begin(&commands, &caller.caller, caller.tenant.id(), headers, body.fingerprint)?;
    Ok(dispatch.execute(&commands.erasures, erasure_id, command).await?.receipt())
}
