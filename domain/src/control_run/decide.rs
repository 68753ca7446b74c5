//! What may be asked for and completed, and how those that wait are counted.

use uuid::Uuid;

use crate::{aggregate::Decide, effect::Effect};

use super::{Command, ControlRun, Error, Event};

/// Counts the runs that wait; its maximum is [`WAITING_COUNT_MAX`](super::WAITING_COUNT_MAX).
pub const WAITING: &str = "control_runs_waiting";

impl Decide for ControlRun {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (self, command) {
            (Self::Absent, Command::Request { reason }) => Ok(vec![Event::Requested { reason }]),
            (Self::Requested | Self::Completed, Command::Request { .. }) => Err(Error::AlreadyRequested),
            (
                Self::Absent | Self::Requested,
                Command::Complete { version, pass_count, fail_count, not_applicable_count },
            ) => Ok(vec![Event::Completed { version, pass_count, fail_count, not_applicable_count }]),
            (Self::Completed, Command::Complete { .. }) => Err(Error::Completed),
        }
    }

    fn effects(&self, _id: Uuid, event: &Event) -> Vec<Effect> {
        match (self, event) {
            (_, Event::Requested { .. }) => vec![Effect::Count { counter: WAITING, delta: 1 }],
            (Self::Requested, Event::Completed { .. }) => vec![Effect::Count { counter: WAITING, delta: -1 }],
            (Self::Absent | Self::Completed, Event::Completed { .. }) => Vec::new(),
        }
    }
}
