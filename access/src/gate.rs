//! The gate of this platform: API keys and roles, decided by Cedar on facts that are never behind the log.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::Duration,
};

use cedar_policy::Authorizer;
use chrono::{DateTime, Utc};
use hub_domain::{
    access_record::{self, LoginFailure},
    api_key::{KEY_ID, KeyText},
    fact::CredentialFact,
    id::PLATFORM_TENANT,
};
use hub_http::{
    Allowed, Asked, Beyond, Caller, Gate, Granting, Permission, Presented, Problem, Resources, Scope, access::BoxFuture,
};
use hub_token::Verifier;
use moka::sync::Cache;
use sqlx::PgPool;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::{
    bearer::{KnownTokens, looks_like_a_token},
    board::Board,
    cache::{FactsCache, Loads},
    facts::{FactsError, TenantFacts, Version},
    filter::{Visible, visible},
    granting::grantable,
    judge::{Reason, Wish},
    metrics::{DECISION_ERRORS, DENIALS},
    permission_uses::PermissionUses,
    question::Question,
    refusals::{Refusals, recorded},
    sensitive::sensitive,
    slice::{Grounds, Slice, Subject, Verdict, held_for},
    uses::Uses,
};

/// Whose key an id is.
pub(crate) const OWNER: &str = "SELECT tenant_id FROM claims WHERE realm_id = $1 AND scope = $2 AND key = $3";

/// So many keys' tenants are kept.
const KEY_COUNT_MAX: u64 = 100_000;

/// So many slices are kept.
const SLICE_COUNT_MAX: u64 = 50_000;

/// What was not used for so long is forgotten.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// The time.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

static AUTHORIZER: LazyLock<Authorizer> = LazyLock::new(Authorizer::new);

/// What a slice was made for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SliceKey {
    principal: String,
    scope: Scope,
    tenant_id: Uuid,
    permission: Permission,
}

/// A slice, and the versions of the tenant's and the platform's facts that it was last found to hold for.
#[derive(Debug, Clone)]
struct Made {
    versions: (Version, Version),
    slice: Arc<Slice>,
}

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct AccessGate {
    pool: PgPool,
    board: Board,
    clock: Clock,
    kept: FactsCache,
    /// The tenant of each key, which never changes.
    owners: Cache<String, Uuid>,
    slices: Cache<SliceKey, Made>,
    verifier: Option<Verifier>,
    pub(crate) known_tokens: KnownTokens,
    uses: Uses,
    pub(crate) refusals: Refusals,
    sensitive_reads: Refusals,
    permission_uses: PermissionUses,
}

impl fmt::Debug for AccessGate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AccessGate").field("board", &self.board).finish_non_exhaustive()
    }
}

/// What a decision rests on: the facts of the tenant, and of the platform where the caller is at home there.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Of the tenant in question.
    pub tenant: Arc<TenantFacts>,
    /// Of the platform, for principals of the platform.
    pub platform: Option<Arc<TenantFacts>>,
}

impl Facts {
    /// Of where the caller is at home.
    pub(crate) fn of_home(&self) -> &TenantFacts {
        self.platform.as_deref().unwrap_or(&self.tenant)
    }

    /// The same, borrowed.
    #[must_use]
    pub fn grounds(&self) -> Grounds<'_> {
        Grounds { tenant: &self.tenant, platform: self.platform.as_deref() }
    }
}

impl AccessGate {
    /// A gate on these facts; somebody else keeps the board.
    #[must_use]
    pub fn new(pool: PgPool, board: Board, clock: Clock) -> Self {
        Self {
            permission_uses: PermissionUses::new(pool.clone()),
            kept: FactsCache::new(pool.clone(), board.clone()),
            pool,
            board,
            clock,
            owners: Cache::builder().max_capacity(KEY_COUNT_MAX).time_to_idle(IDLE_MAX).build(),
            slices: Cache::builder().max_capacity(SLICE_COUNT_MAX).time_to_idle(IDLE_MAX).build(),
            verifier: None,
            known_tokens: KnownTokens::default(),
            uses: Uses::default(),
            refusals: Refusals::default(),
            sensitive_reads: Refusals::default(),
        }
    }

    /// Accepts the access tokens of tenants' identity providers, too.
    #[must_use]
    pub fn with_tokens(self, verifier: Verifier) -> Self {
        Self { verifier: Some(verifier), ..self }
    }

    /// What this gate notes of the keys that it recognises; somebody else writes it down.
    #[must_use]
    pub fn uses(&self) -> Uses {
        self.uses.clone()
    }

