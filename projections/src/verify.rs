//! Comparing a read model with the log: everything is folded anew beside it and the two tables are compared.
//!
//! The fold holds no snapshot, so it does not keep PostgreSQL from clearing away what is updated meanwhile. Only the last few events
//! and the comparison itself happen in one snapshot of table, checkpoint and parked events.

use std::{collections::HashSet, sync::Arc};

use hub_event_store::upcast::Upcasters;
use sqlx::{Connection, PgConnection, PgPool};

use crate::{
    parked,
    projection::{Difference, Projection, Target},
    reached::Reached,
    rebuild::{MEMORY_MAX, Progress, RebuildError, table::Filling},
};

/// One view of table, checkpoint and parked events.
pub(crate) const SNAPSHOT: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ";

/// At most so many differences are told.
pub const DIFFERENCE_COUNT_MAX: i64 = 100;

/// The fold begins anew so often when events are parked or taken in after all while it is under way.
const ATTEMPT_COUNT_MAX: u32 = 5;

/// What a verification found.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// The read model was compared as it was at this position.
    pub position: i64,
    /// So many events are parked, and left out of the comparison.
    pub parked: usize,
    /// So many events were left out of the read model for good, and so of the comparison.
    pub discarded: usize,
    /// The first differences; none is how it should be.
    pub differences: Vec<Difference>,
}

/// Why a read model could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("there is no projection named `{0}`")]
    Unknown(String),
    #[error("the event at position {position} was taken in once and cannot be any more: {reason}")]
    Poison { position: i64, reason: String },
    #[error("the parked events of {0} change too often to be compared")]
    Unsteady(&'static str),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Events that are not in the read model though its checkpoint is behind them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Omitted {
    parked: HashSet<i64>,
    discarded: HashSet<i64>,
}

impl Omitted {
    pub(crate) async fn read(connection: &mut PgConnection, name: &str) -> Result<Self, sqlx::Error> {
        let parked = parked::positions(connection, name).await?;
        Ok(Self { parked, discarded: parked::discarded(connection, name).await? })
    }

    pub(crate) fn positions(&self) -> HashSet<i64> {
        self.parked.union(&self.discarded).copied().collect()
    }
}

/// Compares the read model of `name` with the fold of the log up to its checkpoint; changes nothing.
/// `progress` is told how many of how many events are done.
///
/// # Errors
/// When the comparison could not be made; differences are no error here.
pub async fn verify(
    pool: &PgPool,
    upcasters: &Upcasters,
    projections: &[Arc<dyn Projection>],
    name: &str,
    progress: Progress<'_>,
) -> Result<Verified, VerifyError> {
    let projection = projections.iter().find(|projection| projection.name() == name);
    let projection = projection.ok_or_else(|| VerifyError::Unknown(name.to_owned()))?;
    // A connection of its own, so that its temporary table is gone with it.
    let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
    for _ in 0..ATTEMPT_COUNT_MAX {
        if let Some(verified) = compare(pool, upcasters, projection, &mut connection, progress).await? {
            drop(connection.close().await);
            return Ok(verified);
        }
    }
    Err(VerifyError::Unsteady(projection.name()))
}

/// `None` when what was left out at the beginning is not what is left out at the end.
async fn compare(
    pool: &PgPool,
    upcasters: &Upcasters,
    projection: &Arc<dyn Projection>,
    connection: &mut PgConnection,
    progress: Progress<'_>,
) -> Result<Option<Verified>, VerifyError> {
    let name = projection.name();
    let start = Reached::read(connection, name).await?.lowest();
    let omitted = Omitted::read(connection, name).await?;
    let (skipped, target) = (omitted.positions(), Target::Expected);
    let begun = Filling::begin(pool, upcasters, projection, target, skipped, MEMORY_MAX, connection);
    let mut filling = begun.await?;
    filling.read(connection, start, &mut |position| progress(position, start)).await?;
    filling.finish(connection, &mut |position| progress(position, start)).await?;

    let mut snapshot = connection.begin().await?;
    sqlx::query(SNAPSHOT).execute(&mut *snapshot).await?;
    let reached = Reached::read(&mut snapshot, name).await?;
    let omitted_now = Omitted::read(&mut snapshot, name).await?;
    let before = |positions: &HashSet<i64>| -> HashSet<i64> {
        positions.iter().copied().filter(|position| *position <= start).collect()
    };
    if before(&omitted.positions()) != before(&omitted_now.positions()) || reached.lowest() < start {
        snapshot.rollback().await?;
        return Ok(None);
    }
    filling.go_on_within(&reached, omitted_now.positions());
    while filling.step(&mut snapshot, reached.highest()).await? {
        progress(filling.position, reached.highest());
    }
    if let Some(event) = filling.parked.first() {
        return Err(VerifyError::Poison { position: event.position, reason: event.error().to_owned() });
    }
    let differences = projection.differences(&mut snapshot, DIFFERENCE_COUNT_MAX).await?;
    snapshot.rollback().await?;
    let (parked, discarded) = (omitted_now.parked.len(), omitted_now.discarded.len());
    Ok(Some(Verified { position: reached.lowest(), parked, discarded, differences }))
}

impl From<RebuildError> for VerifyError {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::Poison { position, reason } => Self::Poison { position, reason },
            RebuildError::Database(error) => Self::Database(error),
            error => Self::Database(sqlx::Error::Protocol(error.to_string())),
        }
    }
}
