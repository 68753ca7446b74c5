//! When the next turn is due.

use std::time::Duration;

/// How long the sealer waits between the beginnings of two turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// At the longest, even if nothing is known to wait.
    pub rest: Duration,
    /// At the longest when something waits: events that come together are sealed together.
    pub interval: Duration,
    /// So many events wait no longer than it takes to go on.
    pub event_count: i64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { rest: Duration::from_secs(1), interval: Duration::from_millis(250), event_count: 256 }
    }
}

impl Pace {
    /// When the next turn begins, after the beginning of the last one, which took so long, with so many events that came since.
    ///
    /// A turn takes everything that waits, so turns grow with the load. That one does not begin before twice the time of the last one
    /// has passed leaves half of the time to those who append, whatever the load is.
    pub(super) fn due(self, waiting: i64, took: Duration) -> Duration {
        let soonest = took * 2;
        match waiting {
            0 => self.rest,
            waiting if waiting < self.event_count => self.interval.max(took),
            _ => soonest.min(self.interval.max(took)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pace;

    #[test]
    fn a_turn_is_due_after_256_events_or_a_quarter_of_a_second_or_a_second() {
        let ms = Duration::from_millis;
        for (waiting, took, expected) in [
            (0, 5, 1_000),
            (1, 5, 250),
            (255, 5, 250),
            (256, 5, 10),
            (50_000, 5, 10),
            // A slow turn is followed by a longer rest, up to the interval, and never by one before it has ended.
            (256, 100, 200),
            (256, 200, 250),
            (256, 400, 400),
            (1, 400, 400),
        ] {
            assert_eq!(Pace::default().due(waiting, ms(took)), ms(expected), "{waiting} {took}");
        }
    }
}
