//! How far the projections that run in this process have got, for those who wait in the same process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

/// The positions that projections have committed, as this process knows them; clones are the same board.
///
/// What is here is committed, but more may be: a projection that runs in another process never shows up.
#[derive(Debug, Clone, Default)]
pub struct Positions {
    boards: Arc<Mutex<HashMap<&'static str, watch::Sender<i64>>>>,
}

impl Positions {
    /// Tells everybody who follows that every event up to and with `position` is in the read model; an older position is ignored.
    pub fn advance(&self, projection: &'static str, position: i64) {
        self.board(projection).send_if_modified(|known| {
            let grown = position > *known;
            if grown {
                *known = position;
            }
            grown
        });
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

    fn board(&self, projection: &'static str) -> watch::Sender<i64> {
        let mut boards = self.boards.lock().unwrap_or_else(PoisonError::into_inner);
        boards.entry(projection).or_default().clone()
    }
}
