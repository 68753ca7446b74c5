//! How far a projection has got, and which worker may move it.
//!
//! A worker holds a lease by PostgreSQL's clock. Each change of hands raises the epoch, and every move names the epoch and the position
//! it starts from, so a worker that lost its lease without noticing moves nothing.

use std::time::Duration;

use sqlx::{Executor, PgConnection, PgPool, Postgres, Row};
use uuid::Uuid;

/// Makes the checkpoint of a projection that has none.
pub(crate) const ENSURE: &str = "INSERT INTO projection_checkpoints (projection, version, position, epoch, status, updated_at) \
     VALUES ($1, $2, 0, 0, 'running', now()) ON CONFLICT (projection) DO NOTHING";

/// Takes the lease if nobody else holds it.
pub(crate) const ACQUIRE: &str = "UPDATE projection_checkpoints \
     SET lease_owner = $2, lease_until = now() + make_interval(secs => $3), epoch = epoch + 1 \
     WHERE projection = $1 AND status = 'running' AND version <= $4 \
       AND (lease_owner = $2 OR lease_until IS NULL OR lease_until < now()) \
     RETURNING version, position, epoch";

/// Moves the position and renews the lease.
pub(crate) const MOVE: &str = "UPDATE projection_checkpoints \
     SET position = $4, lease_until = now() + make_interval(secs => $5), updated_at = now() \
     WHERE projection = $1 AND epoch = $2 AND position = $3 AND status = 'running'";

/// Renews the lease.
pub(crate) const RENEW: &str = "UPDATE projection_checkpoints SET lease_until = now() + make_interval(secs => $3) \
     WHERE projection = $1 AND epoch = $2 AND status = 'running'";

/// Gives the lease back.
pub(crate) const RELEASE: &str = "UPDATE projection_checkpoints SET lease_owner = NULL, lease_until = NULL \
     WHERE projection = $1 AND epoch = $2";

/// Gives every lease back, whoever held it.
pub(crate) const RELEASE_ALL: &str = "UPDATE projection_checkpoints SET lease_owner = NULL, lease_until = NULL, epoch = epoch + 1 \
     WHERE lease_owner IS NOT NULL";

/// Stops the projection and says why.
pub(crate) const STOP: &str = "UPDATE projection_checkpoints \
     SET status = 'stopped', last_error = $3, lease_owner = NULL, lease_until = NULL, updated_at = now() \
     WHERE projection = $1 AND epoch = $2";

/// Lets a stopped projection go on where it stopped.
pub(crate) const RESUME: &str = "UPDATE projection_checkpoints SET status = 'running', last_error = NULL, updated_at = now() \
     WHERE projection = $1 AND status = 'stopped'";

/// Holds everybody off until the transaction ends.
pub(crate) const LOCK: &str = "SELECT position, version FROM projection_checkpoints WHERE projection = $1 FOR UPDATE";

/// The checkpoint after a rebuild; the new epoch makes every worker look again.
pub(crate) const REPLACE: &str = "UPDATE projection_checkpoints \
     SET position = $2, version = $3, epoch = epoch + 1, status = 'running', last_error = NULL, lease_owner = NULL, lease_until = NULL, \
         updated_at = now() \
     WHERE projection = $1";

/// The position of one projection.
pub(crate) const POSITION: &str = "SELECT position FROM projection_checkpoints WHERE projection = $1";

/// A lease that this process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) epoch: i64,
    /// The version that the table was built with.
    pub(crate) version: i32,
    pub(crate) position: i64,
}

/// What a move must find unchanged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fence {
    pub(crate) epoch: i64,
    pub(crate) from: i64,
    pub(crate) lease: Duration,
}

/// Gives back the leases of workers that died without doing so, instead of waiting until they run out; for whoever knows that no
/// other process works on this database.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn release_all(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query(RELEASE_ALL).execute(pool).await.map(|_| ())
}

/// The position that a projection has got to; 0 when it has never run.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn position<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    projection: &str,
) -> Result<i64, sqlx::Error> {
    let position = sqlx::query_scalar(POSITION).bind(projection).fetch_optional(executor).await?;
    Ok(position.unwrap_or(0))
}

pub(crate) async fn ensure(pool: &PgPool, projection: &str, version: i32) -> Result<(), sqlx::Error> {
    sqlx::query(ENSURE).bind(projection).bind(version).execute(pool).await?;
    Ok(())
}

/// Takes or keeps the lease; `None` while another worker holds it, the projection is stopped, or a newer version has taken over.
pub(crate) async fn acquire(
    pool: &PgPool,
    projection: &str,
    owner: Uuid,
    lease: Duration,
    version: i32,
) -> Result<Option<Lease>, sqlx::Error> {
    let row = sqlx::query(ACQUIRE)
        .bind(projection)
        .bind(owner)
        .bind(lease.as_secs_f64())
        .bind(version)
        .fetch_optional(pool)
        .await?;
    row.map(|row| {
        Ok(Lease { epoch: row.try_get("epoch")?, version: row.try_get("version")?, position: row.try_get("position")? })
    })
    .transpose()
}

/// Moves the position; false when the fence does not hold any more.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    projection: &str,
    fence: Fence,
    to: i64,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(MOVE)
        .bind(projection)
        .bind(fence.epoch)
        .bind(fence.from)
        .bind(to)
        .bind(fence.lease.as_secs_f64())
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Renews the lease; false when it is lost.
pub(crate) async fn renew(pool: &PgPool, projection: &str, epoch: i64, lease: Duration) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(RENEW).bind(projection).bind(epoch).bind(lease.as_secs_f64()).execute(pool).await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn release(pool: &PgPool, projection: &str, epoch: i64) -> Result<(), sqlx::Error> {
    sqlx::query(RELEASE).bind(projection).bind(epoch).execute(pool).await?;
    Ok(())
}

pub(crate) async fn stop(pool: &PgPool, projection: &str, epoch: i64, error: &str) -> Result<(), sqlx::Error> {
    sqlx::query(STOP).bind(projection).bind(epoch).bind(error).execute(pool).await?;
    Ok(())
}

/// Lets a stopped projection go on where it stopped; false when it was not stopped.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn resume(pool: &PgPool, projection: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(RESUME).bind(projection).execute(pool).await?;
    Ok(done.rows_affected() == 1)
}

/// Locks the checkpoint until the transaction ends and answers its position and version.
pub(crate) async fn lock(connection: &mut PgConnection, projection: &str) -> Result<(i64, i32), sqlx::Error> {
    sqlx::query_as(LOCK).bind(projection).fetch_one(connection).await
}

pub(crate) async fn replace(
    connection: &mut PgConnection,
    projection: &str,
    position: i64,
    version: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query(REPLACE).bind(projection).bind(position).bind(version).execute(connection).await?;
    Ok(())
}
