//! Old versions of events are lifted to the present shape when they are read; what is stored never changes.

use std::{fmt, sync::Arc};

use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use serde_json::{Value, value::RawValue};

use crate::event::Recorded;

/// At most so many steps for one event, so that two upcasters that undo each other end with an error.
const STEP_COUNT_MAX: usize = 64;

/// The upcasters of all contexts, tried in order until none fits any more.
#[derive(Clone, Default)]
pub struct Upcasters(Arc<Vec<Box<dyn EventUpcaster>>>);

impl Upcasters {
    /// These upcasters; most events need none, and then reading costs nothing.
    #[must_use]
    pub fn new(upcasters: Vec<Box<dyn EventUpcaster>>) -> Self {
        Self(Arc::new(upcasters))
    }

    /// Whether any version of this event type is lifted; asked once a type, not once an event.
    #[must_use]
    pub fn lifts(&self, event_type: &str) -> bool {
        let versions = 1..=STEP_COUNT_MAX;
        !self.0.is_empty()
            && versions.map(|version| version.to_string()).any(|v| self.0.iter().any(|u| u.can_upcast(event_type, &v)))
    }

    /// The event in its present shape.
    ///
    /// # Errors
    /// When the stored payload is not JSON, or the upcasters never come to an end.
    pub fn apply(&self, event: Recorded) -> Result<Recorded, UpcastError> {
        if self.0.is_empty() {
            return Ok(event);
        }
        let version = event.event_version.to_string();
        if !self.0.iter().any(|upcaster| upcaster.can_upcast(&event.event_type, &version)) {
            return Ok(event);
        }
        let position = event.position;
        let failed = |reason: String| UpcastError { position, reason };
        let mut current = SerializedEvent {
            aggregate_id: event.aggregate_id.to_string(),
            sequence: usize::try_from(event.sequence).map_err(|e| failed(e.to_string()))?,
            aggregate_type: event.aggregate_type.clone(),
            event_type: event.event_type.clone(),
            event_version: version,
            payload: serde_json::from_str(event.payload.get()).map_err(|e| failed(e.to_string()))?,
            metadata: Value::Object(serde_json::Map::new()),
        };
        for _ in 0..STEP_COUNT_MAX {
            let Some(upcaster) = self.0.iter().find(|u| u.can_upcast(&current.event_type, &current.event_version))
            else {
                return Ok(Recorded {
                    event_type: current.event_type,
                    event_version: current
                        .event_version
                        .parse()
                        .map_err(|_| failed("version is no number".to_owned()))?,
                    payload: RawValue::from_string(current.payload.to_string()).map_err(|e| failed(e.to_string()))?,
                    ..event
                });
            };
            current = upcaster.upcast(current);
        }
        Err(failed(format!("more than {STEP_COUNT_MAX} upcasting steps")))
    }
}

impl fmt::Debug for Upcasters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upcasters({})", self.0.len())
    }
}

/// Why an old event could not be lifted.
#[derive(Debug, thiserror::Error)]
#[error("the event at position {position} cannot be upcast: {reason}")]
pub struct UpcastError {
    /// Where the event stands.
    pub position: i64,
    /// What went wrong.
    pub reason: String,
}

/// An upcaster that changes one version of one event type into the next by a function of the payload.
pub struct VersionStep {
    /// The event type, such as `tenant.registered`.
    pub event_type: &'static str,
    /// The version it reads; it writes the next one.
    pub from: i32,
    /// The new payload from the old.
    pub step: fn(Value) -> Value,
}

impl EventUpcaster for VersionStep {
    fn can_upcast(&self, event_type: &str, event_version: &str) -> bool {
        event_type == self.event_type && event_version == self.from.to_string()
    }

    fn upcast(&self, event: SerializedEvent) -> SerializedEvent {
        SerializedEvent { event_version: (self.from + 1).to_string(), payload: (self.step)(event.payload), ..event }
    }
}

impl fmt::Debug for VersionStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VersionStep({} {} -> {})", self.event_type, self.from, self.from + 1)
    }
}

#[cfg(test)]
mod tests;
