//! Commands on legal holds: `POST /v1/tenants/{tenant_id}/legal-holds` and `.../legal-holds/{legal_hold_id}/release`.

use axum::extract::State;
use hub_domain::{
    erasure::{KeyState, Scope},
    legal_hold::{CODES, Command, HELD_COUNT_MAX, LIMIT_REACHED, SUBJECT_UNKNOWN, decide},
    text::{Email, Key, Remark, parsed},
};
use hub_event_store::repository::Prepared;
use hub_http::{Body, CommandHeaders, Created, Path, Problem, Receipt, Routes, TenantCaller};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    Commands,
    acting::acting,
    dispatch::{Changed, Dispatch, PrepareError},
    documented::Documented,
    forgetting::Subject,
    outcome::Refused,
};

/// What the log itself refuses for a legal hold.
pub(crate) const CONDITIONS: &[(&str, &str)] = &[(decide::HELD, LIMIT_REACHED.code)];

const DOCUMENTED: Documented = Documented::new("legal-holds", CODES);

/// So many scopes that are held a tenant.
const MAXIMA: &[(&str, i64)] = &[(decide::HELD, HELD_COUNT_MAX)];

pub(crate) fn routes() -> Routes<Commands> {
    let all = "/v1/tenants/{tenant_id}/legal-holds";
    Routes::new()
        .post(all, "legal_hold:place", place, |op| {
            DOCUMENTED.creation(
                op,
                "placeLegalHold",
                "Keep somebody's data from being erased",
                "As long as a matter holds a person or the whole tenant, no erasure of them is accepted, those that wait are deferred, and for \
                 a tenant no class of personal data is destroyed when its time is over. An archived tenant can be held, too.",
            )
        })
        .post(&format!("{all}/{{legal_hold_id}}/release"), "legal_hold:release", release, |op| {
            DOCUMENTED.command(
                op,
                "releaseLegalHold",
                "Release a legal hold",
                "The matter holds the person or tenant no longer. When it was the last one, deferred erasures are executed at once.",
            )
        })
}

#[derive(Debug, Deserialize, JsonSchema)]
struct LegalHoldPath {
    /// The data subject's id, or the tenant's own for a hold on everything.
    legal_hold_id: Uuid,
}

/// What is held.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Whom {
    /// One person, by the id that stands beside what is sealed as `key_id`.
    Id(Uuid),
    /// One person, by a mail address; it is looked up by a keyed hash and kept nowhere.
    Email(#[serde(deserialize_with = "parsed")] Email),
    /// Everything of the tenant.
    Tenant,
}

/// A new hold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PlaceLegalHold")]
struct Place {
    /// `{"id": ..}` or `{"email": ..}` of a person, or `"tenant"`.
    whom: Whom,
    /// A name of the matter, such as the number of a case.
    #[serde(deserialize_with = "parsed")]
    matter: Key,
    /// Why; not empty. It stays readable for ever, so it names nobody.
    #[serde(deserialize_with = "parsed")]
    reason: Remark,
}

/// The end of a hold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReleaseLegalHold")]
struct Release {
    /// The name that the matter was placed under.
    #[serde(deserialize_with = "parsed")]
    matter: Key,
    /// Why; not empty. It stays readable for ever, so it names nobody.
    #[serde(deserialize_with = "parsed")]
    reason: Remark,
}

async fn place(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Place>,
) -> Result<Created<Changed>, Problem> {
    let Place { whom, matter, reason } = body.value;
    let (by, tenant_id) = (acting(&caller)?, caller.tenant.id());
    let (scope, id) = match whom {
        Whom::Id(id) => (Scope::Subject, id),
        Whom::Email(email) => (Scope::Subject, commands.subject_id(tenant_id, &Subject::Email(email)).await?),
        Whom::Tenant => (Scope::Tenant, tenant_id),
    };
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let done = dispatch
        .execute_prepared(&commands.legal_holds, id, |_| {
            let (commands, matter, reason, by) = (&commands, matter.clone(), reason.clone(), by.clone());
            async move {
                commands.known_tenant(tenant_id).await?;
                if commands.key_of(tenant_id, scope, id).await? == KeyState::Unknown {
                    return Err(PrepareError::Refused(Refused::new(
                        SUBJECT_UNKNOWN.kind,
                        SUBJECT_UNKNOWN.code,
                        "the tenant has no such data subject".to_owned(),
                    )));
                }
                let (erased, guards) = commands.erased(tenant_id, scope, id).await?;
                let command = Command::Place { scope, matter, reason, by, erased };
                Ok(Prepared { guards, maxima: MAXIMA.to_vec(), ..Prepared::new(command) })
            }
        })
        .await?;
    let location = format!("/v1/tenants/{tenant_id}/legal-holds/{}", done.accepted.aggregate_id);
    Ok(done.receipt().created(location))
}

async fn release(
    caller: TenantCaller,
    Path(LegalHoldPath { legal_hold_id }): Path<LegalHoldPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Release>,
) -> Result<Receipt<Changed>, Problem> {
    let Release { matter, reason } = body.value;
    let (by, tenant_id) = (acting(&caller)?, caller.tenant.id());
    let scope = if legal_hold_id == tenant_id { Scope::Tenant } else { Scope::Subject };
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let command = Command::Release { scope, matter, reason, by };
    Ok(dispatch.execute(&commands.legal_holds, legal_hold_id, command).await?.receipt())
}
