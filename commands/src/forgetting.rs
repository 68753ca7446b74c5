//! What erasures and legal holds must know of each other and of the keys of personal data, each with the guard that lets it still hold at the
//! append.
//!
//! An erasure begins only while no hold stands, and a hold is placed only while no erasure has begun: each guards the stream of the other,
//! so the log decides which came first.

use std::collections::{BTreeMap, BTreeSet};

use hub_domain::{
    erasure::{Hold, KeyState, Scope},
    id::PLATFORM_TENANT,
    legal_hold::{self, decide::HELD},
    tenant::{self, Standing},
    text::{Email, Key, parsed},
};
use hub_event_store::{
    append::{AppendError, Guard},
    repository::ExecuteError,
};
use hub_http::Problem;
use hub_vault::{KeyKind, Vault, VaultError};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    Commands,
    dispatch::{PrepareError, unread},
    outcome::Refused,
    surroundings::look,
};

/// What is known at the first attempt may be old, and a refusal would be final.
const LATEST: u32 = 1;

/// So many holds are named when they are in the way of a whole tenant.
const NAMED_COUNT_MAX: usize = 20;

/// The stream of what concerns a data subject whom nobody knows; nothing is ever written there.
pub(crate) const NOBODY: Uuid = Uuid::nil();

/// A person, by the random id of the key that seals what is personal about him, or by what he is known by.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Subject {
    /// The id that stands beside what is sealed, as `key_id`.
    Id(Uuid),
    /// A mail address; it is looked up by a keyed hash and kept nowhere.
    Email(#[serde(deserialize_with = "parsed")] Email),
}

/// What is in the way of an erasure, and what must not move before it begins.
#[derive(Debug, Default)]
pub(crate) struct InTheWay {
    pub(crate) holds: BTreeSet<Hold>,
    pub(crate) guards: Vec<Guard>,
    pub(crate) expected_counters: Vec<(&'static str, i64)>,
}

impl Commands {
    /// The keys of personal data.
    ///
    /// # Errors
    /// `internal` in a process that has none.
    pub(crate) fn keys<E>(&self) -> Result<&Vault, ExecuteError<E>>
    where
        E: std::error::Error + 'static,
    {
        self.vault.as_ref().ok_or_else(|| ExecuteError::Corrupt("this process has no keys of personal data".to_owned()))
    }

    /// The id of a data subject of the tenant; [`NOBODY`] for a mail address that nobody is known by.
    ///
    /// # Errors
    /// `store_unavailable` when the keys cannot be reached.
    pub(crate) async fn subject_id(&self, tenant_id: Uuid, subject: &Subject) -> Result<Uuid, Problem> {
        let email = match subject {
            Subject::Id(id) => return Ok(*id),
            Subject::Email(email) => email,
        };
        let Some(vault) = &self.vault else { return Err(Problem::internal()) };
        match vault.subject_by_email(tenant_id, email.as_str()).await {
            Ok(found) => Ok(found.unwrap_or(NOBODY)),
            Err(error) => {
                tracing::warn!(%error, "a data subject could not be looked up");
                Err(Problem::store_unavailable())
            }
        }
    }

    /// What is known of a scope's key. A tenant's is there until its own erasure says otherwise: with no key nothing was ever sealed.
    ///
    /// # Errors
    /// When the keys cannot be reached.
    pub(crate) async fn key_of<E>(&self, tenant_id: Uuid, scope: Scope, id: Uuid) -> Result<KeyState, ExecuteError<E>>
    where
        E: std::error::Error + 'static,
    {
        if scope == Scope::Tenant {
            return Ok(KeyState::Live);
        }
        let state = self.keys()?.key_state(tenant_id, id).await.map_err(unreachable)?;
        Ok(match state {
            Some(state) if matches!(state.kind, KeyKind::Class { .. }) => KeyState::Unknown,
            Some(state) if state.destroyed_at.is_some() => KeyState::Destroyed,
            Some(_) => KeyState::Live,
            None => KeyState::Unknown,
        })
    }

