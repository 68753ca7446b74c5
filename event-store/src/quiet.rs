//! Lets a command that depends on another stream come to its turn although that stream never rests.
//!
//! A guard is read from what is committed, while the commands of the guarded stream queue up behind each other. On a stream that everybody
//! writes to, the next of these is always ahead of the guard, so the guard would lose for ever. A command that has lost this way asks for quiet:
//! until it has its answer, commands of that stream wait before they are decided, though not for long and not twice for those who ask later.

use std::{hash::BuildHasher, time::Duration};

use tokio::sync::{RwLock, RwLockReadGuard};

use crate::event::StreamId;

/// So many streams can be asked to rest independently; those that share a lock rest together.
const LOCK_COUNT: usize = 256;

/// Nobody is held up by others for longer.
const QUIET_MAX: Duration = Duration::from_millis(500);

/// Who asks for quiet reads, who writes to a stream writes; the locks are fair, so both get their turn.
pub(crate) struct Quiet(Vec<RwLock<()>>);

/// As long as it is there, the streams asked for rest.
#[derive(Default)]
pub(crate) struct Resting<'a>(Vec<RwLockReadGuard<'a, ()>>);

impl Default for Quiet {
    fn default() -> Self {
        Self(std::iter::repeat_with(RwLock::default).take(LOCK_COUNT).collect())
    }
}

impl Resting<'_> {
    /// Whether nothing rests.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Quiet {
    /// Waits for those who have asked the stream to rest before. Whoever has asked for quiet must not wait here.
    pub(crate) async fn pass(&self, stream: &StreamId) {
        let lock = &self.0[place_of(stream)];
        if lock.try_write().is_err() {
            // It goes on after the limit all the same.
            tokio::time::timeout(QUIET_MAX, lock.write()).await.ok();
        }
    }

    /// Asks these streams to rest.
    pub(crate) async fn ask(&self, streams: &[StreamId]) -> Resting<'_> {
        let mut places: Vec<usize> = streams.iter().map(place_of).collect();
        places.sort_unstable();
        places.dedup();
        let mut resting = Resting::default();
        for place in places {
            resting.0.extend(tokio::time::timeout(QUIET_MAX, self.0[place].read()).await);
        }
        resting
    }
}

fn place_of(stream: &StreamId) -> usize {
    let hash = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().hash_one(stream);
    usize::try_from(hash % LOCK_COUNT as u64).expect("a lock number is small")
}
