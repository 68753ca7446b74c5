//! Self-checks: what it came to when events were hashed anew and compared with what was sealed, or when the database was held to what the
//! sealing process had kept.
//!
//! Each check is a stream of one event, of the platform itself, so that it is sealed like everything else. So is the decision to go on
//! with a database that is not the one that was sealed.

pub mod decide;
#[cfg(test)]
mod tests;

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::{
    aggregate,
    id::TenantId,
    refusal::{Kind, Refusal},
};

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// `event_count` events of `log_count` logs were hashed anew; `finding_count` of them are not as they were sealed, of which the first are
    /// named. With a `tenant_id` only that tenant's log was looked at.
    Completed {
        scope: Scope,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tenant_id: Option<TenantId>,
        log_count: u64,
        event_count: u64,
        finding_count: u64,
        findings: Vec<Finding>,
    },
    /// Sealing goes on with a database that does not continue the checkpoint which a sealing process had kept.
    RollbackAccepted(Rollback),
}

/// What was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Some events, taken by chance.
    Sample,
    /// Everything that was sealed.
    Full,
    /// The platform's log of checkpoints, by the last one that a sealing process kept in its file.
    Witness,
}

/// An event that is not as it was sealed; or a checkpoint in the platform's log, under the nil id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    pub tenant_id: TenantId,
    /// The event's place in the tenant's log, from 1.
    pub position: u64,
    pub what: String,
}

/// A past that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rollback {
    /// How many checkpoints the platform's log had when a process kept the last one.
    pub kept_size: u64,
    /// That one, as it was signed.
    pub kept_note: String,
    /// How many it has in the database.
    pub found_size: u64,
    /// Why nobody gets the others back.
    pub reason: String,
}

/// What can be ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Writes down what a check came to.
    Complete {
        scope: Scope,
        tenant_id: Option<TenantId>,
        log_count: u64,
        event_count: u64,
        finding_count: u64,
        findings: Vec<Finding>,
    },
    /// Writes down that a past was given up.
    AcceptRollback(Rollback),
}

/// Why a command is refused; only the platform itself sends one, so no client meets these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the self-check is completed already")]
    Completed,
}

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Completed => "self_check_completed",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Completed => Kind::Conflict,
        }
    }
}

/// A check at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SelfCheck {
    /// Not completed.
    #[default]
    Absent,
    /// Completed, or decided.
    Completed,
}

impl Aggregate for SelfCheck {
    const TYPE: &'static str = "self_check";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Completed { .. } | Event::RollbackAccepted(_) => *self = Self::Completed,
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", SelfCheck::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
