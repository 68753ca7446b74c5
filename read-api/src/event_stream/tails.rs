//! The newest events of the tenants that somebody follows, read once for all streams of the process.
//!
//! The log grows for all tenants at once, and most streams have nothing to do with what it grew by. So one task reads what it grew by, of
//! the followed tenants only, makes each event ready to be sent, puts it into its tenant's ring and wakes the streams of that tenant. A
//! stream takes from the ring what comes after its own position, if the ring goes back so far, and else reads PostgreSQL; positions
//! have no gaps, so it cannot miss or repeat anything when it changes from the one to the other.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hub_cloudevents::{Event, columns};
use hub_event_store::tail::Tail;
use sqlx::{FromRow, PgConnection, Row as _, postgres::PgRow};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{RING_BYTES, message::Rendered, ring::Ring};
use crate::{heads::TENANT_HEADS, reach::LOG_HEAD, read::Database, recorded::Most};

/// What the log has grown by, of some tenants.
pub(crate) const GROWN: &str = concat!(
    "SELECT position, ",
    columns!(),
    " FROM events WHERE position > $1 AND position <= $2 AND tenant_id = ANY($3) ORDER BY position LIMIT $4"
);

/// At least so much time between two looks, however fast the log grows: events that come in quick succession are sent together.
const PAUSE: Duration = Duration::from_millis(10);

/// Connecting, when it must, and one look may take so long.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Without any sign of growth the log is looked at this often; also after a look that failed.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// One look goes through so many positions of the log at most.
const WINDOW_SIZE: i64 = 5_000;

/// One look reads so many events at most.
const READ_MAX: i64 = 500;

/// Further behind the end of the log than this, the task goes to the end, and streams read what is between from PostgreSQL.
const BEHIND_MAX: i64 = 20_000;

/// The ring of one tenant has so many events at most.
const RING_LENGTH_MAX: usize = 4_096;

/// All rings together take so many bytes at most; the events that came first give way.
const BYTES_MAX: usize = 64 << 20;

/// All rings together have so many events at most, those included that have been let go otherwise.
const COUNT_MAX: usize = 1 << 16;

/// Follows the log for streams; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Tails(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Says how to connect: the task has a connection of its own.
    database: Database,
    tail: Tail,
    shutdown: CancellationToken,
    /// Somebody follows another tenant.
    wanted: Notify,
    followed: Mutex<Followed>,
}

#[derive(Debug, Default)]
struct Followed {
    /// Whether the task runs; it ends when nobody follows any more.
    running: bool,
    tenants: HashMap<Uuid, Arc<TenantTail>>,
    /// The events of all rings in the order in which they came.
    order: VecDeque<(Uuid, i64)>,
    bytes: usize,
}

/// What is known of one tenant's log.
#[derive(Debug)]
struct TenantTail {
    /// Negative until it has been looked up. Streams do not hold it, so it tells them when it is gone.
    head: watch::Sender<i64>,
    ring: Arc<Mutex<Ring>>,
}

fn locked(ring: &Mutex<Ring>) -> MutexGuard<'_, Ring> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TenantTail {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        locked(&self.ring)
    }

    fn tell(&self, position: i64) {
        self.head.send_if_modified(|known| {
            let grown = position > *known;
            *known = position.max(*known);
            grown
        });
    }
}

/// One stream's view of its tenant's newest events.
#[derive(Debug)]
pub(crate) struct Following {
    ring: Arc<Mutex<Ring>>,
    head: watch::Receiver<i64>,
}

impl Following {
    /// The events after a position, so much at most; `None` when only PostgreSQL has them.
    pub(crate) fn after(&self, position: i64, most: Most) -> Option<Vec<Arc<Rendered>>> {
        locked(&self.ring).after(position, most)
    }

    /// The last known position of the tenant's log, negative as long as it is not known.
    pub(crate) fn head(&self) -> i64 {
        *self.head.borrow()
    }

    /// Returns when the log is known to go beyond a position; an error when nobody looks any more.
    pub(crate) async fn beyond(&mut self, position: i64) -> Result<(), watch::error::RecvError> {
        self.head.wait_for(|head| *head > position).await.map(drop)
    }
}

