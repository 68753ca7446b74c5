//! Which tenants have had events lately, so that an answer of a moment ago is known to be still the right one.
//!
//! One task follows the end of the log while answers are asked for, and notes the last position of each tenant that had events. An
//! answer read at some position is still right as long as its tenant had none after it, whatever happened to other tenants.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hub_event_store::tail::Tail;
use sqlx::PgConnection;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{reach::LOG_HEAD, read::Database};

/// The tenants of a piece of the log, each with its last position in it.
pub(crate) const CHANGED: &str =
    "SELECT tenant_id, max(position) FROM events WHERE position > $1 AND position <= $2 GROUP BY tenant_id";

/// At least so much time between two looks, however fast the log grows: how old an answer can be that is still given.
const PAUSE: Duration = Duration::from_millis(3);

/// Connecting, when it must, and one look may take so long.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Without any sign of growth the log is looked at this often.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// One look covers so many events at most.
const WINDOW_SIZE: i64 = 2_000;

/// Further behind the end of the log than this, the task forgets what it knows and begins anew there.
const BEHIND_MAX: i64 = 20_000;

/// So many tenants are remembered; with more the task begins anew.
const TENANTS_MAX: usize = 10_000;

/// The task ends when nobody has asked for so long.
const UNUSED_MAX: Duration = Duration::from_secs(10);

/// Follows the log on demand; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Changes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Says how to connect: the task has a connection of its own, which is not asked whether it still lives before and after each use.
    database: Database,
    tail: Tail,
    shutdown: CancellationToken,
    /// Whether somebody has asked since the task looked at this.
    used: AtomicBool,
    known: RwLock<Known>,
}

/// What is known of the log; of nothing outside of `from..=until`.
#[derive(Debug, Default)]
struct Known {
    running: bool,
    /// Positions from and with here have been watched; `None` while nothing is known.
    from: Option<i64>,
    until: i64,
    /// The last position of each tenant that had events after `from`.
    last: HashMap<Uuid, i64>,
}

impl Known {
    fn still(&self, tenant: Option<Uuid>, position: i64) -> bool {
        let last = match tenant {
            Some(tenant) => self.last.get(&tenant).copied().unwrap_or(0),
            None => self.until,
        };
        self.from.is_some_and(|from| from <= position) && last <= position
    }

    fn begin(&mut self, head: i64) {
        self.from = Some(head);
        self.until = head;
        self.last.clear();
    }

    fn note(&mut self, changed: &[(Uuid, i64)]) {
        self.last.extend(changed.iter().copied());
        self.until = changed.iter().map(|(_, position)| *position).fold(self.until, i64::max);
        if self.last.len() > TENANTS_MAX {
            self.begin(self.until);
        }
    }
}

impl Changes {
    pub(crate) fn new(database: Database, tail: Tail, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Inner { database, tail, shutdown, used: AtomicBool::new(false), known: RwLock::default() }))
    }

    /// Whether the tenant, or with `None` anybody, has had no event after `position` as far as is known; false when it is not known.
    pub(crate) fn still(&self, tenant: Option<Uuid>, position: i64) -> bool {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).still(tenant, position)
    }

    /// Keeps the task going, or starts it.
    pub(crate) fn follow(&self) {
        if self.0.used.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        if !known.running && !self.0.shutdown.is_cancelled() {
            known.running = true;
            tokio::spawn(self.clone().run());
        }
    }

    async fn run(self) {
        let mut tail = self.0.tail.follow();
        let mut used_at = Instant::now();
        let mut connection = None;
        loop {
            // What was announced before the look is covered by it.
            tail.borrow_and_update();
            let complete =
                timeout(LOOK_LIMIT, self.look(&mut connection)).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
            if let Err(error) = &complete {
                tracing::debug!(%error, "cannot see which tenants have changed, answers are read anew");
                self.write(|known| known.from = None);
                connection = None;
            }
            sleep(PAUSE).await;
            if complete.is_ok_and(|complete| complete) || self.is_unknown() {
                tokio::select! {
                    _ = tail.changed() => {}
                    () = sleep(POLL_INTERVAL) => {}
                    () = self.0.shutdown.cancelled() => {}
                }
            }
            if self.0.used.load(Ordering::Relaxed) && self.0.used.swap(false, Ordering::Relaxed) {
                used_at = Instant::now();
            }
            if used_at.elapsed() > UNUSED_MAX || self.0.shutdown.is_cancelled() {
                self.write(|known| *known = Known::default());
                // Whoever asked in the meantime asks again; the next to do so starts the task anew.
                return self.0.used.store(false, Ordering::Relaxed);
            }
        }
    }

    /// Notes what the log has grown by; false when there is more.
    async fn look(&self, connection: &mut Option<PgConnection>) -> Result<bool, sqlx::Error> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(self.0.database.watcher().await?),
        };
        let (from, until) = self.write(|known| (known.from, known.until));
        if from.is_none() || self.0.tail.head() - until > BEHIND_MAX {
            let head: i64 = sqlx::query_scalar(LOG_HEAD).fetch_one(connection).await?;
            self.write(|known| known.begin(head));
            return Ok(true);
        }
        let end = until + WINDOW_SIZE;
        let changed: Vec<(Uuid, i64)> = sqlx::query_as(CHANGED).bind(until).bind(end).fetch_all(connection).await?;
        self.write(|known| {
            known.note(&changed);
            Ok(known.until < end)
        })
    }

    fn is_unknown(&self) -> bool {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).from.is_none()
    }

    fn write<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.0.known.write().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Uuid = Uuid::from_u128(1);
    const B: Uuid = Uuid::from_u128(2);

    #[test]
    fn an_answer_is_right_until_its_own_tenant_has_an_event() {
        let mut known = Known::default();
        assert!(!known.still(Some(A), 10), "nothing is known yet");
        known.begin(10);
        assert!(known.still(Some(A), 10) && known.still(None, 10));
        assert!(!known.still(Some(A), 9), "what happened before was not watched");
        known.note(&[(B, 12), (A, 11)]);
        assert!(!known.still(Some(A), 10) && known.still(Some(A), 11));
        assert!(!known.still(Some(B), 11) && known.still(Some(B), 12));
        assert!(!known.still(None, 11) && known.still(None, 12));
    }

    #[test]
    fn too_many_tenants_are_forgotten_and_nothing_before_is_trusted() {
        let mut known = Known::default();
        known.begin(0);
        let many: Vec<_> = (1..=10_001).map(|n| (Uuid::from_u128(n), i64::try_from(n).unwrap())).collect();
        known.note(&many);
        assert!(known.last.is_empty());
        assert!(!known.still(Some(A), 10_000) && known.still(Some(A), 10_001));
    }
}
