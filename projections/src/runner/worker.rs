//! One projection's worker: takes the lease, catches up from PostgreSQL, then follows NATS; at every doubt it reads from PostgreSQL.

use std::{sync::Arc, time::Duration};

use hub_event_store::{log::Log, tail::Tail, upcast::Upcasters};
use sqlx::{PgConnection, PgPool};
use tokio::{
    sync::{
        broadcast::error::{RecvError, TryRecvError},
        watch,
    },
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

use super::{
    Runner, Settings,
    feed::{Feed, Subscription},
};

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
    /// A message was missing while a batch was gathered.
    gap: bool,
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
            gap: false,
            renewed_at: Instant::now(),
        };
        self.show_parked().await?;
        session.show_position();
        tracing::debug!(projection = name, position = lease.position, "the projection runs here");
        let outcome = session.run(shutdown).await;
        if outcome.is_ok() {
            checkpoint::release(&self.pool, name, lease.epoch).await?;
        }
        outcome
    }

    /// Builds the table of a newer version; the old one answers until it is done.
    async fn rebuild(&self, lease: &Lease, shutdown: &CancellationToken) -> Result<(), Interruption> {
        tracing::info!(
            projection = self.name(),
            from = lease.version,
            to = self.projection.version(),
            "a new version is built"
        );
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
                    let events: Vec<_> = batch.iter().map(|incoming| incoming.event.as_ref()).collect();
                    if self.worker.log.confirms(&events).await? {
                        self.take_in(&batch).await?;
                    } else {
                        tracing::warn!(projection = self.worker.name(), "messages on NATS are not what the log says");
                        self.catch_up(shutdown).await?;
                    }
                }
                Wake::Look => self.catch_up(shutdown).await?,
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

    /// Waits for something to do, at most the poll interval.
    async fn wake(&mut self, shutdown: &CancellationToken) -> Wake {
        if std::mem::take(&mut self.gap) {
            return Wake::Look;
        }
        let settings = self.worker.settings;
        let idle = tokio::time::sleep(settings.poll_interval);
        tokio::pin!(idle);
        loop {
            let behind = *self.head.borrow_and_update() > self.position;
            let trusted = *self.feed.connected.borrow() && !self.doubtful;
            if behind && !trusted {
                return Wake::Look;
            }
            tokio::select! {
                () = shutdown.cancelled() => return Wake::Shutdown,
                received = self.feed.events.recv() => {
                    self.doubtful = false;
                    match self.judge(received.map_err(|error| matches!(error, RecvError::Lagged(_))), self.position) {
                        Verdict::Continues(event) => return Wake::Next(event),
                        Verdict::Known => {}
                        Verdict::Gap => return Wake::Look,
                        Verdict::Nothing => return Wake::Shutdown, // The feed lives as long as the runner.
                    }
                }
                // Never closed: this worker holds the tail too.
                _ = self.head.changed(), if !behind => {}
                () = tokio::time::sleep(settings.grace), if behind => {
                    self.doubtful = true;
                    return Wake::Look;
                }
                () = &mut idle => return Wake::Look,
            }
        }
    }

    /// The first event and what directly follows it and has come already.
    fn gather(&mut self, first: Incoming) -> Vec<Incoming> {
        let mut last = first.position();
        let mut batch = vec![first];
        while batch.len() < self.worker.settings.batch_size_max {
            let received = self.feed.events.try_recv();
            match self.judge(received.map_err(|error| matches!(error, TryRecvError::Lagged(_))), last) {
                Verdict::Continues(event) => {
                    last = event.position();
                    batch.push(event);
                }
                Verdict::Known => {}
                Verdict::Gap => {
                    self.gap = true;
                    break;
                }
                Verdict::Nothing => break,
            }
        }
        batch
    }

    /// What a message is to somebody who has everything up to `position`; the error tells whether messages were lost.
    fn judge(&self, received: Result<Incoming, bool>, position: i64) -> Verdict {
        match received {
            Ok(event) if event.position() <= position => Verdict::Known,
            Ok(event) if event.position() == position + 1 => Verdict::Continues(event),
            Ok(_) | Err(true) => {
                metrics::counter!("hub_projection_gaps_healed_total", "projection" => self.worker.name()).increment(1);
                Verdict::Gap
            }
            Err(false) => Verdict::Nothing,
        }
    }

    async fn take_in(&mut self, batch: &[Incoming]) -> Result<(), Interruption> {
        let expected = self.position + 1..;
        if let Some((hole, _)) = expected.zip(batch).find(|(position, incoming)| *position != incoming.position()) {
            return Err(sqlx::Error::Protocol(format!("the log has no event at position {hole}")).into());
        }
        let started_at = Instant::now();
        tokio::time::timeout(BATCH_TIMEOUT, self.deliver(batch)).await.map_err(|_| Interruption::TooSlow)??;
        let name = self.worker.name();
        metrics::histogram!("hub_projection_batch_duration_seconds", "projection" => name).record(started_at.elapsed());
        metrics::counter!("hub_events_applied_total", "projection" => name).increment(batch.len() as u64);
        self.show_position();
        Ok(())
    }

    async fn deliver(&mut self, batch: &[Incoming]) -> Result<(), Interruption> {
        let worker = self.worker;
        let mut connection = worker.pool.acquire().await?;
        match self.attempt(&mut connection, batch).await {
            Ok(()) => Ok(()),
            Err(DeliveryError::Poison { position, reason }) => {
                // What came before it is good.
                let good =
                    batch.iter().take_while(|incoming| incoming.position() < position).cloned().collect::<Vec<_>>();
                if !good.is_empty() {
                    self.attempt(&mut connection, &good).await.map_err(Interruption::of)?;
                }
                drop(connection);
                let reason = format!("the event at position {position} cannot be taken in: {reason}");
                checkpoint::stop(&worker.pool, worker.name(), self.epoch, &reason).await?;
                Err(Interruption::Stopped(reason))
            }
            Err(error) => Err(Interruption::of(error)),
        }
    }

    async fn attempt(&mut self, connection: &mut PgConnection, batch: &[Incoming]) -> Result<(), DeliveryError> {
        let fence = Fence { epoch: self.epoch, from: self.position, lease: self.worker.settings.lease };
        let projection = self.worker.projection.as_ref();
        let mut delivery = Delivery { projection, target: Target::Live, parking: &mut self.parking };
        let parked = delivery.deliver(connection, batch, Some(fence)).await?;
        self.position += i64::try_from(batch.len()).unwrap_or(0);
        self.renewed_at = Instant::now();
        if !parked.is_empty() {
            self.worker.show_parked().await?;
        }
        Ok(())
    }

    async fn renew(&mut self) -> Result<(), Interruption> {
        let worker = self.worker;
        if !checkpoint::renew(&worker.pool, worker.name(), self.epoch, worker.settings.lease).await? {
            return Err(Interruption::LeaseLost);
        }
        self.renewed_at = Instant::now();
        self.show_position();
        Ok(())
    }

    fn show_position(&self) {
        let name = self.worker.name();
        let lag = (self.worker.tail.head() - self.position).max(0);
        metrics::gauge!("hub_projection_position", "projection" => name).set(float(self.position));
        metrics::gauge!("hub_projection_lag_events", "projection" => name).set(float(lag));
    }
}

/// What a message from NATS is worth.
enum Verdict {
    Continues(Incoming),
    Known,
    Gap,
    Nothing,
}

impl Interruption {
    fn of(error: DeliveryError) -> Self {
        match error {
            DeliveryError::Fenced => Self::LeaseLost,
            DeliveryError::Database(error) => Self::Database(error),
            DeliveryError::Poison { position, reason } => Self::Stopped(format!("position {position}: {reason}")),
        }
    }
}

fn float(count: i64) -> f64 {
    count as f64
}
