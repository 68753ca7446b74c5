//! Building a read model anew beside the live one, and switching over in one transaction.
//!
//! The live table answers and grows meanwhile. At the end the checkpoint is locked, the last few events are taken in, the tables change
//! places and the checkpoint says so; then everybody goes on with the new table.

use std::{sync::Arc, time::Duration};

use hub_event_store::{log::Log, upcast::Upcasters};
use sqlx::{Connection, PgConnection, PgPool};

use crate::{
    checkpoint,
    delivery::{Delivery, DeliveryError},
    incoming::{self, Incoming},
    parked::{self, ParkedEvent, Parking},
    projection::{Projection, Target},
};

/// One rebuild a projection at a time; held by the rebuild's own connection.
pub(crate) const LOCK: &str = "SELECT pg_try_advisory_lock(7236831, hashtext($1))";

/// Readers of the live table are not kept waiting longer than this while the tables change places.
pub(crate) const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '2s'";

/// So many events are folded and written at once.
pub(crate) const PAGE_SIZE: i64 = 5_000;

/// The switch begins when so few events are missing, or after so many rounds if more keep coming.
const REST_MAX: i64 = 1_000;
const ROUND_COUNT_MAX: u32 = 20;

/// Readers may be in the way of the switch so often.
const SWAP_ATTEMPT_COUNT_MAX: u32 = 10;
const SWAP_DELAY: Duration = Duration::from_millis(200);

/// A rebuild gives up when more events than this cannot be taken in.
const PARKED_COUNT_MAX: usize = 100_000;

/// What a rebuild did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// The new table has every event up to and with this one.
    pub position: i64,
    /// So many events could not be taken in and are parked.
    pub parked: usize,
}

/// Why a read model was not built anew; the live table is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("there is no projection named `{0}`")]
    Unknown(String),
    #[error("the projection {0} is being rebuilt already")]
    Running(&'static str),
    #[error("the projection {projection} has version {version}, which this program does not know")]
    Outdated { projection: &'static str, version: i32 },
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
/// `progress` is told how many of how many events are done.
///
/// # Errors
/// The live table stays as it was.
pub async fn rebuild(
    pool: &PgPool,
    upcasters: &Upcasters,
    projections: &[Arc<dyn Projection>],
    name: &str,
    progress: &(dyn Fn(i64, i64) + Send + Sync),
) -> Result<Rebuilt, RebuildError> {
    let projection = projections.iter().find(|projection| projection.name() == name);
    let projection = projection.ok_or_else(|| RebuildError::Unknown(name.to_owned()))?.clone();
    Rebuilder::new(pool.clone(), upcasters.clone(), projection).run(progress).await
}

pub(crate) struct Rebuilder {
    pool: PgPool,
    log: Log,
    upcasters: Upcasters,
    projection: Arc<dyn Projection>,
}

/// What has been built so far.
struct Shadow {
    connection: PgConnection,
    position: i64,
    parking: Parking,
    parked: Vec<ParkedEvent>,
}

impl Rebuilder {
    pub(crate) fn new(pool: PgPool, upcasters: Upcasters, projection: Arc<dyn Projection>) -> Self {
        Self { log: Log::new(pool.clone()), pool, upcasters, projection }
    }

    pub(crate) async fn run(&self, progress: &(dyn Fn(i64, i64) + Send + Sync)) -> Result<Rebuilt, RebuildError> {
        let name = self.projection.name();
        checkpoint::ensure(&self.pool, name, self.projection.version()).await?;
        // A connection of its own, so that the lock ends with it however this ends.
        let mut connection = PgConnection::connect_with(&self.pool.connect_options()).await?;
        if !sqlx::query_scalar::<_, bool>(LOCK).bind(name).fetch_one(&mut connection).await? {
            return Err(RebuildError::Running(name));
        }
        self.projection.create(&mut connection, Target::Shadow).await?;
        let mut shadow = Shadow { connection, position: 0, parking: Parking::default(), parked: Vec::new() };
        for _ in 0..ROUND_COUNT_MAX {
            let head = self.log.head().await?;
            if head - shadow.position <= REST_MAX {
                break;
            }
            self.read(&mut shadow, head, progress).await?;
        }
        let rebuilt = self.switch(shadow).await?;
        progress(rebuilt.position, rebuilt.position);
        tracing::info!(
            projection = name,
            position = rebuilt.position,
            parked = rebuilt.parked,
            "the read model was built anew"
        );
        Ok(rebuilt)
    }

    /// Takes in everything up to `until`; while one page is folded and written the next one is read.
    async fn read(
        &self,
        shadow: &mut Shadow,
        until: i64,
        progress: &(dyn Fn(i64, i64) + Send + Sync),
    ) -> Result<(), RebuildError> {
        let mut page = self.page(shadow.position, until).await?;
        while let Some(last) = page.last().map(Incoming::position) {
            let (next, taken) = tokio::join!(
                self.page(last, until),
                take_in(&mut shadow.connection, self.projection.as_ref(), &mut shadow.parking, &page),
            );
            shadow.parked.extend(taken?);
            if shadow.parked.len() > PARKED_COUNT_MAX {
                return Err(RebuildError::TooManyParked);
            }
            shadow.position = last;
            progress(last, until);
            page = next?;
        }
        Ok(())
    }

    async fn page(&self, position: i64, until: i64) -> Result<Vec<Incoming>, sqlx::Error> {
        incoming::page(&self.log, &self.upcasters, position, PAGE_SIZE.min(until - position)).await
    }

    async fn switch(&self, mut shadow: Shadow) -> Result<Rebuilt, RebuildError> {
        let name = self.projection.name();
        let mut transaction = shadow.connection.begin().await?;
        // From here on the live table stands still, and so does everything that the checkpoint guards.
        let (live, version) = checkpoint::lock(&mut transaction, name).await?;
        if version > self.projection.version() {
            return Err(RebuildError::Outdated { projection: name, version });
        }
        let head = self.log.head().await?.max(live);
        let mut page = self.page(shadow.position, head).await?;
        while let Some(last) = page.last().map(Incoming::position) {
            shadow
                .parked
                .extend(take_in(&mut transaction, self.projection.as_ref(), &mut shadow.parking, &page).await?);
            shadow.position = last;
            page = self.page(last, head).await?;
        }
        self.swap(&mut transaction).await?;
        parked::clear(&mut transaction, name).await?;
        for parked in shadow.parked.chunks(1_000) {
            parked::insert(&mut transaction, name, parked).await?;
        }
        checkpoint::replace(&mut transaction, name, shadow.position, self.projection.version()).await?;
        transaction.commit().await?;
        let rebuilt = Rebuilt { position: shadow.position, parked: shadow.parked.len() };
        drop(shadow.connection.close().await);
        Ok(rebuilt)
    }

    async fn swap(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query(LOCK_TIMEOUT).execute(&mut *connection).await?;
        for attempt in 1.. {
            let mut savepoint = connection.begin().await?;
            match self.projection.swap(&mut savepoint).await {
                Ok(()) => return savepoint.commit().await,
                Err(error) if attempt < SWAP_ATTEMPT_COUNT_MAX && lock_not_available(&error) => {
                    savepoint.rollback().await?;
                    tokio::time::sleep(SWAP_DELAY).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

async fn take_in(
    connection: &mut PgConnection,
    projection: &dyn Projection,
    parking: &mut Parking,
    page: &[Incoming],
) -> Result<Vec<ParkedEvent>, RebuildError> {
    let mut delivery = Delivery { projection, target: Target::Shadow, parking };
    Ok(delivery.deliver(connection, page, None).await?)
}

fn lock_not_available(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "55P03")
}
