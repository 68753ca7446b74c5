//! How far a projection has got, and which worker may move it.
//!
//! The checkpoint of a projection is one row, or several when workers share its partitions; the projection as a whole stands where the
//! last of them stands. A worker holds a lease by PostgreSQL's clock. Each change of hands raises the epoch, and every move names the
//! epoch and the position it starts from, so a worker that lost its lease without noticing moves nothing. How shares change hands is
//! in `share`.

use std::time::Duration;

use sqlx::{Executor, PgConnection, PgPool, Postgres, Row};

use crate::partitions::Partitions;

/// Makes the checkpoint of a projection that has none: one share with all partitions.
pub(crate) const ENSURE: &str = "INSERT INTO projection_checkpoints (projection, version, position, epoch, status, updated_at) \
     VALUES ($1, $2, 0, 0, 'running', now()) ON CONFLICT (projection, share) DO NOTHING";

/// Moves the position of a share and renews its lease.
pub(crate) const MOVE: &str = "UPDATE projection_checkpoints \
     SET position = $5, lease_until = now() + make_interval(secs => $6), updated_at = now() \
     WHERE projection = $1 AND share = $2 AND epoch = $3 AND position = $4 AND status = 'running'";

/// Gives every lease back, whoever held it.
pub(crate) const RELEASE_ALL: &str = "UPDATE projection_checkpoints SET lease_owner = NULL, lease_until = NULL, epoch = epoch + 1 \
     WHERE lease_owner IS NOT NULL";

/// Forgets every worker.
pub(crate) const FORGET_ALL: &str = "DELETE FROM projection_workers";

/// Stops the projection and says why.
pub(crate) const STOP: &str = "UPDATE projection_checkpoints \
     SET status = 'stopped', last_error = $2, lease_owner = NULL, lease_until = NULL, updated_at = now() WHERE projection = $1";

/// Lets a stopped projection go on where it stopped.
pub(crate) const RESUME: &str = "UPDATE projection_checkpoints SET status = 'running', last_error = NULL, updated_at = now() \
     WHERE projection = $1 AND status = 'stopped'";

/// Holds everybody off until the transaction ends.
pub(crate) const LOCK: &str = "SELECT share, partitions, position, version, epoch, status FROM projection_checkpoints \
     WHERE projection = $1 ORDER BY share FOR UPDATE";

/// The checkpoint after a rebuild; the new epoch makes every worker look again.
pub(crate) const REPLACE: &str = "UPDATE projection_checkpoints \
     SET partitions = DEFAULT, position = $2, version = $3, status = 'running', last_error = NULL, lease_owner = NULL, \
         lease_until = NULL, updated_at = now(), \
         epoch = (SELECT max(c.epoch) FROM projection_checkpoints c WHERE c.projection = $1) + 1 \
     WHERE projection = $1 AND share = 0";

/// What is left of the other shares after a rebuild: nothing.
pub(crate) const DROP_OTHERS: &str = "DELETE FROM projection_checkpoints WHERE projection = $1 AND share <> 0";

/// The position of one projection: that of the share that is furthest behind.
pub(crate) const POSITION: &str = "SELECT min(position) FROM projection_checkpoints WHERE projection = $1";

/// So often the locks are taken while shares are split under them.
const LOCK_ATTEMPT_COUNT_MAX: u32 = 100;

/// What a move must find unchanged.
#[derive(Debug, Clone, Copy)]
pub struct Fence {
    /// The lowest partition of the share.
    pub share: i16,
    /// Who holds it now.
    pub epoch: i64,
    /// Where it stands.
    pub from: i64,
    /// For how long the move renews the lease.
    pub lease: Duration,
}

/// One row of a locked checkpoint.
#[derive(Debug, Clone)]
pub(crate) struct Locked {
    pub(crate) share: i16,
    pub(crate) partitions: Partitions,
    pub(crate) position: i64,
    pub(crate) version: i32,
    pub(crate) epoch: i64,
    pub(crate) running: bool,
}

/// Gives back the leases of workers that died without doing so, instead of waiting until they run out; for whoever knows that no
/// other process works on this database.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn release_all(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query(FORGET_ALL).execute(pool).await?;
    sqlx::query(RELEASE_ALL).execute(pool).await.map(|_| ())
}

/// The position that a projection has got to, with all its shares; 0 when it has never run.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn position<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    projection: &str,
) -> Result<i64, sqlx::Error> {
    let position: Option<i64> = sqlx::query_scalar(POSITION).bind(projection).fetch_one(executor).await?;
    Ok(position.unwrap_or(0))
}

pub(crate) async fn ensure<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    projection: &str,
    version: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query(ENSURE).bind(projection).bind(version).execute(executor).await?;
    Ok(())
}

/// Moves the position of a share; false when the fence does not hold any more.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    projection: &str,
    fence: Fence,
    to: i64,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(MOVE)
        .bind(projection)
        .bind(fence.share)
        .bind(fence.epoch)
        .bind(fence.from)
        .bind(to)
        .bind(fence.lease.as_secs_f64())
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Stops the whole projection and says why, unless the share has changed hands.
pub(crate) async fn stop(
    pool: &PgPool,
    projection: &str,
    share: i16,
    epoch: i64,
    error: &str,
) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let locked = lock_shares(&mut transaction, projection).await?;
    if locked.iter().any(|row| row.share == share && row.epoch == epoch) {
        sqlx::query(STOP).bind(projection).bind(error).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Lets a stopped projection go on where it stopped; false when it was not stopped.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn resume(pool: &PgPool, projection: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(RESUME).bind(projection).execute(pool).await?;
    Ok(done.rows_affected() > 0)
}

/// Locks the checkpoint with all its shares until the transaction ends and answers its lowest position, and its version.
pub(crate) async fn lock(connection: &mut PgConnection, projection: &str) -> Result<(i64, i32), sqlx::Error> {
    let locked = lock_shares(connection, projection).await?;
    let lowest = locked.iter().map(|row| (row.position, row.version));
    lowest.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).ok_or(sqlx::Error::RowNotFound)
}

/// Locks every share until the transaction ends.
pub(crate) async fn lock_shares(connection: &mut PgConnection, projection: &str) -> Result<Vec<Locked>, sqlx::Error> {
    for _ in 0..LOCK_ATTEMPT_COUNT_MAX {
        let rows = sqlx::query(LOCK).bind(projection).fetch_all(&mut *connection).await?;
        let locked = rows.iter().map(Locked::from_row).collect::<Result<Vec<_>, _>>()?;
        // A share that was split off while this waited for a lock is not among them; the next look sees it.
        if locked.is_empty() || locked.iter().map(|row| row.partitions.count()).sum::<u32>() == Partitions::ALL.count()
        {
            return Ok(locked);
        }
    }
    Err(sqlx::Error::Protocol(format!("the shares of {projection} do not hold each partition once")))
}

impl Locked {
    fn from_row(row: &sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            share: row.try_get("share")?,
            partitions: Partitions::from_numbers(&row.try_get::<Vec<i16>, _>("partitions")?),
            position: row.try_get("position")?,
            version: row.try_get("version")?,
            epoch: row.try_get("epoch")?,
            running: row.try_get::<String, _>("status")? == "running",
        })
    }
}

/// Puts the whole projection at `position`, in one share that nobody holds. The checkpoint is locked.
pub(crate) async fn replace(
    connection: &mut PgConnection,
    projection: &str,
    position: i64,
    version: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query(REPLACE).bind(projection).bind(position).bind(version).execute(&mut *connection).await?;
    sqlx::query(DROP_OTHERS).bind(projection).execute(connection).await?;
    Ok(())
}
