//! The HTTP interface of one process: the routes of its role, their document, health and problem pages.

use std::{sync::Arc, time::Duration};

use aide::{axum::ApiRouter, openapi::OpenApi};
use axum::{Router, http::HeaderValue};
use hub_access::api::Authorization;
use hub_commands::{Commands, inbound_source::receive};
use hub_consumers::Consumers;
use hub_http::{
    Layers, RateLimits,
    health::{self, Check, Health},
    openapi::{self, About},
    routes::Entry,
};
use hub_read_api::Queries;
use hub_seal::witness::Contradiction;
use sqlx::PgPool;
use tokio::sync::watch;

use crate::{config, problem_pages};

/// A health check may take so long.
const CHECK_LIMIT: Duration = Duration::from_secs(2);

/// What the document says of each group of operations, in the order shown.
const TAGS: &[(&str, &str)] = &[
    ("tenants", "Organisations that buy managed services."),
    ("subscriptions", "What a tenant has bought: plan, seats, periods, changes."),
    ("roles", "Permissions under a name, inherited and assigned."),
    ("role-templates", "Permissions that the platform offers to make roles from."),
    ("principals", "People and services that are let in no longer, or again."),
    ("access-requests", "Roles asked for, and granted for a time by somebody else."),
    ("break-glass", "Roles taken in an emergency, and reviewed afterwards."),
    ("support-access", "Roles that a tenant lets the platform's staff hold for a time."),
    ("data-subjects", "People that personal data is about: found, and told what there is."),
    ("duty-sets", "Roles that nobody holds too many of at a time."),
    ("identity-providers", "Whose access tokens a tenant accepts."),
    ("api-keys", "Credentials of programs: roles, scopes, networks, rotation."),
    ("service-instances", "A tenant's own instances of managed services."),
    ("webhooks", "Addresses that are told of events."),
    ("inbound-sources", "Providers whose signed webhooks become events."),
    ("nats-credentials", "What trusted integrators read a tenant's events with, straight from NATS."),
    (hub_access::api::TAG, "Who may do what, and why."),
    ("legal-holds", "What keeps personal data from being erased."),
    ("erasures", "Personal data that is made unreadable for ever."),
    ("retention", "How long personal data of nobody in particular is kept."),
    ("event-subscriptions", "Events handed out to consumers, each until it is acknowledged."),
    ("events", "The tenant's log: pages and a stream."),
    (hub_catalogue::TAG, "What events there are, and what each looks like."),
    ("evidence", "Signed checkpoints of the log, and proofs that lead to them."),
    ("compliance", "Controls of the platform, their evidence and findings; evidence, not a certification."),
    ("analytics", "Counts, revenue and movements over time."),
    ("audit", "Who did what when."),
    ("billing", "What was charged."),
    (health::TAG, "Whether the process works."),
];

const DESCRIPTION: &str = "\
The platform core of a provider of managed services.

Commands are POSTs with a verb at the end; queries are GETs of the same nouns. Every command may carry an `Idempotency-Key`: sent again, it \
answers its first outcome and does nothing. The `Consistency-Token` of a receipt, sent with a query, makes the query wait until it can see the \
command. Every error is `application/problem+json` with a stable `code`, explained at `/problems/<code>`.";

/// The parts of the API that this process serves.
#[derive(Debug, Default)]
pub struct Served {
    /// The command API.
    pub commands: Option<Commands>,
    /// The query API.
    pub queries: Option<Queries>,
    /// Consuming event subscriptions.
    pub consumers: Option<Consumers>,
    /// Questions about rights.
    pub authorization: Option<Authorization>,
}

/// The ids of the operations that anybody may call.
#[must_use]
pub fn open_operations() -> Vec<&'static str> {
    [health::OPERATIONS, hub_catalogue::OPERATIONS, &[receive::OPERATION]].concat()
}

