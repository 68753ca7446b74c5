//! What may be recorded: all observations of a record at once.

use crate::aggregate::Decide;

use super::{AccessRecord, Command, Error, Event, OBSERVATION_COUNT_MAX};

impl Decide for AccessRecord {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        let Command::Record { observations } = command;
        match self {
            Self::Written => Err(Error::Written),
            Self::Absent if (1..=OBSERVATION_COUNT_MAX).contains(&observations.len()) => Ok(observations),
            Self::Absent => Err(Error::Size),
        }
    }
}
