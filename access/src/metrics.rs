//! The metrics of this room: decisions, and what they need.

use crate::{bearer, cache, refusals};

/// Counter of decisions that Cedar could not make without an error; each was a denial.
pub const DECISION_ERRORS: &str = "hub_access_decision_errors_total";

/// Counter of refusals, by the reason.
pub const DENIALS: &str = "hub_access_denials_total";

/// Tells the metrics recorder what the metrics of this room are.
pub fn describe_metrics() {
    metrics::describe_counter!(DECISION_ERRORS, "Decisions that failed and were taken as denials.");
    metrics::describe_counter!(bearer::REFUSED_TOKENS, "Access tokens that were not accepted, by reason.");
    metrics::describe_counter!(refusals::UNRECORDED, "Refusals that were too many to be noted even as a number.");
    metrics::describe_counter!(
        cache::LOADS,
        "Statements that read a tenant's facts, all of them or those that had changed."
    );
    metrics::describe_counter!(DENIALS, "Requests refused for want of a right, by reason.");
}
