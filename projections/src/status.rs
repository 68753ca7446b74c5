//! What an operator sees of the projections.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use hub_event_store::log::Log;
use serde::Serialize;
use sqlx::{PgPool, Row};

use crate::{
    projection::{Projection, Target},
    rebuild::state::{self, Build},
};

/// The checkpoint of one projection and what it has parked.
pub(crate) const STATUS: &str = "SELECT max(c.version) AS version, min(c.position) AS position, \
     CASE WHEN bool_or(c.status = 'stopped') THEN 'stopped' ELSE 'running' END AS status, max(c.last_error) AS last_error, \
     max(c.updated_at) AS updated_at, bool_and(c.lease_owner IS NOT NULL AND c.lease_until >= now()) AS held, \
     (SELECT count(*) FROM parked_events p WHERE p.projection = c.projection) AS parked \
     FROM projection_checkpoints c WHERE c.projection = $1 GROUP BY c.projection";

/// How long the first event that is missing has been in the log, by the clock of the process that appended it, in seconds.
pub(crate) const LAG: &str =
    "SELECT extract(epoch FROM now() - e.occurred_at)::float8 FROM events e WHERE e.position = $1";

/// How many events a projection leaves out for good.
pub(crate) const DISCARDED: &str = "SELECT count(*) FROM discarded_events WHERE projection = $1";

/// The parked events of one projection.
pub(crate) const PARKED: &str = "SELECT position, tenant_id, aggregate_type, aggregate_id, error, parked_at FROM parked_events \
     WHERE projection = $1 AND position > $2 ORDER BY position LIMIT $3";

/// One projection as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProjectionStatus {
    pub name: &'static str,
    pub table: &'static str,
    /// The version that the table was built with; `None` before the first run.
    pub version: Option<i32>,
    /// The version that this program builds.
    pub code_version: i32,
    /// Every event up to and with this one is in the read model, or parked.
    pub position: i64,
    /// The last position of the log.
    pub head: i64,
    /// How many events are missing.
    pub lag: i64,
    /// How long the first of them has been in the log; 0 when none is missing.
    pub lag_seconds: f64,
    pub state: State,
    /// Why it stopped.
    pub last_error: Option<String>,
    /// How many events are parked.
    pub parked: i64,
    /// How many events are left out for good.
    pub discarded: i64,
    /// How many rows the table has.
    pub rows: i64,
    /// When the checkpoint last changed.
    pub updated_at: Option<DateTime<Utc>>,
    /// The tables beside the live one: a candidate, a retired one.
    pub builds: Vec<Build>,
}

/// Whether a projection moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A worker has it.
    Running,
    /// No worker has it now.
    Waiting,
    /// It met an event that it cannot take in and waits for somebody.
    Stopped,
}

/// A parked event.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
pub struct ParkedEvent {
    pub position: i64,
    pub tenant_id: uuid::Uuid,
    pub aggregate_type: String,
    pub aggregate_id: uuid::Uuid,
    pub error: String,
    pub parked_at: DateTime<Utc>,
}

/// Each projection as it stands.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn list(pool: &PgPool, projections: &[Arc<dyn Projection>]) -> Result<Vec<ProjectionStatus>, sqlx::Error> {
    let head = Log::new(pool.clone()).head().await?;
    let mut connection = pool.acquire().await?;
    let mut statuses = Vec::with_capacity(projections.len());
    for projection in projections {
        let rows = projection.row_count(&mut connection, Target::Live).await?;
        let mut status = ProjectionStatus {
            name: projection.name(),
            table: projection.table(),
            version: None,
            code_version: projection.version(),
            position: 0,
            head,
            lag: head,
            lag_seconds: 0.0,
            state: State::Waiting,
            last_error: None,
            parked: 0,
            discarded: sqlx::query_scalar(DISCARDED).bind(projection.name()).fetch_one(&mut *connection).await?,
            rows,
            updated_at: None,
            builds: state::list(&mut connection, projection.name()).await?,
        };
        if let Some(row) = sqlx::query(STATUS).bind(projection.name()).fetch_optional(&mut *connection).await? {
            let stopped = row.try_get::<String, _>("status")? == "stopped";
            status.version = row.try_get("version")?;
            status.position = row.try_get("position")?;
            status.lag = (head - status.position).max(0);
            status.state = match (stopped, row.try_get("held")?) {
                (true, _) => State::Stopped,
                (false, true) => State::Running,
                (false, false) => State::Waiting,
            };
            status.last_error = row.try_get("last_error")?;
            status.parked = row.try_get("parked")?;
            status.updated_at = row.try_get("updated_at")?;
        }
        let missing = sqlx::query_scalar(LAG).bind(status.position + 1).fetch_optional(&mut *connection).await?;
        status.lag_seconds = missing.map_or(0.0, |seconds: f64| seconds.max(0.0));
        statuses.push(status);
    }
    Ok(statuses)
}

/// At most `limit` parked events of one projection after `position`.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn parked_events(
    pool: &PgPool,
    projection: &str,
    position: i64,
    limit: i64,
) -> Result<Vec<ParkedEvent>, sqlx::Error> {
    sqlx::query_as(PARKED).bind(projection).bind(position).bind(limit).fetch_all(pool).await
}