/// A row of `GROWN`.
struct Grown {
    position: i64,
    event: Event,
}

impl FromRow<'_, PgRow> for Grown {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self { position: row.try_get("position")?, event: Event::from_row(row)? })
    }
}

impl Tails {
    pub(crate) fn new(database: Database, tail: Tail, shutdown: CancellationToken) -> Self {
        let (wanted, followed) = (Notify::new(), Mutex::default());
        Self(Arc::new(Inner { database, tail, shutdown, wanted, followed }))
    }

    /// Follows the log of one tenant: every event that is appended from now on is announced.
    pub(crate) fn follow(&self, tenant_id: Uuid) -> Following {
        let mut followed = self.followed();
        let tenant = followed.tenants.entry(tenant_id).or_insert_with(|| {
            self.0.wanted.notify_one();
            Arc::new(TenantTail { head: watch::Sender::new(-1), ring: Arc::default() })
        });
        let (ring, head) = (tenant.ring.clone(), tenant.head.subscribe());
        if !followed.running {
            followed.running = true;
            tokio::spawn(self.clone().run());
        }
        Following { ring, head }
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.0.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self) {
        // Whoever follows when the task is gone without having been told to is told that nobody looks any more.
        let _last = Last(&self);
        let mut tail = self.0.tail.follow();
        let mut connection = None;
        // Up to here the log has been gone through; nothing is known before the first look.
        let mut until = None;
        while let Some(tenants) = self.tenants() {
            // What was announced before the look is covered by it.
            tail.borrow_and_update();
            let look = timeout(LOOK_LIMIT, self.look(&tenants, &mut until, &mut connection)).await;
            let complete = match look.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
                Ok(complete) => complete,
                Err(error) => {
                    tracing::warn!(%error, "cannot read what streams are waiting for, trying again");
                    (connection, until) = (None, None);
                    sleep(POLL_INTERVAL).await;
                    false
                }
            };
            sleep(PAUSE).await;
            if self.0.shutdown.is_cancelled() {
                return;
            }
            if complete {
                tokio::select! {
                    _ = tail.changed() => {}
                    () = self.0.wanted.notified() => {}
                    () = sleep(POLL_INTERVAL) => {}
                    () = self.0.shutdown.cancelled() => return,
                }
            }
        }
    }

    /// The tenants that somebody follows; `None` ends the task, until somebody follows again.
    fn tenants(&self) -> Option<HashMap<Uuid, Arc<TenantTail>>> {
        let mut followed = self.followed();
        let mut freed = 0;
        followed.tenants.retain(|_, tenant| {
            let kept = tenant.head.receiver_count() > 0;
            freed += if kept { 0 } else { tenant.ring().bytes() };
            kept
        });
        followed.bytes -= freed;
        followed.show();
        followed.running = !followed.tenants.is_empty();
        if !followed.running {
            *followed = Followed::default();
            return None;
        }
        Some(followed.tenants.clone())
    }

    /// Reads what the log has grown by; false when there is more.
    async fn look(
        &self,
        tenants: &HashMap<Uuid, Arc<TenantTail>>,
        until: &mut Option<i64>,
        connection: &mut Option<PgConnection>,
    ) -> Result<bool, sqlx::Error> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(self.0.database.watcher().await?),
        };
        let head: i64 = sqlx::query_scalar(LOG_HEAD).fetch_one(&mut *connection).await?;
        if until.is_some_and(|until| until > head) {
            // Nobody can tell what of the rings is still true; whoever follows is told to come again.
            tracing::error!(known = *until, head, "the log is shorter than it was");
            let mut followed = self.followed();
            *followed = Followed { running: true, ..Followed::default() };
            *until = None;
            return Ok(true);
        }
        let from = until.filter(|until| head - until <= BEHIND_MAX);
        // What is not gone through event by event is told by the heads of the tenants' logs, looked up after the end of the log was.
        let unknown = tenants.iter().filter(|(_, tenant)| from.is_none() || *tenant.head.borrow() < 0);
        let unknown: Vec<Uuid> = unknown.map(|(tenant_id, _)| *tenant_id).collect();
        if !unknown.is_empty() {
            let heads: Vec<(Uuid, i64)> =
                sqlx::query_as(TENANT_HEADS).bind(&unknown).fetch_all(&mut *connection).await?;
            for (tenant_id, position) in heads {
                tenants[&tenant_id].tell(position);
            }
        }
        let Some(from) = from else {
            *until = Some(head);
            return Ok(true);
        };
        let end = head.min(from + WINDOW_SIZE);
        if end == from {
            return Ok(true);
        }
        let followed: Vec<Uuid> = tenants.keys().copied().collect();
        let query = sqlx::query_as(GROWN).bind(from).bind(end).bind(&followed).bind(READ_MAX);
        let grown: Vec<Grown> = query.fetch_all(connection).await?;
        let full = i64::try_from(grown.len()).is_ok_and(|count| count >= READ_MAX);
        let end = grown.last().filter(|_| full).map_or(end, |last| last.position);
        self.keep(tenants, grown);
        *until = Some(end);
        Ok(end == head)
    }

    /// Puts events into the rings of their tenants, makes room, and wakes the streams.
    fn keep(&self, tenants: &HashMap<Uuid, Arc<TenantTail>>, grown: Vec<Grown>) {
        for Grown { event, .. } in grown {
            let tenant_id = event.tenant_id;
            let Some(tenant) = tenants.get(&tenant_id) else { continue };
            let event = Arc::new(Rendered::new(event));
            let position = event.position();
            {
                let mut followed = self.followed();
                followed.change(tenant, |ring| {
                    ring.push(event);
                    if ring.len() > RING_LENGTH_MAX {
                        ring.pop();
                    }
                });
                followed.order.push_back((tenant_id, position));
                followed.make_room();
                followed.show();
            }
            tenant.tell(position);
        }
    }
}

