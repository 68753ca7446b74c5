//! How the events of a subscription are handed out, and what becomes of those that nobody acknowledges.

use chrono::TimeDelta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Error;

/// A lease has at least so many seconds.
pub const LEASE_SECONDS_MIN: u32 = 5;
/// A lease has at most so many seconds.
pub const LEASE_SECONDS_MAX: u32 = 3_600;
/// A lease when nothing else is said.
pub const LEASE_SECONDS_DEFAULT: u32 = 60;
/// An event is handed out at most so many times, whatever is asked for.
pub const DELIVERIES_MAX: u32 = 100;
/// An event is handed out so many times when nothing else is said.
pub const DELIVERIES_MAX_DEFAULT: u32 = 10;
/// The first retry comes after at most so many seconds.
pub const RETRY_INITIAL_SECONDS_MAX: u32 = 3_600;
/// No retry comes later than after so many seconds.
pub const RETRY_SECONDS_MAX: u32 = 86_400;

/// Who may be handed events at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One consumer at a time, all events in their order.
    Exclusive,
    /// Several consumers share the events, those of one aggregate in their order.
    Competing,
}

/// What becomes of an event that was handed out as often as allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnExhausted {
    /// It is put aside, to be replayed or discarded by somebody.
    Park,
    /// It is passed over, and counted.
    Skip,
}

/// How long an event rests that was rejected: the first time `initial_seconds`, then twice as long each time, at most `max_seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EventSubscriptionRetry")]
pub struct Retry {
    #[schemars(range(min = 1, max = RETRY_INITIAL_SECONDS_MAX))]
    pub initial_seconds: u32,
    #[schemars(range(min = 1, max = RETRY_SECONDS_MAX))]
    pub max_seconds: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { initial_seconds: 5, max_seconds: 600 }
    }
}

impl Retry {
    /// The rest before the next delivery of an event that was handed out `deliveries` times, which is at least once.
    #[must_use]
    pub fn delay(self, deliveries: u32) -> TimeDelta {
        let doublings = deliveries.saturating_sub(1).min(u32::BITS - 1);
        let seconds = u64::from(self.initial_seconds) << doublings;
        let seconds = seconds.min(u64::from(self.max_seconds));
        TimeDelta::seconds(i64::try_from(seconds).expect("the maximum is a day"))
    }
}

/// How events are handed out; its values are within their bounds once [`Handling::checked`] has let them through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Handling {
    pub mode: Mode,
    pub lease_seconds: u32,
    pub deliveries_max: u32,
    pub retry: Retry,
    pub on_exhausted: OnExhausted,
}

impl Handling {
    /// Whether each value is within its bounds.
    ///
    /// # Errors
    /// The first that is not.
    pub fn checked(self) -> Result<Self, Error> {
        if !(LEASE_SECONDS_MIN..=LEASE_SECONDS_MAX).contains(&self.lease_seconds) {
            return Err(Error::LeaseOutOfBounds);
        }
        if !(1..=DELIVERIES_MAX).contains(&self.deliveries_max) {
            return Err(Error::DeliveriesOutOfBounds);
        }
        let Retry { initial_seconds, max_seconds } = self.retry;
        if !(1..=RETRY_INITIAL_SECONDS_MAX).contains(&initial_seconds)
            || !(initial_seconds..=RETRY_SECONDS_MAX).contains(&max_seconds)
        {
            return Err(Error::RetryOutOfBounds);
        }
        Ok(self)
    }

    /// How long whoever is handed an event has it for himself.
    #[must_use]
    pub fn lease(&self) -> TimeDelta {
        TimeDelta::seconds(self.lease_seconds.into())
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::Retry;

    #[test]
    fn each_rest_is_twice_as_long_up_to_the_maximum() {
        let retry = Retry { initial_seconds: 5, max_seconds: 60 };
        let delays: Vec<_> = [1, 2, 3, 4, 5, 100].iter().map(|count| retry.delay(*count).num_seconds()).collect();
        assert_eq!(delays, [5, 10, 20, 40, 60, 60]);
        assert_eq!(retry.delay(0), TimeDelta::seconds(5));
    }
}
