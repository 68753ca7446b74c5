//! The HTTP interface of one process: the routes of its role, their document, health and problem pages.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use aide::{axum::ApiRouter, openapi::OpenApi};
use axum::{
    Router,
    serve::{Listener, ListenerExt as _},
};
use hub_commands::Commands;
use hub_http::{
    Layers,
    health::{self, Check, Health},
    openapi::{self, About},
};
use hub_read_api::Queries;
use sqlx::PgPool;
use tokio::net::{TcpListener, TcpStream};

use crate::problem_pages;

/// A health check may take so long.
const CHECK_LIMIT: Duration = Duration::from_secs(2);

/// What the document says of each group of operations, in the order shown.
const TAGS: &[(&str, &str)] = &[
    ("tenants", "Organisations that buy managed services."),
    ("subscriptions", "What a tenant has bought: plan, seats, periods, changes."),
    ("roles", "Permissions under a name, inherited and assigned."),
    ("role-templates", "Permissions that the platform offers to make roles from."),
    ("access-requests", "Roles asked for, and granted for a time by somebody else."),
    ("break-glass", "Roles taken in an emergency, and reviewed afterwards."),
    ("support-access", "Roles that a tenant lets the platform's staff hold for a time."),
    ("duty-sets", "Roles that nobody holds too many of at a time."),
    ("identity-providers", "Whose access tokens a tenant accepts."),
    ("api-keys", "Credentials of programs: roles, scopes, networks, rotation."),
    ("service-instances", "A tenant's own instances of managed services."),
    ("webhooks", "Addresses that are told of events."),
    ("events", "The tenant's log: pages and a stream."),
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

/// Builds the router and its document from what this process serves.
pub fn router(commands: Option<Commands>, queries: Option<Queries>, health: Health) -> (Router, OpenApi) {
    let about =
        About { title: "Service Hub", version: env!("CARGO_PKG_VERSION"), description: DESCRIPTION, tags: TAGS };
    let shortcut = queries.as_ref().map(Queries::shortcut);
    let (router, document) = openapi::document(about, || {
        let mut routes = ApiRouter::new().merge(health::routes(health));
        if let Some(commands) = commands {
            routes = routes.merge(hub_commands::routes(commands));
        }
        if let Some(queries) = queries {
            routes = routes.merge(hub_read_api::routes(queries));
        }
        routes
    });
    let router = openapi::serve(router, &document).merge(problem_pages::routes());
    let layers = Layers::default();
    let router = match shortcut {
        Some(shortcut) => layers.wrap_behind(shortcut, router),
        None => layers.wrap(router),
    };
    (router, document)
}

/// The listener with connections that send small answers at once.
pub fn prompt(listener: TcpListener) -> impl Listener<Io = TcpStream, Addr = SocketAddr> {
    listener.tap_io(|connection| {
        // Without it an answer is only later.
        connection.set_nodelay(true).ok();
    })
}

/// What makes a process ready: PostgreSQL must answer; NATS may be away.
#[must_use]
pub fn health(pool: &PgPool, nats: Option<&async_nats::Client>) -> Health {
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
    Health::new(checks, CHECK_LIMIT)
}
