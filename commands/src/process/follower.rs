//! Following the log page by page with a cursor that is kept.

use std::{sync::Arc, time::Duration};

use hub_event_store::{event::Recorded, store::EventStore};
use sqlx::{Postgres, Transaction};

use tokio::time::Instant;

use super::ProcessError;

/// How far a process has followed the log; none when it never has.
pub(super) const READ_CURSOR: &str = "SELECT position FROM process_cursors WHERE process = $1";

/// Keeps how far it has followed; never back.
pub(super) const MOVE_CURSOR: &str = "INSERT INTO process_cursors (process, position) VALUES ($1, $2) \
     ON CONFLICT (process) DO UPDATE SET position = EXCLUDED.position WHERE process_cursors.position < EXCLUDED.position";

/// So many events are followed at once.
const PAGE_SIZE: i64 = 500;

/// Over pages that it had nothing to do with a process is kept this often; after a crash it follows those once more.
const KEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The page read last, for all processes that are as far.
#[derive(Debug, Default)]
pub(super) struct LastPage {
    after: i64,
    events: Arc<Vec<Recorded>>,
}

/// One process's way along the log.
#[derive(Debug)]
pub(super) struct Follower {
    process: &'static str,
    position: i64,
    kept: i64,
    kept_at: Instant,
    store: EventStore,
}

/// Events in order, and whether there are more after them.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) events: Arc<Vec<Recorded>>,
    pub(super) full: bool,
}

impl Follower {
    /// Goes on where the process left off.
    pub(super) async fn resume(process: &'static str, store: EventStore) -> Result<Self, ProcessError> {
        let position = sqlx::query_scalar(READ_CURSOR).bind(process).fetch_optional(store.pool()).await?;
        let position = position.unwrap_or(0);
        Ok(Self { process, position, kept: position, kept_at: Instant::now(), store })
    }

    /// The next events as they are stored. A process looks at their types and ids only and asks the aggregate for the rest, so an event
    /// that cannot be read holds up nobody but its own aggregate.
    pub(super) async fn page(&self, last: &mut LastPage) -> Result<Page, ProcessError> {
        if last.after != self.position || last.events.is_empty() {
            let events = self.store.log().page(self.position, PAGE_SIZE).await?;
            *last = LastPage { after: self.position, events: Arc::new(events) };
        }
        let full = i64::try_from(last.events.len()).is_ok_and(|length| length >= PAGE_SIZE);
        Ok(Page { events: last.events.clone(), full })
    }

    /// The process had nothing to do with `page`.
    pub(super) async fn passed(&mut self, page: &[Recorded]) -> Result<(), ProcessError> {
        self.position = end_of(page).unwrap_or(self.position);
        if self.position > self.kept && self.kept_at.elapsed() >= KEEP_INTERVAL {
            let transaction = self.store.pool().begin().await?;
            self.keep(self.position, transaction).await?;
        }
        Ok(())
    }

    /// Keeps that `page` is done, together with what `transaction` holds; neither when another process has come further meanwhile.
    pub(super) async fn done(
        &mut self,
        page: &[Recorded],
        transaction: Transaction<'_, Postgres>,
    ) -> Result<(), ProcessError> {
        match end_of(page) {
            Some(position) => self.keep(position, transaction).await,
            None => Ok(()),
        }
    }

    async fn keep(&mut self, position: i64, mut transaction: Transaction<'_, Postgres>) -> Result<(), ProcessError> {
        let moved = sqlx::query(MOVE_CURSOR).bind(self.process).bind(position).execute(&mut *transaction).await?;
        if moved.rows_affected() == 0 {
            return Err(ProcessError::Superseded);
        }
        transaction.commit().await?;
        (self.position, self.kept, self.kept_at) = (position, position, Instant::now());
        Ok(())
    }
}

fn end_of(page: &[Recorded]) -> Option<i64> {
    page.last().map(|event| event.position)
}
