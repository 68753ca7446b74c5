//! What may be written down of a check: whatever it came to, within its bounds.

use crate::aggregate::Decide;

use super::{Command, ControlCheck, Error, Event, FINDING_COUNT_MAX};

impl Decide for ControlCheck {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        let Command::Evaluate(evaluation) = command;
        if evaluation.findings.len() > FINDING_COUNT_MAX {
            return Err(Error::TooManyFindings);
        }
        Ok(vec![Event::Evaluated(evaluation)])
    }
}
