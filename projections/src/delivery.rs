//! Handing a batch of events to a projection: one transaction, and a way out when one of the events cannot be taken in.

use std::{sync::Arc, time::Duration};

use hub_event_store::event::Recorded;
use sqlx::{Connection, PgConnection};

use crate::{
    checkpoint::{self, Fence},
    incoming::Incoming,
    live::{LiveTable, Move},
    model::OnPoison,
    parked::{self, ParkedEvent, Parking},
    partitions::Partitions,
    projection::{ApplyError, Projection, Target},
};

/// A poison event is tried so often before it is parked.
const ATTEMPT_COUNT_MAX: u32 = 3;

/// Before the second attempt; twice that before the third.
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// Why a batch was not taken in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeliveryError {
    /// Somebody else moved the checkpoint.
    #[error("the checkpoint was moved by somebody else")]
    Fenced,
    /// The projection stops at this event; nothing of the batch was taken in.
    #[error("the event at position {position} cannot be taken in: {reason}")]
    Poison { position: i64, reason: String },
    /// PostgreSQL did not do its part.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// What a worker that holds a share brings along.
pub(crate) struct Live<'a> {
    pub(crate) fence: Fence,
    /// Events of other partitions are passed over.
    pub(crate) partitions: Partitions,
    /// The faster way to the table, if there is one.
    pub(crate) table: Option<&'a mut dyn LiveTable>,
}

/// Hands events to one projection and one of its tables.
pub(crate) struct Delivery<'a> {
    pub(crate) projection: &'a dyn Projection,
    pub(crate) target: Target,
    pub(crate) parking: &'a mut Parking,
}

impl Delivery<'_> {
    /// Takes in a contiguous batch of events and answers what was parked. For a worker it moves the checkpoint and writes parked events
    /// down in the same transaction; otherwise that is left to the caller.
    pub(crate) async fn deliver(
        &mut self,
        connection: &mut PgConnection,
        events: &[Incoming],
        mut live: Option<Live<'_>>,
    ) -> Result<Vec<ParkedEvent>, DeliveryError> {
        let partitions = live.as_ref().map_or(Partitions::ALL, |live| live.partitions);
        let mut attempt = 1;
        // Each round that does not end parks one more stream or counts one more attempt, so there are as many as events.
        loop {
            let (position, reason) = match self.attempt(connection, events, live.as_mut()).await {
                Ok(parked) => return Ok(parked),
                Err(Failure::Fenced) => return Err(DeliveryError::Fenced),
                Err(Failure::Apply(ApplyError::Database(error))) => return Err(error.into()),
                Err(Failure::Apply(_)) if attempt < ATTEMPT_COUNT_MAX => {
                    tokio::time::sleep(RETRY_DELAY * attempt).await;
                    attempt += 1;
                    continue;
                }
                Err(Failure::Apply(ApplyError::Poison { position, reason })) => (position, reason),
                Err(Failure::Apply(ApplyError::Data(error))) => {
                    (self.culprit(connection, events, partitions).await?, error.to_string())
                }
            };
            tracing::error!(projection = self.projection.name(), position, reason, "an event cannot be taken in");
            if self.projection.on_poison() == OnPoison::Stop {
                return Err(DeliveryError::Poison { position, reason });
            }
            let culprit = events.iter().find(|incoming| incoming.position() == position);
            self.parking.park(&culprit.expect("the culprit is one of the batch").event, &reason);
            attempt = 1;
        }
    }

    async fn attempt(
        &self,
        connection: &mut PgConnection,
        events: &[Incoming],
        live: Option<&mut Live<'_>>,
    ) -> Result<Vec<ParkedEvent>, Failure> {
        let Some((live, last)) = live.zip(events.last()) else {
            let (wanted, parked) = self.sort(events, Partitions::ALL)?;
            let mut transaction = connection.begin().await?;
            self.projection.apply(&mut transaction, self.target, &wanted).await?;
            transaction.commit().await?;
            return Ok(parked);
        };
        let (wanted, parked) = self.sort(events, live.partitions)?;
        let name = self.projection.name();
        let moved = match &mut live.table {
            Some(table) if parked.is_empty() => {
                let step = Move { projection: name, fence: live.fence, to: last.position() };
                table.take_in(connection, &wanted, step).await?
            }
            table => {
                if let Some(table) = table {
                    table.forget();
                }
                let mut transaction = connection.begin().await?;
                let moved = checkpoint::advance(&mut transaction, name, live.fence, last.position()).await?;
                if moved {
                    self.projection.apply(&mut transaction, self.target, &wanted).await?;
                    parked::insert(&mut transaction, name, &parked).await?;
                    transaction.commit().await?;
                }
                moved
            }
        };
        if moved { Ok(parked) } else { Err(Failure::Fenced) }
    }

    /// The position of the first event whose rows PostgreSQL refuses: the last of the shortest beginning of the batch that fails.
    async fn culprit(
        &self,
        connection: &mut PgConnection,
        events: &[Incoming],
        partitions: Partitions,
    ) -> Result<i64, DeliveryError> {
        let (mut good, mut bad) = (0, events.len());
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            match self.try_out(connection, &events[..middle], partitions).await {
                Ok(()) => good = middle,
                Err(Failure::Apply(ApplyError::Database(error))) => return Err(error.into()),
                Err(Failure::Apply(_) | Failure::Fenced) => bad = middle,
            }
        }
        Ok(events[bad - 1].position())
    }

    async fn try_out(
        &self,
        connection: &mut PgConnection,
        events: &[Incoming],
        partitions: Partitions,
    ) -> Result<(), Failure> {
        let (wanted, _) = self.sort(events, partitions)?;
        let mut transaction = connection.begin().await?;
        let outcome = self.projection.apply(&mut transaction, self.target, &wanted).await;
        transaction.rollback().await?;
        outcome.map_err(Failure::Apply)
    }

    /// The events to take in, and those to park. What does not concern the projection, or is of other partitions, is in neither.
    fn sort(
        &self,
        events: &[Incoming],
        partitions: Partitions,
    ) -> Result<(Vec<Arc<Recorded>>, Vec<ParkedEvent>), ApplyError> {
        let mut wanted = Vec::with_capacity(events.len());
        let mut parked = Vec::new();
        let concerns = |event: &Recorded| partitions.contain(event) && self.projection.concerns(event);
        for incoming in events.iter().filter(|incoming| concerns(&incoming.event)) {
            match (self.parking.holds(&incoming.event), &incoming.unreadable) {
                (Some(waits), _) => parked.push(waits),
                (None, None) => wanted.push(incoming.event.clone()),
                (None, Some(reason)) => {
                    return Err(ApplyError::Poison { position: incoming.position(), reason: reason.to_string() });
                }
            }
        }
        Ok((wanted, parked))
    }
}

enum Failure {
    Fenced,
    Apply(ApplyError),
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        Self::Apply(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        // Outside of the projection's own statements no event is to blame.
        Self::Apply(ApplyError::Database(error))
    }
}
