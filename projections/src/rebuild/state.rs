//! What is written down of tables that are not live: how far a candidate is, what is parked in it, and where a retired table stood.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool, types::Json};

use crate::{
    parked::{self, ParkedEvent},
    projection::Target,
    reached::Reached,
};

/// A candidate is begun, in place of any other.
pub(crate) const FORGET: &str = "DELETE FROM projection_builds WHERE projection = $1 AND kind = $2";
pub(crate) const BEGIN: &str = "INSERT INTO projection_builds \
     (projection, kind, state, version, position, head, started_at, updated_at) \
     VALUES ($1, 'candidate', 'building', $2, 0, $3, now(), now())";

/// How far a candidate is.
pub(crate) const PROGRESS: &str = "UPDATE projection_builds SET position = $2, head = $3, events_per_second = $4, updated_at = now() \
     WHERE projection = $1 AND kind = 'candidate'";

/// A candidate is whole.
pub(crate) const READY: &str = "UPDATE projection_builds SET state = 'ready', position = $2, head = $2, row_count = $3, updated_at = now() \
     WHERE projection = $1 AND kind = 'candidate'";

/// A candidate will never be whole.
pub(crate) const FAILED: &str = "UPDATE projection_builds SET state = 'failed', error = $2, updated_at = now() \
     WHERE projection = $1 AND kind = 'candidate'";

/// A table that is not live has taken in more.
pub(crate) const MOVE: &str =
    "UPDATE projection_builds SET position = $3, updated_at = now() WHERE projection = $1 AND kind = $2";

/// The table that was live.
pub(crate) const RETIRE: &str = "INSERT INTO projection_builds \
     (projection, kind, state, version, position, head, shares, started_at, updated_at) \
     VALUES ($1, 'retired', 'retired', $2, $3, $4, $5, now(), now())";

/// What is parked in a live table goes with it.
pub(crate) const RETIRE_PARKED: &str = "INSERT INTO build_parked_events \
     (projection, kind, position, tenant_id, aggregate_type, aggregate_id, error, parked_at) \
     SELECT projection, 'retired', position, tenant_id, aggregate_type, aggregate_id, error, parked_at \
     FROM parked_events WHERE projection = $1";

/// Keeps aside what a table that is not live has parked.
pub(crate) const PARK: &str = "INSERT INTO build_parked_events \
     (projection, kind, position, tenant_id, aggregate_type, aggregate_id, error, parked_at) \
     SELECT $1, $7, e.position, e.tenant_id, e.aggregate_type, e.aggregate_id, e.error, now() \
     FROM unnest($2::bigint[], $3::uuid[], $4::text[], $5::uuid[], $6::text[]) AS e (position, tenant_id, aggregate_type, aggregate_id, error) \
     ON CONFLICT (projection, kind, position) DO NOTHING";

/// What a table that is not live has parked.
pub(crate) const PARKED: &str = "SELECT position, tenant_id, aggregate_type, aggregate_id, error FROM build_parked_events \
     WHERE projection = $1 AND kind = $2 ORDER BY position";

/// One of the two tables.
pub(crate) const FIND: &str =
    "SELECT state, version, position, shares FROM projection_builds WHERE projection = $1 AND kind = $2";

/// Everything that is written down of one projection.
pub(crate) const LIST: &str = "SELECT b.kind, b.state, b.version, b.position, b.head, b.row_count, b.events_per_second, b.error, \
     b.started_at, b.updated_at, \
     (SELECT count(*) FROM build_parked_events p WHERE (p.projection, p.kind) = (b.projection, b.kind)) AS parked, \
     EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = 7236831 \
             AND l.objid::bigint = hashtext(b.projection)::bigint & 4294967295 \
             AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS held \
     FROM projection_builds b WHERE b.projection = $1 ORDER BY b.kind";

/// Progress is written down this often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// A table beside the live one.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
pub struct Build {
    /// `candidate` or `retired`.
    pub kind: String,
    /// `building`, `ready`, `failed` or `retired`.
    pub state: String,
    /// The version of the rows.
    pub version: i32,
    /// Every event up to and with this one is in the table, or parked.
    pub position: i64,
    /// The last position of the log when this was written.
    pub head: i64,
    /// How many rows a candidate had when it was ready.
    pub row_count: Option<i64>,
    /// How fast a candidate was built, or is being built.
    pub events_per_second: Option<f64>,
    /// Why a candidate failed.
    pub error: Option<String>,
    /// When it was begun, or left its place.
    pub started_at: DateTime<Utc>,
    /// When it last moved.
    pub updated_at: DateTime<Utc>,
    /// How many events are parked in it.
    pub parked: i64,
    /// Whether somebody works on one of the projection's tables now.
    pub held: bool,
}

impl Build {
    /// How long the candidate still takes at the rate that it had so far; only while somebody builds it.
    #[must_use]
    pub fn seconds_to_go(&self) -> Option<f64> {
        let rate = self.events_per_second.filter(|rate| *rate > 0.0 && self.held && self.state == "building")?;
        Some((self.head - self.position).max(0) as f64 / rate)
    }

    /// Whether the process that built it has ended before it was done.
    #[must_use]
    pub fn abandoned(&self) -> bool {
        self.state == "building" && !self.held
    }
}

/// What is known of a table that can take the live one's place.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) state: String,
    pub(crate) version: i32,
    pub(crate) position: i64,
    pub(crate) reached: Reached,
}

pub(crate) const fn kind_of(target: Target) -> &'static str {
    match target {
        Target::Retired => "retired",
        Target::Live | Target::Shadow | Target::Expected => "candidate",
    }
}

/// The tables beside the live one.
pub(crate) async fn list(connection: &mut PgConnection, projection: &str) -> Result<Vec<Build>, sqlx::Error> {
    sqlx::query_as(LIST).bind(projection).fetch_all(connection).await
}

