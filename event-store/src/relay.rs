//! The relay: reads the log in order and publishes it on NATS JetStream; one is active, elected by a lock in PostgreSQL.
//!
//! Its cursor is in PostgreSQL and moves only after JetStream has acknowledged everything before it, so nothing is left out; what is
//! published twice carries the same `Nats-Msg-Id` and the same position. NATS down: the relay waits, nobody else does.

use std::time::Duration;

use async_nats::{
    HeaderMap,
    connection::State,
    jetstream::{self, context::PublishError, publish::PublishAck, stream::Config},
};
use bytes::Bytes;
use futures::{StreamExt, stream::FuturesOrdered};
use sqlx::{Connection as _, PgConnection, PgPool, Row};
use tokio_util::sync::CancellationToken;

use crate::{
    election::{bounded, elect},
    event::Recorded,
    log::Log,
    partition::{
        PARTITION_COUNT, POSITION_HEADER, PREVIOUS_POSITION_HEADER, STREAM_NAME, SUBJECT_ROOT, partition_of, subject_of,
    },
    tail::Tail,
};

/// Takes the lock of the active relay for as long as the connection lives.
pub(crate) const ELECT: &str = "SELECT pg_try_advisory_lock(7236831002)";

/// How far the relay has published.
pub(crate) const READ_CURSOR: &str = "SELECT position, partition_positions FROM relay_cursor";

/// Moves the cursor forward, never back.
pub(crate) const MOVE_CURSOR: &str =
    "UPDATE relay_cursor SET position = $1, partition_positions = $2 WHERE position < $1";

/// At most so many messages are published and not yet acknowledged.
const IN_FLIGHT_MAX: usize = 256;

/// The log is read this much at a time.
const PAGE_SIZE: i64 = 1_024;

/// An acknowledgement that takes longer counts as lost.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two attempts to lead, and between two looks at the log when nothing wakes the relay.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// JetStream keeps what was published so long; who is further behind reads from PostgreSQL.
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3_600);

/// JetStream keeps at most this much.
const KEPT_BYTES_MAX: i64 = 1_024 * 1_024 * 1_024;

/// JetStream recognises a message published twice within this time.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

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
}

/// The relay of this process.
#[derive(Debug)]
pub struct Relay {
    pool: PgPool,
    nats: async_nats::Client,
    tail: Tail,
}

/// How far the log is published: over all, and per partition.
#[derive(Debug)]
struct Cursor {
    position: i64,
    partitions: Vec<i64>,
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
            // Once for each reason, however long it lasts.
            let reason = led.err().map_or_else(String::new, |error| error.to_string());
            if !reason.is_empty() && reason != reported {
                tracing::warn!(reason, "the relay stopped, trying again");
            }
            // What nobody publishes is seen to pile up.
            if !reason.is_empty()
                && let Ok(row) = sqlx::query(READ_CURSOR).fetch_one(&self.pool).await
                && let Ok(position) = row.try_get("position")
            {
                self.show_lag(position);
            }
            reported = reason;
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(RETRY_DELAY) => {}
            }
        }
    }

    /// Publishes as long as this relay leads; answers `Ok` at once when another leads.
    ///
    /// # Errors
    /// Why it cannot lead, or no longer; whatever was not acknowledged is published again by whoever leads next.
    pub async fn lead(&self) -> Result<(), RelayError> {
        // What is published without a connection waits in the client, and would go out a second time.
        self.connected()?;
        let Some(mut connection) = elect(&self.pool, ELECT).await? else { return Ok(()) };
        let jetstream = jetstream::new(self.nats.clone());
        ensure_stream(&jetstream).await?;
        let mut cursor = read_cursor(&mut connection).await?;
        tracing::info!(position = cursor.position, "the relay leads");
        let log = Log::new(self.pool.clone());
        let mut head = self.tail.follow();
        loop {
            head.borrow_and_update();
            let page = log.page(cursor.position, PAGE_SIZE).await?;
            if page.is_empty() {
                // Whoever comes back without the stream gets it anew, and another relay may have a better connection.
                self.connected()?;
                // Also proves that the connection, and with it the lock, still lives.
                bounded(connection.ping()).await?;
                let _ = tokio::time::timeout(RETRY_DELAY, head.changed()).await;
                continue;
            }
            publish(&jetstream, &page, &mut cursor).await?;
            let moving = sqlx::query(MOVE_CURSOR).bind(cursor.position).bind(&cursor.partitions);
            bounded(moving.execute(&mut connection)).await?;
            metrics::counter!("hub_events_published_total").increment(page.len() as u64);
            self.show_lag(cursor.position);
        }
    }

    fn connected(&self) -> Result<(), RelayError> {
        match self.nats.connection_state() {
            State::Connected => Ok(()),
            State::Pending | State::Disconnected => Err(RelayError::Nats("not connected".to_owned())),
        }
    }

    fn show_lag(&self, position: i64) {
        let lag = self.tail.head().saturating_sub(position).max(0);
        metrics::gauge!("hub_relay_lag_events").set(f64::from(i32::try_from(lag).unwrap_or(i32::MAX)));
    }
}

