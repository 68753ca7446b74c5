//! What callers see of each other: nothing, down to the headers.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use futures::future::join_all;
use hub::api::Served;
use hub_commands::Commands;
use hub_event_store::{
    append::Append,
    event::{Metadata, NewEvent, StreamId},
    store::EventStore,
    tail::Tail,
    upcast::Upcasters,
};
use hub_http::{CursorKey, Scope};
use hub_projections::{positions::Positions, rebuild::rebuild};
use hub_read_api::Queries;
use hub_tests::kit::{Database, TestClock, eventually, vault_in, workspace};
use serde_json::{Value, json, value::RawValue};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use uuid::Uuid;

use super::{ACME, OTHER};
use crate::tokens::{gate, token};

/// Connections of the query API.
const CONNECTIONS: u32 = 4;

/// Both APIs, with a token of the platform (1), one of `ACME` (2) and one of `OTHER` (3).
pub(super) struct Api {
    router: Router,
    document: Value,
    queries: PgPool,
    _shutdown: tokio_util::sync::DropGuard,
}

/// An answer without what is another one each time.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<String>,
    pub(super) body: Value,
}

impl Api {
    pub(super) fn on(store: EventStore, pool: PgPool) -> Self {
        let gate = gate([
            (1, "key:platform", Scope::Platform),
            (2, "key:acme", Scope::Tenant(ACME)),
            (3, "key:other", Scope::Tenant(OTHER)),
        ]);
        let few =
            PgPoolOptions::new().max_connections(CONNECTIONS).connect_lazy_with((*pool.connect_options()).clone());
        let queries = hub::pool::for_queries(&few);
        let shutdown = CancellationToken::new();
        let settings = hub_read_api::Settings {
            positions: Positions::default(),
            pool: queries.clone(),
            tail: store.tail().clone(),
            gate: gate.clone(),
            cursor_key: CursorKey::new([8; 32]),
            streams_max: 10,
            shutdown: shutdown.clone(),
        };
        let random = Arc::new(|| [9; 32]);
        let commands = Commands::new(hub_commands::Settings { store, gate, secret_key: [7; 32], random })
            .with_vault(vault_in(&pool));
        let health = hub::api::health(&pool, None);
        let (router, document) = hub::api::router(
            Served {
                commands: Some(commands),
                queries: Some(Queries::new(settings).with_vault(vault_in(&pool))),
                ..Served::default()
            },
            health,
        );
        let document = serde_json::to_value(document).unwrap();
        Self { router, document, queries, _shutdown: shutdown.drop_guard() }
    }

    pub(super) async fn get(&self, number: u8, uri: &str) -> Answer {
        self.ask(number, "GET", uri, Body::empty()).await
    }

    async fn ask(&self, number: u8, method: &str, uri: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("authorization", format!("Bearer {}", token(number)))
            .header("content-type", "application/json")
            .body(body.into())
            .unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(60), self.router.clone().oneshot(request)).await;
        let (parts, body) = answer.expect("every wait has an end").unwrap().into_parts();
        let bytes = to_bytes(body, 1 << 20).await.unwrap();
        let mut headers: Vec<_> = parts.headers.keys().map(ToString::to_string).collect();
        headers.sort();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status.as_u16(), headers, body }
    }

    /// Method and path of each operation that is about a tenant.
    fn of_tenants(&self) -> Vec<(String, String)> {
        let paths = self.document["paths"].as_object().unwrap();
        let of_tenants = paths.iter().filter(|(path, _)| path.contains("{tenant_id}"));
        let operations = of_tenants.flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))
        });
        let operations: Vec<_> = operations.collect();
        assert!(operations.len() > 60, "the document lists the operations");
        operations
    }
}

/// The path with the tenant, and another id wherever one is asked for.
fn filled(path: &str, tenant: Uuid, id: Uuid) -> String {
    let segments = path.split('/').map(|segment| match segment {
        "{tenant_id}" => tenant.to_string(),
        segment if segment.starts_with('{') => id.to_string(),
        segment => segment.to_owned(),
    });
    let uri = segments.collect::<Vec<_>>().join("/");
    let days = uri.ends_with("analytics/events") || uri.ends_with("analytics/revenue");
    if days { format!("{uri}?from=2026-01-01&to=2026-01-31") } else { uri }
}

