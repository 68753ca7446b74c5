//! What may be completed: each check once.

use crate::aggregate::Decide;

use super::{Command, Error, Event, SelfCheck};

impl Decide for SelfCheck {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (self, command) {
            (Self::Completed, _) => Err(Error::Completed),
            (Self::Absent, Command::Complete { scope, tenant_id, log_count, event_count, finding_count, findings }) => {
                Ok(vec![Event::Completed { scope, tenant_id, log_count, event_count, finding_count, findings }])
            }
            (Self::Absent, Command::AcceptRollback(rollback)) => Ok(vec![Event::RollbackAccepted(rollback)]),
        }
    }
}
