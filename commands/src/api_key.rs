//! Commands on API keys: `POST /v1/tenants/{tenant_id}/api-keys` and `.../api-keys/{api_key_id}/<verb>`.

mod enrolment;
mod scopes;

use std::collections::BTreeSet;

use axum::extract::State;
use hub_domain::{
    api_key::{
        API_KEY_COUNT_MAX, CODES, Command, KeyScope, KeyScopes, KeyText, LIMIT_REACHED, Networks, decide,
        parsed_networks, parsed_scopes, principal_of,
    },
    duty_set::Change,
    fact::{GrantFact, GrantSource, Home},
    id::{RoleId, TenantId},
    role::{SystemRole, system_role_id},
    text::{Name, Remark, parsed, parsed_option},
};
use hub_http::{Body, CommandHeaders, Created, Granting, Path, Problem, Receipt, Routes, TenantCaller};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::{
    Commands,
    dispatch::{Changed, Dispatch, Done},
    documented::Documented,
    moment::Moment,
};

pub use enrolment::Enrolment;

/// What the log itself refuses for a key.
pub(crate) const CONDITIONS: &[(&str, &str)] = &[(decide::API_KEYS, LIMIT_REACHED.code)];

const DOCUMENTED: Documented = Documented::new("api-keys", CODES);

/// So many keys a tenant.
const MAXIMA: &[(&str, i64)] = &[(decide::API_KEYS, API_KEY_COUNT_MAX)];

