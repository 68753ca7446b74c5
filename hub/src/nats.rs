//! How this process is let into a NATS that exists already, and whom it may let in.

use anyhow::{Context as _, bail};
use hub_commands::nats_credential::Issuing;
use hub_nats_jwt::{Issuer, Key, Kind};

use crate::{config::NatsAccess, key};

/// A NATS, and what to connect to it with.
#[derive(Clone)]
pub struct NatsServer {
    /// Where it is.
    pub url: String,
    /// The text of a `.creds` file, when it asks for one.
    pub credentials: Option<String>,
}

impl std::fmt::Debug for NatsServer {
    /// Leaves out both, since a URL may hold a password.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("NatsServer").finish_non_exhaustive()
    }
}

/// The credentials in the file that the settings name.
///
/// # Errors
/// When it cannot be read.
pub fn credentials(access: &NatsAccess) -> anyhow::Result<Option<String>> {
    let Some(file) = &access.credentials_file else { return Ok(None) };
    match key::read(file)? {
        Some(text) => Ok(Some(text)),
        None => bail!("there is no {}", file.display()),
    }
}

/// Who signs integrators' credentials, when the settings name a key.
///
/// # Errors
/// When it cannot be read, or is no account's.
pub fn issuing(access: &NatsAccess) -> anyhow::Result<Option<Issuing>> {
    let Some(file) = &access.account_key_file else { return Ok(None) };
    let Some(seed) = key::read(file)? else { bail!("there is no {}", file.display()) };
    let key = Key::from_seed(Kind::Account, &seed).with_context(|| format!("{} cannot be used", file.display()))?;
    let issuer = Issuer::new(key, access.account.as_deref()).context("nats_account cannot be used")?;
    Ok(Some(Issuing { issuer, urls: access.public_urls.clone() }))
}
