//! The sealer: leads when it can, and seals within a second of each append, or within 256 events.

mod pace;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use hub_event_store::{
    election::{bounded, elect},
    tail::Tail,
};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::pace::Pace;
use crate::{
    signer::Signer,
    turn::{PlatformHead, SealError, turn},
    witness::{CONTRADICTED, Contradiction, WitnessFile, contradiction, keep},
};

/// Takes the lock of the active sealer for as long as the connection lives.
pub(crate) const ELECT: &str = "SELECT pg_try_advisory_lock(7236831004)";

/// Gauge: whether there is a log that cannot be sealed.
pub(crate) const REFUSED: &str = "hub_seal_refused";

/// Counter of the checkpoints of tenants.
pub(crate) const CHECKPOINTS: &str = "hub_seal_checkpoints_total";

/// Between two attempts to lead, and between two looks at a database that is not the one that was sealed.
const REST: Duration = Duration::from_secs(1);

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
    pace: Pace,
    witness: Option<WitnessFile>,
    /// How the database is not the one that the witness knows.
    contradiction: watch::Sender<Option<Contradiction>>,
    /// What could not be sealed, and is not told again.
    reported: BTreeMap<Uuid, String>,
    /// Why the witness could not be written, which is not told again either.
    unwritten: String,
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
        Self {
            pool,
            tail,
            signer,
            clock,
            pace: Pace::default(),
            witness: None,
            contradiction: watch::Sender::default(),
            reported: BTreeMap::new(),
            unwritten: String::new(),
        }
    }

    /// Keeps what it signs last in this file, and signs nothing in a database that does not continue it.
    #[must_use]
    pub fn with_witness(mut self, witness: WitnessFile) -> Self {
        self.witness = Some(witness);
        self
    }

    /// With another pace.
    #[must_use]
    pub fn with_pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Follows whether, and how, the database is not the one that the witness knows.
    #[must_use]
    pub fn contradiction(&self) -> watch::Receiver<Option<Contradiction>> {
        self.contradiction.subscribe()
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
        self.hold_to_witness(&mut connection).await?;
        let mut head = self.tail.follow();
        let mut before = None;
        loop {
            let began = Instant::now();
            let seen = *head.borrow_and_update();
            let turn = self.turn(&mut connection, &mut before);
            let more = timeout(TURN_LIMIT, turn).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
            // Also proves that the connection, and with it the lock, still lives.
            bounded(connection.ping()).await?;
            let took = began.elapsed();
            if more {
                continue;
            }
            loop {
                let waiting = *head.borrow_and_update() - seen;
                let due = began + self.pace.due(waiting, took);
                tokio::select! {
                    () = sleep_until(due) => break,
                    changed = head.changed() => if changed.is_err() { break },
                }
            }
        }
    }

    /// Waits, and keeps everybody else from sealing, for as long as the database is not the one that was sealed here.
    async fn hold_to_witness(&mut self, connection: &mut PgConnection) -> Result<(), SealError> {
        let Some(file) = self.witness.clone() else { return Ok(()) };
        loop {
            let found = match file.read() {
                Ok(kept) => bounded(contradiction(connection, &self.signer, kept.as_deref())).await?,
                Err(error) => Some(Contradiction::Unreadable(error.to_string())),
            };
            metrics::gauge!(CONTRADICTED).set(if found.is_some() { 1.0 } else { 0.0 });
            let changed = self.contradiction.send_if_modified(|known| {
                let changed = *known != found;
                known.clone_from(&found);
                changed
            });
            match found {
                None => return Ok(()),
                Some(found) if changed => tracing::error!(
                    witness = %file.path().display(),
                    "{found}; nothing is sealed any more. Restore the newer database, or decide with \
                     `hub audit accept-rollback` that what it lacks is lost"
                ),
                Some(_) => {}
            }
            sleep(REST).await;
        }
    }

    /// Answers whether there is more to be sealed at once.
    async fn turn(
        &mut self,
        connection: &mut PgConnection,
        before: &mut Option<PlatformHead>,
    ) -> Result<bool, SealError> {
        let done = turn(connection, &self.signer, before.as_ref(), (self.clock)()).await?;
        if let Some(head) = done.head {
            if let Some(file) = &self.witness {
                let unwritten = keep(file, head.note.clone()).await.err().unwrap_or_default();
                if !unwritten.is_empty() && unwritten != self.unwritten {
                    tracing::error!(reason = unwritten, "the witness stays behind");
                }
                self.unwritten = unwritten;
            }
            *before = Some(head);
        }
        let count = u64::try_from(done.log_count).unwrap_or(u64::MAX);
        metrics::counter!(CHECKPOINTS).increment(count);
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
