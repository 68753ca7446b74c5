//! Events that a projection could not take in: kept aside with their stream, shown, and taken in again by a rebuild.

use std::collections::{HashMap, HashSet};

use hub_event_store::event::Recorded;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

/// The streams that a projection has parked, each with the position from which on.
pub(crate) const STREAMS: &str = "SELECT tenant_id, aggregate_type, aggregate_id, min(position) AS position \
     FROM parked_events WHERE projection = $1 GROUP BY tenant_id, aggregate_type, aggregate_id";

/// The positions that a projection has parked.
pub(crate) const POSITIONS: &str = "SELECT position FROM parked_events WHERE projection = $1";

/// How many events a projection has parked.
pub(crate) const COUNT: &str = "SELECT count(*) FROM parked_events WHERE projection = $1";

/// Parks events.
pub(crate) const PARK: &str = "INSERT INTO parked_events (projection, position, tenant_id, aggregate_type, aggregate_id, error, parked_at) \
     SELECT $1, e.position, e.tenant_id, e.aggregate_type, e.aggregate_id, e.error, now() \
     FROM unnest($2::bigint[], $3::uuid[], $4::text[], $5::uuid[], $6::text[]) AS e (position, tenant_id, aggregate_type, aggregate_id, error) \
     ON CONFLICT (projection, position) DO NOTHING";

/// Forgets what was parked.
pub(crate) const CLEAR: &str = "DELETE FROM parked_events WHERE projection = $1";

/// So many characters of an error are kept.
const ERROR_LENGTH_MAX: usize = 1_000;

/// An event that was parked, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParkedEvent {
    pub(crate) position: i64,
    stream: StreamKey,
    error: String,
}

impl ParkedEvent {
    pub(crate) fn error(&self) -> &str {
        &self.error
    }
}

/// One stream, as a parked one is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct StreamKey {
    tenant_id: Uuid,
    aggregate_type: String,
    aggregate_id: Uuid,
}

impl StreamKey {
    fn of(event: &Recorded) -> Self {
        Self {
            tenant_id: event.tenant_id,
            aggregate_type: event.aggregate_type.clone(),
            aggregate_id: event.aggregate_id,
        }
    }
}

/// The streams that wait, each with the position and the error of the event they wait behind.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    streams: HashMap<StreamKey, (i64, Option<String>)>,
}

impl Parking {
    /// The streams that the projection has parked.
    pub(crate) async fn load(pool: &PgPool, projection: &str) -> Result<Self, sqlx::Error> {
        let rows = sqlx::query(STREAMS).bind(projection).fetch_all(pool).await?;
        let mut streams = HashMap::with_capacity(rows.len());
        for row in rows {
            let stream = StreamKey {
                tenant_id: row.try_get("tenant_id")?,
                aggregate_type: row.try_get("aggregate_type")?,
                aggregate_id: row.try_get("aggregate_id")?,
            };
            streams.insert(stream, (row.try_get("position")?, None));
        }
        Ok(Self { streams })
    }

    /// From this event on its stream waits.
    pub(crate) fn park(&mut self, event: &Recorded, error: &str) {
        let error = error.chars().filter(|c| *c != '\0').take(ERROR_LENGTH_MAX).collect();
        self.streams.entry(StreamKey::of(event)).or_insert((event.position, Some(error)));
    }

    /// The event as a parked one, if its stream waits.
    pub(crate) fn holds(&self, event: &Recorded) -> Option<ParkedEvent> {
        if self.streams.is_empty() {
            return None;
        }
        let stream = StreamKey::of(event);
        let (position, error) = self.streams.get(&stream)?;
        let error = match error {
            Some(error) if *position == event.position => error.clone(),
            Some(_) | None => format!("waits behind the event at position {position}"),
        };
        (*position <= event.position).then_some(ParkedEvent { position: event.position, stream, error })
    }
}

/// Keeps the events aside.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    projection: &str,
    events: &[ParkedEvent],
) -> Result<(), sqlx::Error> {
    if events.is_empty() {
        return Ok(());
    }
    sqlx::query(PARK)
        .bind(projection)
        .bind(events.iter().map(|event| event.position).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.stream.tenant_id).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.stream.aggregate_type.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.stream.aggregate_id).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.error.as_str()).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

/// The positions of all parked events.
pub(crate) async fn positions(connection: &mut PgConnection, projection: &str) -> Result<HashSet<i64>, sqlx::Error> {
    Ok(sqlx::query_scalar(POSITIONS).bind(projection).fetch_all(connection).await?.into_iter().collect())
}

/// How many events are parked.
pub(crate) async fn count(pool: &PgPool, projection: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(COUNT).bind(projection).fetch_one(pool).await
}

/// Forgets what was parked, because everything was read anew.
pub(crate) async fn clear(connection: &mut PgConnection, projection: &str) -> Result<(), sqlx::Error> {
    sqlx::query(CLEAR).bind(projection).execute(connection).await?;
    Ok(())
}