/// Every permission that a route of the platform asks for.
#[must_use]
pub fn catalogue() -> Vec<Entry> {
    [hub_commands::catalogue(), hub_read_api::catalogue(), hub_consumers::catalogue(), hub_access::api::catalogue()]
        .concat()
}

/// The layers as the settings want them.
#[must_use]
pub fn layers(edge: &config::Edge) -> Layers {
    let origins = edge.cors_allowed_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    Layers {
        request_timeout: edge.request_timeout,
        body_bytes_max: edge.body_bytes_max,
        body_timeout: edge.body_timeout,
        uri_bytes_max: edge.uri_bytes_max,
        header_bytes_max: edge.header_bytes_max,
        rate_limits: RateLimits::new(edge.rates),
        trusted_proxies: edge.trusted_proxies.clone(),
        strict_transport: edge.tls.is_some(),
        cors_allowed_origins: origins.collect(),
        ..Layers::default()
    }
}

/// Builds the router and its document from what this process serves, with the layers of a test: nothing is limited in a time.
pub fn router(served: Served, health: Health) -> (Router, OpenApi) {
    router_within(Layers::default(), served, health)
}

/// The same with these layers.
pub fn router_within(layers: Layers, served: Served, health: Health) -> (Router, OpenApi) {
    let Served { commands, queries, consumers, authorization } = served;
    let about =
        About { title: "Service Hub", version: env!("CARGO_PKG_VERSION"), description: DESCRIPTION, tags: TAGS };
    let shortcut = queries.as_ref().map(Queries::shortcut);
    let (router, document) = openapi::document(about, || {
        let mut routes = ApiRouter::new().merge(health::routes(health)).merge(hub_catalogue::routes());
        if let Some(commands) = commands {
            routes = routes.merge(hub_commands::routes(commands));
        }
        if let Some(queries) = queries {
            routes = routes.merge(hub_read_api::routes(queries));
        }
        if let Some(consumers) = consumers {
            routes = routes.merge(hub_consumers::routes(consumers));
        }
        if let Some(authorization) = authorization {
            routes = routes.merge(hub_access::api::routes(authorization));
        }
        routes
    });
    let router = openapi::serve(router, &document).merge(problem_pages::routes());
    let router = hub_catalogue::serve(router, &hub_catalogue::document(env!("CARGO_PKG_VERSION")));
    let router = match shortcut {
        Some(shortcut) => layers.wrap_behind(shortcut, router),
        None => layers.wrap(router),
    };
    (router, document)
}

/// What makes a process ready: PostgreSQL must answer; NATS may be away.
#[must_use]
pub fn health(pool: &PgPool, nats: Option<&async_nats::Client>) -> Health {
    health_with(pool, nats, None)
}

/// The same for a process that seals: it goes on, and says so, when it may not seal this database.
#[must_use]
pub fn health_with(
    pool: &PgPool,
    nats: Option<&async_nats::Client>,
    contradiction: Option<watch::Receiver<Option<Contradiction>>>,
) -> Health {
    let pool = pool.clone();
    let mut checks = vec![Check::required("postgresql", move || {
        let pool = pool.clone();
        async move { sqlx::query("SELECT 1").execute(&pool).await.map(|_| ()).map_err(|error| error.to_string()) }
    })];
    if let Some(nats) = nats {
        let nats = Arc::new(nats.clone());
        checks.push(Check::optional("nats", move || {
            let state = nats.connection_state();
            async move {
                match state {
                    async_nats::connection::State::Connected => Ok(()),
                    other => Err(format!("{other:?}").to_lowercase()),
                }
            }
        }));
    }
    if let Some(contradiction) = contradiction {
        checks.push(Check::optional("seals", move || {
            let found = contradiction.borrow().as_ref().map(Contradiction::what);
            async move { found.map_or(Ok(()), |what| Err(what.to_owned())) }
        }));
    }
    Health::new(checks, CHECK_LIMIT)
}
