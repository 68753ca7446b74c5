//! What a subscription sells: a plan, its price per seat, and how often it is charged.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::AsRefStr;

use crate::{
    money::{Currency, Money},
    text::{Key, Name},
};

use super::Error;

/// At most so many seats a subscription.
pub const SEATS_MAX: u32 = 100_000;
/// The highest price of a seat and interval, in minor units: with the most seats it is 10^15, which fits 64 bits and also the
/// 53 bits of a JSON number in a browser, with room for sums.
pub const PRICE_MINOR_MAX: i64 = 10_000_000_000;

/// A plan as it was sold: later changes of the catalogue do not reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The plan's key in the catalogue.
    pub code: Key,
    /// The plan's name for people.
    pub name: Name,
    /// The plan's level, such as `basic` or `premium`.
    pub tier: Key,
    /// The price of one seat for one interval.
    pub price: Money,
    /// How long one period lasts.
    pub interval: Interval,
}

/// How long one period lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, AsRefStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Interval {
    Month,
    Year,
}

impl Interval {
    /// How many calendar months the interval spans.
    #[must_use]
    pub const fn months(self) -> u32 {
        match self {
            Self::Month => 1,
            Self::Year => 12,
        }
    }
}

impl Plan {
    /// The currency of the price, and so of everything the subscription charges.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.price.currency
    }

    /// What one interval costs for `seats` seats.
    #[must_use]
    pub fn recurring(&self, seats: u32) -> Money {
        self.price.times(seats).expect("price and seats were checked against their bounds when they were ordered")
    }

    /// Refuses a price outside 0 to [`PRICE_MINOR_MAX`].
    pub(super) fn check_price(&self) -> Result<(), Error> {
        if (0..=PRICE_MINOR_MAX).contains(&self.price.minor) {
            Ok(())
        } else {
            Err(Error::AmountOutOfRange(self.price.minor))
        }
    }
}

/// Refuses a number of seats outside 1 to [`SEATS_MAX`].
pub(super) fn check_seats(seats: u32) -> Result<(), Error> {
    if (1..=SEATS_MAX).contains(&seats) { Ok(()) } else { Err(Error::SeatsOutOfRange(seats)) }
}

#[cfg(test)]
mod tests {
    use super::{Interval, PRICE_MINOR_MAX, Plan, SEATS_MAX};
    use crate::money::Money;

    #[test]
    fn the_highest_price_for_the_most_seats_fits_a_json_number() {
        let plan = Plan {
            code: "mail".parse().unwrap(),
            name: "Mail".parse().unwrap(),
            tier: "premium".parse().unwrap(),
            price: Money::new(PRICE_MINOR_MAX, "EUR".parse().unwrap()),
            interval: Interval::Year,
        };
        assert!(plan.recurring(SEATS_MAX).minor < 1_i64 << 53);
    }
}
