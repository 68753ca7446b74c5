//! Monthly recurring revenue (MRR): what a subscription earns a month, and why that changed.
//!
//! A yearly amount counts as its twelfth, rounded half to even to whole minor units. Trials and pauses earn nothing. Over a
//! subscription's life each change begins where the one before it ended, so sums over `after - before` are the revenue itself.

use std::cmp::Ordering;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::AsRefStr;

use crate::money::{Currency, Money};

use super::plan::Interval;

/// How one event changed the monthly recurring revenue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MrrChange {
    /// Minor units a month before the event.
    pub before_minor: i64,
    /// Minor units a month after the event.
    pub after_minor: i64,
    /// ISO 4217 code.
    pub currency: Currency,
    /// Why it changed.
    pub movement: Movement,
}

/// Why monthly recurring revenue changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, AsRefStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Movement {
    /// A subscription became active for the first time.
    New,
    /// An active subscription grew by plan or seats.
    Expansion,
    /// An active subscription shrank by plan or seats.
    Contraction,
    /// A subscription stopped earning: paused or cancelled.
    Churn,
    /// A paused subscription earns again.
    Reactivation,
    /// The revenue stayed what it was.
    None,
}

/// `recurring` an interval as minor units a month, rounded half to even.
#[must_use]
pub fn monthly_minor(recurring: Money, interval: Interval) -> i64 {
    let months = i64::from(interval.months());
    let floor = recurring.minor.div_euclid(months);
    let rest = recurring.minor.rem_euclid(months);
    match (2 * rest).cmp(&months) {
        Ordering::Less => floor,
        Ordering::Greater => floor + 1,
        Ordering::Equal => floor + (floor & 1),
    }
}

impl MrrChange {
    /// The first activation: from nothing to `after_minor` a month.
    pub(super) fn started(after_minor: i64, currency: Currency) -> Self {
        Self::moved(0, after_minor, currency, Movement::New)
    }

    /// A change of plan or seats.
    pub(super) fn changed(before_minor: i64, after_minor: i64, currency: Currency) -> Self {
        let movement = if after_minor < before_minor { Movement::Contraction } else { Movement::Expansion };
        Self::moved(before_minor, after_minor, currency, movement)
    }

    /// A pause or a cancellation: down to nothing.
    pub(super) fn stopped(before_minor: i64, currency: Currency) -> Self {
        Self::moved(before_minor, 0, currency, Movement::Churn)
    }

    /// The end of a pause: from nothing to `after_minor` a month.
    pub(super) fn resumed(after_minor: i64, currency: Currency) -> Self {
        Self::moved(0, after_minor, currency, Movement::Reactivation)
    }

    fn moved(before_minor: i64, after_minor: i64, currency: Currency, movement: Movement) -> Self {
        let movement = if before_minor == after_minor { Movement::None } else { movement };
        Self { before_minor, after_minor, currency, movement }
    }
}

#[cfg(test)]
mod tests {
    use super::{Movement, MrrChange, monthly_minor};
    use crate::{
        money::{Currency, Money},
        subscription::plan::Interval,
    };

    fn eur() -> Currency {
        "EUR".parse().unwrap()
    }

    #[test]
    fn a_monthly_amount_counts_as_it_is() {
        for minor in [0, 1, 1_999, 1_000_000_000_000_000] {
            assert_eq!(monthly_minor(Money::new(minor, eur()), Interval::Month), minor);
        }
    }

    #[test]
    fn a_yearly_amount_counts_as_its_twelfth_rounded_half_to_even() {
        for (minor, monthly) in [
            (0, 0),
            (5, 0),
            (6, 0),
            (7, 1),
            (12, 1),
            (17, 1),
            (18, 2),
            (19, 2),
            (30, 2),
            (31, 3),
            (42, 4),
            (11_988, 999),
            (1_000_000_000_000_000, 83_333_333_333_333),
        ] {
            assert_eq!(monthly_minor(Money::new(minor, eur()), Interval::Year), monthly, "{minor}");
        }
    }

    #[test]
    fn rounding_never_leaves_half_a_unit() {
        for minor in 0..10_000 {
            let monthly = monthly_minor(Money::new(minor, eur()), Interval::Year);
            let away = (12 * monthly - minor).abs();
            assert!(away < 6 || (away == 6 && monthly % 2 == 0), "{minor} became {monthly}");
        }
    }

    #[test]
    fn each_occasion_has_its_movement() {
        assert_eq!(MrrChange::started(5, eur()).movement, Movement::New);
        assert_eq!(MrrChange::resumed(5, eur()).movement, Movement::Reactivation);
        assert_eq!(MrrChange::stopped(5, eur()).movement, Movement::Churn);
        assert_eq!(MrrChange::changed(5, 6, eur()).movement, Movement::Expansion);
        assert_eq!(MrrChange::changed(6, 5, eur()).movement, Movement::Contraction);
        assert_eq!(MrrChange::changed(0, 5, eur()).movement, Movement::Expansion);
        assert_eq!(MrrChange::changed(5, 0, eur()).movement, Movement::Contraction);
    }

    #[test]
    fn what_earns_the_same_before_and_after_is_no_movement() {
        for change in [
            MrrChange::started(0, eur()),
            MrrChange::resumed(0, eur()),
            MrrChange::stopped(0, eur()),
            MrrChange::changed(5, 5, eur()),
        ] {
            assert_eq!(change.movement, Movement::None);
            assert_eq!(change.before_minor, change.after_minor);
        }
    }
}
