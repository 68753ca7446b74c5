//! The states that this process knows to be committed, and what becomes of a command's state when its answer is there.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use moka::{ops::compute::Op, sync::Cache};

use super::{Loaded, lane::Key};

/// So many states of one aggregate type are kept at hand.
const CACHE_SIZE: u64 = 10_000;

/// Committed states by stream; a state is only ever replaced by one that is as new.
pub(super) struct States<A>(Cache<Key, Arc<Known<A>>>);

struct Known<A> {
    loaded: Arc<Loaded<A>>,
    /// The log has probably more; to be looked at before anything is decided.
    stale: AtomicBool,
}

impl<A: Send + Sync + 'static> Default for States<A> {
    fn default() -> Self {
        Self(Cache::new(CACHE_SIZE))
    }
}

impl<A: Send + Sync + 'static> States<A> {
    /// The state as it is known, however old.
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Loaded<A>>> {
        self.0.get(key).map(|known| known.loaded.clone())
    }

    /// The state as it is known, unless there is reason to believe that it has moved on.
    pub(super) fn fresh(&self, key: &Key) -> Option<Arc<Loaded<A>>> {
        self.0.get(key).filter(|known| !known.stale.load(Ordering::Acquire)).map(|known| known.loaded.clone())
    }

    /// Remembers a committed state, unless a newer one is known.
    pub(super) fn put(&self, key: Key, loaded: Arc<Loaded<A>>) {
        if loaded.sequence == 0 {
            return;
        }
        self.0.entry(key).and_compute_with(|entry| match entry {
            Some(known) if known.value().loaded.sequence > loaded.sequence => Op::Nop,
            _ => Op::Put(Arc::new(Known { loaded, stale: AtomicBool::new(false) })),
        });
    }

    /// Something that was decided upon the state was not accepted.
    pub(super) fn doubt(&self, key: &Key) {
        if let Some(known) = self.0.get(key) {
            known.stale.store(true, Ordering::Release);
        }
    }

    /// Forgets the state.
    pub(super) fn forget(&self, key: &Key) {
        self.0.invalidate(key);
    }
}
