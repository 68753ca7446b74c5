//! The event store of Service Hub: append in commit order, load, read in order, follow, and relay to NATS JetStream.
//!
//! It stands on cqrs-es's traits and knows no aggregate by name. PostgreSQL is the truth; everything after it may lose,
//! repeat or reorder, and heals itself from here.

pub mod append;
pub mod clock;
pub mod event;
mod gate;
pub mod log;
pub mod partition;
pub mod relay;
pub mod repository;
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
    append::APPEND,
    append::LAST_EVENTS,
    append::OUTCOME,
    relay::READ_CURSOR,
    relay::MOVE_CURSOR,
    relay::ELECT,
];
