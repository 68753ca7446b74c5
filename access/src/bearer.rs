//! People with access tokens of their tenant's identity provider.
//!
//! A token is addressed to one tenant (`aud` is `urn:service-hub:tenant:<tenant id>`), and its issuer must be a provider that this tenant has
//! registered. So nobody can be let into another tenant by it, whoever registers which issuer where. Within the tenant the principal is
//! `user:<provider id>/<sub>`: two providers may both know an `ada`.
//!
//! A token that was verified is known for a minute by its hash, so that a signature is not checked with every request; whether its tenant
//! still accepts the provider is.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use chrono::{DateTime, Utc};
use hub_domain::{
    access_record::LoginFailure,
    fact::IdentityProviderFact,
    id::{PLATFORM_TENANT, TenantId},
    identity_provider::audience_of,
    role::Principal,
};
use hub_http::{Caller, Presented, Problem, Scope};
use hub_token::{Provider, Refused, SKEW, Verified, Verifier};
use moka::sync::Cache;
use sha2::{Digest as _, Sha256};
use url::Url;
use uuid::Uuid;

use crate::{facts::TenantFacts, gate::AccessGate};

/// A token names at most so many audiences that are looked at.
const AUDIENCE_COUNT_MAX: usize = 10;

/// Counter of the access tokens that were not accepted, by the reason.
pub const REFUSED_TOKENS: &str = "hub_access_tokens_refused_total";

/// A token is not verified again for so long: a key that its provider takes back is believed for as long at most, beyond what is kept of
/// the provider's keys.
const KNOWN_FOR: Duration = Duration::from_secs(60);

/// So many tokens are known.
const KNOWN_COUNT_MAX: u64 = 50_000;

/// The access tokens that were verified a moment ago, by their SHA-256; cheap to clone.
#[derive(Clone)]
pub(crate) struct KnownTokens(Cache<[u8; 32], Arc<Known>>);

/// Whom a token stands for, and what was believed for it.
struct Known {
    caller: Caller,
    tenant_id: Uuid,
    provider: (Uuid, IdentityProviderFact),
}

impl Default for KnownTokens {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(KNOWN_COUNT_MAX).time_to_live(KNOWN_FOR).build())
    }
}

impl fmt::Debug for KnownTokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KnownTokens").field("count", &self.0.entry_count()).finish()
    }
}

impl KnownTokens {
    fn get(&self, token: &str) -> Option<Arc<Known>> {
        self.0.get(&<[u8; 32]>::from(Sha256::digest(token)))
    }

    fn keep(&self, token: &str, known: Known) {
        self.0.insert(Sha256::digest(token).into(), Arc::new(known));
    }
}

impl Known {
    /// The caller, while the token lasts, the tenant accepts the same provider, and the principal has not ended.
    fn caller(&self, facts: &TenantFacts, now: DateTime<Utc>) -> Option<Caller> {
        let lasts = self.caller.expires_at_ms.is_some_and(|end| end > now.timestamp_millis());
        let stands =
            facts.identity_providers.contains(&self.provider) && !facts.ended.contains_key(&self.caller.principal);
        (lasts && stands).then(|| self.caller.clone())
    }
}

/// Whether a credential may be an access token; an API key never has a dot.
pub(crate) fn looks_like_a_token(text: &str) -> bool {
    text.contains('.')
}

/// The provider of a principal that came with a token.
pub(crate) fn provider_of(principal: &str) -> Option<Uuid> {
    let (provider, _) = principal.strip_prefix("user:")?.split_once('/')?;
    provider.parse().ok()
}

