//! The keys that checkpoints are signed with: which came into use and which went out of it, so that the log itself tells of each rotation.
//!
//! There is one stream, of the platform's own tenant and with its id. Only public keys are in it.

pub mod decide;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::{
    aggregate,
    refusal::{Kind, Refusal},
};

/// At most so many keys sign at a time.
pub const KEY_COUNT_MAX: usize = 16;

/// What has happened; `verifier_key` is `<name>+<id>+<base64>`, as C2SP signed-note writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// Checkpoints are signed with this key from now on.
    Used { verifier_key: String },
    /// They are not any more.
    Retired { verifier_key: String },
}

/// What can be ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Says which keys sign.
    Use { verifier_keys: BTreeSet<String> },
}

/// Why a command is refused; only the platform itself sends one, so no client meets these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("from 1 to {KEY_COUNT_MAX} keys sign at a time")]
    Size,
}

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Size => "signing_key_size",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Size => Kind::Invalid,
        }
    }
}

/// The keys that sign.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKeys {
    verifier_keys: BTreeSet<String>,
}

impl Aggregate for SigningKeys {
    const TYPE: &'static str = "signing_key";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Used { verifier_key } => drop(self.verifier_keys.insert(verifier_key)),
            Event::Retired { verifier_key } => drop(self.verifier_keys.remove(&verifier_key)),
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", SigningKeys::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
