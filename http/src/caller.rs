//! Who asks: the bearer key of a request becomes a `Caller` with a scope.
//!
//! A key looks like `hub_<id>_<secret>`. The id is public and finds the entry; the service keeps only the SHA-256 of
//! the whole key, which is enough because the secret is 256 random bits. A handler that takes no `Caller` serves
//! strangers, so every handler takes one, first, before the path and the body are looked at.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use aide::{
    OperationInput,
    generate::GenContext,
    openapi::{self, Operation, SecurityRequirement},
};
use axum::{
    extract::{FromRef, FromRequestParts, RawPathParams},
    http::{HeaderMap, header, request::Parts},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::{
    openapi::{SECURITY_SCHEME, add_parameter_once, path_parameter},
    problem::{self, Problem},
    rate_limit::recognise,
};

/// Longest bearer key that is looked at, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// What a key may act for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All tenants and the platform itself.
    Platform,
    /// One tenant.
    Tenant(Uuid),
}

/// The authenticated caller of one request; an extractor for every router whose state yields an `Authenticator`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Stable name of who asks, as recorded as the actor of events.
    pub principal: String,
    /// What the key may act for.
    pub scope: Scope,
}

impl Caller {
    /// The right to act for `tenant_id`. Another tenant's id answers 404 `not_found`, as an unknown one does.
    pub fn tenant(&self, tenant_id: Uuid) -> Result<TenantScope, Problem> {
        match self.scope {
            Scope::Platform => Ok(TenantScope(tenant_id)),
            Scope::Tenant(own) if own == tenant_id => Ok(TenantScope(tenant_id)),
            Scope::Tenant(_) => Err(Problem::not_found()),
        }
    }

    /// The right to act on the platform itself; 403 `forbidden` for the key of a tenant.
    pub fn platform(&self) -> Result<PlatformScope, Problem> {
        match self.scope {
            Scope::Platform => Ok(PlatformScope(())),
            Scope::Tenant(_) => Err(Problem::forbidden("this needs a key of the platform")),
        }
    }
}

/// Proof that the caller may act for one tenant; made by `Caller::tenant` and `TenantCaller` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TenantScope(Uuid);

impl TenantScope {
    /// The tenant that may be acted for.
    pub fn id(&self) -> Uuid {
        self.0
    }
}

/// Proof that the caller may act on the platform itself; made by `Caller::platform` and `PlatformCaller` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformScope(());

/// The caller and its right to act for the tenant in the path segment `{tenant_id}`.
///
/// As an extractor it answers 401 without a key, then 400 `invalid_uuid`, then 404 for another tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantCaller {
    /// Who asks.
    pub caller: Caller,
    /// The tenant of the path.
    pub tenant: TenantScope,
}

/// A caller with the platform key; 403 `forbidden` for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformCaller {
    /// Who asks.
    pub caller: Caller,
}

/// One key as it is kept: never the key itself.
#[derive(Clone)]
pub struct StoredKey {
    /// Public part of the key, unique.
    pub id: String,
    /// SHA-256 of the whole key text.
    pub sha256: [u8; 32],
    /// Who the key stands for.
    pub caller: Caller,
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StoredKey").field("id", &self.id).field("caller", &self.caller).finish_non_exhaustive()
    }
}

/// A bearer key in clear text, as it is shown once to whoever asked for it.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerKey {
    id: String,
    text: String,
}

impl BearerKey {
    /// Makes a key from 32 random bytes: the secret is their hex, the id is 12 hex digits of their salted hash.
    pub fn generate(random: [u8; 32]) -> Self {
        let id = hex(&Sha256::new().chain_update(b"hub key id\0").chain_update(random).finalize()[..6]);
        let text = format!("hub_{id}_{}", hex(&random));
        Self { id, text }
    }

    /// Reads `hub_<id>_<secret>`; `None` when the text has another shape.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = split_key(text)?;
        debug_assert!(!secret.is_empty());
        Some(Self { id: id.to_owned(), text: text.to_owned() })
    }

    /// The public part.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The whole key; the only way to the secret, so that printing one is a choice.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the whole key: what is kept.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.text.as_bytes()).into()
    }

    /// The entry to keep for this key.
    pub fn stored(&self, caller: Caller) -> StoredKey {
        StoredKey { id: self.id.clone(), sha256: self.sha256(), caller }
    }
}

impl fmt::Debug for BearerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BearerKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The keys that are accepted now. A clone shares them; `replace` changes them for all clones.
#[derive(Clone, Default)]
pub struct Authenticator {
    keys: Arc<RwLock<Arc<HashMap<String, StoredKey>>>>,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authenticator").field("keys", &self.current().len()).finish()
    }
}

impl Authenticator {
    /// Accepts these keys. Of two with one id the later is kept.
    pub fn new(keys: impl IntoIterator<Item = StoredKey>) -> Self {
        let authenticator = Self::default();
        authenticator.replace(keys);
        authenticator
    }

    /// Accepts exactly these keys from now on, in every clone.
    pub fn replace(&self, keys: impl IntoIterator<Item = StoredKey>) {
        let keys = Arc::new(keys.into_iter().map(|key| (key.id.clone(), key)).collect());
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// The caller that a bearer key stands for; `None` when it is unknown. The hashes are compared in constant time.
    pub fn authenticate(&self, key: &str) -> Option<Caller> {
        if key.len() > KEY_BYTES_MAX {
            return None;
        }
        let (id, _) = split_key(key)?;
        let sha256: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let keys = self.current();
        // The id is public, so finding no entry by it may take another time than finding one.
        let stored = keys.get(id)?;
        bool::from(stored.sha256.ct_eq(&sha256)).then(|| stored.caller.clone())
    }

    fn current(&self) -> Arc<HashMap<String, StoredKey>> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The caller of a request with these headers; 401 `unauthenticated` when it has not exactly one key that is known.
    pub fn caller_of(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Problem::unauthenticated());
        };
        let (scheme, key) = value.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Problem::unauthenticated());
        }
        self.authenticate(key.trim()).ok_or_else(Problem::unauthenticated)
    }
}

