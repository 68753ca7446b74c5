//! People with access tokens of their tenant's identity provider.
//!
//! A token is addressed to one tenant (`aud` is `urn:service-hub:tenant:<tenant id>`), and its issuer must be a provider that this tenant has
//! registered. So nobody can be let into another tenant by it, whoever registers which issuer where. Within the tenant the principal is
//! `user:<provider id>/<sub>`: two providers may both know an `ada`.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use hub_domain::{
    id::{PLATFORM_TENANT, TenantId},
    identity_provider::audience_of,
    role::Principal,
};
use hub_http::{Caller, Presented, Problem, Scope};
use hub_token::{Provider, Refused, Verified, Verifier};
use url::Url;
use uuid::Uuid;

use crate::gate::AccessGate;

/// A token names at most so many audiences that are looked at.
const AUDIENCE_COUNT_MAX: usize = 10;

/// Counter of the access tokens that were not accepted, by the reason.
pub const REFUSED_TOKENS: &str = "hub_access_tokens_refused_total";

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
        let at_least = presented.at_least;
        let find = |issuer: String, audiences: BTreeSet<String>| self.provider(issuer, audiences, at_least);
        let verified = verifier.verify(presented.token, now, find).await.map_err(|refused| {
            metrics::counter!(REFUSED_TOKENS, "reason" => refused.reason()).increment(1);
            tracing::info!(reason = refused.reason(), "an access token was not accepted");
            if refused.undecided() { Problem::store_unavailable() } else { Problem::unauthenticated() }
        })?;
        let caller = caller_of(&verified).ok_or_else(Problem::unauthenticated)?;
        let home = tenant_of(&verified.audience).ok_or_else(Problem::unauthenticated)?;
        if self.facts(home, at_least).await?.ended.contains(&caller.principal)
            // It may have been reinstated a moment ago.
            && self.facts(home, Some(i64::MAX)).await?.ended.contains(&caller.principal)
        {
            return Err(Problem::unauthenticated());
        }
        Ok(caller)
    }

    async fn provider(
        &self,
        issuer: String,
        audiences: BTreeSet<String>,
        at_least: Option<i64>,
    ) -> Result<Option<Provider>, Refused> {
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
                return Ok(Some(Provider { id: *id, issuer, audience: known.audience.clone(), jwks_uri }));
            }
        }
        Ok(None)
    }

    /// Whether the provider that a principal came by is still accepted in its tenant; true for principals that came by none.
    pub(crate) fn provider_accepted(facts: &crate::facts::TenantFacts, principal: &str) -> bool {
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
        expires_at_ms: Some(end_of(verified.expires_at)),
    })
}

fn end_of(expires_at: DateTime<Utc>) -> i64 {
    expires_at.timestamp_millis()
}
