//! One reader of a tenant's log: where it is, and what it wants. From memory near the end, else from PostgreSQL.

use std::sync::Arc;

use hub_cloudevents::Event;
use hub_http::TenantScope;

use super::{message::Rendered, tails::Following};
use crate::{
    read::{Database, Moment},
    recorded::{Looked, Most, Wanted, Window},
};

/// So many events of one reader are in memory at once: a client that takes its time costs no more.
const PAGE: Most = Most { count: 100, bytes: 256 << 10 };

/// With a filter PostgreSQL looks at so many positions at once.
const WINDOW_SIZE: i64 = 20_000;

/// Why a reader cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("between the positions {after} and {found} of the log something is missing")]
    Gap { after: i64, found: i64 },
    #[error("nobody looks at the log any more")]
    Unwatched,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) database: Database,
    pub(crate) tenant: TenantScope,
    pub(crate) wanted: Wanted,
    /// Everything up to and with this position has been looked at.
    pub(crate) cursor: i64,
    /// Up to and with this position the client has been told what there is.
    pub(crate) told: i64,
    /// The end of the log when the reader began.
    pub(crate) head: i64,
    pub(crate) following: Following,
}

impl Reader {
    /// The last position that is known to be there.
    pub(crate) fn head(&self) -> i64 {
        self.head.max(self.following.head())
    }

    /// Whether there is something after the cursor.
    pub(crate) fn behind(&self) -> bool {
        self.cursor < self.head()
    }

    /// Returns when there is.
    pub(crate) async fn grown(&mut self) -> Result<(), ReadError> {
        if self.behind() {
            return Ok(());
        }
        self.following.beyond(self.cursor).await.map_err(|_| ReadError::Unwatched)
    }

    /// Looks at what comes next and moves the cursor over it; answers the wanted events of it, which may be none.
    pub(crate) async fn next(&mut self) -> Result<Vec<Arc<Rendered>>, ReadError> {
        if !self.behind() {
            return Ok(Vec::new());
        }
        // An empty answer means that the ring has been left behind by the log.
        let near = self.following.after(self.cursor, PAGE).filter(|events| !events.is_empty());
        let mut events = match near {
            Some(events) => {
                self.check(events.iter().map(|event| event.position()))?;
                self.cursor += i64::try_from(events.len()).unwrap_or(0);
                events
            }
            None => self.page().await?,
        };
        events.retain(|event| self.wanted.wants(event.event()));
        Ok(events)
    }

    /// The same from PostgreSQL; the connection is given back before any of the events is sent.
    async fn page(&mut self) -> Result<Vec<Arc<Rendered>>, ReadError> {
        let until = self.head().min(self.cursor.saturating_add(WINDOW_SIZE));
        let window = Window { tenant_id: self.tenant.id(), after: self.cursor, until };
        let mut reading = self.database.read(self.tenant.into(), Moment::OfStatement).await?;
        let looked: Looked<Event> = window.read(&mut reading, &self.wanted, PAGE).await?;
        drop(reading);
        if self.wanted.reads_all() {
            self.check(looked.rows.iter().map(|event| event.position))?;
            let last = looked.rows.last().map_or(self.cursor, |event| event.position);
            if last != looked.until {
                return Err(ReadError::Gap { after: last, found: looked.until });
            }
        }
        self.cursor = looked.until;
        Ok(looked.rows.into_iter().map(|event| Arc::new(Rendered::new(event))).collect())
    }

    /// Positions have no gaps: whatever shows one is not sent.
    fn check(&self, positions: impl Iterator<Item = i64>) -> Result<(), ReadError> {
        let mut after = self.cursor;
        for found in positions {
            if found != after + 1 {
                return Err(ReadError::Gap { after, found });
            }
            after = found;
        }
        Ok(())
    }
}