async fn append(store: &EventStore, stream: StreamId, tag: &str, payload: Value) {
    let command_id = Uuid::now_v7();
    let event_type = format!("{}.{tag}", stream.aggregate_type);
    let append = Append {
        stream,
        expected_sequence: Some(0),
        metadata: Metadata {
            actor: "user:test".to_owned(),
            command_id,
            correlation_id: command_id,
            causation_id: None,
            traceparent: None,
        },
        fingerprint: [0; 32],
        events: vec![NewEvent {
            event_id: Uuid::now_v7(),
            event_type,
            event_version: 1,
            payload: RawValue::from_string(payload.to_string()).unwrap(),
        }],
        claims: Vec::new(),
        counters: Vec::new(),
        facts: Vec::new(),
        guards: Vec::new(),
        outcome: None,
    };
    store.append(append).await.unwrap();
}

pub(super) async fn register(store: &EventStore, tenant_id: Uuid, slug: &str) {
    let stream = StreamId { tenant_id, aggregate_type: "tenant", aggregate_id: tenant_id };
    let registered = json!({
        "slug": slug, "name": slug, "contact_email": "ops@acme.example", "tier": "starter", "region": "eu-central",
        "currency": "EUR",
    });
    append(store, stream, "registered", registered).await;
}

/// Registers a webhook under an id of this number.
async fn hook(store: &EventStore, tenant_id: Uuid, id: u128) {
    let stream = StreamId { tenant_id, aggregate_type: "webhook", aggregate_id: Uuid::from_u128(id) };
    let registered = json!({
        "url": "https://hooks.acme.example/hub", "filters": ["subscription.*"], "description": "",
        "secret_id": Uuid::from_u128(5), "sealed_secret": "c2VhbGVkIG9uY2U=",
    });
    append(store, stream, "registered", registered).await;
}

