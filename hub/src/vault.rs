//! The vault of this process: where the keys of personal data are, and the key that wraps them.

use anyhow::Context as _;
use hub_vault::{DestroyedList, RootKey, Vault, VaultError};
use sqlx::{PgPool, postgres::PgConnectOptions};

use crate::{config::Config, key};

/// Opens the vault that is configured, else the one at `default_url`, else the one in the database of `pool`. The key file is made if it is not
/// there; what is on the list of destroyed keys beside it is destroyed again before this returns.
///
/// # Errors
/// When a file cannot be read or written, the database does not answer, or its keys are wrapped by another key.
pub async fn open(config: &Config, pool: &PgPool, default_url: Option<&str>) -> anyhow::Result<Vault> {
    let file = &config.vault_key_file;
    let root = RootKey::new(*key::secret(file)?.bytes());
    let options: PgConnectOptions = match config.vault_database_url.as_deref().or(default_url) {
        Some(url) => url.parse().context("the URL of the vault's database cannot be read")?,
        None => {
            tracing::info!(
                "the keys of personal data are in the database of the events, in the schema `vault`: leave that out of its backups, \
                 or give --vault-database-url"
            );
            pool.connect_options().as_ref().clone()
        }
    };
    let vault = Vault::new(options, root, Some(DestroyedList::new(file.with_extension("destroyed"))));
    match vault.prepare().await {
        Ok(()) => Ok(vault),
        Err(VaultError::AnotherRoot) => Err(VaultError::AnotherRoot).with_context(|| {
            format!("{} is not the key of this vault: copy that of the first process", file.display())
        }),
        Err(error) => Err(error).context("cannot open the vault"),
    }
}