impl AccessGate {
    /// Whom a token stands for; 401 `unauthenticated` whatever is wrong with it, 503 when nobody can tell.
    pub(crate) async fn bearer(&self, verifier: &Verifier, presented: Presented<'_>) -> Result<Caller, Problem> {
        let now = self.now();
        if let Some(known) = self.known_tokens.get(presented.token)
            && let Some(caller) = known.caller(&*self.facts(known.tenant_id, presented.at_least).await?, now)
        {
            return Ok(caller);
        }
        // The tenant and the provider that the token is believed for, once they are found.
        let believed = OnceLock::new();
        let find = |issuer: String, audiences: BTreeSet<String>| {
            let found = self.provider(issuer, audiences, presented.at_least);
            async {
                let Some((tenant_id, fact, provider)) = found.await? else { return Ok(None) };
                believed.get_or_init(|| (tenant_id, (provider.id, fact)));
                Ok(Some(provider))
            }
        };
        let verified = verifier.verify(presented.token, now, find).await;
        let failed = || {
            let tenant_id = believed.get().map(|(tenant_id, _)| *tenant_id);
            self.refusals.login_failed(tenant_id, LoginFailure::Token, None, presented.peer, now);
            Problem::unauthenticated()
        };
        let verified = verified.map_err(|refused| {
            metrics::counter!(REFUSED_TOKENS, "reason" => refused.reason()).increment(1);
            tracing::info!(reason = refused.reason(), "an access token was not accepted");
            if refused.undecided() { Problem::store_unavailable() } else { failed() }
        })?;
        let caller = caller_of(&verified).ok_or_else(failed)?;
        let home = tenant_of(&verified.audience).ok_or_else(failed)?;
        if self.facts(home, presented.at_least).await?.ended.contains_key(&caller.principal)
            // It may have been reinstated a moment ago.
            && self.facts(home, Some(i64::MAX)).await?.ended.contains_key(&caller.principal)
        {
            return Err(failed());
        }
        if let Some((tenant_id, provider)) = believed.get().cloned() {
            self.known_tokens.keep(presented.token, Known { caller: caller.clone(), tenant_id, provider });
        }
        Ok(caller)
    }

    /// The same for a token that is known, when nothing has to be waited for.
    pub(crate) fn recognise_bearer(&self, presented: Presented<'_>) -> Option<Caller> {
        let known = self.known_tokens.get(presented.token)?;
        known.caller(&*self.at_hand_for(known.tenant_id, presented.at_least)?, self.now())
    }

    async fn provider(
        &self,
        issuer: String,
        audiences: BTreeSet<String>,
        at_least: Option<i64>,
    ) -> Result<Option<(Uuid, IdentityProviderFact, Provider)>, Refused> {
        for audience in audiences.iter().take(AUDIENCE_COUNT_MAX) {
            let Some(tenant_id) = tenant_of(audience) else { continue };
            let facts = self.facts(tenant_id, at_least).await.map_err(|_| Refused::ProvidersUnavailable)?;
            let known = facts
                .identity_providers
                .iter()
                .find(|(_, known)| known.issuer == issuer && known.audience == *audience);
            if let Some((id, known)) = known
                && let Ok(jwks_uri) = known.jwks_uri.parse::<Url>()
            {
                let provider = Provider { id: *id, issuer, audience: known.audience.clone(), jwks_uri };
                return Ok(Some((tenant_id, known.clone(), provider)));
            }
        }
        Ok(None)
    }

    /// Whether the provider that a principal came by is still accepted in its tenant; true for principals that came by none.
    pub(crate) fn provider_accepted(facts: &TenantFacts, principal: &str) -> bool {
        provider_of(principal).is_none_or(|id| facts.identity_providers.iter().any(|(known, _)| *known == id))
    }
}

/// The tenant that a token is addressed to.
fn tenant_of(audience: &str) -> Option<Uuid> {
    let (_, id) = audience.rsplit_once(':')?;
    let id = id.parse().ok()?;
    (audience_of(TenantId(id)) == audience).then_some(id)
}

/// The name must be one that roles can be assigned to.
fn caller_of(verified: &Verified) -> Option<Caller> {
    let name = format!("user:{}/{}", verified.provider_id, verified.subject);
    let principal: Principal = name.parse().ok()?;
    let tenant_id = tenant_of(&verified.audience)?;
    Some(Caller {
        principal: principal.as_str().to_owned(),
        scope: if tenant_id == PLATFORM_TENANT.0 { Scope::Platform } else { Scope::Tenant(tenant_id) },
        expires_at_ms: Some(verified.expires_at.timestamp_millis() + SKEW.num_milliseconds()),
        secret_id: None,
    })
}
