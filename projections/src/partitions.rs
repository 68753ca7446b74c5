//! Some of the partitions that the log is spread over.

use hub_event_store::{
    event::Recorded,
    partition::{PARTITION_COUNT, partition_of},
};

/// A set of partitions, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partitions(u16);

impl Partitions {
    /// Every partition.
    pub const ALL: Self = Self(u16::MAX);

    /// The set as the database has it: the numbers in ascending order.
    #[must_use]
    pub fn from_numbers(numbers: &[i16]) -> Self {
        let bit = |number: &i16| u32::try_from(*number).ok().and_then(|number| 1_u16.checked_shl(number));
        Self(numbers.iter().filter_map(bit).fold(0, |set, bit| set | bit))
    }

    /// The numbers in ascending order.
    #[must_use]
    pub fn numbers(self) -> Vec<i16> {
        (0_i16..).take(PARTITION_COUNT).filter(|number| self.0 & (1 << number) != 0).collect()
    }

    /// How many there are.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether the event's tenant is in one of them.
    #[must_use]
    pub fn contain(self, event: &Recorded) -> bool {
        self == Self::ALL || self.0 & (1 << partition_of(event.tenant_id)) != 0
    }

    /// Those of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The lowest `count`, and the rest.
    #[must_use]
    pub fn split(self, count: usize) -> (Self, Self) {
        let numbers = self.numbers();
        let (kept, rest) = numbers.split_at(count.min(numbers.len()));
        (Self::from_numbers(kept), Self::from_numbers(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::Partitions;

    #[test]
    fn a_set_is_split_and_put_together_again() {
        assert_eq!(Partitions::ALL.count(), 16);
        let (low, high) = Partitions::ALL.split(6);
        assert_eq!((low.numbers(), high.count()), (vec![0, 1, 2, 3, 4, 5], 10));
        assert_eq!(low.with(high), Partitions::ALL);
        assert_eq!(Partitions::from_numbers(&high.numbers()), high);
        assert_eq!(low.split(16), (low, Partitions::from_numbers(&[])));
    }
}
