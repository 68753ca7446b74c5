//! Every aggregate, with what its events look like.

use hub_domain::every::{OwnAggregate, Visit, every_aggregate};

use super::generate::{Generated, generated};

/// Names an aggregate, and makes the schemas of its events.
type Aggregate = (&'static str, fn() -> Vec<Generated>);

struct Aggregates(Vec<Aggregate>);

impl Visit for Aggregates {
    fn visit<A: OwnAggregate>(&mut self) {
        self.0.push((A::TYPE, || generated::<A::Event>(A::TYPE)));
    }
}

/// In alphabetical order.
pub(super) fn aggregates() -> Vec<Aggregate> {
    let mut aggregates = Aggregates(Vec::new());
    every_aggregate(&mut aggregates);
    aggregates.0
}
