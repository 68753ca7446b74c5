//! The seed of a run and the numbers that it decides.

/// Names the variable that plays a run again.
pub(crate) const SEED: &str = "HUB_FAULT_SEED";

/// SplitMix64: the same seed, the same numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// With the seed of the variable, else a new one; prints how to play it again.
    pub(crate) fn of_run() -> (u64, Self) {
        let fresh = || uuid::Uuid::new_v4().as_u64_pair().0;
        let seed = std::env::var(SEED).map_or_else(|_| fresh(), |text| text.parse().expect("the seed is a number"));
        println!("{SEED}={seed} plays this again");
        (seed, Self::new(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("it is below a usize")
    }

    /// A number from `from` to below `to`.
    pub(crate) fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from)
    }

    /// True once in `all` times.
    pub(crate) fn one_in(&mut self, all: usize) -> bool {
        self.below(all) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    pub(crate) fn id(&mut self) -> uuid::Uuid {
        uuid::Uuid::from_u64_pair(self.next(), self.next())
    }

    /// Numbers of its own for somebody who draws at the same time.
    pub(crate) fn fork(&mut self) -> Self {
        Self::new(self.next())
    }
}
