//! The event store of Service Hub: append in commit order, load, read in order, follow, and relay to NATS JetStream.
//!
//! It stands on cqrs-es's traits and knows no aggregate by name. PostgreSQL is the truth; everything after it may lose,
//! repeat or reorder, and heals itself from here.

pub mod append;
pub mod clock;
pub mod election;
pub mod event;
mod gate;
pub mod log;
pub mod partition;
pub mod relay;
pub mod repository;
pub mod snapshot;
pub mod store;
pub mod tail;
pub mod upcast;
mod writer;

/// Every SQL text of this crate, for the test that prepares each against the migrated schema.
pub const QUERIES: &[&str] = &[
    log::HEAD,
    log::PAGE,
    log::PAGE_OF_TENANT,
    log::PAGE_OF_STREAM,
    log::PAGE_OF_TYPE,
    log::COUNTER,
    log::LEAVES,
    append::APPEND,
    append::LAST_EVENTS,
    append::OUTCOME,
    snapshot::LOAD,
    snapshot::KEEP,
    relay::READ_CURSOR,
    relay::MOVE_CURSOR,
    relay::ELECT,
];

/// Tells the metrics recorder what the numbers of this crate mean.
pub fn describe_metrics() {
    metrics::describe_counter!("hub_events_appended_total", "Events that this process appended to the log.");
    metrics::describe_histogram!("hub_append_batch_commands", "Commands in one batch of the writer.");
    metrics::describe_histogram!(
        "hub_append_duration_seconds",
        metrics::Unit::Seconds,
        "From a command's entry into the writer's queue to its verdict."
    );
    metrics::describe_gauge!("hub_append_queue_commands", "Commands that wait for the writer.");
    metrics::describe_counter!(
        "hub_events_published_total",
        "Events that this process published on NATS and had acknowledged."
    );
}
