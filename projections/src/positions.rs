//! How far the projections that run in this process have got, for those who wait in the same process.
//!
//! Read models are committed without waiting for the disk, so a PostgreSQL that crashes may come back with less than is told here. The
//! runner watches for that: at the end of the connection it watches, everything told so far is forgotten, and what a worker says that
//! began before is not heard any more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

/// The positions that projections have committed, as this process knows them; clones are the same board.
///
/// What is here is committed, but more may be: a projection that runs in another process never shows up.
#[derive(Debug, Clone)]
pub struct Positions {
    boards: Arc<Mutex<HashMap<&'static str, watch::Sender<i64>>>>,
    watch: watch::Sender<Watch>,
}

/// Which stretch of watching PostgreSQL this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Watch {
    generation: u64,
    /// Whether a crash would be noticed.
    awake: bool,
}

/// One worker's right to tell, for as long as PostgreSQL is not seen to go.
#[derive(Debug, Clone)]
pub(crate) struct Teller {
    watch: watch::Receiver<Watch>,
    known: Watch,
    board: watch::Sender<i64>,
}

impl Default for Positions {
    fn default() -> Self {
        Self { boards: Arc::default(), watch: watch::Sender::new(Watch::default()) }
    }
}

impl Positions {
    /// Tells everybody who follows that every event up to and with `position` is in the read model; an older position is ignored.
    pub fn advance(&self, projection: &'static str, position: i64) {
        raise(&self.board(projection), position, || true);
    }

    /// Begins anew at what PostgreSQL says, which is less than before when it has lost its last moments in a crash.
    pub fn begin(&self, projection: &'static str, position: i64) {
        self.board(projection).send_replace(position);
    }

    /// Follows one projection; 0 until this process has heard of it.
    #[must_use]
    pub fn follow(&self, projection: &'static str) -> watch::Receiver<i64> {
        self.board(projection).subscribe()
    }

    /// Which stretch of watching PostgreSQL this is; `None` while a crash would not be noticed. Rows that are read after the board, within
    /// one stretch, are at least as new as what the board said.
    #[must_use]
    pub fn stretch(&self) -> Option<u64> {
        let watch = *self.watch.borrow();
        watch.awake.then_some(watch.generation)
    }

    /// PostgreSQL is watched from now on, or not any more; what was told before it counts no longer.
    pub(crate) fn watched(&self, awake: bool) {
        self.watch.send_modify(|watch| *watch = Watch { generation: watch.generation + 1, awake });
        let boards = self.boards.lock().unwrap_or_else(PoisonError::into_inner);
        for board in boards.values() {
            board.send_replace(0);
        }
    }

    /// Ends when PostgreSQL is watched.
    pub(crate) async fn being_watched(&self) {
        let mut watch = self.watch.subscribe();
        // The sender is `self`, so this cannot fail.
        drop(watch.wait_for(|watch| watch.awake).await);
    }

    /// The right to tell about one projection what is read from PostgreSQL from now on.
    pub(crate) fn teller(&self, projection: &'static str) -> Teller {
        let mut watch = self.watch.subscribe();
        let known = *watch.borrow_and_update();
        Teller { watch, known, board: self.board(projection) }
    }

    fn board(&self, projection: &'static str) -> watch::Sender<i64> {
        let mut boards = self.boards.lock().unwrap_or_else(PoisonError::into_inner);
        boards.entry(projection).or_default().clone()
    }
}

impl Teller {
    /// Every event up to and with `position` is in the read model, unless PostgreSQL has gone since this teller began.
    pub(crate) fn tell(&self, position: i64) {
        // Looked at while the board is held: whoever forgets has said so before it clears the boards, so nothing old stays on one.
        raise(&self.board, position, || self.known.awake && *self.watch.borrow() == self.known);
    }

    /// Ends when what this teller knows may be wrong.
    pub(crate) async fn outdated(&mut self) {
        // The sender lives as long as the runner; without it there is nothing to notice.
        if self.watch.wait_for(|watch| *watch != self.known).await.is_err() {
            std::future::pending().await
        }
    }
}

fn raise(board: &watch::Sender<i64>, position: i64, right: impl Fn() -> bool) {
    board.send_if_modified(|known| {
        let grown = position > *known && right();
        if grown {
            *known = position;
        }
        grown
    });
}

#[cfg(test)]
mod tests {
    use super::Positions;

    #[test]
    fn what_was_told_before_postgresql_went_is_forgotten() {
        let positions = Positions::default();
        let board = positions.follow("tenants");
        positions.teller("tenants").tell(3);
        assert_eq!((*board.borrow(), positions.stretch()), (0, None), "nobody watches yet");
        positions.watched(true);
        let stretch = positions.stretch();
        assert!(stretch.is_some());
        let before = positions.teller("tenants");
        before.tell(5);
        before.tell(4);
        assert_eq!(*board.borrow(), 5);
        positions.watched(false);
        before.tell(6);
        assert_eq!(*board.borrow(), 0);
        positions.watched(true);
        assert_ne!(positions.stretch(), stretch);
        before.tell(7);
        assert_eq!(*board.borrow(), 0);
        positions.teller("tenants").tell(2);
        assert_eq!(*board.borrow(), 2);
    }
}
