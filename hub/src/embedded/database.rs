//! The database for a verb that runs beside a hub, or after it.

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

use super::{
    DATABASE, Directory, Durability, Place, Postgres, PostgresBinaries, Running, VAULT_DATABASE, blocking,
    stop_leftovers,
};
use crate::config::Config;

/// A database that can be reached until [`OpenDatabase::close`].
#[derive(Debug)]
pub struct OpenDatabase {
    url: String,
    /// The vault of `hub up`, when the database is one of its.
    vault_url: Option<String>,
    /// The server that was started for this verb, and the directory it works in.
    own: Option<(Postgres, Directory)>,
}

impl OpenDatabase {
    /// Finds the database: the one that was configured, else that of the hub that runs in the directory, else the data
    /// in the directory, with a server of its own for as long as this value lives.
    ///
    /// # Errors
    /// When there is no database, or it cannot be started.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        if let Some(url) = &config.database_url {
            return Ok(Self { url: url.clone(), vault_url: None, own: None });
        }
        if Place::existing(&config.directory).is_none() {
            bail!("there is no data in {}: start `hub up` first, or give DATABASE_URL", config.directory.display());
        }
        match Directory::try_lock(&config.directory)? {
            Ok(directory) => Self::start(config, directory).await,
            Err(holder) => {
                let running = Running::read(&config.directory)
                    .with_context(|| format!("the hub{holder} on {} is not ready", config.directory.display()))?;
                Ok(Self { url: running.database_url, vault_url: Some(running.vault_url), own: None })
            }
        }
    }

    /// The URL of the database, with its password.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of the vault's database, when this one is of `hub up`.
    #[must_use]
    pub fn vault_url(&self) -> Option<&str> {
        self.vault_url.as_deref()
    }

    /// Stops the server when it was started for this verb.
    pub async fn close(self) {
        if let Some((postgres, _directory)) = self.own {
            postgres.stop(&CancellationToken::new()).await;
        }
    }

    async fn start(config: &Config, directory: Directory) -> anyhow::Result<Self> {
        let named = config.postgres_bin.clone();
        let (directory, place, binaries) = blocking(move || {
            stop_leftovers(directory.path())?;
            let place = Place::prepare(&directory)?;
            let binaries = PostgresBinaries::find(named.as_deref(), place.postgres_major())?;
            Ok((directory, place, binaries))
        })
        .await?;
        let postgres = Postgres::start(&place, &binaries, None, Durability::Durable).await?;
        postgres.create_database(DATABASE).await?;
        postgres.create_database(VAULT_DATABASE).await?;
        let (url, vault_url) = (postgres.url(DATABASE), postgres.url(VAULT_DATABASE));
        Ok(Self { url, vault_url: Some(vault_url), own: Some((postgres, directory)) })
    }
}
