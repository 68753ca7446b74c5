//! Shares: the parts of a projection that workers hold by lease, split, and put together again.
//!
//! A share is named by the lowest of its partitions. A share that was made anew has a higher epoch than any share of its projection
//! before it, so what somebody knows of an older one of that name fits nothing.

use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection, PgPool, Postgres, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{checkpoint, partitions::Partitions};

/// The version that a projection's table was built with, unless it is stopped.
pub(crate) const VERSION: &str =
    "SELECT max(version) FROM projection_checkpoints WHERE projection = $1 AND status = 'running'";

/// The transaction is on the disk when it is committed.
pub(crate) const DURABLE: &str = "SET LOCAL synchronous_commit TO on";

/// Takes a share that is free, or held by this worker already: of its own the first, of others' the largest.
pub(crate) const ACQUIRE: &str = "UPDATE projection_checkpoints c \
     SET lease_owner = $2, lease_until = now() + make_interval(secs => $3), epoch = c.epoch + 1 \
     FROM (SELECT share FROM projection_checkpoints \
           WHERE projection = $1 AND status = 'running' AND version = $4 AND share <> $5 \
             AND (lease_owner = $2 OR lease_until IS NULL \
                  OR lease_until <= now() - make_interval(secs => CASE WHEN $6 THEN 0 ELSE $3 END)) \
           ORDER BY lease_owner IS NOT DISTINCT FROM $2 DESC, cardinality(partitions) DESC, share \
           LIMIT 1 FOR UPDATE) free \
     WHERE c.projection = $1 AND c.share = free.share \
     RETURNING c.share, c.partitions, c.position, c.epoch";

/// Renews the lease of a share.
pub(crate) const RENEW: &str = "UPDATE projection_checkpoints SET lease_until = now() + make_interval(secs => $4) \
     WHERE projection = $1 AND share = $2 AND epoch = $3 AND status = 'running'";

/// Gives back what a worker holds.
pub(crate) const RELEASE: &str = "UPDATE projection_checkpoints SET lease_owner = NULL, lease_until = now() WHERE projection = $1 AND lease_owner = $2";

/// Forgets a worker.
pub(crate) const FORGET: &str = "DELETE FROM projection_workers WHERE projection = $1 AND worker_id = $2";

/// Says that a worker lives, forgets those that have been dead for long, and looks at the others.
pub(crate) const SURVEY: &str = "WITH seen AS ( \
         INSERT INTO projection_workers (projection, worker_id, seen_until) VALUES ($1, $2, now() + make_interval(secs => $3)) \
         ON CONFLICT (projection, worker_id) DO UPDATE SET seen_until = EXCLUDED.seen_until), \
     gone AS ( \
         DELETE FROM projection_workers WHERE (projection, worker_id) IN ( \
             SELECT projection, worker_id FROM projection_workers \
             WHERE projection = $1 AND worker_id <> $2 AND seen_until < now() - interval '1 minute' FOR UPDATE SKIP LOCKED)) \
     SELECT count(*) AS others, min(o.held) AS least, \
         EXISTS (SELECT FROM projection_checkpoints c WHERE c.projection = $1 AND c.share <> $4 \
                 AND (c.lease_owner = $2 OR c.lease_until IS NULL OR c.lease_until <= now())) AS free \
     FROM (SELECT (SELECT coalesce(sum(cardinality(c.partitions)), 0) FROM projection_checkpoints c \
                   WHERE c.projection = $1 AND c.lease_owner = w.worker_id AND c.lease_until > now()) AS held \
           FROM projection_workers w WHERE w.projection = $1 AND w.worker_id <> $2 AND w.seen_until > now()) o";

/// Keeps some partitions of a share and makes a free share of the others.
pub(crate) const SPLIT: &str = "WITH kept AS ( \
         UPDATE projection_checkpoints SET partitions = $5 \
         WHERE projection = $1 AND share = $2 AND epoch = $3 AND position = $4 AND status = 'running' \
         RETURNING version, position, status) \
     INSERT INTO projection_checkpoints (projection, share, partitions, version, position, epoch, lease_until, status, updated_at) \
     SELECT $1, ($6::smallint[])[1], $6, kept.version, kept.position, \
         (SELECT max(c.epoch) FROM projection_checkpoints c WHERE c.projection = $1) + 1, now(), kept.status, now() \
     FROM kept";

/// Removes the share that another has taken up.
pub(crate) const REMOVE: &str = "DELETE FROM projection_checkpoints WHERE projection = $1 AND share = $2";

/// Gives a share the partitions of both.
pub(crate) const JOIN: &str = "UPDATE projection_checkpoints \
     SET partitions = $3, epoch = $4, lease_owner = $5, lease_until = now() + make_interval(secs => $6) \
     WHERE projection = $1 AND share = $2";

/// No share has this name.
pub(crate) const NO_SHARE: i16 = -1;

/// A share that this worker holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    /// The lowest of its partitions.
    pub(crate) name: i16,
    pub(crate) partitions: Partitions,
    pub(crate) epoch: i64,
    /// Where it stands in PostgreSQL.
    pub(crate) position: i64,
}

/// Who works on a projection, and for how long nobody has to hear of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder {
    pub(crate) projection: &'static str,
    pub(crate) worker_id: Uuid,
    pub(crate) lease: Duration,
}

/// What a worker sees of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Survey {
    /// How many other workers live.
    others: u32,
    /// How many partitions the one with the fewest holds.
    least: u32,
    /// Whether there is a share that nobody holds.
    pub(crate) free: bool,
}

impl Survey {
    /// So many partitions are enough for one worker.
    pub(crate) const fn fair(self) -> u32 {
        Partitions::ALL.count().div_ceil(self.others + 1)
    }

