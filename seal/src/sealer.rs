//! The sealer: leads when it can, and seals within a second of each append.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use hub_event_store::{
    election::{bounded, elect},
    tail::Tail,
};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    signer::Signer,
    turn::{SealError, turn},
};

/// Takes the lock of the active sealer for as long as the connection lives.
pub(crate) const ELECT: &str = "SELECT pg_try_advisory_lock(7236831004)";

/// Gauge: for how long the first event without a seal has been waiting.
pub(crate) const LAG: &str = "hub_seal_lag_seconds";

/// Gauge: whether there is a log that cannot be sealed.
pub(crate) const REFUSED: &str = "hub_seal_refused";

/// Counter of the checkpoints of tenants.
pub(crate) const CHECKPOINTS: &str = "hub_seal_checkpoints_total";

/// Between two attempts to lead, and between two turns at the longest.
const REST: Duration = Duration::from_secs(1);

/// Between the beginnings of two turns at the shortest: events that come together are sealed together.
const INTERVAL: Duration = Duration::from_millis(250);

/// One turn may take so long.
const TURN_LIMIT: Duration = Duration::from_secs(30);

/// The time.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Seals what the log has; see the module.
pub struct Sealer {
    pool: PgPool,
    tail: Tail,
    signer: Signer,
    clock: Clock,
    /// What could not be sealed, and is not told again.
    reported: BTreeMap<Uuid, String>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sealer").field("signer", &self.signer).finish_non_exhaustive()
    }
}

impl Sealer {
    /// One that signs with `signer`, whose keys are published.
    #[must_use]
    pub fn new(pool: PgPool, tail: Tail, signer: Signer, clock: Clock) -> Self {
        Self { pool, tail, signer, clock, reported: BTreeMap::new() }
    }

    /// Leads when it can and waits when another process does, until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut reported = String::new();
        while !shutdown.is_cancelled() {
            let led = tokio::select! {
                () = shutdown.cancelled() => return,
                led = self.lead() => led,
            };
            // Once for each reason, however long it lasts.
            let reason = led.err().map_or_else(String::new, |error| error.to_string());
            if !reason.is_empty() && reason != reported {
                tracing::warn!(reason, "the sealer stopped, trying again");
            }
            reported = reason;
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = sleep(REST) => {}
            }
        }
    }

    async fn lead(&mut self) -> Result<(), SealError> {
        let Some(mut connection) = elect(&self.pool, ELECT).await? else { return Ok(()) };
        tracing::info!("the sealer leads");
        let mut head = self.tail.follow();
        loop {
            let began = Instant::now();
            head.borrow_and_update();
            let more =
                timeout(TURN_LIMIT, self.turn(&mut connection)).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
            // Also proves that the connection, and with it the lock, still lives.
            bounded(connection.ping()).await?;
            if !more {
                let _ = timeout_at(began + REST, head.changed()).await;
                tokio::time::sleep_until(began + INTERVAL).await;
            }
        }
    }

    /// Answers whether there is more to be sealed at once.
    async fn turn(&mut self, connection: &mut PgConnection) -> Result<bool, SealError> {
        let now = (self.clock)();
        let done = turn(connection, &self.signer, now).await?;
        let count = u64::try_from(done.log_count).unwrap_or(u64::MAX);
        metrics::counter!(CHECKPOINTS).increment(count);
        let lag = done.oldest.map_or(0.0, |oldest| (now - oldest).as_seconds_f64().max(0.0));
        metrics::gauge!(LAG).set(lag);
        metrics::gauge!(REFUSED).set(if done.refused.is_empty() { 0.0 } else { 1.0 });
        let refused: BTreeMap<Uuid, String> =
            done.refused.iter().map(|(log, error)| (*log, error.to_string())).collect();
        for (tenant_id, reason) in refused.iter().filter(|(log, reason)| self.reported.get(log) != Some(reason)) {
            tracing::error!(%tenant_id, reason, "a log is not what was sealed before and gets no checkpoint any more");
        }
        self.reported = refused;
        Ok(done.more && count > 0)
    }
}
