//! What a running hub tells the other verbs: where it is and how to reach its servers.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::key::write_private;

/// The content of `running.json`, which exists while a hub serves. It holds the password of the database.
#[derive(Clone, Deserialize, Serialize)]
pub struct Running {
    /// Process id of the hub.
    pub pid: u32,
    /// Base URL of both APIs, without a slash at the end.
    pub url: String,
    /// URL of the metrics.
    pub metrics_url: String,
    /// URL of the database, with its password.
    pub database_url: String,
    /// URL of the database with the keys of personal data.
    pub vault_url: String,
    /// URL of NATS.
    pub nats_url: String,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Running").field("pid", &self.pid).field("url", &self.url).finish_non_exhaustive()
    }
}

impl Running {
    /// What is written in `directory`, if anything.
    #[must_use]
    pub fn read(directory: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(file(directory)).ok()?).ok()
    }

    /// Writes it, for its owner only.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        write_private(&file(directory), &serde_json::to_string_pretty(self)?)
    }

    /// Takes it away.
    pub fn remove(directory: &Path) {
        if let Err(error) = std::fs::remove_file(file(directory))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "cannot remove {}", file(directory).display());
        }
    }
}

fn file(directory: &Path) -> PathBuf {
    directory.join("running.json")
}