/// Two registered tenants, with 20 webhooks of `ACME` and 30 of `OTHER`, in their read models.
async fn two_tenants(database: &Database) -> Api {
    let clock = TestClock::default().clock();
    let store = EventStore::start(database.pool.clone(), Tail::default(), Upcasters::default(), clock);
    register(&store, ACME, "acme").await;
    register(&store, OTHER, "other").await;
    for (tenant, ids) in [(ACME, 100..120), (OTHER, 200..230)] {
        for id in ids {
            hook(&store, tenant, id).await;
        }
    }
    for projection in hub_projections::all() {
        let (name, all) = (projection.name(), hub_projections::all());
        rebuild(&database.pool, &Upcasters::default(), &all, name, &|_, _| {}).await.unwrap();
    }
    Api::on(store, database.pool.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_id_answers_exactly_as_an_unknown_one() {
    let database = Database::new().await;
    let api = two_tenants(&database).await;
    let thing = Uuid::from_u128(200);
    for (method, path) in api.of_tenants() {
        let answer = async |tenant, id| api.ask(2, &method, &filled(&path, tenant, id), "{}").await;
        let real = answer(OTHER, thing).await;
        let unknown = answer(Uuid::new_v4(), Uuid::new_v4()).await;
        assert_eq!(real, unknown, "{method} {path}");
        assert_eq!((real.status, &real.body["code"]), (404, &json!("not_found")), "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thing_of_another_tenant_answers_exactly_as_an_unknown_one() {
    let database = Database::new().await;
    let api = two_tenants(&database).await;
    let (theirs, nobodys) = (Uuid::from_u128(200), Uuid::new_v4());
    let mut compared = 0;
    for (method, path) in api.of_tenants() {
        if path.matches('{').count() < 2 {
            continue;
        }
        compared += 1;
        for body in ["", "{}"] {
            let answer = async |id: Uuid| {
                let mut answer = api.ask(2, &method, &filled(&path, ACME, id), body).await;
                let text = answer.body.to_string().replace(&id.to_string(), "<id>");
                answer.body = serde_json::from_str(&text).unwrap();
                answer
            };
            let (real, unknown) = (answer(theirs).await, answer(nobodys).await);
            assert_eq!(real, unknown, "{method} {path} {body:?}");
            assert!((400..500).contains(&real.status), "{method} {path} {body:?}: {real:?}");
        }
    }
    assert!(compared > 30, "{compared}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_named_anywhere_but_in_the_path_changes_nothing() {
    let database = Database::new().await;
    let api = two_tenants(&database).await;
    let uri = format!("/v1/tenants/{ACME}/webhooks");
    let plain = api.get(2, &uri).await;
    assert_eq!(plain.status, 200, "{plain:?}");
    for name in ["tenant-id", "x-tenant-id", "hub-tenant-id", "x-hub-tenant", "x-forwarded-tenant"] {
        let request = Request::get(&uri)
            .header("authorization", format!("Bearer {}", token(2)))
            .header(name, OTHER.to_string())
            .body(Body::empty())
            .unwrap();
        let answer = api.router.clone().oneshot(request).await.unwrap();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), plain.body, "{name}");
    }
    let asked = api.get(2, &format!("{uri}?tenant_id={OTHER}")).await;
    assert_eq!((asked.status, &asked.body["code"]), (400, &json!("invalid_query")));
    let told = json!({"url": "https://hooks.example/x", "filters": ["tenant.*"], "tenant_id": OTHER}).to_string();
    let told = api.ask(2, "POST", &uri, told).await;
    assert_eq!((told.status, &told.body["code"]), (422, &json!("invalid_body")), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_at_once_never_mix_two_tenants() {
    let database = Database::new().await;
    let api = two_tenants(&database).await;
    let ask = async |number: u8, tenant: Uuid, limit: usize, all: usize| {
        let uri = format!("/v1/tenants/{tenant}/webhooks?limit={limit}");
        // On a machine that is busy with other tests some may wait too long for one of the few connections.
        let answer = eventually(Duration::from_secs(60), async || {
            Some(api.get(number, &uri).await).filter(|answer| answer.status != 503)
        })
        .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let items = answer.body["items"].as_array().unwrap();
        assert_eq!(items.len(), all.min(limit));
        assert!(items.iter().all(|item| item["tenant_id"] == tenant.to_string()), "{tenant}: {items:?}");
    };
    for _ in 0..3 {
        join_all((1..=100).map(|n| {
            let (number, tenant, all) = [(2, ACME, 20), (3, OTHER, 30), (1, ACME, 20), (1, OTHER, 30)][n % 4];
            // Each asks for something else, so that no answer is given twice.
            ask(number, tenant, n, all)
        }))
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_request_stays_on_its_connection() {
    let database = Database::new().await;
    let api = two_tenants(&database).await;
    let login: String = sqlx::query_scalar("SELECT session_user::text").fetch_one(&database.pool).await.unwrap();
    for uri in [format!("/v1/tenants/{ACME}"), format!("/v1/tenants/{OTHER}/statement"), "/v1/tenants".to_owned()] {
        join_all((0..8).map(|_| api.get(1, &uri))).await;
        let connections = join_all((0..CONNECTIONS).map(|_| api.queries.acquire())).await;
        for connection in connections {
            let (user, tenant): (String, Option<String>) =
                sqlx::query_as("SELECT current_user::text, current_setting('hub.tenant_id', true)")
                    .fetch_one(&mut *connection.unwrap())
                    .await
                    .unwrap();
            assert_eq!((user, tenant.unwrap_or_default()), (login.clone(), String::new()), "after {uri}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_have_died_unnoticed_are_replaced_while_nobody_notices() {
    let database = Database::new().await;
    let api = two_tenants(&database).await;
    let uri = format!("/v1/tenants/{ACME}/webhooks");
    for round in 0..3 {
        // Each asks for something else, so that all have to read.
        let uris: Vec<_> = (1..=12).map(|n| format!("{uri}?limit={}", round * 12 + n)).collect();
        let all = join_all(uris.iter().map(|uri| api.get(2, uri))).await;
        assert!(all.iter().all(|answer| answer.status == 200), "{all:?}");
        let ended: i64 = sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity \
             WHERE application_name = 'hub-queries' AND datname = current_database()",
        )
        .fetch_one(&database.pool)
        .await
        .unwrap();
        assert!(ended >= i64::from(CONNECTIONS), "{ended}");
    }
}

#[test]
fn nobody_but_the_one_module_that_begins_transactions_has_connections() {
    let mut with_pool = Vec::new();
    let mut open = vec![workspace().join("read-api/src")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if std::fs::read_to_string(&path).unwrap().split("#[cfg(test)]").next().unwrap().contains("PgPool") {
                with_pool.push(path.file_name().unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    with_pool.sort();
    assert_eq!(with_pool, ["read.rs", "state.rs"], "the state is given the pool and hands it on");
}
