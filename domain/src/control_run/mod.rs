//! One run over all controls: asked for by somebody or due by the clock, and what it came to.
//!
//! Life: absent, requested, completed; a run that is due each day is completed without having been requested. It is the platform's own.

pub mod decide;
#[cfg(test)]
mod tests;

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::{
    aggregate,
    refusal::{Code, Kind, Refusal},
    text::Remark,
};

/// So many runs may wait for their turn; held by the counter [`decide::WAITING`].
pub const WAITING_COUNT_MAX: i64 = 4;

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// Somebody wants all controls checked now.
    Requested { reason: Remark },
    /// All controls were checked; so many had each outcome.
    Completed { version: String, pass_count: u32, fail_count: u32, not_applicable_count: u32 },
}

/// What can be ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Request { reason: Remark },
    Complete { version: String, pass_count: u32, fail_count: u32, not_applicable_count: u32 },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the run was requested already")]
    AlreadyRequested,
    #[error("the run is completed")]
    Completed,
}

/// [`WAITING_COUNT_MAX`] runs are waiting.
pub const LIMIT_REACHED: Code = Code {
    code: "control_run_limit_reached",
    kind: Kind::LimitReached,
    meaning: "As many runs of the controls are waiting as are allowed.",
};

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code {
        code: "control_run_already_requested",
        kind: Kind::Conflict,
        meaning: "A run of the controls with this id was requested already.",
    },
    Code { code: "control_run_completed", kind: Kind::Conflict, meaning: "The run of the controls is completed." },
    LIMIT_REACHED,
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::AlreadyRequested => "control_run_already_requested",
            Self::Completed => "control_run_completed",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::AlreadyRequested | Self::Completed => Kind::Conflict,
        }
    }
}

/// A run at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlRun {
    /// Neither requested nor done.
    #[default]
    Absent,
    /// Waits for its turn.
    Requested,
    /// Done.
    Completed,
}

impl Aggregate for ControlRun {
    const TYPE: &'static str = "control_run";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Requested { .. } => *self = Self::Requested,
            Event::Completed { .. } => *self = Self::Completed,
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", ControlRun::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