    /// What this gate refuses; somebody else writes it down.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        self.refusals.clone()
    }

    /// Who was let in to read what is sensitive; somebody else writes it down.
    #[must_use]
    pub fn sensitive_reads(&self) -> Refusals {
        self.sensitive_reads.clone()
    }

    /// What this gate notes of what it allows; somebody else writes it down.
    #[must_use]
    pub fn permission_uses(&self) -> PermissionUses {
        self.permission_uses.clone()
    }

    /// The facts of a tenant, which know every event up to `at_least` and are never older than a second.
    ///
    /// # Errors
    /// 503 `store_unavailable`.
    pub async fn facts(&self, tenant_id: Uuid, at_least: Option<i64>) -> Result<Arc<TenantFacts>, Problem> {
        self.reach(at_least).await?;
        self.latest(tenant_id).await
    }

    /// What the board knows is young enough, and knows the log up to `at_least`.
    async fn reach(&self, at_least: Option<i64>) -> Result<(), Problem> {
        self.board.reach(at_least).await.map_err(|blind| {
            tracing::warn!(%blind, "a decision found the store not available");
            Problem::store_unavailable()
        })
    }

    /// The facts of a tenant as far as the board knows.
    async fn latest(&self, tenant_id: Uuid) -> Result<Arc<TenantFacts>, Problem> {
        self.kept.latest(tenant_id).await.map_err(|error| problem_of(tenant_id, &error))
    }

    /// How facts have come to this process.
    #[must_use]
    pub fn loads(&self) -> Loads {
        self.kept.loads()
    }

    /// The same, if they also know every event up to `at_least`.
    pub(crate) fn at_hand_for(&self, tenant_id: Uuid, at_least: Option<i64>) -> Option<Arc<TenantFacts>> {
        self.kept.at_hand(tenant_id).filter(|_| self.board.current(at_least))
    }

    /// What a decision about a principal of `scope` in a tenant rests on.
    ///
    /// # Errors
    /// 503 `store_unavailable`.
    pub async fn facts_for(&self, scope: Scope, tenant_id: Uuid, at_least: Option<i64>) -> Result<Facts, Problem> {
        // One look tells of both.
        self.reach(at_least).await?;
        let tenant = self.latest(tenant_id).await?;
        let platform = match scope {
            Scope::Platform if tenant_id == PLATFORM_TENANT.0 => Some(tenant.clone()),
            Scope::Platform => Some(self.latest(PLATFORM_TENANT.0).await?),
            Scope::Tenant(_) => None,
        };
        Ok(Facts { tenant, platform })
    }

    /// What speaks for and against a principal doing something.
    #[must_use]
    pub fn slice(&self, facts: &Facts, subject: Subject<'_>, permission: Permission) -> Arc<Slice> {
        let key = SliceKey {
            principal: subject.principal.to_owned(),
            scope: subject.scope,
            tenant_id: subject.tenant_id,
            permission,
        };
        let platform = facts.platform.as_ref().map(|platform| platform.version).unwrap_or_default();
        let versions = (facts.tenant.version, platform);
        let known = self.slices.get(&key);
        if let Some(known) = known.as_ref().filter(|known| known.versions == versions) {
            return known.slice.clone();
        }
        // Most changes of a tenant's facts concern somebody else: policies are made anew only when what is held is another.
        let held = held_for(facts.grounds(), subject, permission);
        let slice = match known.filter(|known| known.slice.held() == held) {
            Some(known) => known.slice,
            None => Arc::new(Slice::of(facts.grounds(), subject, permission, held)),
        };
        self.slices.insert(key, Made { versions, slice: slice.clone() });
        slice
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    async fn authenticated(&self, presented: Presented<'_>) -> Result<Caller, Problem> {
        if let Some(verifier) = self.verifier.as_ref().filter(|_| looks_like_a_token(presented.token)) {
            return self.bearer(verifier, presented).await;
        }
        let failed = |tenant_id, reason, key_id| {
            self.refusals.login_failed(tenant_id, reason, key_id, presented.peer, self.now());
            Problem::unauthenticated()
        };
        let key = KeyText::parse(presented.token).ok_or_else(|| failed(None, LoginFailure::Malformed, None))?;
        let tenant_id = match self.owners.get(key.id()) {
            Some(tenant_id) => tenant_id,
            None => self.owner(&key).await?.ok_or_else(|| failed(None, LoginFailure::UnknownKey, None))?,
        };
        let mut facts = self.facts(tenant_id, presented.at_least).await?;
        if !facts.secrets.contains_key(key.id()) {
            // It may have been issued a moment ago.
            facts = self.facts(tenant_id, Some(i64::MAX)).await?;
        }
        let recognised = self.recognised(&key, tenant_id, &facts, presented);
        recognised.map_err(|reason| failed(Some(tenant_id), reason, Some(key.id())))
    }

    /// The tenant of a key, which PostgreSQL is asked for once.
    async fn owner(&self, key: &KeyText) -> Result<Option<Uuid>, Problem> {
        let query = sqlx::query_scalar(OWNER).bind(PLATFORM_TENANT.0).bind(KEY_ID).bind(key.id());
        let owner: Option<Uuid> = query.fetch_optional(&self.pool).await.map_err(|error| {
            tracing::warn!(%error, "a key could not be looked for");
            Problem::store_unavailable()
        })?;
        if let Some(tenant_id) = owner {
            self.owners.insert(key.id().to_owned(), tenant_id);
        }
        Ok(owner)
    }

    /// Whom the key stands for, if it is the right one, not over, and comes from where it may come from.
    fn recognised(
        &self,
        key: &KeyText,
        tenant_id: Uuid,
        facts: &TenantFacts,
        presented: Presented<'_>,
    ) -> Result<Caller, LoginFailure> {
        let credential = facts.secrets.get(key.id()).ok_or(LoginFailure::RevokedKey)?;
        let secret = credential.secrets.get(key.id()).ok_or(LoginFailure::RevokedKey)?;
        let now = self.now();
        if !bool::from(secret.sha256.as_bytes().ct_eq(key.sha256().as_str().as_bytes())) {
            return Err(LoginFailure::WrongSecret);
        }
        if [secret.expires_at, credential.expires_at].into_iter().flatten().any(|end| end <= now) {
            return Err(LoginFailure::ExpiredKey);
        }
        if !comes_from(credential, presented) {
            return Err(LoginFailure::Network);
        }
        self.uses.note(tenant_id, key.id(), now);
        Ok(Caller {
            principal: credential.principal.as_str().to_owned(),
            scope: if tenant_id == PLATFORM_TENANT.0 { Scope::Platform } else { Scope::Tenant(tenant_id) },
            expires_at_ms: None,
            secret_id: u64::from_str_radix(key.id(), 16).ok(),
        })
    }

    /// One decision: the right, or why not.
    async fn decided(
        &self,
        caller: &Caller,
        asked: Asked,
        resources: &dyn Resources,
    ) -> Result<Result<Allowed, Reason>, Problem> {
        let Asked { permission, tenant_id, resource_id, filters, at_least } = asked;
        let facts = self.facts_for(caller.scope, tenant_id, at_least).await?;
        let now = self.now();
        let token_over = caller.expires_at_ms.is_some_and(|end| end <= now.timestamp_millis());
        if token_over || !secret_lives(caller, facts.of_home(), now) {
            return Ok(Err(Reason::Credential));
        }
        let wish = Wish { principal: &caller.principal, scope: caller.scope, tenant_id, permission, resource_id };
        if filters {
            return Ok(self.filtered(&wish, &facts, now));
        }
        let judgement = self.judge(&wish, &facts, resources).await?;
        if let Some(slice) = judgement.slice.filter(|_| judgement.allowed) {
            self.permission_uses.note(&slice.noted, wish.subject(), permission, now);
        }
        Ok(if judgement.allowed { Ok(Allowed::default()) } else { Err(judgement.reason) })
    }

    /// Decides, and once more on the latest facts before a request is refused: it may have been granted a moment ago.
    async fn authorized(&self, caller: &Caller, asked: Asked, resources: &dyn Resources) -> Result<Allowed, Problem> {
        let mut decided = self.decided(caller, asked, resources).await?;
        if decided.is_err() {
            decided = self.decided(caller, Asked { at_least: Some(i64::MAX), ..asked }, resources).await?;
        }
        if decided.is_ok() && sensitive(asked.permission) {
            let Asked { permission, tenant_id, resource_id, .. } = asked;
            self.sensitive_reads.sensitive_read(caller, tenant_id, permission, resource_id, self.now());
        }
        decided.map_err(|reason| {
            metrics::counter!(DENIALS, "reason" => <&'static str>::from(reason)).increment(1);
            if let Some(reason) = recorded(reason) {
                // Of the platform's principals it matters whose affair it was.
                let tenant_id = (caller.scope == Scope::Platform).then_some(asked.tenant_id);
                let about = asked.resource_id.into_iter().chain(tenant_id);
                self.refusals.refused(caller, asked.permission, reason, about, self.now());
            }
            match reason {
                // What a new request of it would be answered.
                Reason::Credential => Problem::unauthenticated(),
                _ => Problem::not_permitted(asked.permission),
            }
        })
    }

    /// The right to see a list, or those of its things that the conditions of roles leave.
    fn filtered(&self, wish: &Wish<'_>, facts: &Facts, now: DateTime<Utc>) -> Result<Allowed, Reason> {
        if let Some(judgement) = self.before_roles(wish, facts, now) {
            return if judgement.allowed { Ok(Allowed::default()) } else { Err(judgement.reason) };
        }
        let slice = self.slice(facts, wish.subject(), wish.permission);
        let question = wish.question(now);
        let allowed = if !slice.conditional() || !slice.errors().is_empty() {
            let verdict = self.ask(&slice, &question);
            let reason = if verdict.errors.is_empty() { Reason::NoRole } else { Reason::Error };
            if verdict.allowed { Ok(Allowed::default()) } else { Err(reason) }
        } else {
            match visible(&slice, &question) {
                Visible::All => Ok(Allowed::default()),
                Visible::Where(filter) => Ok(Allowed { filter: Some(Arc::new(filter)) }),
                Visible::Nothing => Err(Reason::NoRole),
            }
        };
        if allowed.is_ok() {
            self.permission_uses.note(&slice.noted, wish.subject(), wish.permission, now);
        }
        allowed
    }

    /// Asks Cedar; an error is a denial that somebody has to look at.
    pub(crate) fn ask(&self, slice: &Slice, question: &Question<'_>) -> Verdict {
        let verdict = slice.decide(&AUTHORIZER, question);
        if !verdict.errors.is_empty() {
            metrics::counter!(DECISION_ERRORS).increment(1);
            let (permission, tenant_id) = (question.permission, question.tenant_id);
            tracing::error!(%permission, %tenant_id, errors = ?verdict.errors, "a decision failed and was taken as a denial");
        }
        verdict
    }
}

/// Whether the key may be used from there. What was not written as a network lets nobody in.
fn comes_from(credential: &CredentialFact, presented: Presented<'_>) -> bool {
    let contains = |peer| {
        let networks = credential.networks.iter().filter_map(|network| network.parse::<ipnet::IpNet>().ok());
        networks.into_iter().any(|network| network.contains(&peer))
    };
    credential.networks.is_empty() || presented.peer.map(|peer| peer.to_canonical()).is_some_and(contains)
}

/// Whether the secret that the caller came with is still one of its key's; true for those who came with none.
fn secret_lives(caller: &Caller, facts: &TenantFacts, now: DateTime<Utc>) -> bool {
    caller.secret_id.is_none_or(|id| {
        let secret = facts.secret(&caller.principal, id);
        secret.is_some_and(|secret| secret.expires_at.is_none_or(|end| end > now))
    })
}

fn problem_of(tenant_id: Uuid, error: &FactsError) -> Problem {
    match error {
        FactsError::Unavailable(_) => {
            tracing::warn!(%error, "a decision found the store not available");
            Problem::store_unavailable()
        }
        FactsError::TooMany | FactsError::Corrupt(_) => {
            metrics::counter!(DECISION_ERRORS).increment(1);
            tracing::error!(%tenant_id, %error, "nothing can be decided in a tenant");
            Problem::internal()
        }
    }
}

impl Gate for AccessGate {
    fn authenticate<'a>(&'a self, presented: Presented<'a>) -> BoxFuture<'a, Result<Caller, Problem>> {
        Box::pin(self.authenticated(presented))
    }

    fn recognise(&self, presented: Presented<'_>) -> Option<Caller> {
        if looks_like_a_token(presented.token) {
            return self.recognise_bearer(presented);
        }
        let key = KeyText::parse(presented.token)?;
        let tenant_id = self.owners.get(key.id())?;
        let facts = self.at_hand_for(tenant_id, presented.at_least)?;
        self.recognised(&key, tenant_id, &facts, presented).ok()
    }

    fn authorize<'a>(
        &'a self,
        caller: &'a Caller,
        asked: Asked,
        resources: &'a dyn Resources,
    ) -> BoxFuture<'a, Result<Allowed, Problem>> {
        Box::pin(self.authorized(caller, asked, resources))
    }

    fn may_grant<'a>(
        &'a self,
        caller: &'a Caller,
        tenant_id: Uuid,
        granting: &'a Granting,
    ) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            // A role that was made a moment ago counts, and a right that has gone does not.
            let facts = self.facts_for(caller.scope, tenant_id, Some(i64::MAX)).await?;
            let subject = Subject { principal: &caller.principal, scope: caller.scope, tenant_id };
            grantable(&facts, subject, self.now(), granting)
        })
    }

    fn refused(&self, caller: &Caller, permission: Permission, beyond: Beyond) {
        let reason = match beyond {
            Beyond::Tenant => access_record::Reason::AnotherTenant,
            Beyond::Platform => access_record::Reason::PlatformOnly,
            Beyond::Granting => access_record::Reason::Granting,
        };
        metrics::counter!(DENIALS, "reason" => <&'static str>::from(reason)).increment(1);
        self.refusals.refused(caller, permission, reason, [], self.now());
    }

    fn decided_up_to(&self) -> i64 {
        self.board.position()
    }
}
