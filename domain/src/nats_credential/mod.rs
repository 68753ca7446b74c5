//! A NATS credential: what a trusted integrator outside reads the tenant's events with, straight from the broker.
//!
//! Each is a stream of one event, which tells who let whom in and until when. The credential itself was made outside and is kept nowhere; the
//! event has its public half only. It ends by itself, when the time that is signed into it has come, and the broker sees to that.

pub mod decide;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::{
    aggregate,
    refusal::{Code, Kind, Refusal},
    text::Name,
};

/// A credential is good for so many days at most.
pub const DAYS_MAX: u32 = 30;

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// Whoever has the secret half of `public_key` may subscribe to the subjects until `expires_at`.
    Issued {
        /// Whom it is for.
        name: Name,
        /// As NATS writes it: `U` and 55 more letters and digits.
        public_key: String,
        subjects: Vec<String>,
        expires_at: DateTime<Utc>,
    },
}

/// What can be ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Writes down that one was made, before it is handed over.
    Issue { name: Name, public_key: String, subjects: Vec<String>, expires_at: DateTime<Utc> },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the NATS credential is issued already")]
    AlreadyIssued,
}

/// The platform's NATS lets nobody in by credentials of ours.
///
/// No aggregate knows that: it is a setting of the process that is asked.
pub const UNAVAILABLE: Code = Code {
    code: "nats_credentials_unavailable",
    kind: Kind::Conflict,
    meaning: "The platform has no key that signs NATS credentials: its operator has not opened NATS to integrators.",
};

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code {
        code: "nats_credential_already_issued",
        kind: Kind::Conflict,
        meaning: "A NATS credential with this id exists already.",
    },
    UNAVAILABLE,
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::AlreadyIssued => "nats_credential_already_issued",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::AlreadyIssued => Kind::Conflict,
        }
    }
}

/// A credential at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NatsCredential {
    /// Not issued.
    #[default]
    Absent,
    /// Issued; expired when the time has come, which is no event.
    Issued { expires_at: DateTime<Utc> },
}

impl Aggregate for NatsCredential {
    const TYPE: &'static str = "nats_credential";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Issued { expires_at, .. } => *self = Self::Issued { expires_at },
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", NatsCredential::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
