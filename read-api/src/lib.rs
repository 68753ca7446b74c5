//! The query API: lists, details, sums and the log itself, answered from read models and never written to.
//!
//! Each context is a module. What they share: `reach` waits for the consistency token, `answers` keeps what was answered, `failure` says what callers are told when
//! PostgreSQL does not answer, `statement` puts conditions together, `rows` reads rows.

mod access_request;
mod analytics;
mod answers;
mod api_key;
mod attributes;
mod audit;
mod billing;
mod break_glass;
mod changes;
mod checkpoints;
mod compliance;
mod data_subject;
mod duty_set;
mod erasure;
mod event_stream;
mod event_subscription;
mod event_type;
mod events;
mod evidence;
mod failure;
mod heads;
mod identity_provider;
mod inbound_source;
mod legal_hold;
mod nats_credential;
mod past;
mod personal;
mod reach;
mod read;
mod recorded;
mod reports;
mod retention_policy;
mod role;
mod role_template;
mod rows;
mod service_instance;
mod state;
mod statement;
mod subscription;
mod support_access;
mod tenant;
mod webhook;
mod webhook_delivery;

use aide::axum::ApiRouter;
use axum::middleware::from_fn_with_state;
use hub_http::{Routes, routes::Entry};

pub use crate::{
    event_stream::{ENDS, RENEWALS, RING_BYTES, STREAMED_EVENTS, STREAMS_OPEN, StreamSettings, describe_metrics},
    personal::{ERASED, SEALED},
    reports::Disclosures,
    state::{Queries, STREAMS_MAX_DEFAULT, Settings},
};

/// Every SQL text of this crate, for the test that prepares each against the migrated schema. Those with conditions have all of them.
pub const QUERIES: &[&str] = &[
    access_request::DETAIL,
    access_request::LIST.whole,
    analytics::events::OF_PLATFORM.whole,
    analytics::events::OF_TENANT.whole,
    analytics::instances::OF_PLATFORM.whole,
    analytics::instances::OF_TENANT.whole,
    analytics::revenue::OF_PLATFORM,
    analytics::revenue::OF_TENANT,
    analytics::tenants::COUNT,
    api_key::DETAIL,
    api_key::LIST.whole,
    attributes::OF_ONE[0].1,
    attributes::OF_ONE[1].1,
    attributes::OF_ONE[2].1,
    audit::OF_PLATFORM.whole,
    audit::OF_TENANT.whole,
    billing::NEWEST.whole,
    billing::OLDEST.whole,
    billing::TOTALS.whole,
    break_glass::DETAIL,
    break_glass::LIST.whole,
    changes::CHANGED,
    checkpoints::CHECKPOINTS,
    compliance::dashboard::OPEN,
    compliance::findings::DETAIL,
    compliance::findings::LIST.whole,
    compliance::runs::LAST_OF_RUN,
    compliance::standing::LAST,
    data_subject::RECORDS.whole,
    duty_set::DETAIL,
    duty_set::LIST.whole,
    erasure::DETAIL,
    erasure::EXECUTED,
    erasure::LIST.whole,
    event_stream::tails::GROWN,
    event_subscription::DETAIL,
    event_subscription::LIST.whole,
    evidence::CHECKPOINT_FROM,
    evidence::CHECKPOINT_LAST,
    evidence::KEYS,
    evidence::LEAF,
    evidence::TILES,
    heads::TENANT_HEAD,
    heads::TENANT_HEADS,
    identity_provider::DETAIL,
    identity_provider::LIST.whole,
    inbound_source::DETAIL,
    inbound_source::LIST.whole,
    legal_hold::DETAIL,
    legal_hold::LIST.whole,
    nats_credential::DETAIL,
    nats_credential::LIST.whole,
    past::AT_POSITION,
    past::AT_TIME,
    past::EVENTS,
    past::FUTURE,
    reach::CHECKPOINT,
    reach::LOG_HEAD,
    recorded::PAGE.whole,
    retention_policy::OF_TENANT,
    role::DETAIL,
    role::LIST.whole,
    role_template::LIST.whole,
    service_instance::DETAIL,
    service_instance::LIST.whole,
    subscription::DETAIL,
    subscription::LIST.whole,
    support_access::DETAIL,
    support_access::LIST.whole,
    tenant::DETAIL,
    tenant::LIST.whole,
    webhook::DETAIL,
    webhook::LIST.whole,
    webhook_delivery::ATTEMPTS.whole,
    webhook_delivery::COUNTS,
    webhook_delivery::LAST_EVENTS,
    webhook_delivery::NOW,
    webhook_delivery::STANDING,
    webhook_delivery::STATUSES,
];

