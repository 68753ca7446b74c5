//! What may be recorded: each disclosure once.

use crate::aggregate::Decide;

use super::{Command, Disclosure, Error, Event};

impl Decide for Disclosure {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        let Command::Record(disclosure) = command;
        match self {
            Self::Absent => Ok(vec![*disclosure]),
            Self::Recorded => Err(Error::Recorded),
        }
    }
}
