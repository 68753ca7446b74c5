//! The relay: reads the log in order and publishes it on NATS JetStream; one is active, elected by a lock in PostgreSQL.
//!
//! Where it begins is what the stream itself last holds, so neither a crash nor a lost disk needs a record of its own. Up to a thousand messages
//! are on their way at once, and each says behind which message it belongs: when one is lost or refused, the server refuses all that
//! follow, so there is never a gap in the stream, not even while two relays believe that they lead. NATS down: the relay waits,
//! nobody else does.

pub(crate) mod cursor;
mod message;
mod source;
pub(crate) mod start;
mod stream;
mod window;

use std::{sync::atomic::Ordering, time::Duration};

use async_nats::jetstream;
use sqlx::{PgConnection, PgPool, Row};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    election::{bounded, elect},
    partition::{PARTITION_COUNT, STREAM_NAME},
    tail::Tail,
};

use self::{
    message::Naming,
    start::Start,
    window::{Stop, Window},
};

/// Takes the lock of the active relay for as long as the connection lives.
pub(crate) const ELECT: &str = "SELECT pg_try_advisory_lock(7236831002)";

/// Between two attempts to lead.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// After so many stops without a message in between, the lead is left to another.
const STOP_COUNT_MAX: u32 = 5;

/// Why the relay had to stop and try again.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    #[error("NATS: {0}")]
    Nats(String),
    #[error("the stream {STREAM_NAME} has another configuration than asked for: {0}")]
    Configuration(String),
    #[error("event cannot be written as JSON: {0}")]
    Encode(#[from] serde_json::Error),
    /// The log is not contiguous, which it always is.
    #[error("the log has no event at position {position}")]
    Missing { position: i64 },
    /// Nothing is published until somebody has looked; see ADR 7.
    #[error(
        "the stream {STREAM_NAME} holds event {event_id} at position {position}, which the log (head {head}) does not: it is the stream of \
         another installation, or PostgreSQL has lost what it had committed; nothing is published until the stream is deleted"
    )]
    Diverged { event_id: Uuid, position: i64, head: i64 },
}

/// The relay of this process.
#[derive(Debug)]
pub struct Relay {
    pool: PgPool,
    nats: async_nats::Client,
    tail: Tail,
}

/// How far the stream holds the log: over all, and per partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    position: i64,
    partitions: [i64; PARTITION_COUNT],
}

impl Relay {
    /// A relay from the log behind `pool` to JetStream behind `nats`.
    #[must_use]
    pub const fn new(pool: PgPool, nats: async_nats::Client, tail: Tail) -> Self {
        Self { pool, nats, tail }
    }

    /// Leads when it can and waits when another does, until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut reported = String::new();
        while !shutdown.is_cancelled() {
            let led = tokio::select! {
                () = shutdown.cancelled() => return,
                led = self.lead() => led,
            };
            metrics::gauge!("hub_relay_in_flight").set(0.0);
            let reason = self.report(led.err(), &reported).await;
            reported = reason;
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(RETRY_DELAY) => {}
            }
        }
    }

    /// Says once for each reason, however long it lasts, why the relay stopped; answers the reason.
    async fn report(&self, error: Option<RelayError>, reported: &str) -> String {
        let diverged = matches!(error, Some(RelayError::Diverged { .. }));
        metrics::gauge!("hub_relay_diverged").set(if diverged { 1.0 } else { 0.0 });
        let Some(error) = error else { return String::new() };
        let reason = error.to_string();
        if reason != reported {
            if diverged {
                tracing::error!(reason, "the relay publishes nothing");
            } else {
                tracing::warn!(reason, "the relay stopped, trying again");
            }
        }
        // What nobody publishes is seen to pile up.
        if let Ok(row) = sqlx::query(cursor::READ_CURSOR).fetch_one(&self.pool).await
            && let Ok(position) = row.try_get("position")
        {
            window::show_lag(&self.tail, position);
        }
        reason
    }

    /// Publishes as long as this relay leads; answers `Ok` at once when another leads.
    ///
    /// # Errors
    /// Why it cannot lead, or no longer; whoever leads next goes on behind what the stream then holds.
    pub async fn lead(&self) -> Result<(), RelayError> {
        self.connected()?;
        let Some(mut connection) = elect(&self.pool, ELECT).await? else { return Ok(()) };
        let jetstream = jetstream::new(self.nats.clone());
        stream::ensure(&jetstream).await?;
        let (mut stop_count, mut naming) = (0, Naming::Plain);
        loop {
            let connects = self.connects();
            let start = self.find_start(&jetstream, &mut connection).await?;
            let (progress, followed) = watch::channel(start.progress);
            let mut window = Window::open(&self.nats, &self.tail, &start, connects, &progress).await?;
            let source = source::start(&self.pool, &self.nats, &self.tail, &start, naming);
            let stop = tokio::select! {
                error = cursor::keep(&mut connection, followed) => return Err(error),
                stop = window.publish(source) => stop?,
            };
            stop_count = if progress.borrow().position > start.progress.position { 0 } else { stop_count + 1 };
            if stop_count >= STOP_COUNT_MAX {
                return Err(RelayError::Nats(stop.to_string()));
            }
            tracing::warn!(reason = %stop, "the relay looks again where the stream ends");
            metrics::counter!("hub_relay_resumed_total", "reason" => stop.label()).increment(1);
            naming = match stop {
                Stop::Remembered { .. } => Naming::Again,
                Stop::Refused { .. } | Stop::TimedOut | Stop::Reconnected | Stop::Changed => Naming::Plain,
            };
        }
    }

    /// Where to go on, on a connection that still has the lock.
    async fn find_start(
        &self,
        jetstream: &jetstream::Context,
        connection: &mut PgConnection,
    ) -> Result<Start, RelayError> {
        self.connected()?;
        // Also proves that the connection, and with it the lock, still lives: a relay that has lost it must not begin again.
        let cursor = cursor::read(connection).await?;
        // One that was deleted is not made again at once: the server may still be removing its files.
        let stream = stream::get(jetstream).await?;
        let start = start::find(&self.pool, &stream, cursor).await?;
        bounded(cursor::set(&start.progress).execute(connection)).await?;
        metrics::gauge!("hub_relay_diverged").set(0.0);
        let (position, sequence) = (start.progress.position, start.sequence);
        if position < cursor {
            tracing::warn!(position, sequence, cursor, "the stream has lost messages, the relay publishes them again");
        } else {
            tracing::info!(position, sequence, cursor, "the relay leads");
        }
        Ok(start)
    }

    fn connected(&self) -> Result<(), RelayError> {
        window::connected(&self.nats).then_some(()).ok_or_else(|| RelayError::Nats("not connected".to_owned()))
    }

    /// How often the client has connected; a server that came back may have come back empty.
    fn connects(&self) -> u64 {
        self.nats.statistics().connects.load(Ordering::Relaxed)
    }
}
