//! Events that a projection could not take in: kept aside with their stream, shown, and taken in again by a rebuild or one by one.

pub mod repair;

use std::collections::{HashMap, HashSet};

use hub_event_store::event::Recorded;
use sqlx::{PgConnection, PgPool, Postgres, Row, postgres::PgArguments, query::Query};
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

/// The positions of the events that a projection leaves out for good.
pub(crate) const DISCARDED: &str = "SELECT position FROM discarded_events WHERE projection = $1";

/// What was discarded is parked no more.
pub(crate) const CLEAR_DISCARDED: &str = "DELETE FROM parked_events p USING discarded_events d \
     WHERE p.projection = $1 AND (d.projection, d.position) = (p.projection, p.position)";

/// Forgets what was parked.
pub(crate) const CLEAR: &str = "DELETE FROM parked_events WHERE projection = $1";

/// So many characters of an error are kept.
const ERROR_LENGTH_MAX: usize = 1_000;

/// An event that was parked, and why.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct ParkedEvent {
    pub(crate) position: i64,
    #[sqlx(flatten)]
    stream: StreamKey,
    error: String,
}

impl ParkedEvent {
    pub(crate) fn error(&self) -> &str {
        &self.error
    }
}

/// One stream, as a parked one is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, sqlx::FromRow)]
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
#[derive(Debug, Clone, Default)]
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

    /// The streams of these events.
    pub(crate) fn of(events: &[ParkedEvent]) -> Self {
        let mut streams: HashMap<StreamKey, (i64, Option<String>)> = HashMap::new();
        for event in events {
            let first = streams.entry(event.stream.clone()).or_insert((event.position, None));
            first.0 = first.0.min(event.position);
        }
        Self { streams }
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
    bind(sqlx::query(PARK).bind(projection), events).execute(connection).await.map(|_| ())
}

/// Binds the events as five arrays: position, tenant, aggregate type, aggregate, error.
pub(crate) fn bind<'q>(
    query: Query<'q, Postgres, PgArguments>,
    events: &[ParkedEvent],
) -> Query<'q, Postgres, PgArguments> {
    query
        .bind(events.iter().map(|event| event.position).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.stream.tenant_id).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.stream.aggregate_type.clone()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.stream.aggregate_id).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.error.clone()).collect::<Vec<_>>())
}

/// The positions of the events that are left out for good.
pub(crate) async fn discarded(connection: &mut PgConnection, projection: &str) -> Result<HashSet<i64>, sqlx::Error> {
    Ok(sqlx::query_scalar(DISCARDED).bind(projection).fetch_all(connection).await?.into_iter().collect())
}

/// The positions of all parked events.
pub(crate) async fn positions(connection: &mut PgConnection, projection: &str) -> Result<HashSet<i64>, sqlx::Error> {
    Ok(sqlx::query_scalar(POSITIONS).bind(projection).fetch_all(connection).await?.into_iter().collect())
}

/// How many events are parked.
pub(crate) async fn count(pool: &PgPool, projection: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(COUNT).bind(projection).fetch_one(pool).await
}

/// Another table is live, in which these are parked. What was discarded meanwhile is not.
pub(crate) async fn replace(
    connection: &mut PgConnection,
    projection: &str,
    events: &[ParkedEvent],
) -> Result<(), sqlx::Error> {
    sqlx::query(CLEAR).bind(projection).execute(&mut *connection).await?;
    for events in events.chunks(1_000) {
        insert(connection, projection, events).await?;
    }
    sqlx::query(CLEAR_DISCARDED).bind(projection).execute(connection).await.map(|_| ())
}
