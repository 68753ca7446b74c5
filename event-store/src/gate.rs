//! Remembers for a moment that PostgreSQL did not answer, so that those who wait behind one another do not each find out anew.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::append::AppendError;

/// After a failure nobody tries for so long.
const CLOSED_FOR: Duration = Duration::from_millis(500);

/// Open until it is closed, and again soon after; clones are the same gate.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    closed_until: Arc<Mutex<Option<Instant>>>,
}

impl Gate {
    /// Closes it for a moment.
    pub(crate) fn close(&self) {
        *self.closed_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + CLOSED_FOR);
    }

    /// Whether one may go through now.
    ///
    /// # Errors
    /// `Unavailable` while it is closed.
    pub(crate) fn pass(&self) -> Result<(), AppendError> {
        let closed_until = *self.closed_until.lock().unwrap_or_else(PoisonError::into_inner);
        if closed_until.is_some_and(|until| Instant::now() < until) {
            return Err(AppendError::Unavailable("PostgreSQL did not answer a moment ago".to_owned()));
        }
        Ok(())
    }
}
