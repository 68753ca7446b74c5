//! Handing a batch of events to a projection: one transaction, and a way out when one of the events cannot be taken in.

use std::{sync::Arc, time::Duration};

use hub_event_store::event::Recorded;
use sqlx::{Connection, PgConnection};

use crate::{
    checkpoint::{self, Fence},
    incoming::Incoming,
    model::OnPoison,
    parked::{self, ParkedEvent, Parking},
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

/// Hands events to one projection and one of its tables.
pub(crate) struct Delivery<'a> {
    pub(crate) projection: &'a dyn Projection,
    pub(crate) target: Target,
    pub(crate) parking: &'a mut Parking,
}

impl Delivery<'_> {
    /// Takes in a contiguous batch of events, moves the checkpoint if there is a fence, and answers what was parked. Parked events are
    /// written down in the same transaction if there is a fence; otherwise that is left to the caller.
    pub(crate) async fn deliver(
        &mut self,
        connection: &mut PgConnection,
        events: &[Incoming],
        fence: Option<Fence>,
    ) -> Result<Vec<ParkedEvent>, DeliveryError> {
        let mut attempt = 1;
        // Each round that does not end parks one more stream or counts one more attempt, so there are as many as events.
        loop {
            let (position, reason) = match self.attempt(connection, events, fence).await {
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
                    (self.culprit(connection, events).await?, error.to_string())
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
        fence: Option<Fence>,
    ) -> Result<Vec<ParkedEvent>, Failure> {
        let mut transaction = connection.begin().await?;
        if let (Some(fence), Some(last)) = (fence, events.last())
            && !checkpoint::advance(&mut transaction, self.projection.name(), fence, last.position()).await?
        {
            return Err(Failure::Fenced);
        }
        let (wanted, parked) = self.sort(events)?;
        self.projection.apply(&mut transaction, self.target, &wanted).await?;
        if fence.is_some() {
            parked::insert(&mut transaction, self.projection.name(), &parked).await?;
        }
        transaction.commit().await?;
        Ok(parked)
    }

    /// The position of the first event whose rows PostgreSQL refuses: the last of the shortest beginning of the batch that fails.
    async fn culprit(&self, connection: &mut PgConnection, events: &[Incoming]) -> Result<i64, DeliveryError> {
        let (mut good, mut bad) = (0, events.len());
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            match self.try_out(connection, &events[..middle]).await {
                Ok(()) => good = middle,
                Err(Failure::Apply(ApplyError::Database(error))) => return Err(error.into()),
                Err(Failure::Apply(_) | Failure::Fenced) => bad = middle,
            }
        }
        Ok(events[bad - 1].position())
    }

    async fn try_out(&self, connection: &mut PgConnection, events: &[Incoming]) -> Result<(), Failure> {
        let (wanted, _) = self.sort(events)?;
        let mut transaction = connection.begin().await?;
        let outcome = self.projection.apply(&mut transaction, self.target, &wanted).await;
        transaction.rollback().await?;
        outcome.map_err(Failure::Apply)
    }

    /// The events to take in, and those to park. What does not concern the projection is in neither.
    fn sort(&self, events: &[Incoming]) -> Result<(Vec<Arc<Recorded>>, Vec<ParkedEvent>), ApplyError> {
        let mut wanted = Vec::with_capacity(events.len());
        let mut parked = Vec::new();
        for incoming in events.iter().filter(|incoming| self.projection.concerns(&incoming.event)) {
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
