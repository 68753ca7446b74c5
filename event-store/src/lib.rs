//! The event store of Service Hub: append in commit order, load, read in order, follow, and relay to NATS JetStream.
//!
//! It stands on cqrs-es's traits and knows no aggregate by name. PostgreSQL is the truth; everything after it may lose,
//! repeat or reorder, and heals itself from here.

pub mod append;
pub mod clock;
pub mod election;
pub mod event;
pub mod facts;
mod gate;
pub mod import;
pub mod log;
pub mod moment;
pub mod partition;
mod quiet;
pub mod relay;
pub mod repository;
pub mod scan;
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
    log::TENANT_HEAD,
    log::PAGE_OF_STREAM,
    log::PAGE_OF_TYPE,
    log::COUNTER,
    log::FACTS,
    log::LEAVES,
    moment::FIRST_SINCE,
    moment::HAS_IMPORTED,
    moment::TIME_OF,
    append::APPEND,
    append::LAST_EVENTS,
    append::OUTCOME,
    relay::cursor::READ_CURSOR,
    relay::cursor::SET_CURSOR,
    relay::cursor::MOVE_CURSOR,
    relay::start::EVENT_AT,
    relay::start::KEPT_AT,
    relay::start::LAST_OF_TENANTS,
    facts::LOCK,
    facts::RAISE_HEADS,
    facts::REPAIRED,
    facts::SETTINGS,
    facts::SET_VERSION,
    facts::TOUCHED,
    facts::VERSION,
    facts::streams::EVENTS,
    facts::streams::FOUND,
    facts::streams::SET,
    facts::streams::STREAMS,
    facts::streams::STREAMS_OF,
    import::REGISTER,
    import::STATE,
    import::IMPORT,
    snapshot::LOAD,
    snapshot::KEEP,
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
    metrics::describe_gauge!("hub_relay_in_flight", "Messages published on NATS and not yet acknowledged.");
    metrics::describe_gauge!("hub_relay_diverged", "1 when the stream on NATS holds what the log does not.");
    metrics::describe_counter!(
        "hub_relay_resumed_total",
        "Times that the relay had to look again where the stream ends."
    );
    metrics::describe_counter!("hub_relay_payloads_omitted_total", "Events published without their too large payload.");
}
