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
    /// The endpoint itself asked for nothing before, which no success of something sent earlier changes.
    asked_until: Option<DateTime<Utc>>,
    /// So often it has opened: what failed together with the one that opened it is the same failure.
    openings: u64,
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
            asked_until: None,
            openings: 0,
            at_once: if consecutive_failures > 0 { 1 } else { FIRST },
        }
    }

    /// Answers whether that is worth writing down.
    pub(crate) fn succeeded(&mut self, now: DateTime<Utc>) -> bool {
        let asked_until = self.asked_until.filter(|until| *until > now);
        let news = self.failing_since.is_some() || self.open_until != asked_until;
        // Twice as many after each answer, so that an endpoint which answers soon has all that it may.
        let at_once = self.at_once.saturating_mul(2);
        let openings = self.openings;
        *self = Self { at_once, open_until: asked_until, asked_until, openings, ..Self::default() };
        news
    }

    /// What was begun after so many openings has failed.
    pub(crate) fn failed(&mut self, openings: u64, now: DateTime<Utc>) {
        self.at_once = 1;
        self.failing_since.get_or_insert(now);
        if openings != self.openings {
            return;
        }
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        if let Some(doublings) = self.consecutive_failures.checked_sub(FAILURES_MAX) {
            let open = OPEN.saturating_mul(1 << doublings.min(8)).min(OPEN_MAX);
            self.open_until = self.asked_until.max(Some(now + open));
            self.openings += 1;
        }
    }

    /// How often it has opened.
    pub(crate) const fn openings(&self) -> u64 {
        self.openings
    }

    /// The endpoint asked to be left alone until then, which is no failure of its.
    pub(crate) fn asked_to_wait(&mut self, until: DateTime<Utc>) {
        self.asked_until = self.asked_until.max(Some(until));
        self.open_until = self.open_until.max(Some(until));
        self.openings += 1;
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
        assert!((0..3).all(|_| !health.succeeded(at(0))));
        assert_eq!(health.concurrency(10), 10);
        for _ in 1..FAILURES_MAX {
            health.failed(0, at(0));
            assert_eq!((health.concurrency(10), health.closed_at(at(0))), (1, Ok(())));
        }
        assert!(health.succeeded(at(0)));
        assert_eq!(health.concurrency(10), 2);
        assert!(!health.succeeded(at(0)));
    }

    #[test]
    fn many_failures_leave_none_until_a_probe_and_longer_each_time() {
        let mut health = Health::default();
        for _ in 0..FAILURES_MAX {
            health.failed(0, at(0));
        }
        assert_eq!((health.closed_at(at(9)), health.closed_at(at(10))), (Err(at(10)), Ok(())));
        health.failed(1, at(10));
        assert_eq!(health.closed_at(at(10)), Err(at(30)));
        for openings in 2..100 {
            health.failed(openings, at(30));
        }
        assert_eq!(health.closed_at(at(30)), Err(at(330)));
        assert_eq!(health.failing_since, Some(at(0)));
        assert!(health.succeeded(at(40)));
        assert_eq!((health.failing_since, health.open_until), (None, None));
    }

    #[test]
    fn who_asks_to_wait_has_not_failed() {
        let mut health = Health::default();
        health.asked_to_wait(at(60));
        assert_eq!((health.closed_at(at(59)), health.failing_since), (Err(at(60)), None));
    }

    #[test]
    fn what_fails_together_is_one_failed_probe() {
        let mut health = Health::default();
        for _ in 0..20 {
            health.failed(0, at(0));
        }
        assert_eq!((health.closed_at(at(0)), health.consecutive_failures), (Err(at(10)), FAILURES_MAX));
        // One of them takes its time.
        health.failed(0, at(12));
        assert_eq!((health.closed_at(at(12)), health.concurrency(10)), (Ok(()), 1));
        health.failed(1, at(12));
        assert_eq!(health.closed_at(at(12)), Err(at(32)));
    }

    #[test]
    fn a_success_of_something_older_does_not_end_the_wait_that_was_asked_for() {
        let mut health = Health::default();
        health.asked_to_wait(at(60));
        assert!(!health.succeeded(at(1)));
        health.failed(0, at(2));
        assert!(health.succeeded(at(3)));
        assert_eq!((health.closed_at(at(59)), health.failing_since), (Err(at(60)), None));
        assert!(health.succeeded(at(61)));
        assert_eq!(health.open_until, None);
    }
}
