//! So many at once of each: those who work at one subscription, those of one tenant who wait.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// The same number of shares of everything that has an id; cheap to clone. Only what somebody has a share of, or waits for, is known.
#[derive(Clone)]
pub(crate) struct Shares {
    each: usize,
    known: Arc<Mutex<HashMap<Uuid, Arc<Semaphore>>>>,
}

impl fmt::Debug for Shares {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shares").field("each", &self.each).finish_non_exhaustive()
    }
}

impl Shares {
    /// So many shares of each.
    pub(crate) fn of(each: usize) -> Self {
        Self { each, known: Arc::default() }
    }

    /// A share of this one, in the order of those who ask.
    pub(crate) async fn wait_for(&self, id: Uuid) -> Share {
        let (mut share, semaphore) = self.known(id);
        share.permit = semaphore.acquire_owned().await.ok();
        share
    }

    /// A share of this one, if there is one left.
    pub(crate) fn take(&self, id: Uuid) -> Option<Share> {
        let (mut share, semaphore) = self.known(id);
        share.permit = semaphore.try_acquire_owned().ok();
        share.permit.is_some().then_some(share)
    }

    fn known(&self, id: Uuid) -> (Share, Arc<Semaphore>) {
        let mut known = self.lock();
        let semaphore = known.entry(id).or_insert_with(|| Arc::new(Semaphore::new(self.each))).clone();
        (Share { shares: self.clone(), id, permit: None }, semaphore)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Semaphore>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One share, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Shares,
    id: Uuid,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Share {
    fn drop(&mut self) {
        drop(self.permit.take());
        let mut known = self.shares.lock();
        // Whoever has or waits for another one holds the semaphore, too.
        if known.get(&self.id).is_some_and(|semaphore| Arc::strong_count(semaphore) == 1) {
            known.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const ONE: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    #[tokio::test]
    async fn each_has_its_own_and_nothing_is_kept_of_what_is_over() {
        let shares = Shares::of(1);
        let held = shares.take(ONE).unwrap();
        assert!(shares.take(ONE).is_none() && shares.wait_for(ONE).now_or_never().is_none());
        let other = shares.wait_for(OTHER).await;
        let (next, ()) = tokio::join!(shares.wait_for(ONE), async { drop(held) });
        assert!(shares.take(ONE).is_none());
        drop((next, other));
        assert!(shares.lock().is_empty());
    }
}
