//! Sealing personal data before it becomes part of a command: nothing that decides or stores it sees it in clear text.

use chrono::{DateTime, Utc};
use hub_domain::{
    personal::{Pii, Sealed},
    tenant,
    text::Email,
};
use hub_event_store::{append::Guard, repository::ExecuteError};
use hub_vault::{Place, SealedText, SealingKey, Vault, VaultError};
use uuid::Uuid;

use crate::{Commands, dispatch::PrepareError, forgetting::unreachable, outcome::Refused, surroundings::look};

/// What is known at the first attempt may be old.
const LATEST: u32 = 1;

impl Commands {
    /// The mail address, sealed for its place by the key of whoever has it in the tenant.
    ///
    /// # Errors
    /// `store_unavailable` when the keys cannot be reached, `tenant_archived` when those of the tenant are destroyed.
    pub(crate) async fn sealed_email<E>(&self, email: &Email, place: &Place<'_>) -> Result<Pii<Email>, PrepareError<E>>
    where
        E: std::error::Error + 'static,
    {
        let key =
            self.keys()?.key_by_email(place.tenant_id, email.as_str(), self.store.now()).await.map_err(unsealed)?;
        Ok(sealed(&key, email.as_str(), place))
    }

    /// The stream of the erasure that could destroy the key of what was sealed just now: it must not move before the append. Once the erasure
    /// has begun nothing is sealed with that key any more, and a little later the person has another.
    ///
    /// # Errors
    /// `concurrent_change` when the erasure has begun and the key is not destroyed yet; when the store does not answer.
    pub(crate) async fn erasure_guard<T, E>(
        &self,
        tenant_id: Uuid,
        personal: &Pii<T>,
    ) -> Result<Option<Guard>, ExecuteError<E>>
    where
        E: std::error::Error + 'static,
    {
        let Pii::Sealed(Sealed { key_id, .. }) = personal else { return Ok(None) };
        let (erasure, guard) = look(&self.erasures, tenant_id, *key_id, LATEST).await?;
        if erasure.state.begun() { Err(ExecuteError::Contended) } else { Ok(Some(guard)) }
    }
}

/// The text, sealed for its place by the key of a class of events in the month of `now`.
pub(crate) async fn sealed_by_class<T>(
    vault: &Vault,
    class: &str,
    text: &str,
    place: &Place<'_>,
    now: DateTime<Utc>,
) -> Result<Pii<T>, VaultError> {
    Ok(sealed(&vault.class_key(place.tenant_id, class, now).await?, text, place))
}

fn sealed<T>(key: &SealingKey, text: &str, place: &Place<'_>) -> Pii<T> {
    let SealedText { key_id, sealed } = key.seal(text, place);
    Pii::Sealed(Sealed { key_id, sealed })
}

fn unsealed<E: std::error::Error + 'static>(error: VaultError) -> PrepareError<E> {
    match error {
        // Only a tenant that was archived loses its keys.
        VaultError::TenantErased => PrepareError::Refused(Refused::of(&tenant::Error::Archived)),
        error => unreachable(error).into(),
    }
}