    /// The tenant that somebody is erased or held in; an archived one, too. Answers whether it is archived, which is for good.
    ///
    /// # Errors
    /// `tenant_not_found`.
    pub(crate) async fn known_tenant<E>(&self, tenant_id: Uuid) -> Result<bool, PrepareError<E>>
    where
        E: std::error::Error + 'static,
    {
        let (tenant, _) = look::<_, E>(&self.tenants, tenant_id, tenant_id, LATEST).await?;
        match tenant.state.standing() {
            // The platform is no customer, and always there.
            Standing::Absent if tenant_id == PLATFORM_TENANT.0 => Ok(false),
            Standing::Absent => Err(PrepareError::Refused(Refused::of(&tenant::Error::NotFound))),
            standing => Ok(standing == Standing::Archived),
        }
    }

    /// The holds in the way of an erasure: those on the person and on the tenant, or every one in the tenant when all of it is to go.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn in_the_way<E>(
        &self,
        tenant_id: Uuid,
        scope: Scope,
        id: Uuid,
    ) -> Result<InTheWay, ExecuteError<E>>
    where
        E: std::error::Error + 'static,
    {
        if scope == Scope::Tenant {
            return self.any_hold(tenant_id).await;
        }
        let mut found = InTheWay::default();
        for (scope, id) in [(Scope::Subject, id), (Scope::Tenant, tenant_id)] {
            let (hold, guard) = look(&self.legal_holds, tenant_id, id, LATEST).await?;
            found.holds.extend(hold.state.matters().map(|matter| Hold { scope, matter: matter.clone() }));
            found.guards.push(guard);
        }
        Ok(found)
    }

    /// Every hold in the tenant; the counter of what is held must not move.
    async fn any_hold<E>(&self, tenant_id: Uuid) -> Result<InTheWay, ExecuteError<E>>
    where
        E: std::error::Error + 'static,
    {
        let unavailable = |error: sqlx::Error| ExecuteError::Append(AppendError::Unavailable(error.to_string()));
        let count = self.store.log().counter(tenant_id, HELD).await.map_err(unavailable)?;
        let mut found = InTheWay { expected_counters: vec![(HELD, count)], ..InTheWay::default() };
        if count == 0 {
            return Ok(found);
        }
        let held = BTreeMap::<(Uuid, Key), Scope>::new();
        let held = self.legal_holds.repository.fold_all(tenant_id, &[], held, |held, id, event| match event {
            legal_hold::Event::Placed { scope, matter, .. } => drop(held.insert((id, matter), scope)),
            legal_hold::Event::Released { matter, .. } => drop(held.remove(&(id, matter))),
        });
        let held: BTreeSet<_> =
            held.await.map_err(unread)?.into_iter().map(|((_, matter), scope)| Hold { scope, matter }).collect();
        found.holds = held.into_iter().take(NAMED_COUNT_MAX).collect();
        Ok(found)
    }

    /// Whether the whole tenant is held, with the stream that must not move.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn tenant_held<E>(&self, tenant_id: Uuid) -> Result<(bool, Guard), ExecuteError<E>>
    where
        E: std::error::Error + 'static,
    {
        let (hold, guard) = look(&self.legal_holds, tenant_id, tenant_id, LATEST).await?;
        Ok((hold.state.held(), guard))
    }

    /// Whether a scope's data is erased or being erased, by itself or with its whole tenant; with the streams that must not move.
    ///
    /// # Errors
    /// When the store or the keys do not answer.
    pub(crate) async fn erased<E>(
        &self,
        tenant_id: Uuid,
        scope: Scope,
        id: Uuid,
    ) -> Result<(bool, Vec<Guard>), ExecuteError<E>>
    where
        E: std::error::Error + 'static,
    {
        let mut erased = self.key_of(tenant_id, scope, id).await? == KeyState::Destroyed;
        let mut guards = Vec::new();
        for id in BTreeSet::from([id, tenant_id]) {
            let (erasure, guard) = look(&self.erasures, tenant_id, id, LATEST).await?;
            erased |= erasure.state.begun();
            guards.push(guard);
        }
        Ok((erased, guards))
    }
}

/// The keys do not answer, or not as they should.
pub(crate) fn unreachable<E: std::error::Error + 'static>(error: VaultError) -> ExecuteError<E> {
    match error {
        VaultError::Unavailable(error) => ExecuteError::Append(AppendError::Unavailable(error.to_string())),
        error => ExecuteError::Corrupt(error.to_string()),
    }
}
