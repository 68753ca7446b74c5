//! Where the relay begins: behind the last event that the stream itself holds.

use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::{
    message::StreamMessage,
    stream::{LastRawMessageErrorKind, RawMessageError, Stream},
};
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::{Progress, RelayError, message::event_id_of, stream::KEPT_FOR};
use crate::{
    log::{Log, fetch},
    partition::{PARTITION_COUNT, POSITION_HEADER, partition_of},
};

/// The event at a position.
pub(crate) const EVENT_AT: &str = "SELECT event_id FROM events WHERE position = $1";

/// Whether an event is younger than so many seconds, by the clock of PostgreSQL.
pub(crate) const KEPT_AT: &str =
    "SELECT occurred_at > now() - make_interval(secs => $2) AS kept FROM events WHERE position = $1";

/// The last event of each tenant at or before a position.
pub(crate) const LAST_OF_TENANTS: &str = "SELECT h.tenant_id, e.position FROM tenant_heads h \
     CROSS JOIN LATERAL (SELECT position FROM events WHERE tenant_id = h.tenant_id AND position <= $1 \
     ORDER BY tenant_position DESC LIMIT 1) e";

/// Reading the tenants' places may take so long; it is an index access for each tenant and each event behind the place.
const PLACES_TIMEOUT: Duration = Duration::from_secs(120);

/// So many messages at the end of the stream are looked at for an event.
const STEP_COUNT_MAX: u64 = 100_000;

/// The place in the log and in the stream behind which publishing begins.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) progress: Progress,
    /// The last sequence that the stream has given out.
    pub(super) sequence: u64,
    /// Whether the stream holds nothing at all.
    pub(super) empty: bool,
}

/// Looks where the stream ends. `stream` knows its present state; `cursor` is how far the log was once published.
///
/// # Errors
/// `Diverged` when the stream ends with an event that is not in this log.
pub(super) async fn find(pool: &PgPool, stream: &Stream, cursor: i64) -> Result<Start, RelayError> {
    let log = Log::new(pool.clone());
    let state = &stream.cached_info().state;
    let empty = state.messages == 0;
    let last = if empty { None } else { last_event(stream).await? };
    let head = log.head().await?;
    let (position, sequence) = match last {
        Some(last) => {
            let found = fetch(pool, sqlx::query(EVENT_AT).bind(last.position)).await?;
            let found: Option<Uuid> = found.first().map(|row| row.try_get("event_id")).transpose()?;
            if found != Some(last.event_id) {
                return Err(RelayError::Diverged { event_id: last.event_id, position: last.position, head });
            }
            (last.position, state.last_sequence)
        }
        // A stream that was lost gets back what it would still keep; nothing that was never published is left out.
        None => (cursor.min(first_kept(pool, head).await? - 1), state.last_sequence),
    };
    let partitions = partitions_at(pool, position).await?;
    Ok(Start { progress: Progress { position, partitions }, sequence, empty })
}

/// The last event in the stream.
struct Last {
    event_id: Uuid,
    position: i64,
}

/// The last message that is an event; what others have put behind it, and what was deleted, is stepped over. One by one, because older
/// servers answer the question for the last message of all subjects wrongly when the very last was deleted.
async fn last_event(stream: &Stream) -> Result<Option<Last>, RelayError> {
    let state = &stream.cached_info().state;
    let (first, last) = (state.first_sequence, state.last_sequence);
    for sequence in (first.max(last.saturating_sub(STEP_COUNT_MAX) + 1)..=last).rev() {
        let Some(message) = existing(stream.get_raw_message(sequence).await)? else { continue };
        if let Some((position, event_id)) = event_of(&message) {
            return Ok(Some(Last { event_id, position }));
        }
        tracing::warn!(sequence, "the stream holds a message that is no event");
    }
    if last - first < STEP_COUNT_MAX {
        return Ok(None);
    }
    Err(RelayError::Nats(format!("there is no event among the last {STEP_COUNT_MAX} messages of the stream")))
}

fn event_of(message: &StreamMessage) -> Option<(i64, Uuid)> {
    let position = message.headers.get(POSITION_HEADER)?.as_str().parse().ok()?;
    Some((position, event_id_of(message.headers.get(NATS_MESSAGE_ID)?.as_str())?))
}

fn existing(message: Result<StreamMessage, RawMessageError>) -> Result<Option<StreamMessage>, RelayError> {
    match message {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(RelayError::Nats(error.to_string())),
    }
}

/// The first position that the stream would still keep had it been published when it occurred, the one behind the head if there is
/// none. Times are no order, but nearly; whatever comes behind the place that is found is published, so a clock that went back
/// makes no gap.
async fn first_kept(pool: &PgPool, head: i64) -> Result<i64, RelayError> {
    let (mut low, mut high) = (1, head + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let query = sqlx::query(KEPT_AT).bind(middle).bind(KEPT_FOR.as_secs_f64());
        let rows = fetch(pool, query).await?;
        let row = rows.first().ok_or(RelayError::Missing { position: middle })?;
        if row.try_get("kept")? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(high)
}

/// The last position of each partition at or before `position`, from the log itself.
async fn partitions_at(pool: &PgPool, position: i64) -> Result<[i64; PARTITION_COUNT], RelayError> {
    let mut partitions = [0; PARTITION_COUNT];
    if position == 0 {
        return Ok(partitions);
    }
    let mut connection = pool.acquire().await?;
    let query = sqlx::query_as(LAST_OF_TENANTS).bind(position).fetch_all(&mut *connection);
    let Ok(places) = tokio::time::timeout(PLACES_TIMEOUT, query).await else {
        connection.close_on_drop();
        return Err(sqlx::Error::PoolTimedOut.into());
    };
    let places: Vec<(Uuid, i64)> = places?;
    for (tenant_id, last) in places {
        let partition = &mut partitions[partition_of(tenant_id)];
        *partition = last.max(*partition);
    }
    Ok(partitions)
}
