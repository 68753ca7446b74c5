//! Controls of the platform as data, what frameworks ask for that they are evidence of, and the checks that tell whether they hold.
//!
//! `catalogue` is the data and has no database. `checks` are queries over the platform's own tables and what its processes tell of
//! themselves. `runner` runs them all each day and on request, and hands over what each came to; writing it down is somebody else's. What
//! comes of it is evidence for whoever judges, never a certification.

pub mod catalogue;
pub mod checks;
pub mod configuration;
pub mod runner;

pub use catalogue::{Catalogue, catalogue};
pub use configuration::Configuration;
pub use runner::Runner;

/// Every SQL text of this crate, for the test that prepares each against the migrated schema.
pub const QUERIES: &[&str] = &[
    checks::access::API_KEY_AGE,
    checks::access::API_KEY_UNUSED,
    checks::access::API_KEY_WITHOUT_END,
    checks::access::BREAK_GLASS_UNREVIEWED,
    checks::access::DECISION_ERRORS,
    checks::access::ENDED_PRINCIPAL_GRANTS,
    checks::access::FAILED_LOGINS,
    checks::access::GRANT_UNUSED,
    checks::access::SINGLE_OWNER,
    checks::access::TEMPORARY_ACCESS_OVERDUE,
    checks::configured::KEY_FILE_MODES,
    checks::configured::LISTENER_TLS,
    checks::configured::METRICS_LISTENER,
    checks::duties::TENANTS,
    checks::duties::FACTS,
    checks::log::APPEND_ONLY,
    checks::log::EVIDENCE_KEY_AGE,
    checks::log::QUERY_ROLES,
    checks::log::ROW_SECURITY,
    checks::log::SEALED,
    checks::log::SEAL_LAG,
    checks::log::SELF_CHECK_CLEAN,
    checks::log::SELF_CHECK_RECENT,
    checks::operation::DUE_WORK_LATE,
    checks::operation::FINDING_OPEN,
    checks::operation::OUTBOUND_ADDRESSES,
    checks::operation::PARKED_EVENTS,
    checks::operation::PROJECTION_LAG,
    checks::operation::RELAY_LAG,
    configuration::FORGET,
    configuration::TELL,
    runner::ELECT,
    runner::IS_COMPLETED,
    runner::WAITING,
];
