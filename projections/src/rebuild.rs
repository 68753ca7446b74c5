//! Blue/green read models: a candidate is built from the log beside the live table, and takes its place in one transaction.
//!
//! The live table answers and grows meanwhile. At the switch the checkpoint is locked, the last few events are taken in, the tables
//! change places and the checkpoint says so; then everybody goes on with the new table. The one that was live is kept, with what was
//! parked in it, until the next switch, so there is a way back. A projection has at most one candidate and one retired table, and one
//! process at a time works on them. Whatever ends such work early leaves the live table as it was.

pub(crate) mod fold;
pub mod state;
pub(crate) mod table;

use std::{sync::Arc, time::Duration};

use hub_event_store::{log::Log, upcast::Upcasters};
use sqlx::{Connection, PgConnection, PgPool};

use crate::{
    checkpoint,
    delivery::DeliveryError,
    parked,
    projection::{Projection, Target},
    reached::Reached,
};

use self::{state::Meter, table::Filling};

/// One at a time works on the tables of a projection; held by its own connection.
pub(crate) const LOCK: &str = "SELECT pg_try_advisory_lock(7236831, hashtext($1))";

/// Lets the next one work.
pub(crate) const UNLOCK: &str = "SELECT pg_advisory_unlock(7236831, hashtext($1))";

/// The version of the live table.
pub(crate) const VERSION: &str = "SELECT max(version) FROM projection_checkpoints WHERE projection = $1";

/// New readers of the live table are not kept waiting longer than this while somebody who reads it holds up the switch.
pub(crate) const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '200ms'";

/// What the indexes of a candidate may take while they are made.
pub(crate) const WORK_MEMORY: &str = "SET maintenance_work_mem = '128MB'";

/// The switch begins when so few events are missing, or after so many rounds if more keep coming.
const REST_MAX: i64 = 1_000;
const ROUND_COUNT_MAX: u32 = 20;

/// Readers may be in the way of the switch so often.
const SWAP_ATTEMPT_COUNT_MAX: u32 = 50;
const SWAP_DELAY: Duration = Duration::from_millis(200);

/// About so many bytes of rows are held in memory by a build.
pub const MEMORY_MAX: usize = 512 * 1_024 * 1_024;

/// A build gives up when more events than this cannot be taken in.
const PARKED_COUNT_MAX: usize = 100_000;

/// Told of how many of how many events are done.
pub type Progress<'a> = &'a (dyn Fn(i64, i64) + Send + Sync);

/// What a build or a switch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// The table has every event up to and with this one.
    pub position: i64,
    /// So many events could not be taken in and are parked.
    pub parked: usize,
}

