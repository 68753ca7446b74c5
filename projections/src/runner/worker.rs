//! One projection's worker: takes the lease, catches up from PostgreSQL, then follows NATS; at every doubt it reads from PostgreSQL.

use std::{sync::Arc, time::Duration};

use hub_event_store::{log::Log, tail::Tail, upcast::Upcasters};
use sqlx::PgPool;
use tokio::{
    sync::{broadcast::error::{RecvError, TryRecvError}, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    checkpoint::{self, Fence, Lease},
    delivery::{Delivery, DeliveryError},
    incoming::{self, Incoming},
    parked::{self, Parking},
    projection::{Projection, Target},
    rebuild::{RebuildError, Rebuilder},
};

use super::{Runner, Settings, feed::{Feed, Subscription}};

/// After the first failure of PostgreSQL; doubled with each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// At most so long between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// One batch, its retries included, may take so long.
const BATCH_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug, Clone)]
pub(super) struct Worker {
    pool: PgPool,
    log: Log,
    tail: Tail,
    upcasters: Upcasters,
    projection: Arc<dyn Projection>,
    settings: Settings,
    feed: Feed,
    owner: Uuid,
}

/// Why a worker does not work on.
#[derive(Debug, thiserror::Error)]
enum Interruption {
    #[error("the lease is lost")]
    LeaseLost,
    /// Stopped on purpose; the reason is in the checkpoint.
    #[error("stopped: {0}")]
    Stopped(String),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("a batch took too long")]
    TooSlow,
    #[error("the table cannot be built anew: {0}")]
    Rebuild(#[from] RebuildError),
}

/// What made the worker look for events.
enum Wake {
    Shutdown,
    /// This one continues what is there.
    Next(Incoming),
    /// Only PostgreSQL knows.
    Look,
    /// Nothing new; the lease wants to be renewed.
    Idle,
}

/// A worker that holds the lease.
struct Session<'a> {
    worker: &'a Worker,
    epoch: i64,
    position: i64,
    parking: Parking,
    feed: Subscription,
    head: watch::Receiver<i64>,
    /// NATS did not bring in time what is in the log; until it brings something, nobody waits for it.
    doubtful: bool,
    renewed_at: Instant,
}

