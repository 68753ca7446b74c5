//! Folding a long part of the log in memory, with the same rules for events that cannot be taken in as everywhere.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hub_event_store::{event::Recorded, scan::Wanted, upcast::Upcasters};

use crate::{
    memory::MemoryTable,
    model::OnPoison,
    parked::{ParkedEvent, Parking},
    projection::{ApplyError, Projection},
};

/// A projection that must not have holes met an event that it cannot take in.
#[derive(Debug)]
pub(crate) struct Poison {
    pub(crate) position: i64,
    pub(crate) reason: String,
}

/// A table in memory and what could not be taken into it.
#[derive(Debug)]
pub(crate) struct Folding {
    projection: Arc<dyn Projection>,
    upcasters: Upcasters,
    /// What the upcasters say of the types that were seen.
    lifts: HashMap<String, bool>,
    /// Events that are left out.
    pub(crate) skipped: Arc<HashSet<i64>>,
    pub(crate) table: Box<dyn MemoryTable>,
    pub(crate) parking: Parking,
    pub(crate) parked: Vec<ParkedEvent>,
}

/// The stored event types that a projection may have to do with.
pub(crate) fn wanted(projection: &Arc<dyn Projection>, upcasters: &Upcasters) -> Wanted {
    let (projection, upcasters) = (projection.clone(), upcasters.clone());
    Arc::new(move |event_type| projection.concerns_type(event_type) || upcasters.lifts(event_type))
}

impl Folding {
    pub(crate) fn new(projection: Arc<dyn Projection>, upcasters: Upcasters, skipped: Arc<HashSet<i64>>) -> Self {
        let table = projection.in_memory();
        let (parking, parked) = (Parking::default(), Vec::new());
        Self { projection, upcasters, lifts: HashMap::new(), skipped, table, parking, parked }
    }

    /// Takes in the events, or parks them.
    pub(crate) fn take_in(&mut self, events: Vec<Recorded>) -> Result<(), Poison> {
        let mut concerned = Vec::with_capacity(events.len());
        for event in events {
            if !self.skipped.is_empty() && self.skipped.contains(&event.position) {
                continue;
            }
            let lifted = self.lift(event);
            if !self.projection.concerns(&lifted.0) {
                continue;
            }
            match self.parking.holds(&lifted.0) {
                Some(waits) => self.parked.push(waits),
                None => concerned.push(lifted),
            }
        }
        if concerned.iter().all(|(_, unreadable)| unreadable.is_none()) {
            let events: Vec<_> = concerned.iter().map(|(event, _)| event).collect();
            if self.table.fold(&events).is_ok() {
                return Ok(());
            }
        }
        concerned.iter().try_for_each(|(event, unreadable)| self.take_in_alone(event, unreadable.as_deref()))
    }

    fn take_in_alone(&mut self, event: &Recorded, unreadable: Option<&str>) -> Result<(), Poison> {
        if let Some(waits) = self.parking.holds(event) {
            self.parked.push(waits);
            return Ok(());
        }
        let reason = match unreadable {
            Some(reason) => reason.to_owned(),
            None => match self.table.fold(&[event]) {
                Ok(()) => return Ok(()),
                Err(ApplyError::Poison { reason, .. }) => reason,
                Err(error) => error.to_string(),
            },
        };
        let (projection, position) = (self.projection.name(), event.position);
        tracing::error!(projection, position, reason, "an event cannot be taken in");
        if self.projection.on_poison() == OnPoison::Stop {
            return Err(Poison { position, reason });
        }
        self.parking.park(event, &reason);
        self.parked.extend(self.parking.holds(event));
        Ok(())
    }

    /// The event in its present shape, or as stored and why it has none.
    fn lift(&mut self, event: Recorded) -> (Recorded, Option<String>) {
        let lifts = match self.lifts.get(&event.event_type) {
            Some(lifts) => *lifts,
            None => {
                let lifts = self.upcasters.lifts(&event.event_type);
                self.lifts.insert(event.event_type.clone(), lifts);
                lifts
            }
        };
        if !lifts {
            return (event, None);
        }
        let stored = event.clone();
        self.upcasters.apply(event).map_or_else(|error| (stored, Some(error.to_string())), |event| (event, None))
    }
}