/// Why a read model was not built or switched; the live table is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("there is no projection named `{0}`")]
    Unknown(String),
    #[error("the projection {0} is being rebuilt already")]
    Running(&'static str),
    #[error("the projection {projection} has version {version}, which this program does not know")]
    Outdated { projection: &'static str, version: i32 },
    #[error("the projection {0} has no candidate that is ready")]
    NoCandidate(&'static str),
    #[error("the projection {0} has no retired table")]
    NoRetired(&'static str),
    #[error("the {kind} table of {projection} has version {version}, this program folds version {code_version}")]
    OtherVersion { projection: &'static str, kind: &'static str, version: i32, code_version: i32 },
    #[error("readers of {0} were in the way of the switch for too long")]
    InTheWay(&'static str),
    #[error("the candidate of {projection} has {found} rows after {written} were written")]
    RowsMissing { projection: &'static str, written: i64, found: i64 },
    #[error("the event at position {position} cannot be taken in: {reason}")]
    Poison { position: i64, reason: String },
    #[error("more than {PARKED_COUNT_MAX} events cannot be taken in")]
    TooManyParked,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<DeliveryError> for RebuildError {
    fn from(error: DeliveryError) -> Self {
        match error {
            DeliveryError::Poison { position, reason } => Self::Poison { position, reason },
            DeliveryError::Database(error) => Self::Database(error),
            DeliveryError::Fenced => Self::Database(sqlx::Error::Protocol("a shadow table has no fence".to_owned())),
        }
    }
}

/// Builds the read model of `name` anew and puts it in the place of the live one; also sets a stopped projection going again.
///
/// # Errors
/// The live table stays as it was.
pub async fn rebuild(
    pool: &PgPool,
    upcasters: &Upcasters,
    projections: &[Arc<dyn Projection>],
    name: &str,
    progress: Progress<'_>,
) -> Result<Rebuilt, RebuildError> {
    let rebuilder = Rebuilder::of(pool, upcasters, projections, name)?;
    let mut connection = rebuilder.lock().await?;
    let rebuilt = async {
        let built = rebuilder.build(&mut connection, progress).await?;
        rebuilder.switch(&mut connection, built).await
    };
    let rebuilt = rebuilt.await;
    rebuilder.unlock(connection).await;
    rebuilt
}

/// Builds a candidate beside the live table and keeps it, in place of an earlier one.
///
/// # Errors
/// The live table stays as it was; the candidate is gone.
pub async fn build(
    pool: &PgPool,
    upcasters: &Upcasters,
    projections: &[Arc<dyn Projection>],
    name: &str,
    progress: Progress<'_>,
) -> Result<Rebuilt, RebuildError> {
    build_within(MEMORY_MAX, pool, upcasters, projections, name, progress).await
}

/// As [`build`], with about `memory_max` bytes of rows in memory; beyond them the rest is taken in row by row, which is slower.
///
/// # Errors
/// As [`build`].
pub async fn build_within(
    memory_max: usize,
    pool: &PgPool,
    upcasters: &Upcasters,
    projections: &[Arc<dyn Projection>],
    name: &str,
    progress: Progress<'_>,
) -> Result<Rebuilt, RebuildError> {
    let mut rebuilder = Rebuilder::of(pool, upcasters, projections, name)?;
    rebuilder.memory_max = memory_max;
    let mut connection = rebuilder.lock().await?;
    let built = rebuilder.build(&mut connection, progress).await;
    rebuilder.unlock(connection).await;
    Ok(built?.rebuilt())
}

/// Brings the candidate up to date and puts it in the place of the live table, which is retired; the one retired before is dropped.
///
/// # Errors
/// The live table stays as it was, and so does the candidate, but for what it has taken in.
pub async fn promote(
    pool: &PgPool,
    upcasters: &Upcasters,
    projections: &[Arc<dyn Projection>],
    name: &str,
    progress: Progress<'_>,
) -> Result<Rebuilt, RebuildError> {
    Rebuilder::of(pool, upcasters, projections, name)?.bring_in(Target::Shadow, progress).await
}

/// Brings the retired table up to date and puts it in the place of the live one, which becomes the retired one. A candidate stays.
///
/// # Errors
/// When the retired table is of a version that this program does not fold; the live table stays as it was.
pub async fn rollback(
    pool: &PgPool,
    upcasters: &Upcasters,
    projections: &[Arc<dyn Projection>],
    name: &str,
    progress: Progress<'_>,
) -> Result<Rebuilt, RebuildError> {
    Rebuilder::of(pool, upcasters, projections, name)?.bring_in(Target::Retired, progress).await
}

/// Drops the candidate, or the retired table, and what is written down of it; false when there was none.
///
/// # Errors
/// When somebody works on it, or PostgreSQL does not answer.
pub async fn discard(
    pool: &PgPool,
    projections: &[Arc<dyn Projection>],
    name: &str,
    retired: bool,
) -> Result<bool, RebuildError> {
    let rebuilder = Rebuilder::of(pool, &Upcasters::default(), projections, name)?;
    let target = if retired { Target::Retired } else { Target::Shadow };
    let mut connection = rebuilder.lock().await?;
    let found = async {
        let found = state::find(&mut connection, rebuilder.projection.name(), target).await?;
        rebuilder.clean_up(&mut connection, target).await?;
        Ok(found.is_some())
    };
    let found = found.await;
    rebuilder.unlock(connection).await;
    found
}

pub(crate) struct Rebuilder {
    pool: PgPool,
    log: Log,
    upcasters: Upcasters,
    projection: Arc<dyn Projection>,
    memory_max: usize,
}

/// A table that can take the place of the live one.
#[derive(Debug)]
struct Incoming {
    target: Target,
    filling: Filling,
}

impl Incoming {
    fn rebuilt(&self) -> Rebuilt {
        Rebuilt { position: self.filling.position, parked: self.filling.parked.len() }
    }
}

impl Rebuilder {
    pub(crate) fn new(pool: PgPool, upcasters: Upcasters, projection: Arc<dyn Projection>) -> Self {
        Self { log: Log::new(pool.clone()), pool, upcasters, projection, memory_max: MEMORY_MAX }
    }

    fn of(
        pool: &PgPool,
        upcasters: &Upcasters,
        projections: &[Arc<dyn Projection>],
        name: &str,
    ) -> Result<Self, RebuildError> {
        let projection = projections.iter().find(|projection| projection.name() == name);
        let projection = projection.ok_or_else(|| RebuildError::Unknown(name.to_owned()))?.clone();
        Ok(Self::new(pool.clone(), upcasters.clone(), projection))
    }

    /// Puts a table of this program's version in the place of the live one: the candidate, if one is ready, else one that is built now.
    pub(crate) async fn run(&self, progress: Progress<'_>) -> Result<Rebuilt, RebuildError> {
        let mut connection = self.lock().await?;
        let rebuilt = async {
            let incoming = match self.find(&mut connection, Target::Shadow).await {
                Ok(mut candidate) => {
                    self.catch_up(&mut connection, &mut candidate, progress).await?;
                    candidate
                }
                Err(RebuildError::NoCandidate(_) | RebuildError::OtherVersion { .. }) => {
                    self.build(&mut connection, progress).await?
                }
                Err(error) => return Err(error),
            };
            self.switch(&mut connection, incoming).await
        };
        let rebuilt = rebuilt.await;
        self.unlock(connection).await;
        rebuilt
    }

    /// Keeps others from the projection's tables; by a connection of its own, so that the lock ends with it however this ends.
    async fn lock(&self) -> Result<PgConnection, RebuildError> {
        let name = self.projection.name();
        checkpoint::ensure(&self.pool, name, self.projection.version()).await?;
        let mut connection = PgConnection::connect_with(&self.pool.connect_options()).await?;
        if !sqlx::query_scalar::<_, bool>(LOCK).bind(name).fetch_one(&mut connection).await? {
            return Err(RebuildError::Running(name));
        }
        Ok(connection)
    }

    /// Lets others work on them again. PostgreSQL lets go of a closed connection only a moment later, and whoever comes next would find
    /// the lock taken.
    async fn unlock(&self, mut connection: PgConnection) {
        drop(sqlx::query(UNLOCK).bind(self.projection.name()).execute(&mut connection).await);
        drop(connection.close().await);
    }

    async fn clean_up(&self, connection: &mut PgConnection, target: Target) -> Result<(), sqlx::Error> {
        let mut transaction = connection.begin().await?;
        self.projection.discard(&mut transaction, target).await?;
        state::forget(&mut transaction, self.projection.name(), target).await?;
        transaction.commit().await
    }

    /// Builds the candidate up to the end of the log, or nearly so.
    async fn build(&self, connection: &mut PgConnection, progress: Progress<'_>) -> Result<Incoming, RebuildError> {
        let name = self.projection.name();
        let version: i32 = sqlx::query_scalar(VERSION).bind(name).fetch_one(&mut *connection).await?;
        if version > self.projection.version() {
            return Err(RebuildError::Outdated { projection: name, version });
        }
        state::begin(connection, name, self.projection.version(), self.log.head().await?).await?;
        let mut meter = Meter::start(&self.pool, name);
        match self.fill(connection, &mut meter, progress).await {
            Ok(filling) => {
                tracing::info!(projection = name, position = filling.position, "a candidate is built");
                Ok(Incoming { target: Target::Shadow, filling })
            }
            Err(error) => {
                // What cannot be cleaned up now is cleaned up by the next build.
                drop(self.projection.discard(connection, Target::Shadow).await);
                drop(state::failed(connection, name, &error.to_string()).await);
                Err(error)
            }
        }
    }

    async fn fill(
        &self,
        connection: &mut PgConnection,
        meter: &mut Meter,
        progress: Progress<'_>,
    ) -> Result<Filling, RebuildError> {
        let name = self.projection.name();
        sqlx::query(WORK_MEMORY).execute(&mut *connection).await?;
        let skipped = parked::discarded(connection, name).await?;
        let (pool, projection) = (&self.pool, &self.projection);
        let (upcasters, target, memory_max) = (&self.upcasters, Target::Shadow, self.memory_max);
        let begun = Filling::begin(pool, upcasters, projection, target, skipped, memory_max, connection);
        let mut filling = begun.await?;
        let mut head = self.log.head().await?;
        for _ in 0..ROUND_COUNT_MAX {
            let mut show = |position| {
                meter.show(position, head);
                progress(position, head);
            };
            filling.read(connection, head, &mut show).await?;
            head = self.log.head().await?;
            if head - filling.position <= REST_MAX {
                break;
            }
        }
        let written = filling.finish(connection, &mut |position| progress(position, head)).await?;
        let row_count = self.projection.row_count(connection, Target::Shadow).await?;
        if let Some(written) = written.filter(|written| *written != row_count) {
            return Err(RebuildError::RowsMissing { projection: name, written, found: row_count });
        }
        meter.finish(filling.position).await?;
        let mut transaction = connection.begin().await?;
        state::ready(&mut transaction, name, filling.position, row_count, &filling.parked).await?;
        transaction.commit().await?;
        Ok(filling)
    }

    /// The table that was built or retired earlier.
    async fn find(&self, connection: &mut PgConnection, target: Target) -> Result<Incoming, RebuildError> {
        let (name, code_version) = (self.projection.name(), self.projection.version());
        let found = state::find(connection, name, target).await?;
        let found = found.filter(|found| matches!(found.state.as_str(), "ready" | "retired"));
        let Some(found) = found else {
            return Err(match target {
                Target::Retired => RebuildError::NoRetired(name),
                Target::Live | Target::Shadow | Target::Expected => RebuildError::NoCandidate(name),
            });
        };
        if found.version != code_version {
            let (kind, version) = (state::kind_of(target), found.version);
            return Err(RebuildError::OtherVersion { projection: name, kind, version, code_version });
        }
        let parked = state::parked(connection, name, target).await?;
        let skipped = parked::discarded(connection, name).await?;
        let (pool, projection) = (&self.pool, &self.projection);
        let filling = Filling::resume(pool, &self.upcasters, projection, target, skipped, parked, found);
        Ok(Incoming { target, filling })
    }

    /// Puts a table in the place of the live one that was built or retired earlier.
    async fn bring_in(&self, target: Target, progress: Progress<'_>) -> Result<Rebuilt, RebuildError> {
        let mut connection = self.lock().await?;
        let rebuilt = async {
            let mut incoming = self.find(&mut connection, target).await?;
            self.catch_up(&mut connection, &mut incoming, progress).await?;
            self.switch(&mut connection, incoming).await
        };
        let rebuilt = rebuilt.await;
        self.unlock(connection).await;
        rebuilt.inspect(|rebuilt| progress(rebuilt.position, rebuilt.position))
    }

    /// Takes in nearly everything that is missing. Each step is a transaction, so it may end anywhere.
    async fn catch_up(
        &self,
        connection: &mut PgConnection,
        incoming: &mut Incoming,
        progress: Progress<'_>,
    ) -> Result<(), RebuildError> {
        let name = self.projection.name();
        for _ in 0..ROUND_COUNT_MAX {
            let head = self.log.head().await?;
            if head - incoming.filling.position <= REST_MAX {
                break;
            }
            loop {
                let parked_before = incoming.filling.parked.len();
                let mut transaction = connection.begin().await?;
                if !incoming.filling.step(&mut transaction, head).await? {
                    break;
                }
                let (position, parked) = (incoming.filling.position, &incoming.filling.parked[parked_before..]);
                state::advance(&mut transaction, name, incoming.target, position, parked).await?;
                transaction.commit().await?;
                progress(position, head);
            }
        }
        Ok(())
    }

    /// Puts the table in the place of the live one as soon as no reader is in the way.
    async fn switch(&self, connection: &mut PgConnection, mut incoming: Incoming) -> Result<Rebuilt, RebuildError> {
        let name = self.projection.name();
        for _ in 0..SWAP_ATTEMPT_COUNT_MAX {
            let mark = incoming.filling.mark();
            let mut transaction = connection.begin().await?;
            match self.attempt(&mut transaction, &mut incoming).await {
                Ok(()) => {
                    transaction.commit().await?;
                    let rebuilt = incoming.rebuilt();
                    let (position, parked) = (rebuilt.position, rebuilt.parked);
                    tracing::info!(projection = name, position, parked, "another table is live");
                    return Ok(rebuilt);
                }
                Err(RebuildError::Database(error)) if lock_not_available(&error) => {
                    transaction.rollback().await?;
                    incoming.filling.go_back(mark);
                    // Meanwhile the projection goes on.
                    tokio::time::sleep(SWAP_DELAY).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(RebuildError::InTheWay(name))
    }

    async fn attempt(&self, transaction: &mut PgConnection, incoming: &mut Incoming) -> Result<(), RebuildError> {
        let name = self.projection.name();
        // From here on the live table stands still, and so does everything that the checkpoint guards.
        let (_, version) = checkpoint::lock(transaction, name).await?;
        if version > self.projection.version() && incoming.target == Target::Shadow {
            return Err(RebuildError::Outdated { projection: name, version });
        }
        let reached = Reached::read(transaction, name).await?;
        let head = self.log.head().await?.max(reached.highest());
        while incoming.filling.step(transaction, head).await? {}
        sqlx::query(LOCK_TIMEOUT).execute(&mut *transaction).await?;
        self.projection.swap(transaction, incoming.target).await?;
        state::retire(transaction, name, version, &reached, head, incoming.target).await?;
        parked::replace(transaction, name, &incoming.filling.parked).await?;
        Ok(checkpoint::replace(transaction, name, incoming.filling.position, self.projection.version()).await?)
    }
}

fn lock_not_available(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "55P03")
}
