//! What an operator does about parked events: take them in after all, or leave one out for good and say why.
//!
//! Both lock the checkpoint, so no worker writes meanwhile, and raise its epoch, so that each worker looks again at what waits.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use hub_event_store::{event::Recorded, upcast::Upcasters};
use serde::Serialize;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    checkpoint,
    incoming::Incoming,
    projection::{ApplyError, Projection, Target},
};

/// The parked events of one stream, in order.
pub(crate) const OF_STREAM: &str = "SELECT position FROM parked_events \
     WHERE projection = $1 AND tenant_id = $2 AND aggregate_type = $3 AND aggregate_id = $4 ORDER BY position LIMIT $5";

/// The streams that wait, in the order in which they began to.
pub(crate) const STREAMS: &str = "SELECT tenant_id, aggregate_type, aggregate_id FROM parked_events WHERE projection = $1 \
     AND ($2::uuid IS NULL OR aggregate_id = $2) GROUP BY tenant_id, aggregate_type, aggregate_id ORDER BY min(position)";

/// Events by their positions.
pub(crate) const EVENTS: &str = "SELECT position, tenant_position, event_id, tenant_id, aggregate_type, aggregate_id, sequence, event_type, \
     event_version, occurred_at, payload::text AS payload, metadata::text AS metadata, leaf_hash \
     FROM events WHERE position = ANY($1) ORDER BY position";

/// These events were taken in.
pub(crate) const REMOVE: &str = "DELETE FROM parked_events WHERE projection = $1 AND position = ANY($2)";

/// Why an event still cannot be taken in.
pub(crate) const EXPLAIN: &str = "UPDATE parked_events \
     SET error = CASE position WHEN $2 THEN left($4, 1000) ELSE 'waits behind the event at position ' || $2 END \
     WHERE projection = $1 AND position = ANY($3)";

/// Makes every worker of the projection look again.
pub(crate) const WAKE: &str = "UPDATE projection_checkpoints SET epoch = epoch + 1 WHERE projection = $1";

/// Takes one event out of the parked ones.
pub(crate) const TAKE: &str = "DELETE FROM parked_events WHERE projection = $1 AND position = $2 \
     RETURNING tenant_id, aggregate_type, aggregate_id, error";

/// Writes down who left which event out and why.
pub(crate) const DISCARD: &str = "INSERT INTO discarded_events \
     (projection, position, tenant_id, aggregate_type, aggregate_id, error, reason, discarded_by, discarded_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now())";

/// What was left out.
pub(crate) const LIST_DISCARDED: &str = "SELECT position, tenant_id, aggregate_type, aggregate_id, error, reason, discarded_by, discarded_at \
     FROM discarded_events WHERE projection = $1 AND position > $2 ORDER BY position LIMIT $3";

/// At most so many events of one stream are taken in by one transaction.
const STREAM_EVENT_COUNT_MAX: usize = 10_000;

/// Why nothing was done, or no more.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    #[error("there is no projection named `{0}`")]
    Unknown(String),
    #[error("the projection {projection} has version {version}, this program folds version {code_version}")]
    OtherVersion { projection: &'static str, version: i32, code_version: i32 },
    #[error("the projection {projection} has not parked the event at position {position}")]
    NotParked { projection: &'static str, position: i64 },
    #[error("a reason is needed")]
    NoReason,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// What an attempt led to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retried {
    /// So many events were taken in.
    pub taken: usize,
    /// So many of the same streams are still parked.
    pub left: usize,
}

/// An event that was left out for good.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
pub struct DiscardedEvent {
    pub position: i64,
    pub tenant_id: Uuid,
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    /// Why it was parked.
    pub error: String,
    /// Why it was left out.
    pub reason: String,
    /// By whom.
    pub discarded_by: String,
    pub discarded_at: DateTime<Utc>,
}

type Stream = (Uuid, String, Uuid);

/// Takes in what is parked of all streams, or of those of one aggregate: each stream in order and in a transaction of its own, up to
/// the first event that still cannot be taken in.
///
/// # Errors
/// When PostgreSQL does not answer, or the table is not of this program's version; what was taken in before stays so.
pub async fn retry(
    pool: &PgPool,
    upcasters: &Upcasters,
    projections: &[Arc<dyn Projection>],
    name: &str,
    aggregate_id: Option<Uuid>,
) -> Result<Retried, RepairError> {
    let projection = named(projections, name)?;
    let streams: Vec<Stream> = sqlx::query_as(STREAMS).bind(name).bind(aggregate_id).fetch_all(pool).await?;
    let mut retried = Retried::default();
    for stream in streams {
        loop {
            let one = retry_stream(pool, upcasters, projection.as_ref(), &stream).await?;
            retried.taken += one.taken;
            retried.left += one.left;
            // Ends, since each round that goes on takes events out.
            if one.left > 0 || one.taken < STREAM_EVENT_COUNT_MAX {
                break;
            }
        }
    }
    Ok(retried)
}

async fn retry_stream(
    pool: &PgPool,
    upcasters: &Upcasters,
    projection: &dyn Projection,
    stream: &Stream,
) -> Result<Retried, RepairError> {
    let (name, code_version) = (projection.name(), projection.version());
    let mut transaction = pool.begin().await?;
    let (_, version) = checkpoint::lock(&mut transaction, name).await?;
    if version != code_version {
        return Err(RepairError::OtherVersion { projection: name, version, code_version });
    }
    let positions = sqlx::query_scalar(OF_STREAM).bind(name).bind(stream.0).bind(&stream.1).bind(stream.2);
    let positions: Vec<i64> =
        positions.bind(i64::try_from(STREAM_EVENT_COUNT_MAX).unwrap_or(i64::MAX)).fetch_all(&mut *transaction).await?;
    let events: Vec<Recorded> = sqlx::query_as(EVENTS).bind(&positions).fetch_all(&mut *transaction).await?;
    let events: Vec<_> = events.into_iter().map(|event| Incoming::new(upcasters, event)).collect();
    let (taken, failure) = take_in(&mut transaction, projection, &events).await?;
    sqlx::query(REMOVE).bind(name).bind(&positions[..taken]).execute(&mut *transaction).await?;
    if let Some(error) = failure {
        tracing::warn!(projection = name, position = positions[taken], error, "the event still cannot be taken in");
        let explained = sqlx::query(EXPLAIN).bind(name).bind(positions[taken]).bind(&positions[taken..]);
        explained.bind(error.replace('\0', "")).execute(&mut *transaction).await?;
    }
    sqlx::query(WAKE).bind(name).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Retried { taken, left: positions.len() - taken })
}