impl Followed {
    /// Changes a ring and counts what it takes.
    fn change(&mut self, tenant: &TenantTail, change: impl FnOnce(&mut Ring)) {
        let mut ring = tenant.ring();
        self.bytes -= ring.bytes();
        change(&mut ring);
        self.bytes += ring.bytes();
    }

    fn show(&self) {
        #[expect(clippy::cast_precision_loss, reason = "the bound is far below what a float counts exactly")]
        metrics::gauge!(RING_BYTES).set(self.bytes as f64);
    }

    fn make_room(&mut self) {
        while self.bytes > BYTES_MAX || self.order.len() > COUNT_MAX {
            let Some((tenant_id, position)) = self.order.pop_front() else { return };
            if let Some(tenant) = self.tenants.get(&tenant_id).cloned()
                && tenant.ring().oldest() == Some(position)
            {
                self.change(&tenant, Ring::pop);
            }
        }
    }
}

/// Lets go of all who follow when the task is lost.
struct Last<'a>(&'a Tails);

impl Drop for Last<'_> {
    fn drop(&mut self) {
        // After an end in order somebody may have started the next task already.
        if std::thread::panicking() || self.0.0.shutdown.is_cancelled() {
            *self.0.followed() = Followed::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hub_event_store::tail::Tail;
    use sqlx::PgPool;
    use tokio::time::timeout;
    use tokio_util::sync::CancellationToken;
    use uuid::Uuid;

    use super::Tails;
    use crate::{read::Database, recorded::Most};

    #[tokio::test]
    async fn who_follows_is_told_when_nobody_looks_any_more() {
        let pool = PgPool::connect_lazy("postgres://127.0.0.1:1/nowhere").unwrap();
        let shutdown = CancellationToken::new();
        let tails = Tails::new(Database::new(pool), Tail::default(), shutdown.clone());
        let mut following = tails.follow(Uuid::from_u128(1));
        assert!(following.head() < 0 && following.after(0, Most { count: 10, bytes: 1 }).is_none());
        shutdown.cancel();
        let told = timeout(Duration::from_secs(20), following.beyond(0)).await;
        assert!(told.expect("it is told").is_err());
    }
}
