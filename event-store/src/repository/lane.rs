//! What is on its way to the log: the state that each stream will have if all that was decided is accepted.
//!
//! A command is decided upon the state that the commands before it leave, before anybody knows whether these are accepted. Commands that
//! rest on each other form a *line*. When one of a line is not accepted the line is broken: the writer appends none of the others, and nobody
//! joins it. A stream has at most one line; the next begins when the last command of the old one has its answer.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;
use uuid::Uuid;

use super::Loaded;

/// So many streams can be decided upon at the same moment; those that share a lane take turns.
const LANE_COUNT: usize = 1_024;

/// Tenant and aggregate.
pub(super) type Key = (Uuid, Uuid);

/// The lanes of one aggregate type.
pub(super) struct Lanes<A>(Vec<Lane<A>>);

/// Where the commands of some streams are decided one after the other.
pub(super) struct Lane<A> {
    /// Held while a command is decided and enters the queue, so that the order in the queue is that of the decisions.
    pub(super) turn: tokio::sync::Mutex<()>,
    pending: Mutex<HashMap<Key, Pending<A>>>,
    /// Told when a stream has nothing on its way any more; only who has the turn waits for it.
    settled: Notify,
}

/// What is on its way on one stream; there as long as anything is.
struct Pending<A> {
    reached: Arc<Loaded<A>>,
    line: Arc<Line>,
    in_flight: usize,
}

/// Commands that rest on each other.
#[derive(Debug, Default)]
pub(super) struct Line {
    broken: AtomicBool,
}

/// Upon what the next command of a stream is decided.
pub(super) enum Reached<A> {
    /// Nothing is on its way.
    Committed,
    /// What the last command on its way leaves.
    Pending(Arc<Loaded<A>>, Arc<Line>),
    /// Something on its way was not accepted, and not all have their answer.
    Broken,
}

impl Line {
    pub(super) fn broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    pub(super) fn break_off(&self) {
        self.broken.store(true, Ordering::Release);
    }
}

impl<A> Default for Lanes<A> {
    fn default() -> Self {
        let lane =
            || Lane { turn: tokio::sync::Mutex::new(()), pending: Mutex::new(HashMap::new()), settled: Notify::new() };
        Self(std::iter::repeat_with(lane).take(LANE_COUNT).collect())
    }
}

impl<A> Lanes<A> {
    /// The lane of this stream.
    pub(super) fn of(&self, key: &Key) -> &Lane<A> {
        let hash = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().hash_one(key);
        let place = usize::try_from(hash % LANE_COUNT as u64).expect("a lane number is small");
        &self.0[place]
    }
}

impl<A> Lane<A> {
    /// Upon what the next command is decided. Only who has the turn may ask.
    pub(super) fn reached(&self, key: &Key) -> Reached<A> {
        match self.pending().get(key) {
            None => Reached::Committed,
            Some(pending) if pending.line.broken() => Reached::Broken,
            Some(pending) => Reached::Pending(pending.reached.clone(), pending.line.clone()),
        }
    }

    /// Waits until nothing is on its way on this stream. Only who has the turn may wait, so that nothing is added. It ends because the
    /// writer answers each command within a bound.
    pub(super) async fn settled(&self, key: &Key) {
        while self.pending().contains_key(key) {
            self.settled.notified().await;
        }
    }

    /// Puts a command on its way that was decided upon `line`, or upon what is committed, and leaves the stream as `reached`. Answers its
    /// line, or nothing when what it was decided upon has fallen meanwhile.
    pub(super) fn begin(&self, key: Key, line: Option<&Arc<Line>>, reached: Arc<Loaded<A>>) -> Option<Arc<Line>> {
        if line.is_some_and(|line| line.broken()) {
            return None;
        }
        let mut pending = self.pending();
        let line = line.cloned().unwrap_or_default();
        let entry = pending.entry(key).or_insert_with(|| Pending {
            reached: reached.clone(),
            line: line.clone(),
            in_flight: 0,
        });
        if !Arc::ptr_eq(&entry.line, &line) {
            return None;
        }
        entry.reached = reached;
        entry.in_flight += 1;
        Some(line)
    }

    /// A command has its answer, and whatever is to be remembered of it is remembered.
    pub(super) fn end(&self, key: &Key) {
        let mut pending = self.pending();
        if let Some(entry) = pending.get_mut(key) {
            entry.in_flight -= 1;
            if entry.in_flight == 0 {
                pending.remove(key);
                drop(pending);
                self.settled.notify_one();
            }
        }
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<Key, Pending<A>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