pub(crate) async fn find(
    connection: &mut PgConnection,
    projection: &str,
    target: Target,
) -> Result<Option<Found>, sqlx::Error> {
    let found: Option<(String, i32, i64, Json<Reached>)> =
        sqlx::query_as(FIND).bind(projection).bind(kind_of(target)).fetch_optional(connection).await?;
    Ok(found.map(|(state, version, position, Json(reached))| Found { state, version, position, reached }))
}

pub(crate) async fn parked(
    connection: &mut PgConnection,
    projection: &str,
    target: Target,
) -> Result<Vec<ParkedEvent>, sqlx::Error> {
    sqlx::query_as(PARKED).bind(projection).bind(kind_of(target)).fetch_all(connection).await
}

/// Writes down that a candidate is begun.
pub(crate) async fn begin(
    connection: &mut PgConnection,
    projection: &str,
    version: i32,
    head: i64,
) -> Result<(), sqlx::Error> {
    forget(connection, projection, Target::Shadow).await?;
    sqlx::query(BEGIN).bind(projection).bind(version).bind(head).execute(connection).await.map(|_| ())
}

/// Writes down that there is no such table any more.
pub(crate) async fn forget(connection: &mut PgConnection, projection: &str, target: Target) -> Result<(), sqlx::Error> {
    sqlx::query(FORGET).bind(projection).bind(kind_of(target)).execute(connection).await.map(|_| ())
}

/// Writes down that the candidate is whole, with what is parked in it.
pub(crate) async fn ready(
    connection: &mut PgConnection,
    projection: &str,
    position: i64,
    row_count: i64,
    parked: &[ParkedEvent],
) -> Result<(), sqlx::Error> {
    park(connection, projection, Target::Shadow, parked).await?;
    sqlx::query(READY).bind(projection).bind(position).bind(row_count).execute(connection).await.map(|_| ())
}

pub(crate) async fn failed(connection: &mut PgConnection, projection: &str, error: &str) -> Result<(), sqlx::Error> {
    sqlx::query(FAILED).bind(projection).bind(error).execute(connection).await.map(|_| ())
}

/// Writes down that the table has moved to `position` and parked these.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    projection: &str,
    target: Target,
    position: i64,
    parked: &[ParkedEvent],
) -> Result<(), sqlx::Error> {
    park(connection, projection, target, parked).await?;
    let step = sqlx::query(MOVE).bind(projection).bind(kind_of(target)).bind(position);
    step.execute(connection).await.map(|_| ())
}

async fn park(
    connection: &mut PgConnection,
    projection: &str,
    target: Target,
    events: &[ParkedEvent],
) -> Result<(), sqlx::Error> {
    for events in events.chunks(1_000) {
        let statement = parked::bind(sqlx::query(PARK).bind(projection), events);
        statement.bind(kind_of(target)).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Writes down that the live table is now the retired one, with what is parked in it, and forgets the table that took its place.
pub(crate) async fn retire(
    connection: &mut PgConnection,
    projection: &str,
    version: i32,
    reached: &Reached,
    head: i64,
    incoming: Target,
) -> Result<(), sqlx::Error> {
    forget(connection, projection, incoming).await?;
    forget(connection, projection, Target::Retired).await?;
    sqlx::query(RETIRE)
        .bind(projection)
        .bind(version)
        .bind(reached.lowest())
        .bind(head)
        .bind(Json(reached))
        .execute(&mut *connection)
        .await?;
    sqlx::query(RETIRE_PARKED).bind(projection).execute(connection).await.map(|_| ())
}

/// Measures a build and shows it to others.
#[derive(Debug)]
pub(crate) struct Meter {
    pool: PgPool,
    projection: &'static str,
    started_at: Instant,
    written_at: Instant,
}

impl Meter {
    pub(crate) fn start(pool: &PgPool, projection: &'static str) -> Self {
        let now = Instant::now();
        Self { pool: pool.clone(), projection, started_at: now, written_at: now }
    }

    /// The candidate, which began empty, is at `position`.
    pub(crate) fn show(&mut self, position: i64, head: i64) {
        let seconds = self.started_at.elapsed().as_secs_f64().max(0.001);
        let rate = position as f64 / seconds;
        let to_go = (head - position).max(0) as f64 / rate.max(0.001);
        let name = self.projection;
        metrics::gauge!("hub_projection_rebuild_events_per_second", "projection" => name).set(rate);
        metrics::gauge!("hub_projection_rebuild_seconds_to_go", "projection" => name).set(to_go);
        metrics::gauge!("hub_projection_rebuild_position", "projection" => name).set(position as f64);
        if self.written_at.elapsed() >= PROGRESS_INTERVAL {
            self.written_at = Instant::now();
            let pool = self.pool.clone();
            // Nobody waits for it, and the next one makes good for one that is lost.
            tokio::spawn(async move {
                let step = sqlx::query(PROGRESS).bind(name).bind(position).bind(head).bind(rate);
                if let Err(error) = step.execute(&pool).await {
                    tracing::debug!(projection = name, %error, "the progress of a build cannot be written down");
                }
            });
        }
    }

    /// The rate over all, in the state that others see.
    pub(crate) async fn finish(&self, position: i64) -> Result<(), sqlx::Error> {
        let rate = position as f64 / self.started_at.elapsed().as_secs_f64().max(0.001);
        let step = sqlx::query(PROGRESS).bind(self.projection).bind(position).bind(position).bind(rate);
        step.execute(&self.pool).await?;
        metrics::gauge!("hub_projection_rebuild_seconds_to_go", "projection" => self.projection).set(0.0);
        Ok(())
    }
}
