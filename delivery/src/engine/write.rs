//! Writing what came of deliveries.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{Engine, EngineError};
use crate::{
    attempt::{self, Attempt},
    endpoint::keep_health,
    health::Health,
    queue::Changes,
    retention::Parts,
};

/// What a transaction begins with whose end need not be on disk, and whose statements find rows by their keys whatever PostgreSQL
/// believes: the queue is empty one moment and long the next, and a plan of when it was empty would read all of it for each row.
pub(crate) const BY_KEYS: &str = "SELECT set_config('synchronous_commit', 'off', true), set_config('enable_seqscan', 'off', true), \
     set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)";

impl Engine<'_> {
    /// Writes what has become of rows, attempts and endpoints.
    pub(super) async fn write(&mut self) -> Result<(), EngineError> {
        if let Some(unwritten) = self.unwritten() {
            let pool = self.given.pool.clone();
            self.parts = self.meanwhile(async move { unwritten.write(&pool).await }).await?;
        }
        Ok(())
    }

    /// The same, and nothing ends meanwhile: afterwards the database knows everything.
    pub(super) async fn flush(&mut self) -> Result<(), EngineError> {
        if let Some(unwritten) = self.unwritten() {
            self.parts = unwritten.write(&self.given.pool).await?;
        }
        Ok(())
    }

    /// A time for attempts that are written next.
    pub(super) fn written_next(&mut self) -> DateTime<Utc> {
        self.written_at = self.now().max(self.written_at + TimeDelta::microseconds(1));
        self.written_at
    }

    /// What is to be written, if anything is.
    fn unwritten(&mut self) -> Option<Unwritten> {
        let nothing = self.changes.is_empty() && self.attempts.is_empty() && self.unhealthy.is_empty();
        // Old parts of the log of attempts go also when there are no new attempts.
        if nothing && self.parts.kept_at(self.now()) {
            return None;
        }
        let at = self.written_next();
        let unhealthy = std::mem::take(&mut self.unhealthy).into_iter();
        let health = |webhook_id| {
            let lane = self.lanes.get(&webhook_id)?;
            Some((lane.endpoint.tenant_id, webhook_id, lane.health.clone()))
        };
        Some(Unwritten {
            health: unhealthy.filter_map(health).collect(),
            changes: std::mem::take(&mut self.changes),
            attempts: std::mem::take(&mut self.attempts),
            parts: std::mem::take(&mut self.parts),
            at,
            attempts_kept: TimeDelta::from_std(self.given.settings.attempts_kept).unwrap_or(TimeDelta::MAX),
        })
    }
}

/// What came of deliveries and is not in the database yet.
struct Unwritten {
    changes: Changes,
    attempts: Vec<Attempt>,
    health: Vec<(Uuid, Uuid, Health)>,
    parts: Parts,
    at: DateTime<Utc>,
    attempts_kept: TimeDelta,
}

impl Unwritten {
    /// Writes all of it, and gives the parts back. What is lost of it with the database's last moment is delivered again, so nobody waits
    /// until it is on disk.
    async fn write(mut self, pool: &PgPool) -> Result<Parts, sqlx::Error> {
        let mut transaction = pool.begin().await?;
        lazily(&mut transaction).await?;
        self.parts.keep(&mut transaction, self.at, self.attempts_kept).await?;
        self.changes.write(&mut transaction).await?;
        attempt::insert(&mut transaction, &self.attempts, self.at).await?;
        for (tenant_id, webhook_id, health) in &self.health {
            keep_health(&mut transaction, (*tenant_id, *webhook_id), health).await?;
        }
        transaction.commit().await?;
        Ok(self.parts)
    }
}

/// A transaction whose end nobody waits for until it is on disk, and that goes by keys.
pub(super) async fn lazily(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(BY_KEYS).execute(connection).await.map(|_| ())
}
