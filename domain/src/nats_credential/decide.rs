//! What may be issued: each credential once.

use crate::aggregate::Decide;

use super::{Command, Error, Event, NatsCredential};

impl Decide for NatsCredential {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (self, command) {
            (Self::Issued { .. }, Command::Issue { .. }) => Err(Error::AlreadyIssued),
            (Self::Absent, Command::Issue { name, public_key, subjects, expires_at }) => {
                Ok(vec![Event::Issued { name, public_key, subjects, expires_at }])
            }
        }
    }
}
