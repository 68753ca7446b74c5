//! States of long streams, kept so that a cold load reads few events: an optimisation that may be lost, late or wrong in version.
//!
//! A snapshot is the state after exactly `sequence` events, folded by `apply` from committed events only, and never by anything that the
//! command path does to a state. It is written behind the back of commands and dropped when the writing cannot keep up.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use cqrs_es::Aggregate;
use sqlx::{FromRow, Row, postgres::PgRow};
use tokio::sync::Semaphore;

use crate::{
    event::{Recorded, StreamId, event_columns},
    repository::Loaded,
    store::EventStore,
};

/// A stream that passes another so many events gets a snapshot.
pub const EVENT_COUNT: i64 = 100;

/// So many snapshots of one aggregate type are written at the same moment; further ones are skipped.
const WRITE_COUNT_MAX: usize = 2;

/// A stream from its snapshot on, in one round trip: the snapshot first, as a row without an event type, then the events after it. A snapshot of
/// another version does not count, nor does one of more events than the stream has, as after a restore of the events alone.
pub(crate) const LOAD: &str = concat!(
    "WITH kept AS MATERIALIZED (SELECT s.sequence, s.state FROM snapshots s JOIN streams h ON h.tenant_id = s.tenant_id \
     AND h.aggregate_type = s.aggregate_type AND h.aggregate_id = s.aggregate_id \
     WHERE s.tenant_id = $1 AND s.aggregate_type = $2 AND s.aggregate_id = $3 AND s.state_version = $4 AND s.sequence <= h.sequence) \
     SELECT NULL::bigint AS position, NULL::bigint AS tenant_position, NULL::uuid AS event_id, NULL::uuid AS tenant_id, \
     NULL::text AS aggregate_type, NULL::uuid AS aggregate_id, sequence, NULL::text AS event_type, NULL::integer AS event_version, \
     NULL::timestamptz AS occurred_at, state::text AS payload, NULL::text AS metadata, NULL::bytea AS leaf_hash FROM kept \
     UNION ALL (SELECT ",
    event_columns!(),
    " FROM events WHERE tenant_id = $1 AND aggregate_type = $2 AND aggregate_id = $3 \
     AND sequence > coalesce((SELECT sequence FROM kept), 0) ORDER BY sequence LIMIT $5) ORDER BY sequence"
);

/// Keeps a snapshot, unless a newer one is there.
pub(crate) const KEEP: &str = "INSERT INTO snapshots AS s (tenant_id, aggregate_type, aggregate_id, sequence, state_version, state, taken_at) \
     VALUES ($1, $2, $3, $4, $5, $6::json, $7) ON CONFLICT (tenant_id, aggregate_type, aggregate_id) DO UPDATE \
     SET sequence = EXCLUDED.sequence, state_version = EXCLUDED.state_version, state = EXCLUDED.state, taken_at = EXCLUDED.taken_at \
     WHERE (s.state_version, s.sequence) < (EXCLUDED.state_version, EXCLUDED.sequence)";

/// What a cold load finds: the kept state as JSON with its sequence, if there is one, and the events after it.
pub(crate) struct Found {
    pub(crate) kept: Option<(i64, String)>,
    pub(crate) events: Vec<Recorded>,
}

impl Found {
    pub(crate) fn of(rows: &[PgRow]) -> Result<Self, sqlx::Error> {
        let mut found = Self { kept: None, events: Vec::with_capacity(rows.len()) };
        for row in rows {
            if row.try_get::<Option<&str>, _>("event_type")?.is_some() {
                found.events.push(Recorded::from_row(row)?);
            } else {
                found.kept = Some((row.try_get("sequence")?, row.try_get("payload")?));
            }
        }
        Ok(found)
    }
}

/// The snapshots of one aggregate type, whose state has this version.
pub(crate) struct Snapshots {
    pub(crate) state_version: i32,
    permits: Arc<Semaphore>,
    reported: AtomicBool,
}

impl Snapshots {
    pub(crate) fn new(state_version: i32) -> Self {
        Self { state_version, permits: Arc::new(Semaphore::new(WRITE_COUNT_MAX)), reported: AtomicBool::new(false) }
    }

    /// Says once that a snapshot cannot be read; the stream is then read from its start.
    pub(crate) fn unreadable(&self, stream: &StreamId, error: &serde_json::Error) {
        if !self.reported.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, kind = stream.aggregate_type, stream = %stream.aggregate_id, "a snapshot cannot be read, reading events");
        }
    }

    /// Keeps a committed state in the background, or not if too many are being kept.
    pub(crate) fn keep<A: Aggregate + 'static>(&self, store: &EventStore, stream: StreamId, loaded: Arc<Loaded<A>>) {
        let Ok(permit) = self.permits.clone().try_acquire_owned() else { return };
        let (store, state_version) = (store.clone(), self.state_version);
        tokio::spawn(async move {
            let _permit = permit;
            let state = match serde_json::to_string(&loaded.state) {
                Ok(state) => state,
                Err(error) => return tracing::error!(%error, kind = A::TYPE, "a state cannot be written as JSON"),
            };
            let query = sqlx::query(KEEP)
                .bind(stream.tenant_id)
                .bind(stream.aggregate_type)
                .bind(stream.aggregate_id)
                .bind(loaded.sequence)
                .bind(state_version)
                .bind(state)
                .bind(store.now());
            if let Err(error) = store.read(crate::log::fetch(store.pool(), query)).await {
                tracing::debug!(%error, "a snapshot was not kept");
            }
        });
    }
}

/// Whether a stream that grew from one sequence to the other passed a mark.
pub(crate) const fn due(from: i64, to: i64) -> bool {
    to / EVENT_COUNT > from / EVENT_COUNT
}
