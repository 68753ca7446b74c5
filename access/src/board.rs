//! How far this process knows which tenants' facts have changed.
//!
//! One task looks at PostgreSQL four times a second, and at once when somebody must know of an event that he has seen. A look tells the end
//! of the log and whose facts have changed since the look before, so what was loaded before that and is not named still holds. Without a
//! look for a second nothing is believed any more.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The end of the log, how often facts were repaired, and whose facts have changed after a position, the earliest change first.
pub(crate) const CHANGED: &str = "
SELECT l.position, s.repair_count, h.tenant_id, h.position
FROM log_head l
CROSS JOIN facts_state s
LEFT JOIN fact_heads h ON h.position > $1
ORDER BY h.position
LIMIT $2";

/// Without being asked, the board looks this often.
const INTERVAL: Duration = Duration::from_millis(250);

/// What was seen longer ago is not believed.
const BELIEVED_FOR: Duration = Duration::from_millis(900);

/// Whoever needs a look waits so long at most.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// One look may take so long.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// After a look that failed.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// So many tenants' changes are remembered; when there are more, everything is loaded anew.
const CHANGE_COUNT_MAX: usize = 20_000;

/// One row of a look: the end of the log, the repairs, and a tenant with the position of its last change.
type Row = (i64, i64, Option<Uuid>, Option<i64>);

/// What the last look saw.
#[derive(Clone, Copy, Debug)]
struct Look {
    /// When it began; `None` before the first.
    began: Option<Instant>,
    /// The end of the log then.
    position: i64,
    /// How often facts had been repaired then, which is a change that no position tells of.
    repair_count: i64,
    /// Counts how often the log was found to have lost its end, or facts were repaired; what was loaded before that is not believed.
    generation: u64,
}

/// Shared by all who decide in this process; cheap to clone.
#[derive(Clone)]
pub struct Board(Arc<Inner>);

struct Inner {
    look: watch::Sender<Look>,
    /// Counts how often PostgreSQL was out of sight.
    sights_lost: AtomicU64,
    wanted: Notify,
    changes: RwLock<Changes>,
}

#[derive(Default)]
struct Changes {
    /// The last change of each tenant's facts.
    of_tenant: HashMap<Uuid, i64>,
    /// The same for all others: what was loaded before is not believed.
    of_others: i64,
}

/// No look has succeeded in time.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("it is not known which facts have changed")]
pub struct Blind;

impl Default for Board {
    fn default() -> Self {
        let look = watch::Sender::new(Look { began: None, position: 0, repair_count: 0, generation: 0 });
        Self(Arc::new(Inner {
            look,
            sights_lost: AtomicU64::new(0),
            wanted: Notify::new(),
            changes: RwLock::default(),
        }))
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Board").field("look", &*self.0.look.borrow()).finish_non_exhaustive()
    }
}

impl Board {
    /// Every change of facts up to here is known.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.0.look.borrow().position
    }

    /// Whether what is known is young enough, and knows the log up to `at_least`.
    #[must_use]
    pub fn current(&self, at_least: Option<i64>) -> bool {
        let look = *self.0.look.borrow();
        look.began.is_some_and(|began| began.elapsed() < BELIEVED_FOR)
            && at_least.is_none_or(|at_least| at_least <= look.position)
    }

    /// Returns when `current` holds, or when a look that began after this call is done: what it has not seen is not there.
    pub async fn reach(&self, at_least: Option<i64>) -> Result<(), Blind> {
        if self.current(at_least) {
            return Ok(());
        }
        let called = Instant::now();
        let mut looks = self.0.look.subscribe();
        self.0.wanted.notify_one();
        let seen = looks.wait_for(|look| {
            let (Some(began), enough) = (look.began, at_least.is_some_and(|at_least| at_least <= look.position)) else {
                return false;
            };
            began >= called || (enough && began.elapsed() < BELIEVED_FOR)
        });
        match timeout(WAIT_MAX, seen).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Blind),
        }
    }

    /// To be asked before facts are loaded, for `unchanged`.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.look.borrow().generation
    }

    /// How often PostgreSQL was out of sight; nobody can tell whether what comes into sight again is the log that it was, so what changed since
    /// a position of before is not asked for.
    #[must_use]
    pub fn sights_lost(&self) -> u64 {
        self.0.sights_lost.load(Ordering::Acquire)
    }

    /// Whether a tenant's facts that were loaded at `position` of the log are the latest that are known of.
    #[must_use]
    pub fn unchanged(&self, tenant_id: Uuid, position: i64, generation: u64) -> bool {
        if generation != self.generation() {
            return false;
        }
        let changes = self.0.changes.read().unwrap_or_else(PoisonError::into_inner);
        let changed = changes.of_tenant.get(&tenant_id).copied().unwrap_or(changes.of_others);
        changed <= position
    }

    /// Looks until `end`.
    pub async fn run(self, pool: PgPool, end: CancellationToken) {
        let mut connection = None;
        loop {
            let pause = match timeout(LOOK_LIMIT, self.look(&pool, &mut connection)).await {
                Ok(Ok(())) => INTERVAL,
                Ok(Err(error)) => {
                    connection = None;
                    self.0.sights_lost.fetch_add(1, Ordering::AcqRel);
                    tracing::debug!(%error, "cannot look for changed facts");
                    RETRY_DELAY
                }
                Err(_) => {
                    connection = None;
                    self.0.sights_lost.fetch_add(1, Ordering::AcqRel);
                    tracing::warn!("a look for changed facts was given up after {} s", LOOK_LIMIT.as_secs());
                    RETRY_DELAY
                }
            };
            tokio::select! {
                () = end.cancelled() => return,
                () = self.0.wanted.notified(), if connection.is_some() => {}
                () = sleep(pause) => {}
            }
        }
    }

    async fn look(&self, pool: &PgPool, connection: &mut Option<PgConnection>) -> Result<(), sqlx::Error> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(PgConnection::connect_with(&pool.connect_options()).await?),
        };
        let began = Instant::now();
        let last = *self.0.look.borrow();
        // What was loaded before the first look is of a moment that nobody knows the changes after.
        let since = if last.began.is_some() { last.position } else { i64::MAX };
        let limit = i64::try_from(CHANGE_COUNT_MAX).expect("the bound is small");
        let rows: Vec<Row> = sqlx::query_as(CHANGED).bind(since).bind(limit).fetch_all(connection).await?;
        let Some((position, repair_count, ..)) = rows.first().copied() else { return Err(sqlx::Error::RowNotFound) };
        let lost = last.began.is_some() && position < last.position;
        if lost {
            tracing::error!(known = last.position, position, "the log is shorter than it was");
        }
        let repaired = last.began.is_some() && repair_count != last.repair_count;
        self.note(position, since, &rows);
        let generation = last.generation + u64::from(lost || repaired);
        self.0.look.send_replace(Look { began: Some(began), position, repair_count, generation });
        Ok(())
    }

    fn note(&self, position: i64, since: i64, rows: &[Row]) {
        let mut changes = self.0.changes.write().unwrap_or_else(PoisonError::into_inner);
        if since == i64::MAX || changes.of_tenant.len() + rows.len() >= CHANGE_COUNT_MAX {
            *changes = Changes { of_tenant: HashMap::new(), of_others: position };
            return;
        }
        let changed = rows.iter().filter_map(|(_, _, tenant_id, changed)| Some(((*tenant_id)?, (*changed)?)));
        changes.of_tenant.extend(changed);
    }
}
