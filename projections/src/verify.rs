//! Comparing a read model with the log: everything is folded anew beside it and the two tables are compared.

use std::sync::Arc;

use hub_event_store::{log::Log, upcast::Upcasters};
use sqlx::{Connection, PgConnection, PgPool};

use crate::{
    checkpoint,
    delivery::{Delivery, DeliveryError},
    incoming,
    parked::{self, Parking},
    projection::{Difference, Projection, Target},
    rebuild::PAGE_SIZE,
};

/// One view of table, checkpoint and parked events.
pub(crate) const SNAPSHOT: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ";

/// At most so many differences are told.
pub const DIFFERENCE_COUNT_MAX: i64 = 100;

/// What a verification found.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// The read model was compared as it was at this position.
    pub position: i64,
    /// So many events are parked, and left out of the comparison.
    pub parked: usize,
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
    #[error(transparent)]
    Database(#[from] sqlx::Error),
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
    progress: &(dyn Fn(i64, i64) + Send + Sync),
) -> Result<Verified, VerifyError> {
    let projection = projections.iter().find(|projection| projection.name() == name);
    let projection = projection.ok_or_else(|| VerifyError::Unknown(name.to_owned()))?.as_ref();
    // A connection of its own, so that its temporary table is gone with it.
    let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
    let mut transaction = connection.begin().await?;
    sqlx::query(SNAPSHOT).execute(&mut *transaction).await?;
    let reached = checkpoint::reached(&mut *transaction, name).await?;
    let position = reached.highest();
    let parked = parked::positions(&mut transaction, name).await?;
    projection.create(&mut transaction, Target::Expected).await?;

    let log = Log::new(pool.clone());
    let mut done = 0;
    while done < position {
        let mut page = incoming::page(&log, upcasters, done, PAGE_SIZE.min(position - done)).await?;
        let Some(last) = page.last().map(incoming::Incoming::position) else {
            return Err(sqlx::Error::Protocol(format!("the log ends at {done}, before the checkpoint")).into());
        };
        page.retain(|incoming| !parked.contains(&incoming.position()) && reached.covers(&incoming.event));
        let mut parking = Parking::default();
        let mut delivery = Delivery { projection, target: Target::Expected, parking: &mut parking };
        let newly_parked = delivery.deliver(&mut transaction, &page, None).await.map_err(VerifyError::of)?;
        if let Some(event) = newly_parked.first() {
            let reason = event.error().to_owned();
            return Err(VerifyError::Poison { position: event.position, reason });
        }
        done = last;
        progress(done, position);
    }
    let differences = projection.differences(&mut transaction, DIFFERENCE_COUNT_MAX).await?;
    transaction.rollback().await?;
    drop(connection.close().await);
    Ok(Verified { position, parked: parked.len(), differences })
}

impl VerifyError {
    fn of(error: DeliveryError) -> Self {
        match error {
            DeliveryError::Poison { position, reason } => Self::Poison { position, reason },
            DeliveryError::Database(error) => Self::Database(error),
            DeliveryError::Fenced => Self::Database(sqlx::Error::Protocol("a comparison has no fence".to_owned())),
        }
    }
}
