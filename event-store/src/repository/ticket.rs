//! What becomes of a command's state once its answer is there, or once it is clear that nobody will hear it.

use std::sync::Arc;

use cqrs_es::Aggregate;

use super::{
    Loaded, Shared,
    lane::{Key, Line},
};
use crate::writer::{Answer, Ticket};

/// A command on its way; counted in its lane until this is dropped.
pub(super) struct OnItsWay<A: Aggregate + 'static> {
    shared: Arc<Shared<A>>,
    key: Key,
    line: Arc<Line>,
    before: i64,
    reached: Arc<Loaded<A>>,
    settled: bool,
}

impl<A: Aggregate + 'static> OnItsWay<A> {
    /// The command takes the stream from the sequence `before` to `reached`.
    pub(super) fn new(shared: Arc<Shared<A>>, key: Key, line: Arc<Line>, before: i64, reached: Arc<Loaded<A>>) -> Self {
        Self { shared, key, line, before, reached, settled: false }
    }
}

impl<A: Aggregate + 'static> Ticket for OnItsWay<A> {
    fn broken(&self) -> bool {
        self.line.broken()
    }

    fn refuse(&self) {
        self.line.break_off();
    }

    fn settle(mut self: Box<Self>, answer: &Answer) {
        if answer.as_ref().is_ok_and(|accepted| !accepted.replayed) {
            self.shared.committed(self.key, self.before, self.reached.clone());
            self.settled = true;
        }
    }
}

impl<A: Aggregate + 'static> Drop for OnItsWay<A> {
    fn drop(&mut self) {
        if !self.settled {
            self.line.break_off();
            self.shared.states.doubt(&self.key);
        }
        // Last, so that whoever comes next finds what was just remembered.
        self.shared.lanes.of(&self.key).end(&self.key);
    }
}
