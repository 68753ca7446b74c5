//! What consuming works with: connections, the definitions of subscriptions, the time, and what wakes those who wait.

use std::{fmt, sync::Arc, time::Duration};

use axum::extract::FromRef;
use hub_domain::event_subscription::EventSubscription;
use hub_event_store::{
    clock::Clock,
    repository::{Effects, Repository},
    store::EventStore,
};
use hub_http::{Access, CursorKey, Gate, Resources};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{bell::Bells, database::Database, shares::Shares};

/// So many pulls of one process wait for events at once; a further one answers at once.
const WAITING_MAX: usize = 1_000;

/// So many of them are one tenant's.
const WAITING_OF_TENANT_MAX: usize = 200;

/// What consuming is given from outside.
#[derive(Clone)]
pub struct Settings {
    /// Connections as `hub_consume`; the owner of the pool bounds how long a statement may take.
    pub pool: PgPool,
    /// The log.
    pub store: EventStore,
    /// The time that leases are measured by.
    pub clock: Clock,
    /// Who may call.
    pub gate: Arc<dyn Gate>,
    /// What conditions of permissions may look at.
    pub resources: Arc<dyn Resources>,
    /// What cursors of lists are sealed with.
    pub cursor_key: CursorKey,
    /// No pull waits longer, whatever it asks for.
    pub wait_max: Duration,
    /// Ends waiting.
    pub shutdown: CancellationToken,
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Settings").field("wait_max", &self.wait_max).finish_non_exhaustive()
    }
}

/// The state of consuming; cheap to clone.
#[derive(Clone)]
pub struct Consumers {
    pub(crate) database: Database,
    pub(crate) definitions: Repository<EventSubscription>,
    pub(crate) clock: Clock,
    pub(crate) bells: Bells,
    pub(crate) cursor_key: CursorKey,
    pub(crate) waiting: Arc<Semaphore>,
    /// The tenants' parts of it.
    pub(crate) waiting_of: Shares,
    /// Who works at a subscription. Others wait for him here and not on connections, which all tenants share.
    pub(crate) turns: Shares,
    pub(crate) wait_max: Duration,
    pub(crate) shutdown: CancellationToken,
    access: Access,
}

impl Consumers {
    /// Consuming on these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let Settings { pool, store, clock, gate, resources, cursor_key, wait_max, shutdown } = settings;
        let database = Database::new(pool);
        let bells = Bells::new(database.clone(), store.tail().clone(), shutdown.clone());
        // Definitions are only read here, so no effect is ever asked for.
        let definitions = Repository::new(store, |_, _, _| Effects::default());
        let waiting = Arc::new(Semaphore::new(WAITING_MAX));
        let access = Access::new(gate, resources);
        let (waiting_of, turns) = (Shares::of(WAITING_OF_TENANT_MAX), Shares::of(1));
        Self { database, definitions, clock, bells, cursor_key, waiting, waiting_of, turns, wait_max, shutdown, access }
    }
}

impl fmt::Debug for Consumers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Consumers").finish_non_exhaustive()
    }
}

impl FromRef<Consumers> for Access {
    fn from_ref(consumers: &Consumers) -> Self {
        consumers.access.clone()
    }
}
