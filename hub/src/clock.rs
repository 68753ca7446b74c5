//! The one place that reads the time of the machine.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, Utc};

/// Tells the time, in UTC with microseconds, which is what PostgreSQL keeps.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// The clock of the machine, cut to microseconds so that a time read back from the database is equal to the one written.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else is given")]
        Utc::now().trunc_subsecs(6)
    })
}

#[cfg(test)]
mod tests {
    use super::system_clock;

    #[test]
    fn the_system_clock_has_no_more_than_microseconds() {
        let now = system_clock()();
        assert_eq!(now.timestamp_subsec_nanos() % 1_000, 0);
    }
}