/// Takes in the events up to the first that cannot be; answers how many, and what is wrong with the next one.
async fn take_in(
    connection: &mut PgConnection,
    projection: &dyn Projection,
    events: &[Incoming],
) -> Result<(usize, Option<String>), sqlx::Error> {
    // Nearly always all of them can be, or the first cannot.
    if events.iter().all(|incoming| incoming.unreadable.is_none())
        && attempt(connection, projection, events).await?.is_none()
    {
        return Ok((events.len(), None));
    }
    for (taken, incoming) in events.iter().enumerate() {
        let failure = match &incoming.unreadable {
            Some(reason) => Some(reason.to_string()),
            None => attempt(connection, projection, std::slice::from_ref(incoming)).await?,
        };
        if failure.is_some() {
            return Ok((taken, failure));
        }
    }
    Ok((events.len(), None))
}

/// Takes in all of the events or none; answers why none.
async fn attempt(
    connection: &mut PgConnection,
    projection: &dyn Projection,
    events: &[Incoming],
) -> Result<Option<String>, sqlx::Error> {
    let events: Vec<_> = events.iter().map(|incoming| incoming.event.clone()).collect();
    let mut savepoint = connection.begin().await?;
    let error = match projection.apply(&mut savepoint, Target::Live, &events).await {
        Ok(()) => return savepoint.commit().await.map(|()| None),
        Err(ApplyError::Database(error)) => return Err(error),
        Err(error @ (ApplyError::Poison { .. } | ApplyError::Data(_))) => error,
    };
    savepoint.rollback().await?;
    Ok(Some(error.to_string()))
}

/// Leaves one parked event out of the read model for good, also in rebuilds and comparisons; the rest of its stream stays parked until
/// it is retried.
///
/// # Errors
/// When it is not parked, or no reason is given.
pub async fn discard(
    pool: &PgPool,
    projections: &[Arc<dyn Projection>],
    name: &str,
    position: i64,
    reason: &str,
    who: &str,
) -> Result<(), RepairError> {
    let projection = named(projections, name)?.name();
    if reason.trim().is_empty() {
        return Err(RepairError::NoReason);
    }
    let mut transaction = pool.begin().await?;
    checkpoint::lock(&mut transaction, name).await?;
    let parked: Option<(Uuid, String, Uuid, String)> =
        sqlx::query_as(TAKE).bind(name).bind(position).fetch_optional(&mut *transaction).await?;
    let Some((tenant_id, aggregate_type, aggregate_id, error)) = parked else {
        return Err(RepairError::NotParked { projection, position });
    };
    sqlx::query(DISCARD)
        .bind(name)
        .bind(position)
        .bind(tenant_id)
        .bind(aggregate_type)
        .bind(aggregate_id)
        .bind(error)
        .bind(reason.trim())
        .bind(who)
        .execute(&mut *transaction)
        .await?;
    sqlx::query(WAKE).bind(name).execute(&mut *transaction).await?;
    transaction.commit().await?;
    tracing::warn!(projection, position, who, reason, "an event is left out of a read model");
    Ok(())
}

/// At most `limit` events after `position` that a projection leaves out for good.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn discarded_events(
    pool: &PgPool,
    projection: &str,
    position: i64,
    limit: i64,
) -> Result<Vec<DiscardedEvent>, sqlx::Error> {
    sqlx::query_as(LIST_DISCARDED).bind(projection).bind(position).bind(limit).fetch_all(pool).await
}

fn named<'a>(projections: &'a [Arc<dyn Projection>], name: &str) -> Result<&'a Arc<dyn Projection>, RepairError> {
    let found = projections.iter().find(|projection| projection.name() == name);
    found.ok_or_else(|| RepairError::Unknown(name.to_owned()))
}
