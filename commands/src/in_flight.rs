//! Which idempotency keys are being worked on in this process, so that a second request with one is told to wait.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use uuid::Uuid;

/// The commands at work; bounded by the number of requests at work.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Arc<Mutex<HashSet<Uuid>>>);

/// Holds a command's place until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    in_flight: InFlight,
    command_id: Uuid,
}

impl InFlight {
    /// A place for this command, or `None` when it is being worked on already.
    pub(crate) fn enter(&self, command_id: Uuid) -> Option<Place> {
        let entered = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(command_id);
        entered.then(|| Place { in_flight: self.clone(), command_id })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_flight.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.command_id);
    }
}
