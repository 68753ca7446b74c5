//! Webhooks: what happens in a tenant is delivered to the endpoints that the tenant has registered.
//!
//! A process manager over the log. One process delivers, elected by a lock in PostgreSQL. It follows the log and writes one row each
//! event and endpoint, together with how far it has followed; a row stays until its event is delivered or given up, so nothing is lost
//! when the process ends. A row that is being delivered is leased: nobody takes it until its lease is over. Every event therefore
//! arrives at least once, and receivers know a repetition by its `webhook-id`.

mod attempt;
mod endpoint;
mod engine;
mod expiry;
mod health;
mod lane;
mod message;
mod queue;
mod rate;
mod replay;
mod retention;
mod send;

use std::{fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use hub_domain::webhook::Disablement;
use hub_event_store::{clock::Clock, log::Log, tail::Tail};
use hub_outbound::Outbound;
use hub_sealing::Sealing;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::engine::{Engine, EngineError};

/// Every SQL text of this crate, for the test that prepares each against the migrated schema.
pub const QUERIES: &[&str] = &[
    engine::ELECT,
    engine::READ_CURSOR,
    engine::MOVE_CURSOR,
    engine::write::BY_KEYS,
    endpoint::ALL,
    endpoint::KEEP,
    endpoint::KEEP_HEALTH,
    endpoint::DROP,
    endpoint::DROP_HEALTH,
    queue::INSERT,
    queue::INSERT_MISSING,
    queue::INHERIT,
    queue::CLAIM,
    queue::STANDING,
    queue::FIRST,
    queue::FINISH,
    queue::RELEASE_ALL,
    queue::PUT_OFF,
    queue::DROP,
    queue::DROP_SLICE,
    attempt::INSERT,
    expiry::GIVE_UP,
    replay::INSERT,
    replay::NEXT,
    replay::MOVE,
    replay::END,
    replay::HOLD,
    replay::DROP,
    replay::FAILED,
    retention::PARTS,
];

/// Between two attempts to lead, and the longest rest between two looks at the log and the clock.
pub(crate) const REST: Duration = Duration::from_secs(1);

/// How deliveries are made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For so long nobody else takes what one process is delivering. Longer than the longest time for an answer.
    pub lease: Duration,
    /// An endpoint that has done nothing but fail for so long is disabled.
    pub disabled_after: Duration,
    /// For so long attempts can be looked up.
    pub attempts_kept: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self { lease: Duration::from_secs(60), disabled_after: 5 * DAY, attempts_kept: 30 * DAY }
    }
}

/// Tells a webhook what became of its deliveries.
pub trait Orders: Send + Sync {
    /// Its endpoint failed for too long, or is gone.
    fn disable(
        &self,
        tenant_id: Uuid,
        webhook_id: Uuid,
        disablement: Disablement,
    ) -> BoxFuture<'static, Result<(), String>>;
    /// Its endpoint answered with the challenge.
    fn verify(&self, tenant_id: Uuid, webhook_id: Uuid, challenge: String) -> BoxFuture<'static, Result<(), String>>;
}

/// Delivers; cheap to clone.
#[derive(Clone)]
pub struct Deliveries {
    pub(crate) pool: PgPool,
    pub(crate) log: Log,
    pub(crate) tail: Tail,
    pub(crate) clock: Clock,
    pub(crate) outbound: Outbound,
    pub(crate) sealing: Sealing,
    pub(crate) orders: Arc<dyn Orders>,
    pub(crate) settings: Settings,
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Deliveries").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Deliveries {
    /// Delivers what this log says, with the keys that `sealing` opens, to where `outbound` reaches.
    #[must_use]
    pub fn new(
        pool: PgPool,
        tail: Tail,
        clock: Clock,
        outbound: Outbound,
        sealing: Sealing,
        orders: Arc<dyn Orders>,
    ) -> Self {
        let log = Log::new(pool.clone());
        Self { pool, log, tail, clock, outbound, sealing, orders, settings: Settings::default() }
    }

    /// The same with other settings.
    #[must_use]
    pub fn with_settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// Leads when it can and waits when another process does, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let (mut reported, mut careful) = (String::new(), false);
        while !shutdown.is_cancelled() {
            let led = tokio::select! {
                () = shutdown.cancelled() => return,
                led = Engine::lead(&self, careful) => led,
            };
            careful = led.as_ref().is_err_and(EngineError::followed_twice);
            // Once for each reason, however long it lasts.
            let reason = led.err().map_or_else(String::new, |error| error.to_string());
            if !reason.is_empty() && reason != reported {
                tracing::warn!(reason, "deliveries of webhooks stopped, trying again");
            }
            reported = reason;
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(REST) => {}
            }
        }
    }
}

/// Ends all leases; for who knows that nobody else delivers, as after a start on a directory that is locked.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn release_all(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query(queue::RELEASE_ALL).execute(pool).await.map(|_| ())
}

/// Tells the metrics recorder what the metrics of this crate are; call it once, after installing the recorder.
pub fn describe_metrics() {
    metrics::describe_counter!(attempt::ATTEMPTS, "Attempts to deliver to a webhook, by outcome.");
    metrics::describe_histogram!(
        attempt::LATENCY,
        metrics::Unit::Seconds,
        "Time from the event to the end of its first attempt."
    );
    metrics::describe_gauge!(engine::UNDER_WAY, "Deliveries that are under way.");
}
