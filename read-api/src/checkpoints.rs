//! The checkpoints of projections that somebody waits for, as they are in PostgreSQL.
//!
//! However many queries wait, one task looks, at all checkpoints in one statement, and only as long as anybody waits.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::read::Database;

/// How far each projection has got: as far as the share of it that is furthest behind.
pub(crate) const CHECKPOINTS: &str = "SELECT projection, min(position) FROM projection_checkpoints GROUP BY projection";

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(3);

/// After a look that failed.
const PAUSE_FAILED: Duration = Duration::from_millis(200);

/// Wakes those who wait for a checkpoint; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: Database,
    shutdown: CancellationToken,
    followed: Mutex<Followed>,
}

#[derive(Debug, Default)]
struct Followed {
    /// Whether the task runs; it ends when nobody follows any more.
    running: bool,
    positions: HashMap<&'static str, watch::Sender<i64>>,
}

impl Checkpoints {
    pub(crate) fn new(database: Database, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Inner { database, shutdown, followed: Mutex::default() }))
    }

    /// Follows the checkpoint of one projection; 0 until it has been looked at.
    pub(crate) fn follow(&self, projection: &'static str) -> watch::Receiver<i64> {
        let mut followed = self.0.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = followed.positions.entry(projection).or_insert_with(|| watch::Sender::new(0)).subscribe();
        if !followed.running {
            followed.running = true;
            tokio::spawn(self.clone().run());
        }
        receiver
    }

    async fn run(self) {
        while self.is_followed() {
            let pause = match self.look().await {
                Ok(positions) => {
                    self.tell(&positions);
                    PAUSE
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot look at the checkpoints that queries wait for, trying again");
                    PAUSE_FAILED
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.0.shutdown.cancelled() => return,
            }
        }
    }

    async fn look(&self) -> Result<Vec<(String, i64)>, sqlx::Error> {
        let mut reading = self.0.database.watch().await?;
        sqlx::query_as(CHECKPOINTS).fetch_all(&mut *reading).await
    }

    fn is_followed(&self) -> bool {
        let mut followed = self.0.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.positions.retain(|_, position| position.receiver_count() > 0);
        followed.running = !followed.positions.is_empty();
        followed.running
    }

    fn tell(&self, positions: &[(String, i64)]) {
        let followed = self.0.followed.lock().unwrap_or_else(PoisonError::into_inner);
        for (projection, position) in positions {
            if let Some(told) = followed.positions.get(projection.as_str()) {
                told.send_replace(*position);
            }
        }
    }
}
