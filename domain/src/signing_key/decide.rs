//! What is written down of keys: each that came, and then each that went.

use crate::aggregate::Decide;

use super::{Command, Error, Event, KEY_COUNT_MAX, SigningKeys};

impl Decide for SigningKeys {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        let Command::Use { verifier_keys } = command;
        if !(1..=KEY_COUNT_MAX).contains(&verifier_keys.len()) {
            return Err(Error::Size);
        }
        let came = verifier_keys.difference(&self.verifier_keys).cloned();
        let went = self.verifier_keys.difference(&verifier_keys).cloned();
        let came = came.map(|verifier_key| Event::Used { verifier_key });
        Ok(came.chain(went.map(|verifier_key| Event::Retired { verifier_key })).collect())
    }
}