/// Every route of the query API, each with its permission; `kept` is around those whose answers may be given again.
fn all(kept: impl Fn(ApiRouter<Queries>) -> ApiRouter<Queries>) -> Routes<Queries> {
    // The log is not kept: its positions are the tenant's own, and a stream has no end.
    let kept = |routes: Routes<Queries>| routes.wrapped(&kept);
    Routes::new()
        .merge(kept(access_request::routes()))
        .merge(kept(analytics::routes()))
        .merge(kept(api_key::routes()))
        .merge(kept(audit::routes()))
        .merge(kept(billing::routes()))
        .merge(kept(break_glass::routes()))
        // The platform's own, which no event of a tenant tells the age of.
        .merge(compliance::routes())
        // Keys are destroyed without an event of the tenant's own beside it.
        .merge(data_subject::routes())
        .merge(kept(duty_set::routes()))
        .merge(kept(erasure::routes()))
        .merge(erasure::certificate_routes())
        .merge(kept(event_subscription::routes()))
        .merge(events::routes())
        // What was sealed moves without an event of the tenant.
        .merge(evidence::routes())
        .merge(kept(identity_provider::routes()))
        .merge(kept(inbound_source::routes()))
        .merge(kept(legal_hold::routes()))
        .merge(kept(nats_credential::routes()))
        .merge(kept(retention_policy::routes()))
        // Each report is a disclosure of its own.
        .merge(reports::routes())
        .merge(kept(role::routes()))
        // A tenant reads what is the platform's, so its own events do not tell when an answer is old.
        .merge(role_template::routes())
        .merge(kept(service_instance::routes()))
        .merge(kept(subscription::routes()))
        .merge(kept(support_access::routes()))
        .merge(kept(tenant::routes()))
        .merge(kept(webhook::routes()))
        .merge(webhook_delivery::routes())
}

/// The query API.
pub fn routes(queries: Queries) -> ApiRouter {
    let kept = |routes: ApiRouter<Queries>| routes.route_layer(from_fn_with_state(queries.clone(), answers::keep));
    all(kept).into_router().with_state(queries.clone())
}

/// What the query API asks permission for.
#[must_use]
pub fn catalogue() -> Vec<Entry> {
    all(|routes| routes).entries().to_vec()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hub_event_store::tail::Tail;
    use hub_http::{
        CursorKey,
        access::Closed,
        openapi::{About, complaints, document},
    };
    use hub_projections::positions::Positions;
    use sqlx::PgPool;
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn every_operation_is_described() {
        let settings = Settings {
            pool: PgPool::connect_lazy("postgres://localhost/nowhere").unwrap(),
            tail: Tail::default(),
            positions: Positions::default(),
            gate: Arc::new(Closed),
            cursor_key: CursorKey::new([1; 32]),
            streams_max: STREAMS_MAX_DEFAULT,
            shutdown: CancellationToken::new(),
        };
        let tags = [
            access_request::TAG,
            break_glass::TAG,
            data_subject::TAG,
            duty_set::TAG,
            erasure::TAG,
            event_subscription::TAG,
            identity_provider::TAG,
            inbound_source::TAG,
            legal_hold::TAG,
            nats_credential::TAG,
            retention_policy::TAG,
            role_template::TAG,
            support_access::TAG,
        ];
        let tags = tags.into_iter().chain([
            analytics::TAG,
            api_key::TAG,
            audit::TAG,
            billing::TAG,
            compliance::TAG,
            events::TAG,
            evidence::TAG,
            role::TAG,
            service_instance::TAG,
        ]);
        let tags = tags.chain([subscription::TAG, tenant::TAG, webhook::TAG]).map(|tag| (tag, "."));
        let tags: Vec<_> = tags.collect();
        let about = About { title: "Queries", version: "1", description: "Queries.", tags: &tags };
        let (_, api) = document(about, || routes(Queries::new(settings)));
        assert_eq!(complaints(&api, &[]), Vec::<String>::new());
        let text = serde_json::to_string(&api).unwrap();
        assert!(!text.contains("sealed_secret"), "no answer has a place for a secret");
        // Shown with --no-capture, for validators outside of this crate.
        println!("{text}");
    }
}
