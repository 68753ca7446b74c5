//! The ends of the logs of those tenants whose events somebody is streaming.
//!
//! The log grows for all tenants at once, and most streams have nothing to do with what it grew by. So one task looks up the heads of
//! all streamed tenants in one statement whenever the log has grown, and wakes only the streams whose tenant has something new.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hub_event_store::tail::Tail;
use hub_http::{Problem, TenantScope};
use sqlx::PgConnection;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{failure::failed, read::Database};

/// The position of a tenant's last event, counted in the tenant's own positions.
pub(crate) const TENANT_HEAD: &str = "SELECT position FROM tenant_heads WHERE tenant_id = $1";

/// The same for many tenants.
pub(crate) const TENANT_HEADS: &str = "SELECT tenant_id, position FROM tenant_heads WHERE tenant_id = ANY($1)";

/// At least so much time between two looks, however fast the log grows.
const PAUSE: Duration = Duration::from_millis(10);

/// Without any sign of growth the heads are looked up this often; also after a look that failed.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The position of the tenant's last event; 404 `not_found` for a tenant that nothing ever happened to.
pub(crate) async fn tenant_head(tenant: TenantScope, connection: &mut PgConnection) -> Result<i64, Problem> {
    let head = sqlx::query_scalar(TENANT_HEAD).bind(tenant.id()).fetch_optional(connection).await.map_err(failed)?;
    head.ok_or_else(Problem::not_found)
}

/// Tells streams that their tenant's log has grown; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct TenantHeads(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: Database,
    tail: Tail,
    shutdown: CancellationToken,
    followed: Mutex<Followed>,
}

#[derive(Debug, Default)]
struct Followed {
    /// Whether the task runs; it ends when nobody follows any more.
    running: bool,
    heads: HashMap<Uuid, watch::Sender<i64>>,
}

impl TenantHeads {
    pub(crate) fn new(database: Database, tail: Tail, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Inner { database, tail, shutdown, followed: Mutex::default() }))
    }

    /// Follows the head of one tenant's log. What it shows may be behind, but it grows with every event that is appended from now on.
    pub(crate) fn follow(&self, tenant_id: Uuid) -> watch::Receiver<i64> {
        let mut followed = self.0.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = followed.heads.entry(tenant_id).or_insert_with(|| watch::Sender::new(0)).subscribe();
        if !followed.running {
            followed.running = true;
            tokio::spawn(self.clone().run());
        }
        receiver
    }

    async fn run(self) {
        let mut tail = self.0.tail.follow();
        while let Some(tenants) = self.followed_tenants() {
            // What was announced before the look is covered by it.
            tail.borrow_and_update();
            let pause = match self.look(&tenants).await {
                Ok(heads) => {
                    self.tell(&heads);
                    PAUSE
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot look up the heads of streamed tenants, trying again");
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
        sqlx::query_as(TENANT_HEADS).bind(tenants).fetch_all(&mut *reading).await
    }

    /// The tenants that somebody follows; `None` ends the task, until somebody follows again.
    fn followed_tenants(&self) -> Option<Vec<Uuid>> {
        let mut followed = self.0.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.heads.retain(|_, head| head.receiver_count() > 0);
        followed.running = !followed.heads.is_empty();
        followed.running.then(|| followed.heads.keys().copied().collect())
    }

    fn tell(&self, heads: &[(Uuid, i64)]) {
        let followed = self.0.followed.lock().unwrap_or_else(PoisonError::into_inner);
        for (tenant_id, position) in heads {
            if let Some(head) = followed.heads.get(tenant_id) {
                head.send_if_modified(|known| {
                    let grown = position > known;
                    *known = (*known).max(*position);
                    grown
                });
            }
        }
    }
}
