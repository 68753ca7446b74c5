//! Commands on principals: `POST /v1/tenants/{tenant_id}/principals/{principal}/<verb>`.

use std::fmt;

use axum::extract::State;
use hub_domain::{
    id::TenantId,
    principal::{CODES, Command, ENDED_COUNT_MAX, LIMIT_REACHED, decide, stream_id},
    role::{Principal, SystemRole, system_role_id},
    text::{Remark, parsed},
};
use hub_event_store::{
    append::{AppendError, Guard},
    event::StreamId,
    repository::{ExecuteError, Prepared},
};
use hub_http::{Body, CommandHeaders, Path, Problem, Receipt, Routes, TenantCaller};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};
use uuid::Uuid;

use crate::{
    Commands,
    acting::acting,
    dispatch::{Changed, Dispatch, PrepareError},
    documented::Documented,
    process::holds_from_before,
    surroundings::look,
};

/// What the log itself refuses for a principal.
pub(crate) const CONDITIONS: &[(&str, &str)] = &[(decide::ENDED_COUNT, LIMIT_REACHED.code)];

const DOCUMENTED: Documented = Documented::new("principals", CODES);

/// So many ended ones a tenant.
const MAXIMA: &[(&str, i64)] = &[(decide::ENDED_COUNT, ENDED_COUNT_MAX)];

/// What is known at the first attempt may be old, and a refusal would be final.
const LATEST: u32 = 1;

pub(crate) fn routes() -> Routes<Commands> {
    let one = "/v1/tenants/{tenant_id}/principals/{principal}";
    Routes::new()
        .post(&format!("{one}/end"), "principal:end", end, |op| {
            DOCUMENTED.creation(
                op,
                "endPrincipal",
                "End a principal",
                "A user or service of the tenant is let in no longer, whatever its roles permit and its tokens say; its roles, requests and emergency \
                 or support access are taken away right after. The last owner of a tenant cannot end, and an API key is revoked instead.",
            )
        })
        .post(&format!("{one}/reinstate"), "principal:reinstate", reinstate, |op| {
            DOCUMENTED.creation(
                op,
                "reinstatePrincipal",
                "Reinstate a principal",
                "A principal that had ended is let in again, and holds nothing of what it held before.",
            )
        })
}

#[derive(Debug, Deserialize, JsonSchema)]
struct PrincipalPath {
    /// `user:` or `service:` and a name.
    #[serde(deserialize_with = "named")]
    principal: Principal,
}

/// Reads a principal while the segment's name is still known, so that a refusal can name it.
fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Principal, D::Error> {
    struct Name;

    impl Visitor<'_> for Name {
        type Value = Principal;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a principal")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Principal, E> {
            text.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Name)
}

/// Why a principal ends.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EndPrincipal")]
struct End {
    /// Not empty.
    #[serde(deserialize_with = "parsed")]
    reason: Remark,
}

/// Why it is let in again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReinstatePrincipal")]
struct Reinstate {
    /// Not empty.
    #[serde(deserialize_with = "parsed")]
    reason: Remark,
}

async fn end(
    caller: TenantCaller,
    Path(PrincipalPath { principal }): Path<PrincipalPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<End>,
) -> Result<Receipt<Changed>, Problem> {
    let (by, tenant_id) = (acting(&caller)?, caller.tenant.id());
    let reason = body.value.reason;
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let done = dispatch
        .execute_prepared(&commands.principals, stream_id(TenantId(tenant_id), &principal), |attempt| {
            let (commands, principal, by, reason) = (&commands, principal.clone(), by.clone(), reason.clone());
            async move {
                let (_, tenant_guard) = commands.living_tenant(tenant_id, attempt).await?;
                let (last_owner, mut guards) = commands.last_owner(tenant_id, &principal).await?;
                guards.push(tenant_guard);
                let command = Command::End { principal, by, reason, last_owner };
                Ok(Prepared { guards, maxima: MAXIMA.to_vec(), ..Prepared::new(command) })
            }
        })
        .await?;
    Ok(done.receipt())
}

async fn reinstate(
    caller: TenantCaller,
    Path(PrincipalPath { principal }): Path<PrincipalPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Reinstate>,
) -> Result<Receipt<Changed>, Problem> {
    let (by, tenant_id) = (acting(&caller)?, caller.tenant.id());
    let reason = body.value.reason;
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let done = dispatch
        .execute_prepared(&commands.principals, stream_id(TenantId(tenant_id), &principal), |attempt| {
            let (commands, principal, by, reason) = (&commands, principal.clone(), by.clone(), reason.clone());
            async move {
                let (_, guard) = commands.living_tenant(tenant_id, attempt).await?;
                let wound_up = commands.wound_up(tenant_id, &principal).await?;
                let command = Command::Reinstate { principal, by, reason, wound_up };
                Ok(Prepared { guards: vec![guard], ..Prepared::new(command) })
            }
        })
        .await?;
    Ok(done.receipt())
}

impl Commands {
    /// Whether nobody else owns the tenant for good than this principal, who does; with the streams that must not move before the append.
    /// An owner who has ended does not count, although the role may not be taken away yet.
    async fn last_owner<E>(&self, tenant_id: Uuid, principal: &Principal) -> Result<(bool, Vec<Guard>), ExecuteError<E>>
    where
        E: std::error::Error + 'static,
    {
        let owner = system_role_id(TenantId(tenant_id), SystemRole::Owner).0;
        let (role, role_guard) = look(&self.roles, tenant_id, owner, LATEST).await?;
        let mut others = role.state.lasting_holders(self.store.now());
        if !others.remove(principal) {
            return Ok((false, Vec::new()));
        }
        let other = self.standings(tenant_id, others).await?.first;
        Ok(other.map_or_else(|| (true, Vec::new()), |guard| (false, vec![role_guard, guard])))
    }

    /// Whether nothing is left of what the principal held when it ended.
    async fn wound_up<E>(&self, tenant_id: Uuid, principal: &Principal) -> Result<bool, PrepareError<E>>
    where
        E: std::error::Error + 'static,
    {
        let id = stream_id(TenantId(tenant_id), principal);
        let (standing, guard) = look::<_, E>(&self.principals, tenant_id, id, LATEST).await?;
        if !standing.state.ended() {
            return Ok(true);
        }
        let stream: &StreamId = &guard.stream;
        let unavailable = |error: sqlx::Error| ExecuteError::Append(AppendError::Unavailable(error.to_string()));
        let last = self.store.log().page_of_stream(stream, standing.sequence - 1, 1).await.map_err(unavailable)?;
        let Some(ended) = last.first() else { return Ok(false) };
        let left = holds_from_before(self.store.pool(), tenant_id, principal, ended.position).await;
        Ok(left.map_err(unavailable)?.is_empty())
    }
}
