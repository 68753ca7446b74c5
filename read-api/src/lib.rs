//! The query API: lists, details, sums and the log itself, answered from read models and never written to.
//!
//! Each context is a module. What they share: `reach` waits for the consistency token, `failure` says what callers are told when
//! PostgreSQL does not answer, `statement` puts conditions together, `rows` reads rows.

mod analytics;
mod audit;
mod billing;
mod event_stream;
mod event_type;
mod events;
mod failure;
mod heads;
mod reach;
mod recorded;
mod role;
mod rows;
mod service_instance;
mod state;
mod statement;
mod subscription;
mod tenant;
mod webhook;

use aide::axum::ApiRouter;

pub use crate::{
    event_stream::{STREAMED_EVENTS, STREAMS_OPEN, describe_metrics},
    state::{Queries, STREAMS_MAX_DEFAULT, Settings},
};

/// Name and description of each tag of this API's operations.
pub const TAGS: &[(&str, &str)] = &[
    (tenant::TAG, "Organisations that buy managed services."),
    (subscription::TAG, "What tenants have bought."),
    (role::TAG, "Who may do what in a tenant."),
    (service_instance::TAG, "The managed services that run for tenants."),
    (webhook::TAG, "Addresses that are told of a tenant's events."),
    (events::TAG, "What has happened in a tenant, as it was recorded."),
    (audit::TAG, "Who did what, when, and in which conversation."),
    (billing::TAG, "What tenants are charged."),
    (analytics::TAG, "Tenants, events, revenue and service instances in numbers."),
];

/// Every SQL text of this crate, for the test that prepares each against the migrated schema. Those with conditions have all of them.
pub const QUERIES: &[&str] = &[
    analytics::events::OF_PLATFORM.whole,
    analytics::events::OF_TENANT.whole,
    analytics::instances::OF_PLATFORM.whole,
    analytics::instances::OF_TENANT.whole,
    analytics::revenue::OF_PLATFORM,
    analytics::revenue::OF_TENANT,
    analytics::tenants::COUNT,
    audit::OF_PLATFORM.whole,
    audit::OF_TENANT.whole,
    billing::NEWEST.whole,
    billing::OLDEST.whole,
    billing::TOTALS.whole,
    heads::TENANT_HEAD,
    heads::TENANT_HEADS,
    reach::CHECKPOINT,
    reach::LOG_HEAD,
    recorded::PAGE.whole,
    role::DETAIL,
    role::LIST.whole,
    service_instance::DETAIL,
    service_instance::LIST.whole,
    subscription::DETAIL,
    subscription::LIST.whole,
    tenant::DETAIL,
    tenant::LIST.whole,
    webhook::DETAIL,
    webhook::LIST.whole,
];

/// Every route of the query API.
pub fn routes(queries: Queries) -> ApiRouter {
    ApiRouter::new()
        .merge(analytics::routes())
        .merge(audit::routes())
        .merge(billing::routes())
        .merge(events::routes())
        .merge(role::routes())
        .merge(service_instance::routes())
        .merge(subscription::routes())
        .merge(tenant::routes())
        .merge(webhook::routes())
        .with_state(queries)
}
