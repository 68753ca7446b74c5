//! The stream as the relay wants it.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    stream::{Config, StorageType, Stream},
};

use super::RelayError;
use crate::partition::{STREAM_NAME, SUBJECT_ROOT};

/// JetStream keeps what was published so long; who is further behind reads from PostgreSQL.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3_600);

/// JetStream keeps at most this much.
const KEPT_BYTES_MAX: i64 = 1_024 * 1_024 * 1_024;

/// JetStream recognises a message published twice within this time.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// Makes the stream if it is missing, and refuses to go on if the server made something else of it: older servers leave out what they
/// do not know without a word.
pub(super) async fn ensure(jetstream: &jetstream::Context) -> Result<(), RelayError> {
    let wanted = Config {
        name: STREAM_NAME.to_owned(),
        subjects: vec![format!("{SUBJECT_ROOT}.>")],
        max_age: KEPT_FOR,
        max_bytes: KEPT_BYTES_MAX,
        duplicate_window: DUPLICATE_WINDOW,
        storage: StorageType::File,
        ..Config::default()
    };
    let stream = jetstream.get_or_create_stream(wanted.clone()).await.map_err(|e| RelayError::Nats(e.to_string()))?;
    let got = &stream.cached_info().config;
    let differing = [
        ("subjects", got.subjects == wanted.subjects),
        ("max_age", got.max_age == wanted.max_age),
        ("max_bytes", got.max_bytes == wanted.max_bytes),
        ("duplicate_window", got.duplicate_window == wanted.duplicate_window),
        ("storage", got.storage == wanted.storage),
        ("discard", got.discard == wanted.discard),
    ];
    let differing: Vec<_> = differing.iter().filter(|(_, same)| !same).map(|(name, _)| *name).collect();
    if differing.is_empty() { Ok(()) } else { Err(RelayError::Configuration(differing.join(", "))) }
}

/// The stream as it is now.
pub(super) async fn get(jetstream: &jetstream::Context) -> Result<Stream, RelayError> {
    jetstream.get_stream(STREAM_NAME).await.map_err(|e| RelayError::Nats(e.to_string()))
}
