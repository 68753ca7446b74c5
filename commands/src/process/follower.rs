//! Following the log page by page with a cursor that is kept.

use hub_event_store::{event::Recorded, store::EventStore};
use sqlx::{Postgres, Transaction};

use super::ProcessError;

/// How far a process has followed the log; none when it never has.
pub(super) const READ_CURSOR: &str = "SELECT position FROM process_cursors WHERE process = $1";

/// Keeps how far it has followed; never back.
pub(super) const MOVE_CURSOR: &str = "INSERT INTO process_cursors (process, position) VALUES ($1, $2) \
     ON CONFLICT (process) DO UPDATE SET position = EXCLUDED.position WHERE process_cursors.position < EXCLUDED.position";

/// So many events are followed at once.
const PAGE_SIZE: i64 = 500;

/// One process's way along the log.
#[derive(Debug)]
pub(super) struct Follower {
    process: &'static str,
    position: i64,
    store: EventStore,
}

impl Follower {
    /// Goes on where the process left off.
    pub(super) async fn resume(process: &'static str, store: EventStore) -> Result<Self, ProcessError> {
        let position = sqlx::query_scalar(READ_CURSOR).bind(process).fetch_optional(store.pool()).await?;
        Ok(Self { process, position: position.unwrap_or(0), store })
    }

    /// The next events in order, as they are stored; `None` at the end of the log. A process looks at their types and ids only and
    /// asks the aggregate for the rest, so an event that cannot be read holds up nobody but its own aggregate.
    pub(super) async fn page(&self) -> Result<Option<Vec<Recorded>>, ProcessError> {
        let page = self.store.log().page(self.position, PAGE_SIZE).await?;
        Ok((!page.is_empty()).then_some(page))
    }

    /// Keeps that `page` is done, together with what `transaction` holds; neither when another process has come further meanwhile.
    pub(super) async fn done(
        &mut self,
        page: &[Recorded],
        mut transaction: Transaction<'_, Postgres>,
    ) -> Result<(), ProcessError> {
        let Some(last) = page.last() else { return Ok(()) };
        let moved = sqlx::query(MOVE_CURSOR).bind(self.process).bind(last.position).execute(&mut *transaction).await?;
        if moved.rows_affected() == 0 {
            return Err(ProcessError::Superseded);
        }
        transaction.commit().await?;
        self.position = last.position;
        Ok(())
    }
}
