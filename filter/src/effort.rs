//! What the judging of one event may cost.

use std::cell::Cell;

/// At most so many steps for one event: operators and operands that are evaluated, bytes of texts that functions take, characters that
/// patterns look at. Filters that are written by hand take some hundreds.
pub const EFFORT_MAX: usize = 65_536;

/// What is left of it while one event is judged.
#[derive(Debug)]
pub(crate) struct Effort(Cell<usize>);

/// Nothing is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Effort {
    pub(crate) fn new() -> Self {
        Self(Cell::new(EFFORT_MAX))
    }

    /// Takes so many steps, before they are done.
    pub(crate) fn spend(&self, steps: usize) -> Result<(), Exhausted> {
        let left = self.0.get().checked_sub(steps);
        self.0.set(left.unwrap_or(0));
        left.map(drop).ok_or(Exhausted)
    }
}
