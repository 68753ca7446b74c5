//! One projection's worker: takes a share when there is one, works as long as it holds it, and tries again whatever happens.

use std::{sync::Arc, time::Duration};

use hub_event_store::{election::bounded, log::Log, tail::Tail, upcast::Upcasters};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    checkpoint,
    delivery::DeliveryError,
    parked,
    positions::Positions,
    projection::Projection,
    rebuild::{RebuildError, Rebuilder},
    share::{self, Holder, NO_SHARE},
};

use super::{Runner, Settings, feed::Feed, session::Session};

/// After the first failure of PostgreSQL; doubled with each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// At most so long between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What a crash of PostgreSQL takes from a read model is folded again from the log, so commits need not wait for the disk.
const COMMITS: [(&str, &str); 1] = [("synchronous_commit", "off")];

#[derive(Debug, Clone)]
pub(super) struct Worker {
    pub(super) pool: PgPool,
    /// Connections of the owner of the tables.
    builders: PgPool,
    pub(super) log: Log,
    pub(super) tail: Tail,
    pub(super) upcasters: Upcasters,
    pub(super) projection: Arc<dyn Projection>,
    pub(super) settings: Settings,
    pub(super) feed: Feed,
    pub(super) positions: Positions,
    pub(super) holder: Holder,
}

/// Why a worker does not work on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Interruption {
    #[error("the share is lost")]
    ShareLost,
    /// What this worker believes may be ahead of what PostgreSQL has now.
    #[error("PostgreSQL may have been started anew")]
    Outdated,
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

impl Worker {
    pub(super) fn new(runner: &Runner, projection: Arc<dyn Projection>, feed: &Feed) -> Self {
        let lease = runner.settings.lease;
        Self {
            pool: runner.pool.clone(),
            builders: runner.builders.clone().unwrap_or_else(|| runner.pool.clone()),
            log: Log::new(runner.pool.clone()),
            tail: runner.tail.clone(),
            upcasters: runner.upcasters.clone(),
            holder: Holder { projection: projection.name(), worker_id: Uuid::new_v4(), lease },
            projection,
            settings: runner.settings,
            feed: feed.clone(),
            positions: runner.positions.clone(),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.projection.name()
    }

    /// Works until `shutdown`; whatever happens, it tries again. At the end others can take over at once.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let mut backoff = BACKOFF_MIN;
        let mut connection = None;
        while !shutdown.is_cancelled() {
            let started_at = Instant::now();
            let outcome = self.work(&mut connection, &shutdown).await;
            self.show_partitions(0);
            // Only what ended between two statements is used again.
            if !matches!(outcome, Ok(()) | Err(Interruption::ShareLost | Interruption::Stopped(_))) {
                connection = None;
            }
            let delay = match outcome {
                Ok(()) => self.settings.poll_interval,
                Err(error @ (Interruption::ShareLost | Interruption::Outdated)) => {
                    tracing::debug!(projection = self.name(), %error, "the projection begins again");
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
        if let Err(error) = bounded(self.holder.leave(&self.pool)).await {
            tracing::debug!(projection = self.name(), %error, "the shares run out instead of being given back");
        }
    }

    /// Takes a share if it can, and works as long as it holds it.
    async fn work(
        &self,
        connection: &mut Option<PgConnection>,
        shutdown: &CancellationToken,
    ) -> Result<(), Interruption> {
        let (name, version) = (self.name(), self.projection.version());
        // Before anything is read: what is read later is no older than what this may tell.
        let teller = self.positions.teller(name);
        let connection = match connection {
            Some(connection) => connection,
            None => {
                let options = self.pool.connect_options().as_ref().clone().options(COMMITS);
                connection.insert(bounded(PgConnection::connect_with(&options)).await?)
            }
        };
        checkpoint::ensure(&mut *connection, name, version).await?;
        match share::version(connection, name).await? {
            Some(built) if built < version => return self.rebuild(built, shutdown).await,
            Some(built) if built == version => {}
            // Stopped, or a newer program has taken over.
            Some(_) | None => return Ok(()),
        }
        if !self.holder.survey(&mut *connection, NO_SHARE).await?.free {
            return Ok(());
        }
        let share = self.holder.acquire(connection, version, NO_SHARE, true).await?;
        let Some(share) = share else { return Ok(()) };
        self.show_parked().await?;
        tracing::debug!(projection = name, ?share, "the projection runs here");
        Session::begin(self, connection, share, teller).await?.run(shutdown).await
    }

    /// Builds the table of a newer version; the old one answers until it is done, and whoever knows the old one works on it.
    async fn rebuild(&self, from: i32, shutdown: &CancellationToken) -> Result<(), Interruption> {
        tracing::info!(projection = self.name(), from, to = self.projection.version(), "a new version is built");
        let rebuilder = Rebuilder::new(self.builders.clone(), self.upcasters.clone(), self.projection.clone());
        tokio::select! {
            // Given up at any moment it leaves the live table as it is.
            () = shutdown.cancelled() => Ok(()),
            done = rebuilder.run(&|_, _| {}) => match done {
                Ok(_) => Err(Interruption::ShareLost),
                // Another process does it.
                Err(RebuildError::Running(_)) => Ok(()),
                Err(error) => Err(error.into()),
            },
        }
    }

    pub(super) async fn show_parked(&self) -> Result<(), sqlx::Error> {
        let parked = parked::count(&self.pool, self.name()).await?;
        metrics::gauge!("hub_projection_parked_events", "projection" => self.name()).set(float(parked));
        Ok(())
    }

    pub(super) fn show_partitions(&self, count: u32) {
        metrics::gauge!("hub_projection_partitions", "projection" => self.name()).set(f64::from(count));
    }
}

impl Interruption {
    pub(super) fn of(error: DeliveryError) -> Self {
        match error {
            DeliveryError::Fenced => Self::ShareLost,
            DeliveryError::Database(error) => Self::Database(error),
            DeliveryError::Poison { position, reason } => Self::Stopped(format!("position {position}: {reason}")),
        }
    }
}

pub(super) fn float(count: i64) -> f64 {
    count as f64
}