fn split_key(text: &str) -> Option<(&str, &str)> {
    let (id, secret) = text.strip_prefix("hub_")?.split_once('_')?;
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (plain(id) && plain(secret)).then_some((id, secret))
}

/// Lower-case hex of some bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Authenticator: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        recognise(&parts.extensions, || Authenticator::from_ref(state).caller_of(&parts.headers))
    }
}

impl<S> FromRequestParts<S> for TenantCaller
where
    S: Send + Sync,
    Authenticator: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::invalid_path("tenant_id", "a path segment is not utf-8"))?;
        // A route without the segment is a mistake of its author, not of the caller.
        let (_, text) = params.iter().find(|(name, _)| *name == TENANT_SEGMENT).ok_or_else(Problem::internal)?;
        let tenant_id = text.parse().map_err(|_| Problem::invalid_uuid(TENANT_SEGMENT))?;
        let tenant = caller.tenant(tenant_id)?;
        Ok(Self { caller, tenant })
    }
}

impl<S> FromRequestParts<S> for PlatformCaller
where
    S: Send + Sync,
    Authenticator: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        caller.platform()?;
        Ok(Self { caller })
    }
}

const TENANT_SEGMENT: &str = "tenant_id";

type Responses = Vec<(Option<openapi::StatusCode>, openapi::Response)>;

impl OperationInput for Caller {
    fn operation_input(_ctx: &mut GenContext, operation: &mut Operation) {
        let requirement = SecurityRequirement::from_iter([(SECURITY_SCHEME.to_owned(), Vec::new())]);
        if !operation.security.contains(&requirement) {
            operation.security.push(requirement);
        }
    }

    fn inferred_early_responses(ctx: &mut GenContext, _operation: &mut Operation) -> Responses {
        problem::documented_statuses(ctx, &[401])
    }
}

impl OperationInput for TenantCaller {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        Caller::operation_input(ctx, operation);
        let schema = ctx.schema.subschema_for::<Uuid>();
        add_parameter_once(operation, path_parameter(TENANT_SEGMENT, "The tenant.", schema));
    }

    fn inferred_early_responses(ctx: &mut GenContext, _operation: &mut Operation) -> Responses {
        problem::documented_statuses(ctx, &[400, 401, 404])
    }
}

impl OperationInput for PlatformCaller {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        Caller::operation_input(ctx, operation);
    }

    fn inferred_early_responses(ctx: &mut GenContext, _operation: &mut Operation) -> Responses {
        problem::documented_statuses(ctx, &[401, 403])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(scope: Scope) -> Caller {
        Caller { principal: "ops".into(), scope }
    }

    #[test]
    fn a_generated_key_is_accepted_and_any_other_is_not() {
        let key = BearerKey::generate([7; 32]);
        assert!(key.reveal().starts_with(&format!("hub_{}_", key.id())));
        let authenticator = Authenticator::new([key.stored(caller(Scope::Platform))]);
        assert_eq!(authenticator.authenticate(key.reveal()), Some(caller(Scope::Platform)));
        let flipped = format!("{}0", &key.reveal()[..key.reveal().len() - 1]);
        assert_eq!(authenticator.authenticate(&flipped), None);
        for bad in ["", "hub_", "hub__", "hub_a_", "nonsense", BearerKey::generate([8; 32]).reveal(), &"a".repeat(9999)]
        {
            assert_eq!(authenticator.authenticate(bad), None, "{bad}");
        }
        assert_eq!(BearerKey::parse(key.reveal()), Some(key));
    }

    #[test]
    fn replacing_the_keys_reaches_every_clone() {
        let old = BearerKey::generate([1; 32]);
        let new = BearerKey::generate([2; 32]);
        let authenticator = Authenticator::new([old.stored(caller(Scope::Platform))]);
        let clone = authenticator.clone();
        authenticator.replace([new.stored(caller(Scope::Platform))]);
        assert_eq!(clone.authenticate(old.reveal()), None);
        assert!(clone.authenticate(new.reveal()).is_some());
    }

    #[test]
    fn another_tenant_answers_as_an_unknown_one() {
        let own = Uuid::from_u128(1);
        let tenant = caller(Scope::Tenant(own));
        assert_eq!(tenant.tenant(own).unwrap().id(), own);
        let stranger = tenant.tenant(Uuid::from_u128(2)).unwrap_err();
        let random = tenant.tenant(Uuid::from_u128(3)).unwrap_err();
        assert_eq!(stranger.to_json(), random.to_json());
        assert_eq!(stranger.code(), "not_found");
        assert_eq!(tenant.platform().unwrap_err().code(), "forbidden");
        assert!(caller(Scope::Platform).tenant(own).is_ok());
    }

    #[test]
    fn neither_keys_nor_hashes_are_printed() {
        let key = BearerKey::generate([9; 32]);
        let stored = key.stored(caller(Scope::Platform));
        let printed = format!("{key:?} {stored:?} {:?}", Authenticator::new([stored.clone()]));
        assert!(!printed.contains(&hex(&[9; 32])) && !printed.contains("sha256"), "{printed}");
    }
}