async fn read_cursor(connection: &mut PgConnection) -> Result<Cursor, RelayError> {
    let row = bounded(sqlx::query(READ_CURSOR).fetch_one(connection)).await?;
    let partitions: Vec<i64> = row.try_get("partition_positions")?;
    if partitions.len() != PARTITION_COUNT {
        return Err(RelayError::Configuration(format!("the cursor has {} partitions", partitions.len())));
    }
    Ok(Cursor { position: row.try_get("position")?, partitions })
}

/// Publishes a page in order, many in flight, and moves the cursor once all of it is acknowledged.
async fn publish(jetstream: &jetstream::Context, page: &[Recorded], cursor: &mut Cursor) -> Result<(), RelayError> {
    let mut partitions = cursor.partitions.clone();
    let mut messages = Vec::with_capacity(page.len());
    for event in page {
        let previous = &mut partitions[partition_of(event.tenant_id)];
        messages.push(message_of(event, *previous)?);
        *previous = event.position;
    }
    let mut in_flight = FuturesOrdered::new();
    for (subject, headers, payload) in messages {
        let ack = jetstream
            .publish_with_headers(subject, headers, payload)
            .await
            .map_err(|e| RelayError::Nats(e.to_string()))?;
        in_flight.push_back(tokio::time::timeout(ACK_TIMEOUT, ack.into_future()));
        if in_flight.len() >= IN_FLIGHT_MAX {
            acknowledged(in_flight.next().await)?;
        }
    }
    while !in_flight.is_empty() {
        acknowledged(in_flight.next().await)?;
    }
    cursor.position = page.last().map_or(cursor.position, |event| event.position);
    cursor.partitions = partitions;
    Ok(())
}

type Acknowledgement = Result<Result<PublishAck, PublishError>, tokio::time::error::Elapsed>;

fn acknowledged(ack: Option<Acknowledgement>) -> Result<(), RelayError> {
    match ack {
        Some(Ok(Err(error))) => Err(RelayError::Nats(error.to_string())),
        Some(Err(_)) => Err(RelayError::Nats("a message was not acknowledged in time".to_owned())),
        Some(Ok(Ok(_))) | None => Ok(()),
    }
}

fn message_of(event: &Recorded, previous: i64) -> Result<(String, HeaderMap, Bytes), RelayError> {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_MESSAGE_ID, event.event_id.to_string());
    headers.insert(POSITION_HEADER, event.position.to_string());
    headers.insert(PREVIOUS_POSITION_HEADER, previous.to_string());
    Ok((subject_of(event), headers, serde_json::to_vec(event)?.into()))
}

/// Makes the stream if it is missing, and refuses to go on if the server made something else of it: older servers leave out what they
/// do not know without a word.
async fn ensure_stream(jetstream: &jetstream::Context) -> Result<(), RelayError> {
    let wanted = Config {
        name: STREAM_NAME.to_owned(),
        subjects: vec![format!("{SUBJECT_ROOT}.>")],
        max_age: KEPT_FOR,
        max_bytes: KEPT_BYTES_MAX,
        duplicate_window: DUPLICATE_WINDOW,
        storage: jetstream::stream::StorageType::File,
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