    /// Whether somebody has too few while `held` are more than enough.
    pub(crate) const fn asks_for(self, held: u32) -> bool {
        held > self.fair() && self.others > 0 && self.least < self.fair()
    }
}

/// The version that the table was built with; `None` while the projection is stopped.
pub(crate) async fn version(connection: &mut PgConnection, projection: &str) -> Result<Option<i32>, sqlx::Error> {
    sqlx::query_scalar(VERSION).bind(projection).fetch_one(connection).await
}

impl Holder {
    /// Takes a share besides `held`, if one is free: at once when this worker has `room`, otherwise only one that nobody has wanted
    /// for as long as a lease. Whatever the connection's commits are like, this one is durable: an epoch is never given twice.
    pub(crate) async fn acquire(
        &self,
        connection: &mut PgConnection,
        version: i32,
        held: i16,
        room: bool,
    ) -> Result<Option<Share>, sqlx::Error> {
        let mut transaction = connection.begin().await?;
        sqlx::query(DURABLE).execute(&mut *transaction).await?;
        let row = sqlx::query(ACQUIRE)
            .bind(self.projection)
            .bind(self.worker_id)
            .bind(self.lease.as_secs_f64())
            .bind(version)
            .bind(held)
            .bind(room)
            .fetch_optional(&mut *transaction)
            .await?;
        transaction.commit().await?;
        row.as_ref().map(Share::from_row).transpose()
    }

    /// Renews the lease; false when it is lost.
    pub(crate) async fn renew(&self, connection: &mut PgConnection, share: &Share) -> Result<bool, sqlx::Error> {
        let done = sqlx::query(RENEW)
            .bind(self.projection)
            .bind(share.name)
            .bind(share.epoch)
            .bind(self.lease.as_secs_f64())
            .execute(connection)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Gives back what this worker holds, and is not counted any more.
    pub(crate) async fn leave(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        sqlx::query(RELEASE).bind(self.projection).bind(self.worker_id).execute(pool).await?;
        sqlx::query(FORGET).bind(self.projection).bind(self.worker_id).execute(pool).await?;
        Ok(())
    }

    /// Is counted from now on, and looks at the others; `held` is the share that this worker has.
    pub(crate) async fn survey<'e>(
        &self,
        executor: impl Executor<'e, Database = Postgres>,
        held: i16,
    ) -> Result<Survey, sqlx::Error> {
        let row = sqlx::query(SURVEY)
            .bind(self.projection)
            .bind(self.worker_id)
            .bind(self.lease.as_secs_f64())
            .bind(held)
            .fetch_one(executor)
            .await?;
        let least: Option<i64> = row.try_get("least")?;
        let small = |count: i64| u32::try_from(count).unwrap_or(0);
        Ok(Survey {
            others: small(row.try_get("others")?),
            least: small(least.unwrap_or(0)),
            free: row.try_get("free")?,
        })
    }

    /// Keeps the lowest `count` partitions of a share and frees the others; `None` when the share is lost.
    pub(crate) async fn split(&self, pool: &PgPool, share: &Share, count: u32) -> Result<Option<Share>, sqlx::Error> {
        let (kept, rest) = share.partitions.split(count as usize);
        let done = sqlx::query(SPLIT)
            .bind(self.projection)
            .bind(share.name)
            .bind(share.epoch)
            .bind(share.position)
            .bind(kept.numbers())
            .bind(rest.numbers())
            .execute(pool)
            .await?;
        Ok((done.rows_affected() == 1).then(|| Share { partitions: kept, ..share.clone() }))
    }

    /// Makes one share of two that stand at the same position; `None` when one of them is lost.
    pub(crate) async fn merge(&self, pool: &PgPool, one: &Share, two: &Share) -> Result<Option<Share>, sqlx::Error> {
        let mut transaction = pool.begin().await?;
        let locked = checkpoint::lock_shares(&mut transaction, self.projection).await?;
        let as_known = |share: &Share| {
            locked.iter().any(|row| {
                row.running && (row.share, row.epoch, row.position) == (share.name, share.epoch, share.position)
            })
        };
        if one.position != two.position || !as_known(one) || !as_known(two) {
            return Ok(None);
        }
        let merged = Share {
            name: one.name.min(two.name),
            partitions: one.partitions.with(two.partitions),
            epoch: locked.iter().map(|row| row.epoch).max().unwrap_or(0) + 1,
            position: one.position,
        };
        let removed = sqlx::query(REMOVE).bind(self.projection).bind(one.name.max(two.name));
        removed.execute(&mut *transaction).await?;
        sqlx::query(JOIN)
            .bind(self.projection)
            .bind(merged.name)
            .bind(merged.partitions.numbers())
            .bind(merged.epoch)
            .bind(self.worker_id)
            .bind(self.lease.as_secs_f64())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Some(merged))
    }
}

impl Share {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            name: row.try_get("share")?,
            partitions: Partitions::from_numbers(&row.try_get::<Vec<i16>, _>("partitions")?),
            epoch: row.try_get("epoch")?,
            position: row.try_get("position")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Survey;

    const fn survey(others: u32, least: u32) -> Survey {
        Survey { others, least, free: false }
    }

    #[test]
    fn a_worker_gives_away_only_what_somebody_lacks() {
        assert!(!survey(0, 0).asks_for(16), "nobody else is there");
        assert!(survey(1, 0).asks_for(16));
        assert!(!survey(1, 8).asks_for(8));
        assert!(survey(2, 0).asks_for(8));
        assert!(!survey(2, 4).asks_for(6), "6, 6 and 4 is as even as it needs to be");
        assert!(survey(20, 0).asks_for(2), "more workers than partitions: one each, and some have none");
        assert!(!survey(20, 0).asks_for(1));
    }
}
