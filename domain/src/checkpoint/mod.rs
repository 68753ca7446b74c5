//! Checkpoints of a tenant's log that were published in the log itself, so that whoever reads its events holds them, too.
//!
//! There is one stream a tenant, with the tenant's id. Checkpoints only grow.

pub mod decide;
#[cfg(test)]
mod tests;

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::{
    aggregate,
    refusal::{Kind, Refusal},
};

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// The tenant's first `size` events were sealed: `note` is the signed checkpoint, `platform_note` that of the platform's log of all
    /// checkpoints at about the same time.
    Published { size: u64, note: String, platform_note: String },
}

/// What can be ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Publishes a checkpoint.
    Publish { size: u64, note: String, platform_note: String },
}

/// Why a command is refused; only the platform itself sends one, so no client meets these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a checkpoint of as many events is published already")]
    Published,
}

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Published => "checkpoint_published",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Published => Kind::Conflict,
        }
    }
}

/// The size of the last checkpoint that was published; 0 before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoints {
    size: u64,
}

impl Aggregate for Checkpoints {
    const TYPE: &'static str = "checkpoint";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        let Event::Published { size, .. } = event;
        self.size = size;
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", Checkpoints::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
