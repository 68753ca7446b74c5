//! Taking evidence out of the platform: a part of a tenant's log as a bundle, one event with its proof, and the keys that were published.
//!
//! Everything that is taken is held to what was sealed on the way, so that nobody carries away what he could not prove. What is checked here
//! says nothing to anybody else: for that there is `hub_evidence::bundle::verify`, which needs no platform.

mod directory;
pub mod export;
pub mod prove;
pub mod seals;

use std::{io, path::PathBuf};

use hub_event_store::event::Recorded;
use hub_evidence::{
    bundle::ManifestError,
    entry::{Entry, EntryError, Timestamp},
};
use sqlx::PgPool;
use uuid::Uuid;

/// Why evidence cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// PostgreSQL does not answer.
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    /// A file cannot be read or written.
    #[error("cannot write into {path}: {source}")]
    File {
        /// The bundle's directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory holds another export, a finished one, or anything else.
    #[error("{path} {what}")]
    Directory {
        /// The bundle's directory.
        path: PathBuf,
        /// What it holds.
        what: &'static str,
    },
    /// The tenant has no such events.
    #[error("{0}")]
    Range(String),
    /// The sealer has not come so far.
    #[error("the event {to} is not sealed: {sealed} events are; does a process run that seals?")]
    NotSealed {
        /// The last event that is asked for.
        to: u64,
        /// How many are sealed.
        sealed: u64,
    },
    /// The log is not what was sealed.
    #[error("{0}")]
    Fault(Fault),
    /// What was sealed cannot be read: somebody has changed it.
    #[error("what was sealed cannot be read: {0}")]
    Seals(String),
    /// An event cannot be written.
    #[error("the event {position}: {source}")]
    Entry {
        /// Its place in the tenant's log.
        position: u64,
        /// Why.
        source: EntryError,
    },
    /// Whoever was to be told beforehand what is exported could not be.
    #[error("{0}")]
    Unannounced(String),
    /// The manifest cannot be written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// The last checkpoint of a tenant's log, a C2SP signed note; nothing before the first.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn last_checkpoint(pool: &PgPool, tenant_id: Uuid) -> Result<Option<String>, sqlx::Error> {
    Ok(seals::Seals(pool).last(tenant_id).await?.map(|kept| kept.note))
}

/// How a log is not what was sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// An event is not there.
    #[error("the event {0} is missing: it was deleted after it was sealed")]
    Missing(u64),
    /// An event is another one.
    #[error("the event {position} is not the one that was sealed there: {what}")]
    Differs {
        /// Its place in the tenant's log.
        position: u64,
        /// What is there now.
        what: String,
    },
    /// The hashes that are kept are not those that were signed.
    #[error("the sealed hashes do not lead to the signed checkpoint: they were changed")]
    Root,
    /// The checkpoint contradicts the older one that was given.
    #[error("the log does not continue the older checkpoint: {0}")]
    Order(String),
}

/// An event as evidence writes it.
fn entry(event: &Recorded) -> Entry<'_> {
    Entry {
        tenant_position: event.tenant_position.unsigned_abs(),
        event_id: event.event_id,
        tenant_id: event.tenant_id,
        aggregate_type: (&*event.aggregate_type).into(),
        aggregate_id: event.aggregate_id,
        sequence: event.sequence,
        event_type: (&*event.event_type).into(),
        event_version: event.event_version,
        occurred_at: Timestamp::from_micros(event.occurred_at.timestamp_micros()),
        payload: event.payload.get().into(),
        metadata: event.metadata.get().into(),
    }
}

fn differs(entry: &Entry<'_>) -> Fault {
    let what = format!(
        "{} {}, sequence {} of {} {}",
        entry.event_type, entry.event_id, entry.sequence, entry.aggregate_type, entry.aggregate_id
    );
    Fault::Differs { position: entry.tenant_position, what }
}
