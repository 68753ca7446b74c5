//! What may be published: each checkpoint covers more than the one before.

use crate::aggregate::Decide;

use super::{Checkpoints, Command, Error, Event};

impl Decide for Checkpoints {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        let Command::Publish { size, note, platform_note } = command;
        if size <= self.size {
            return Err(Error::Published);
        }
        Ok(vec![Event::Published { size, note, platform_note }])
    }
}
