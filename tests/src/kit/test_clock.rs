//! A clock that stands still until a test moves it.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use hub::clock::Clock;

/// Clones are the same clock.
#[derive(Clone, Debug)]
pub struct TestClock {
    now: Arc<Mutex<DateTime<Utc>>>,
}

impl Default for TestClock {
    /// A clock that says noon of the first day of 2026.
    fn default() -> Self {
        Self::at("2026-01-01T12:00:00Z")
    }
}

impl TestClock {
    /// A clock that says `text`, in RFC 3339, for example `2026-01-31T12:00:00Z`.
    ///
    /// # Panics
    /// When the text is not a time.
    #[must_use]
    pub fn at(text: &str) -> Self {
        let now = DateTime::parse_from_rfc3339(text).expect("a test gives a time in RFC 3339");
        Self { now: Arc::new(Mutex::new(now.to_utc())) }
    }

    /// What it says.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves it on, or back.
    pub fn advance(&self, by: TimeDelta) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }

    /// Moves it to `now`.
    pub fn set(&self, now: DateTime<Utc>) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// As the rooms take it.
    #[must_use]
    pub fn clock(&self) -> Clock {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}
