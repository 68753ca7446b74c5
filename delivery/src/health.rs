//! How an endpoint has answered lately, and what follows from it: how many deliveries at once it gets, and when none.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// After so many failures in a row an endpoint gets nothing for a while.
const FAILURES_MAX: u32 = 5;

/// For so long at first; each failed probe doubles it.
const OPEN: Duration = Duration::from_secs(10);

/// And at most.
const OPEN_MAX: Duration = Duration::from_secs(300);

/// So many deliveries an endpoint gets at once of which nothing is known yet.
const FIRST: usize = 2;

/// A circuit breaker: closed while the endpoint answers, open while it does not, with one probe in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) consecutive_failures: u32,
    /// The first failure after the last success.
    pub(crate) failing_since: Option<DateTime<Utc>>,
    /// Nothing is sent before.
    pub(crate) open_until: Option<DateTime<Utc>>,
    /// So many deliveries it gets at once, of those that it may have.
    at_once: usize,
}

impl Default for Health {
    fn default() -> Self {
        Self::known(0, None, None)
    }
}

impl Health {
    /// As it was written down.
    pub(crate) const fn known(
        consecutive_failures: u32,
        failing_since: Option<DateTime<Utc>>,
        open_until: Option<DateTime<Utc>>,
    ) -> Self {
        Self {
            consecutive_failures,
            failing_since,
            open_until,
            at_once: if consecutive_failures > 0 { 1 } else { FIRST },
        }
    }

    /// Answers whether that is worth writing down.
    pub(crate) fn succeeded(&mut self) -> bool {
        let news = self.failing_since.is_some() || self.open_until.is_some();
        // Twice as many after each answer, so that an endpoint which answers soon has all that it may.
        let at_once = self.at_once.saturating_mul(2);
        *self = Self { at_once, ..Self::default() };
        news
    }

    pub(crate) fn failed(&mut self, now: DateTime<Utc>) {
        self.at_once = 1;
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        self.failing_since.get_or_insert(now);
        if let Some(doublings) = self.consecutive_failures.checked_sub(FAILURES_MAX) {
            let open = OPEN.saturating_mul(1 << doublings.min(8)).min(OPEN_MAX);
            self.open_until = Some(now + open);
        }
    }

    /// The endpoint asked to be left alone until then, which is no failure of its.
    pub(crate) fn asked_to_wait(&mut self, until: DateTime<Utc>) {
        self.open_until = self.open_until.max(Some(until));
    }

    /// Until when nothing is sent.
    pub(crate) fn closed_at(&self, now: DateTime<Utc>) -> Result<(), DateTime<Utc>> {
        match self.open_until {
            Some(until) if until > now => Err(until),
            Some(_) | None => Ok(()),
        }
    }

    /// How many deliveries it gets at once of those that it may have: few at first and one after a failure, so that an endpoint that does
    /// not answer holds few connections and not all of its.
    pub(crate) fn concurrency(&self, wanted: u16) -> usize {
        self.at_once.min(wanted.into())
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};

    use super::{FAILURES_MAX, FIRST, Health};

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    #[test]
    fn a_few_failures_leave_one_delivery_at_a_time() {
        let mut health = Health::default();
        assert_eq!(health.concurrency(10), FIRST);
        assert!(!health.succeeded() && !health.succeeded() && !health.succeeded());
        assert_eq!(health.concurrency(10), 10);
        for _ in 1..FAILURES_MAX {
            health.failed(at(0));
            assert_eq!((health.concurrency(10), health.closed_at(at(0))), (1, Ok(())));
        }
        assert!(health.succeeded());
        assert_eq!(health.concurrency(10), 2);
        assert!(!health.succeeded());
    }

    #[test]
    fn many_failures_leave_none_until_a_probe_and_longer_each_time() {
        let mut health = Health::default();
        for _ in 0..FAILURES_MAX {
            health.failed(at(0));
        }
        assert_eq!((health.closed_at(at(9)), health.closed_at(at(10))), (Err(at(10)), Ok(())));
        health.failed(at(10));
        assert_eq!(health.closed_at(at(10)), Err(at(30)));
        for _ in 0..100 {
            health.failed(at(30));
        }
        assert_eq!(health.closed_at(at(30)), Err(at(330)));
        assert_eq!(health.failing_since, Some(at(0)));
        assert!(health.succeeded());
        assert_eq!((health.failing_since, health.open_until), (None, None));
    }

    #[test]
    fn who_asks_to_wait_has_not_failed() {
        let mut health = Health::default();
        health.asked_to_wait(at(60));
        assert_eq!((health.closed_at(at(59)), health.failing_since), (Err(at(60)), None));
    }
}
