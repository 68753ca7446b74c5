//! Consuming named subscriptions: events are handed out under leases, acknowledged, rejected, parked and replayed.
//!
//! What a subscription is, the log says; who has which of its events is reading state in two tables of its own, and changes with its cursor
//! row locked, in one short transaction. Delivery is at least once, and in order per aggregate: while an event of an aggregate waits to be
//! acknowledged, later ones are handed out to nobody, except within one batch. An exclusive subscription has the same rule for all its events.

mod ack_id;
mod acknowledge;
mod bell;
mod cursor;
mod database;
mod documented;
mod extend;
mod failure;
mod lag;
mod messages;
mod parked;
mod pull;
mod reject;
mod reset;
mod round;
mod shares;
mod state;
mod subscription;

pub use state::{Consumers, Settings};

use aide::axum::ApiRouter;
use hub_http::{Routes, routes::Entry};

/// The tag of these operations.
pub const TAG: &str = "event-subscriptions";

/// So many events of a subscription are handed out or wait at once; beyond it nothing new is looked at.
pub const OUTSTANDING_MAX: i64 = 1_000;

/// So many events of a subscription are parked; beyond it they go on being handed out.
pub const PARKED_MAX: i64 = 10_000;

/// So many events one pull hands out.
pub const PULL_MAX: u32 = 500;

/// So long a pull waits for events.
pub const WAIT_SECONDS_MAX: u32 = 30;

/// So many ack ids or positions one request names.
pub const ACK_COUNT_MAX: usize = 1_000;

/// Counter of events that were handed out.
const HANDED_OUT: &str = "hub_event_subscription_deliveries_total";

/// Counter of events that were acknowledged.
const ACKNOWLEDGED: &str = "hub_event_subscription_acknowledged_total";

/// Counter of events that were parked.
const PARKED: &str = "hub_event_subscription_parked_total";

/// Counter of events that were passed over after their last delivery.
const SKIPPED: &str = "hub_event_subscription_skipped_total";

/// Every SQL text of this crate, for the test that prepares each against the migrated schema.
pub const QUERIES: &[&str] = &[
    bell::HEADS,
    cursor::CURSOR,
    cursor::LOCK,
    cursor::ENSURE,
    cursor::KEEP,
    cursor::FORGET,
    cursor::HEAD,
    lag::COUNTS,
    lag::HAPPENED,
    messages::EXHAUSTED,
    messages::PARKED_COUNT,
    messages::PARK,
    messages::REMOVE,
    messages::BLOCKED,
    messages::OUTSTANDING,
    messages::READY,
    messages::LEASE,
    messages::INSERT,
    messages::ACKNOWLEDGE,
    messages::ACKNOWLEDGE_UP_TO,
    messages::STANDING,
    messages::REJECTED,
    messages::REST,
    messages::HAND_BACK,
    messages::EXTEND,
    messages::FENCE,
    messages::DROP,
    messages::FORGET,
    parked::LIST,
    parked::REPLAY,
    parked::DISCARD,
    round::EVENTS,
    round::SCAN,
];

fn all() -> Routes<Consumers> {
    Routes::new()
        .merge(pull::routes())
        .merge(acknowledge::routes())
        .merge(reject::routes())
        .merge(extend::routes())
        .merge(reset::routes())
        .merge(parked::routes())
        .merge(lag::routes())
}

/// The routes.
pub fn routes(consumers: Consumers) -> ApiRouter {
    all().into_router().with_state(consumers)
}

/// What these routes ask permission for.
#[must_use]
pub fn catalogue() -> Vec<Entry> {
    all().entries().to_vec()
}

/// Tells the metrics recorder what the metrics of this crate are; call it once, after installing the recorder.
pub fn describe_metrics() {
    metrics::describe_counter!(HANDED_OUT, "Events handed out to consumers of event subscriptions.");
    metrics::describe_counter!(ACKNOWLEDGED, "Events that consumers of event subscriptions acknowledged.");
    metrics::describe_counter!(PARKED, "Events of event subscriptions that were put aside.");
    metrics::describe_counter!(
        SKIPPED,
        "Events of event subscriptions that were passed over after their last delivery."
    );
}
