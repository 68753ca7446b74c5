//! Read models: rows folded from the log, and the runner that keeps them in step with it.
//!
//! A read model is a row type, a key and a pure fold ([`model::ReadModel`]); everything else is done here once for all: batches,
//! checkpoints, leases, healing from PostgreSQL, parking what cannot be read, rebuilding and verifying. Nothing here has side effects
//! beyond its own tables.

pub mod checkpoint;
mod copy;
mod delivery;
pub mod history;
mod incoming;
pub mod keyed;
pub mod live;
pub mod memory;
pub mod model;
pub mod parked;
pub mod partitions;
pub mod personal;
pub mod positions;
pub mod projection;
mod reached;
pub mod rebuild;
pub mod runner;
mod share;
pub mod status;
pub mod verify;

pub mod access_request;
pub mod analytics;
pub mod api_key;
pub mod audit;
pub mod billing;
pub mod break_glass;
pub mod control_check;
pub mod duty_set;
pub mod erasure;
pub mod event_subscription;
pub mod finding;
pub mod identity_provider;
pub mod inbound_source;
pub mod legal_hold;
pub mod nats_credential;
pub mod retention_policy;
pub mod role;
pub mod role_template;
pub mod service_instance;
pub mod subject_record;
pub mod subscription;
pub mod support_access;
pub mod tenant;
pub mod webhook;

#[cfg(test)]
mod testing;

use std::sync::Arc;

use crate::{keyed::KeyedProjection, model::ReadModel, projection::Projection};

/// Every projection of the platform.
#[must_use]
pub fn all() -> Vec<Arc<dyn Projection>> {
    fn of<M: ReadModel>() -> Arc<dyn Projection> {
        Arc::new(KeyedProjection::<M>::new())
    }
    vec![
        of::<access_request::AccessRequests>(),
        of::<analytics::EventCounts>(),
        of::<analytics::MrrMovements>(),
        of::<api_key::ApiKeys>(),
        of::<audit::AuditEntries>(),
        of::<billing::Charges>(),
        of::<break_glass::BreakGlasses>(),
        of::<control_check::ControlChecks>(),
        of::<duty_set::DutySets>(),
        of::<erasure::Erasures>(),
        of::<event_subscription::EventSubscriptions>(),
        of::<finding::Findings>(),
        of::<identity_provider::IdentityProviders>(),
        of::<inbound_source::InboundSources>(),
        of::<legal_hold::LegalHolds>(),
        of::<nats_credential::NatsCredentials>(),
        of::<retention_policy::RetentionClasses>(),
        of::<role::Roles>(),
        of::<role_template::RoleTemplates>(),
        of::<service_instance::ServiceInstances>(),
        of::<subject_record::SubjectRecords>(),
        of::<subscription::Subscriptions>(),
        of::<support_access::SupportAccesses>(),
        of::<tenant::Tenants>(),
        of::<webhook::Webhooks>(),
    ]
}

/// Every constant SQL text of this crate, for the test that prepares each against the migrated schema; those of the single tables are
/// in [`Projection::queries`].
pub const QUERIES: &[&str] = &[
    checkpoint::ENSURE,
    checkpoint::MOVE,
    checkpoint::RELEASE_ALL,
    checkpoint::FORGET_ALL,
    checkpoint::STOP,
    checkpoint::RESUME,
    checkpoint::LOCK,
    checkpoint::REPLACE,
    checkpoint::DROP_OTHERS,
    checkpoint::POSITION,
    history::scratch::ALLOWED,
    history::scratch::KEPT,
    history::scratch::NAME,
    keyed::COPY,
    keyed::INDEX,
    keyed::SWITCH,
    memory::COLUMNS,
    parked::STREAMS,
    parked::POSITIONS,
    parked::COUNT,
    parked::PARK,
    parked::DISCARDED,
    parked::CLEAR_DISCARDED,
    parked::CLEAR,
    parked::repair::OF_STREAM,
    parked::repair::STREAMS,
    parked::repair::EVENTS,
    parked::repair::REMOVE,
    parked::repair::EXPLAIN,
    parked::repair::WAKE,
    parked::repair::TAKE,
    parked::repair::DISCARD,
    parked::repair::LIST_DISCARDED,
    reached::REACHED,
    rebuild::LOCK,
    rebuild::UNLOCK,
    share::VERSION,
    share::ACQUIRE,
    share::RENEW,
    share::RELEASE,
    share::FORGET,
    share::SURVEY,
    share::SPLIT,
    share::REMOVE,
    share::JOIN,
    rebuild::VERSION,
    rebuild::state::FORGET,
    rebuild::state::BEGIN,
    rebuild::state::PROGRESS,
    rebuild::state::READY,
    rebuild::state::FAILED,
    rebuild::state::MOVE,
    rebuild::state::RETIRE,
    rebuild::state::RETIRE_PARKED,
    rebuild::state::PARK,
    rebuild::state::PARKED,
    rebuild::state::FIND,
    rebuild::state::LIST,
    status::STATUS,
    status::LAG,
    status::DISCARDED,
    status::PARKED,
];

/// Tells the metrics recorder what the numbers of this crate mean.
pub fn describe_metrics() {
    metrics::describe_counter!("hub_events_applied_total", "Events that a projection took in.");
    metrics::describe_gauge!("hub_projection_lag_events", "Events in the log that a projection has not taken in yet.");
    metrics::describe_gauge!("hub_projection_position", "The position that a projection has got to.");
    metrics::describe_gauge!("hub_projection_partitions", "Partitions of a projection that this process works on.");
    metrics::describe_gauge!("hub_projection_rebuild_events_per_second", "How fast a candidate is being built.");
    metrics::describe_gauge!(
        "hub_projection_rebuild_seconds_to_go",
        "How long a candidate still takes at its rate so far."
    );
    metrics::describe_gauge!("hub_projection_rebuild_position", "The position that a candidate has got to.");
    metrics::describe_gauge!("hub_projection_parked_events", "Events that a projection has set aside.");
    metrics::describe_histogram!("hub_projection_batch_duration_seconds", "How long a projection took for one batch.");
    metrics::describe_counter!(
        "hub_projection_gaps_healed_total",
        "Times that a projection read from PostgreSQL what NATS did not bring."
    );
}
