//! Who is who and who may do what: API keys, and roles that decide through Cedar.
//!
//! Facts (`facts`) change in the transaction of the append that they come from; the `board` knows whose have changed, so what is kept (`cache`) is
//! never older than a second, and never older than what a caller says he has seen. From a principal's roles come the policies that speak to
//! one permission (`slice`, `policy`), which Cedar judges (`question`); for lists they become a condition on rows (`filter`).
//! Noted beside it is which keys were used when (`uses`), who used which permission (`permission_uses`), and what was refused and who read
//! what is sensitive (`refusals`, `sensitive`).

pub mod api;
pub mod bearer;
pub mod board;
pub mod cache;
pub mod facts;
pub mod filter;
pub mod gate;
pub mod granting;
pub mod judge;
pub mod metrics;
pub mod permission_uses;
mod policy;
pub mod question;
pub mod refusals;
pub mod rules;
pub mod sensitive;
pub mod shared;
pub mod slice;
pub mod uses;

pub use board::Board;
pub use gate::{AccessGate, Clock};
pub use permission_uses::PermissionUses;
pub use refusals::Refusals;
pub use uses::Uses;

/// Every SQL text of this crate, for the test that prepares each against the migrated schema.
pub const QUERIES: &[&str] = &[
    board::CHANGED,
    facts::load::FACTS,
    facts::reader::FACTS_SINCE,
    facts::reader::SETTINGS,
    gate::OWNER,
    permission_uses::BEGIN,
    permission_uses::FORGET,
    permission_uses::USED,
    permission_uses::USED_ANYWHERE,
    permission_uses::WRITE,
    uses::WRITE,
];
