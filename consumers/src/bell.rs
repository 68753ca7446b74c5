//! Wakes those who wait for a tenant's events: when the tenant's log has grown, and when something of it may be handed out again.
//!
//! The log grows for all tenants at once, and most of those who wait have nothing to do with what it grew by. So one task looks up the heads
//! of all tenants that somebody waits for in one statement whenever the log has grown, and wakes only those concerned.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hub_event_store::tail::Tail;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::database::Database;

/// The ends of the logs of many tenants, in their own positions.
pub(crate) const HEADS: &str = "SELECT tenant_id, position FROM tenant_heads WHERE tenant_id = ANY($1)";

/// At least so much time between two looks, however fast the log grows.
const PAUSE: Duration = Duration::from_millis(10);

/// Without any sign of growth the heads are looked up this often; also after a look that failed.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// What is known of a tenant: the end of its log, and how often something was set free in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rung {
    pub(crate) head: i64,
    pub(crate) freed: u64,
}

/// The bells of all tenants that somebody waits for; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Bells(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: Database,
    tail: Tail,
    shutdown: CancellationToken,
    waited: Mutex<Waited>,
}

#[derive(Debug, Default)]
struct Waited {
    /// Whether the task runs; it ends when nobody waits any more.
    running: bool,
    bells: HashMap<Uuid, watch::Sender<Rung>>,
}

impl Bells {
    pub(crate) fn new(database: Database, tail: Tail, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Inner { database, tail, shutdown, waited: Mutex::default() }))
    }

    /// Hears one tenant's bell. What it shows may be behind, but it rings for everything that happens from now on.
    pub(crate) fn hear(&self, tenant_id: Uuid) -> watch::Receiver<Rung> {
        let mut waited = self.waited();
        let receiver = waited.bells.entry(tenant_id).or_insert_with(|| watch::Sender::new(Rung::default())).subscribe();
        if !waited.running {
            waited.running = true;
            tokio::spawn(self.clone().run());
        }
        receiver
    }

    /// Something of the tenant may be handed out that could not before.
    pub(crate) fn freed(&self, tenant_id: Uuid) {
        if let Some(bell) = self.waited().bells.get(&tenant_id) {
            bell.send_modify(|rung| rung.freed += 1);
        }
    }

    async fn run(self) {
        let mut tail = self.0.tail.follow();
        while let Some(tenants) = self.tenants() {
            // What was announced before the look is covered by it.
            tail.borrow_and_update();
            let pause = match self.look(&tenants).await {
                Ok(heads) => {
                    self.ring(&heads);
                    PAUSE
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot look up the heads of tenants that consumers wait for, trying again");
                    POLL_INTERVAL
                }
            };
            sleep(pause).await;
            tokio::select! {
                _ = tail.changed() => {}
                () = sleep(POLL_INTERVAL) => {}
                () = self.0.shutdown.cancelled() => return,
            }
        }
    }

    async fn look(&self, tenants: &[Uuid]) -> Result<Vec<(Uuid, i64)>, sqlx::Error> {
        let mut reading = self.0.database.watch().await?;
        sqlx::query_as(HEADS).bind(tenants).fetch_all(&mut *reading).await
    }

    /// The tenants that somebody waits for; `None` ends the task, until somebody waits again.
    fn tenants(&self) -> Option<Vec<Uuid>> {
        let mut waited = self.waited();
        waited.bells.retain(|_, bell| bell.receiver_count() > 0);
        waited.running = !waited.bells.is_empty();
        waited.running.then(|| waited.bells.keys().copied().collect())
    }

    fn ring(&self, heads: &[(Uuid, i64)]) {
        let waited = self.waited();
        for (tenant_id, position) in heads {
            if let Some(bell) = waited.bells.get(tenant_id) {
                bell.send_if_modified(|rung| {
                    let grown = *position > rung.head;
                    rung.head = rung.head.max(*position);
                    grown
                });
            }
        }
    }

    fn waited(&self) -> MutexGuard<'_, Waited> {
        self.0.waited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
