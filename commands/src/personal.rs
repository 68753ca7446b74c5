//! Sealing personal data before it becomes part of a command: nothing that decides or stores it sees it in clear text.

use chrono::{DateTime, Utc};
use hub_domain::{
    personal::{Pii, Sealed},
    tenant,
    text::Email,
};
use hub_vault::{Place, SealedText, SealingKey, Vault, VaultError};

use crate::{Commands, dispatch::PrepareError, forgetting::unreachable, outcome::Refused};

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
