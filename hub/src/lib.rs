//! The one program of Service Hub: configuration, roles, its own PostgreSQL and NATS, keys and telemetry.
//!
//! `hub up` runs everything on one machine with servers of its own; `hub serve` runs one role, or all of them,
//! against servers that exist. What the roles do is written in the other rooms; here they are only put together.

pub mod api;
pub mod clock;
pub mod config;
pub mod controls;
pub mod demo;
pub mod disclosures;
pub mod embedded;
pub mod enrol;
pub mod evidence_key;
pub mod gauges;
pub mod key;
pub mod listener;
pub mod migrate;
pub mod nats;
pub mod pool;
pub mod problem_pages;
pub mod self_check;
pub mod serve;
pub mod shutdown;
pub mod telemetry;
pub mod vault;
pub mod verb;
mod webhooks;

pub use verb::run;

/// Many small pieces made on one thread and dropped on another are what this program's memory consists of.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Every SQL text of this crate, for the test that prepares each against the migrated schema.
pub const QUERIES: &[&str] = &[
    disclosures::LOGIN,
    gauges::PROJECTIONS,
    gauges::RELAY,
    gauges::SEALS,
    key::CLAIM,
    key::CLAIMED,
    verb::compliance::COMPLETED,
    verb::compliance::EVALUATED,
];
