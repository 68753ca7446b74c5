//! What may be completed: each check once.

use crate::aggregate::Decide;

use super::{Command, Error, Event, SelfCheck};

impl Decide for SelfCheck {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        let Command::Complete { scope, log_count, event_count, finding_count, findings } = command;
        match self {
            Self::Completed => Err(Error::Completed),
            Self::Absent => Ok(vec![Event::Completed { scope, log_count, event_count, finding_count, findings }]),
        }
    }
}