pub(crate) fn routes() -> Routes<Commands> {
    let key = "/v1/tenants/{tenant_id}/api-keys/{api_key_id}";
    Routes::new()
        .post("/v1/tenants/{tenant_id}/api-keys", "api_key:issue", issue, |op| {
            DOCUMENTED.creation(
                op,
                "issueApiKey",
                "Issue an API key",
                "The key holds the given roles, within its scopes and networks, until its end. It is answered once and kept in no \
                 readable form. Nobody issues a key with more rights than his own.",
            )
        })
        .post(&format!("{key}/rotate"), "api_key:rotate", rotate, |op| {
            DOCUMENTED.command(
                op,
                "rotateApiKey",
                "Rotate an API key",
                "Answers a new secret for the same key; the one before it stays valid for the grace period, an older one does not.",
            )
        })
        .post(&format!("{key}/revoke"), "api_key:revoke", revoke, |op| {
            DOCUMENTED.command(
                op,
                "revokeApiKey",
                "Revoke an API key",
                "The key is accepted nowhere any more, within a second, and its open streams are closed.",
            )
        })
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ApiKeyPath {
    /// The key's id, which is not the id in its text.
    api_key_id: Uuid,
}

/// A new key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "IssueApiKey")]
struct Issue {
    /// For people.
    #[serde(deserialize_with = "parsed")]
    name: Name,
    /// What the key may do: ids of roles of the tenant, or keys of system roles such as `viewer`; 1 to 20.
    #[schemars(length(min = 1, max = 20))]
    roles: BTreeSet<RoleName>,
    /// What the key may be used for at most, as `subscription:read`, `webhook:*` or `*:read`; everything its roles permit when absent. Each
    /// scope covers at least one permission that an operation asks for.
    #[serde(default = "scopes::all", deserialize_with = "parsed_scopes")]
    #[schemars(with = "KeyScopes")]
    scopes: Vec<KeyScope>,
    /// Where the key may be used from, as `10.1.0.0/16`; anywhere when absent.
    #[serde(default, deserialize_with = "parsed_networks")]
    networks: Networks,
    /// The key is not accepted from this time on; without end when absent.
    #[serde(default, deserialize_with = "parsed_option")]
    expires_at: Option<Moment>,
}

/// A role by its id, or a system role by its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a role is named by its id, or a system role by its key")]
enum RoleName {
    Id(RoleId),
    System(SystemRole),
}

impl RoleName {
    fn id(&self, tenant_id: Uuid) -> RoleId {
        match self {
            Self::Id(id) => *id,
            Self::System(system) => system_role_id(TenantId(tenant_id), *system),
        }
    }
}

/// How a key is rotated.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RotateApiKey")]
struct Rotate {
    /// The secret before stays valid for so many seconds, at most a week (604800); 0 ends it at once.
    grace_seconds: u32,
}

/// Why a key is revoked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RevokeApiKey")]
struct Revoke {
    #[serde(default, deserialize_with = "parsed")]
    reason: Remark,
}

/// The receipt of a command that made a secret.
#[derive(Debug, Serialize, JsonSchema)]
struct ApiKeySecret {
    #[serde(flatten)]
    changed: Changed,
    /// The first part of the key, by which it can be recognised; not secret.
    secret_id: String,
    /// `hub_<id>_<secret>`, to be sent as `Authorization: Bearer`. It is answered once and kept in no readable form, so this is null
    /// when the request is a repetition; rotate the key when the first answer was lost.
    key: Option<String>,
}

fn secret_of(done: &Done, key: &KeyText) -> Result<ApiKeySecret, Problem> {
    // What this request made is in no event when the answer is the one of an earlier request.
    let text = (!done.accepted.replayed).then(|| key.reveal().to_owned());
    Ok(ApiKeySecret { changed: done.changed(), secret_id: done.kept("secret_id")?, key: text })
}

async fn issue(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Issue>,
) -> Result<Created<ApiKeySecret>, Problem> {
    let Issue { name, roles, scopes, networks, expires_at } = body.value;
    let scopes = scopes::bounding(scopes, &commands.permissions)?;
    let tenant_id = caller.tenant.id();
    let roles: BTreeSet<RoleId> = roles.iter().map(|role| role.id(tenant_id)).collect();
    let granting = Granting { roles: roles.iter().map(|role| role.0).collect(), ..Granting::default() };
    let key = KeyText::generate(commands.random());
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?
        .keeping(json!({ "secret_id": key.id() }));
    dispatch.granting(&caller.pass, granting).await?;
    let (api_key_id, now) = (Uuid::now_v7(), commands.store.now());
    let expires_at = expires_at.map(|Moment(end)| end);
    let grant = |role_id: &RoleId| {
        Change::Grant(GrantFact {
            principal: principal_of(api_key_id),
            home: Home::Tenant,
            role_id: *role_id,
            from: now,
            until: expires_at,
            source: GrantSource::ApiKey,
        })
    };
    let grants: Vec<Change> = roles.iter().map(grant).collect();
    let command = Command::Issue {
        name,
        secret_id: key.secret_id(),
        sha256: key.sha256(),
        roles,
        scopes,
        networks,
        expires_at,
        now,
    };
    let done = dispatch.execute_granting(&commands, &commands.api_keys, api_key_id, command, MAXIMA, &grants).await?;
    let location = format!("/v1/tenants/{tenant_id}/api-keys/{}", done.accepted.aggregate_id);
    let secret = secret_of(&done, &key)?;
    Ok(done.receipt_with(secret).created(location))
}

async fn rotate(
    caller: TenantCaller,
    Path(ApiKeyPath { api_key_id }): Path<ApiKeyPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Rotate>,
) -> Result<Receipt<ApiKeySecret>, Problem> {
    let Rotate { grace_seconds } = body.value;
    let key = KeyText::generate(commands.random());
    let dispatch = Dispatch::begin(&commands, &caller.caller, caller.tenant.id(), headers, body.fingerprint)?
        .keeping(json!({ "secret_id": key.id() }));
    let now = commands.store.now();
    let command = Command::Rotate { secret_id: key.secret_id(), sha256: key.sha256(), grace_seconds, now };
    let done = dispatch.execute_in_tenant(&commands, &commands.api_keys, api_key_id, command, &[]).await?;
    let secret = secret_of(&done, &key)?;
    Ok(done.receipt_with(secret))
}

async fn revoke(
    caller: TenantCaller,
    Path(ApiKeyPath { api_key_id }): Path<ApiKeyPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Revoke>,
) -> Result<Receipt<Changed>, Problem> {
    let Revoke { reason } = body.value;
    let dispatch = Dispatch::begin(&commands, &caller.caller, caller.tenant.id(), headers, body.fingerprint)?;
    // A key ends whatever has become of its tenant.
    Ok(dispatch.execute(&commands.api_keys, api_key_id, Command::Revoke { reason }).await?.receipt())
}
