//! Running projections: one worker each, all fed by one NATS consumer, each healing itself from PostgreSQL.
//!
//! A slow or failing projection holds up no other one. Several processes may run the same projections: they share the partitions of
//! each by lease, and what a process leaves behind the others take over when its lease has run out.

mod feed;
mod sentinel;
mod session;
mod sharing;
mod worker;

use std::{sync::Arc, time::Duration};

use hub_event_store::{log::Log, tail::Tail, upcast::Upcasters};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::{sync::broadcast, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{positions::Positions, projection::Projection};

use self::{feed::Feed, worker::Worker};

/// So many messages from NATS wait in memory; a projection that is further behind reads from PostgreSQL.
const FEED_SIZE: usize = 4_096;

/// A worker that ended unexpectedly is started again after so long.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// Connecting to PostgreSQL may take so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The workers wait at most so long for PostgreSQL to be watched.
const WATCH_TIMEOUT: Duration = Duration::from_secs(2);

/// At shutdown the workers may take so long to finish their batch.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// How a runner paces itself; the default is for production.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// A worker that has not been heard of for so long loses its shares to others.
    pub lease: Duration,
    /// Without any wake-up the log is looked at this often.
    pub poll_interval: Duration,
    /// So long a worker waits for NATS to bring what is known to be in the log before it reads from PostgreSQL.
    pub grace: Duration,
    /// At most so many events in one transaction.
    pub batch_size_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            poll_interval: Duration::from_secs(1),
            grace: Duration::from_millis(200),
            batch_size_max: 1_000,
        }
    }
}

/// Runs projections in this process.
#[derive(Debug)]
pub struct Runner {
    pool: PgPool,
    builders: Option<PgPool>,
    nats: Option<async_nats::Client>,
    tail: Tail,
    upcasters: Upcasters,
    projections: Vec<Arc<dyn Projection>>,
    positions: Positions,
    settings: Settings,
}

impl Runner {
    /// A runner for `projections`. Besides some connections of `pool` it has one of its own for each projection; without `nats`
    /// everything is read from PostgreSQL. Somebody else must run the `tail`.
    #[must_use]
    pub fn new(
        pool: PgPool,
        nats: Option<async_nats::Client>,
        tail: Tail,
        upcasters: Upcasters,
        projections: Vec<Arc<dyn Projection>>,
    ) -> Self {
        let (positions, settings) = (Positions::default(), Settings::default());
        Self { pool, builders: None, nats, tail, upcasters, projections, positions, settings }
    }

    /// Builds tables of newer versions on these connections instead, when those of the runner may write tables but not make them.
    #[must_use]
    pub fn with_builders(mut self, builders: PgPool) -> Self {
        self.builders = Some(builders);
        self
    }

    /// With another pace.
    #[must_use]
    pub const fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Tells on this board how far the projections have got that run here as a whole.
    #[must_use]
    pub fn with_positions(mut self, positions: Positions) -> Self {
        self.positions = positions;
        self
    }

    /// Runs until `shutdown`, then lets the workers finish their batches and gives the shares back.
    pub async fn run(self, shutdown: CancellationToken) {
        let (sender, _) = broadcast::channel(FEED_SIZE);
        let feed = Feed::new(self.nats.clone(), Log::new(ready_connection(&self.pool)), self.upcasters.clone(), sender);
        let mut tasks = JoinSet::new();
        tasks.spawn(sentinel::run(self.pool.clone(), self.positions.clone(), shutdown.clone()));
        // Whoever begins before would begin again at once. Without PostgreSQL it is each worker's own matter to wait for it.
        drop(tokio::time::timeout(WATCH_TIMEOUT, self.positions.being_watched()).await);
        for projection in &self.projections {
            let worker = Worker::new(&self, projection.clone(), &feed);
            tasks.spawn(supervise(worker, shutdown.clone()));
        }
        tasks.spawn(feed.run(shutdown.clone()));
        shutdown.cancelled().await;
        let ended = tokio::time::timeout(SHUTDOWN_TIMEOUT, async { while tasks.join_next().await.is_some() {} });
        if ended.await.is_err() {
            tracing::warn!("some projections did not finish their batch in time; it will be read again");
        }
    }
}

/// One connection that is not asked whether it still lives before each use: every event waits for it, and its loss does no harm.
fn ready_connection(pool: &PgPool) -> PgPool {
    PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(CONNECT_TIMEOUT)
        .test_before_acquire(false)
        .connect_lazy_with(pool.connect_options().as_ref().clone())
}

/// Keeps a worker alive: what panics in one projection is logged, and tried again after a while.
async fn supervise(worker: Worker, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        let mut task = JoinSet::new();
        task.spawn(worker.clone().run(shutdown.clone()));
        if let Some(Err(error)) = task.join_next().await {
            tracing::error!(projection = worker.name(), %error, "the worker of a projection failed");
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(RESTART_DELAY) => {}
            }
        }
    }
}