impl Worker {
    pub(super) fn new(runner: &Runner, projection: Arc<dyn Projection>, feed: &Feed) -> Self {
        Self {
            pool: runner.pool.clone(),
            log: Log::new(runner.pool.clone()),
            tail: runner.tail.clone(),
            upcasters: runner.upcasters.clone(),
            projection,
            settings: runner.settings,
            feed: feed.clone(),
            owner: Uuid::new_v4(),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.projection.name()
    }

    /// Works until `shutdown`; whatever happens, it tries again.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let mut backoff = BACKOFF_MIN;
        while !shutdown.is_cancelled() {
            let started_at = Instant::now();
            let delay = match self.lead(&shutdown).await {
                Ok(()) => self.settings.poll_interval,
                Err(Interruption::LeaseLost) => {
                    tracing::debug!(projection = self.name(), "the checkpoint was moved by somebody else");
                    Duration::ZERO
                }
                Err(Interruption::Stopped(reason)) => {
                    tracing::error!(projection = self.name(), reason, "the projection has stopped");
                    self.settings.poll_interval
                }
                Err(error @ (Interruption::Database(_) | Interruption::TooSlow | Interruption::Rebuild(_))) => {
                    if started_at.elapsed() > BACKOFF_MAX {
                        backoff = BACKOFF_MIN;
                    }
                    tracing::warn!(projection = self.name(), %error, ?backoff, "the projection waits and tries again");
                    let delay = backoff;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                    delay
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    /// Takes the lease if it can, and works as long as it holds it.
    async fn lead(&self, shutdown: &CancellationToken) -> Result<(), Interruption> {
        let (name, version) = (self.name(), self.projection.version());
        checkpoint::ensure(&self.pool, name, version).await?;
        let lease = checkpoint::acquire(&self.pool, name, self.owner, self.settings.lease, version).await?;
        let Some(lease) = lease else { return Ok(()) };
        if lease.version < version {
            return self.rebuild(&lease, shutdown).await;
        }
        let mut session = Session {
            worker: self,
            epoch: lease.epoch,
            position: lease.position,
            parking: Parking::load(&self.pool, name).await?,
            feed: self.feed.subscribe(),
            head: self.tail.follow(),
            doubtful: false,
            renewed_at: Instant::now(),
        };
        self.show_parked().await?;
        tracing::debug!(projection = name, position = lease.position, "the projection runs here");
        let outcome = session.run(shutdown).await;
        if outcome.is_ok() {
            checkpoint::release(&self.pool, name, lease.epoch).await?;
        }
        outcome
    }

    /// Builds the table of a newer version; the old one answers until it is done.
    async fn rebuild(&self, lease: &Lease, shutdown: &CancellationToken) -> Result<(), Interruption> {
        tracing::info!(projection = self.name(), from = lease.version, to = self.projection.version(), "a new version is built");
        let rebuilder = Rebuilder::new(self.pool.clone(), self.upcasters.clone(), self.projection.clone());
        let renewing = async {
            loop {
                tokio::time::sleep(self.settings.lease / 3).await;
                match checkpoint::renew(&self.pool, self.name(), lease.epoch, self.settings.lease).await {
                    Ok(true) => {}
                    Ok(false) => return Interruption::LeaseLost,
                    Err(error) => tracing::warn!(projection = self.name(), %error, "the lease could not be renewed"),
                }
            }
        };
        tokio::select! {
            // Given up at any moment it leaves the live table as it is.
            () = shutdown.cancelled() => Ok(()),
            lost = renewing => Err(lost),
            done = rebuilder.run(&|_, _| {}) => Ok(done.map(|_| ())?),
        }
    }

    async fn show_parked(&self) -> Result<(), sqlx::Error> {
        let parked = parked::count(&self.pool, self.name()).await?;
        metrics::gauge!("hub_projection_parked_events", "projection" => self.name()).set(float(parked));
        Ok(())
    }
}

impl Session<'_> {
    async fn run(&mut self, shutdown: &CancellationToken) -> Result<(), Interruption> {
        self.catch_up(shutdown).await?;
        loop {
            match self.wake(shutdown).await {
                Wake::Shutdown => return Ok(()),
                Wake::Next(first) => {
                    let batch = self.gather(first);
                    self.take_in(&batch).await?;
                }
                Wake::Look => self.catch_up(shutdown).await?,
                Wake::Idle => {}
            }
            if self.renewed_at.elapsed() > self.worker.settings.lease / 3 {
                self.renew().await?;
            }
        }
    }

    /// Reads from PostgreSQL until there is no more.
    async fn catch_up(&mut self, shutdown: &CancellationToken) -> Result<(), Interruption> {
        let limit = self.worker.settings.batch_size_max;
        while !shutdown.is_cancelled() {
            self.head.borrow_and_update();
            let limit_in_sql = i64::try_from(limit).unwrap_or(i64::MAX);
            let page = incoming::page(&self.worker.log, &self.worker.upcasters, self.position, limit_in_sql).await?;
            if !page.is_empty() {
                self.take_in(&page).await?;
            }
            if page.len() < limit {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits for something to do.
    async fn wake(&mut self, shutdown: &CancellationToken) -> Wake {
        let settings = self.worker.settings;
        let idle = tokio::time::sleep(settings.poll_interval);
        tokio::pin!(idle);
        loop {
            let behind = *self.head.borrow() > self.position;
            let trusted = *self.feed.connected.borrow() && !self.doubtful;
            if behind && !trusted {
                return Wake::Look;
            }
            tokio::select! {
                () = shutdown.cancelled() => return Wake::Shutdown,
                received = self.feed.events.recv() => {
                    self.doubtful = false;
                    match received {
                        Ok(event) if event.position() <= self.position => {}
                        Ok(event) if event.position() == self.position + 1 => return Wake::Next(event),
                        Ok(_) | Err(RecvError::Lagged(_)) => return self.heal(),
                        // The feed lives as long as the runner.
                        Err(RecvError::Closed) => return Wake::Shutdown,
                    }
                }
                // Nobody appends in this process any more when it is closed; then the slow look remains.
                changed = self.head.changed(), if !behind => if changed.is_err() { return self.look_slowly(&mut idle).await },
                () = tokio::time::sleep(settings.grace), if behind => {
                    self.doubtful = true;
                    return Wake::Look;
                }
                () = &mut idle => return Wake::Idle,
            }
        }
    }
}
