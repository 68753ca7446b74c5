//! Knowing that the log has grown: woken in process and by the batch's notification, with a slow poll behind both.

use std::time::Duration;

use sqlx::{PgPool, postgres::PgListener};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{election::bounded, log::Log};

/// The channel on which each batch announces the new head.
pub const CHANNEL: &str = "hub_log";

/// Without any notification the head is looked up this often.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The head of the log as far as this process knows; cheap to clone.
#[derive(Debug, Clone)]
pub struct Tail {
    head: watch::Sender<i64>,
}

impl Default for Tail {
    fn default() -> Self {
        Self { head: watch::Sender::new(0) }
    }
}

impl Tail {
    /// The last known head.
    #[must_use]
    pub fn head(&self) -> i64 {
        *self.head.borrow()
    }

    /// Tells everybody who follows that the log has grown; an older head is ignored.
    pub fn advance(&self, position: i64) {
        self.head.send_if_modified(|head| {
            let grown = position > *head;
            if grown {
                *head = position;
            }
            grown
        });
    }

    /// Follows the head from now on.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<i64> {
        self.head.subscribe()
    }

    /// Keeps the head up to date with what other processes append, until `shutdown`.
    pub async fn run(&self, pool: PgPool, shutdown: CancellationToken) {
        let log = Log::new(pool.clone());
        let mut reported = String::new();
        while !shutdown.is_cancelled() {
            let listened = self.listen(&pool, &log, &shutdown).await;
            // Once for each reason, however long it lasts.
            let reason = listened.err().map_or_else(String::new, |error| error.to_string());
            if !reason.is_empty() && reason != reported {
                tracing::warn!(reason, "cannot follow the log, trying again");
            }
            reported = reason;
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
    }

    async fn listen(&self, pool: &PgPool, log: &Log, shutdown: &CancellationToken) -> Result<(), sqlx::Error> {
        let mut listener = bounded(PgListener::connect_with(pool)).await?;
        bounded(listener.listen(CHANNEL)).await?;
        let mut polls = tokio::time::interval(POLL_INTERVAL);
        loop {
            // The first tick is at once: what was announced before it is not heard again.
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                _ = polls.tick() => self.advance(log.head().await?),
                notification = listener.try_recv() => match notification? {
                    Some(notification) => {
                        if let Ok(position) = notification.payload().parse() {
                            self.advance(position);
                        }
                    }
                    // The connection was made anew, and what was announced meanwhile is lost.
                    None => self.advance(log.head().await?),
                },
            }
        }
    }
}
