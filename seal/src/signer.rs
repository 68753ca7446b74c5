//! Who signs: the platform's name and its keys, of which there are two while one takes the place of the other.

use std::{collections::BTreeSet, fmt, sync::Arc};

use chrono::{DateTime, Utc};
use hub_evidence::{
    checkpoint::{Checkpoint, CheckpointError, Origin},
    key::{SigningKey, VerifierKeys},
    note::Note,
    tree::Hash,
};
use sqlx::PgPool;
use uuid::Uuid;

use crate::turn::PLATFORM_LOG;

/// One process at a time publishes.
pub(crate) const ALONE: &str = "LOCK TABLE evidence_keys IN EXCLUSIVE MODE";

pub(crate) const KNOWN_KEYS: &str = "SELECT verifier_key, retired_at IS NULL FROM evidence_keys";

pub(crate) const ADD_KEY: &str = "
INSERT INTO evidence_keys (verifier_key, added_at)
VALUES ($1, $2)
ON CONFLICT (verifier_key) DO UPDATE SET retired_at = NULL";

pub(crate) const RETIRE_OTHERS: &str =
    "UPDATE evidence_keys SET retired_at = $2 WHERE retired_at IS NULL AND NOT verifier_key = ANY($1)";

/// Signs checkpoints; cheap to clone, never printed.
#[derive(Clone)]
pub struct Signer {
    host: Arc<str>,
    keys: Arc<[SigningKey]>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Signer").field("host", &self.host).finish_non_exhaustive()
    }
}

/// Why a process may not sign.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// PostgreSQL does not answer.
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    /// Another key signs already.
    #[error(
        "the checkpoints of this database are signed with {0}: copy that key, or take its place with `hub audit rotate-key`"
    )]
    AnotherKey(String),
    /// The key's name cannot be that of a log.
    #[error("`{0}` cannot be the name of a log")]
    Name(String),
}

impl Signer {
    /// One that signs with all these keys, by the name of the first one.
    ///
    /// # Errors
    /// When there is no key, or its name cannot be part of a log's name.
    pub fn new(keys: Vec<SigningKey>) -> Result<Self, SignerError> {
        let host = keys.first().map(|key| key.verifier_key().name()).unwrap_or_default().to_owned();
        Origin::platform(&host).map_err(|_| SignerError::Name(host.clone()))?;
        Ok(Self { host: host.into(), keys: keys.into() })
    }

    /// Publishes the keys. The first ones of a database are taken as they are; later ones must include one that signs already, and those
    /// that are not among them any more are retired.
    ///
    /// # Errors
    /// `AnotherKey` when none of these keys signs already.
    pub async fn publish(&self, pool: &PgPool, now: DateTime<Utc>) -> Result<(), SignerError> {
        let ours: Vec<String> = self.keys.iter().map(|key| key.verifier_key().to_string()).collect();
        let mut transaction = pool.begin().await?;
        sqlx::query(ALONE).execute(&mut *transaction).await?;
        let known: Vec<(String, bool)> = sqlx::query_as(KNOWN_KEYS).fetch_all(&mut *transaction).await?;
        let live: BTreeSet<&String> = known.iter().filter(|(_, live)| *live).map(|(key, _)| key).collect();
        if let Some(another) = live.first()
            && !ours.iter().any(|key| live.contains(key))
        {
            return Err(SignerError::AnotherKey((*another).clone()));
        }
        for key in &ours {
            sqlx::query(ADD_KEY).bind(key).bind(now).execute(&mut *transaction).await?;
        }
        sqlx::query(RETIRE_OTHERS).bind(&ours).bind(now).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The public halves of the keys.
    #[must_use]
    pub fn verifier_keys(&self) -> BTreeSet<String> {
        self.keys.iter().map(|key| key.verifier_key().to_string()).collect()
    }

    /// The name of a tenant's log, or of the platform's.
    pub(crate) fn origin(&self, log: Uuid) -> Origin {
        let origin = if log == PLATFORM_LOG { Origin::platform(&self.host) } else { Origin::tenant(&self.host, log) };
        origin.expect("`new` has tried the host")
    }

    /// A checkpoint of a log that one of these keys has signed.
    pub(crate) fn open(&self, log: Uuid, note: &[u8]) -> Result<Checkpoint, CheckpointError> {
        let keys = VerifierKeys::new(self.keys.iter().map(|key| key.verifier_key().clone()));
        let keys = keys.expect("two keys of one name are told apart by their ids");
        Ok(Checkpoint::open(note, &self.origin(log), &keys)?.checkpoint)
    }

    /// A checkpoint of a log, and the note of it that is signed with every key.
    pub(crate) fn sign(&self, log: Uuid, size: u64, root: Hash) -> Result<(Checkpoint, Note), CheckpointError> {
        let checkpoint = Checkpoint::new(self.origin(log), size, root)?;
        let note = checkpoint.sign(self.keys.iter());
        Ok((checkpoint, note))
    }
}
