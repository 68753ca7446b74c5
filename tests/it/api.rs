//! What holds for every operation, found in the API's own document: no key, no answer; bad input, a clear problem and nothing appended.

use std::{env, fs, sync::Arc, time::Duration};

use crate::tokens::{gate, token};
use aide::openapi::OpenApi;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
    response::Response,
};
use hub::api::Served;
use hub_commands::Commands;
use hub_event_store::{log::Log, store::EventStore, tail::Tail};
use hub_http::{CursorKey, Layers, Scope, openapi::complaints};
use hub_read_api::Queries;
use hub_tests::kit::{Database, TestClock, vault_in, workspace};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use uuid::Uuid;

pub(crate) const TENANT: Uuid = Uuid::from_u128(0x70);

/// Both APIs of one process on `pool`, with a key of the platform (1), one of `TENANT` (2) and one of the tenant after it (3).
fn api(pool: &PgPool) -> (Router, OpenApi) {
    api_within(Layers::default(), pool)
}

/// The same within these layers.
pub(crate) fn api_within(layers: Layers, pool: &PgPool) -> (Router, OpenApi) {
    let next = Uuid::from_u128(TENANT.as_u128() + 1);
    let gate =
        gate([(1, "key:1", Scope::Platform), (2, "key:2", Scope::Tenant(TENANT)), (3, "key:3", Scope::Tenant(next))]);
    let tail = Tail::default();
    let store = EventStore::start(pool.clone(), tail.clone(), hub::serve::upcasters(), TestClock::default().clock());
    let commands = Commands::new(hub_commands::Settings {
        store,
        gate: gate.clone(),
        secret_key: [7; 32],
        random: Arc::new(|| [9; 32]),
    })
    .with_vault(vault_in(pool));
    let queries = Queries::new(hub_read_api::Settings {
        positions: hub_projections::positions::Positions::default(),
        pool: pool.clone(),
        tail,
        gate,
        cursor_key: CursorKey::new([8; 32]),
        streams_max: 10,
        shutdown: CancellationToken::new(),
    })
    .with_vault(vault_in(pool));
    let served = Served { commands: Some(commands), queries: Some(queries), ..Served::default() };
    hub::api::router_within(layers, served, hub::api::health(pool, None))
}

/// One operation of the document.
#[derive(Debug, Clone)]
struct Operation {
    method: String,
    path: String,
    id: String,
    /// Whether it must have a body.
    body: bool,
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if let Some(id) = operation["operationId"].as_str() {
                operations.push(Operation {
                    method: method.to_uppercase(),
                    path: path.clone(),
                    id: id.to_owned(),
                    body: operation["requestBody"]["required"] == true,
                });
            }
        }
    }
    assert!(operations.len() > 60, "the document lists the operations");
    operations
}

impl Operation {
    fn open(&self) -> bool {
        hub::api::open_operations().contains(&self.id.as_str())
    }

    /// The path with ids in it: `tenant` for the tenant, `other` for everything else.
    fn path_with(&self, tenant: &str, other: &str) -> String {
        let segments = self.path.split('/').map(|segment| match segment {
            "{tenant_id}" => tenant,
            "{principal}" => "user:ada",
            segment if segment.starts_with('{') => other,
            segment => segment,
        });
        segments.collect::<Vec<_>>().join("/")
    }

    fn request(&self, path: &str, key: Option<u8>, content_type: &str, body: impl Into<Body>) -> Request<Body> {
        let mut request = Request::builder().method(self.method.as_str()).uri(path);
        if let Some(number) = key {
            request = request.header("authorization", format!("Bearer {}", token(number)));
        }
        if self.method == "POST" {
            request = request.header("content-type", content_type);
        }
        request.body(body.into()).unwrap()
    }
}

async fn send(router: &Router, request: Request<Body>) -> Response {
    let answer = tokio::time::timeout(Duration::from_secs(20), router.clone().oneshot(request)).await;
    answer.expect("every wait has an end").unwrap()
}

/// Sends and expects a problem with this code.
async fn refused(router: &Router, operation: &Operation, request: Request<Body>, status: StatusCode, code: &str) {
    let shown = format!("{} {} as {}", operation.method, request.uri(), operation.id);
    let response = send(router, request).await;
    let found = response.status();
    let media_type = response.headers().get("content-type").cloned();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{shown}: {found} {body:?}"));
    assert_eq!((found, &body["code"]), (status, &json!(code)), "{shown}: {body}");
    assert_eq!(media_type.unwrap(), "application/problem+json", "{shown}");
}

#[tokio::test]
async fn the_document_is_complete_and_is_the_one_in_docs() {
    let document = crate::access::document().await;
    assert_eq!(complaints(&document, &hub::api::open_operations()), Vec::<String>::new());
    let text = serde_json::to_string_pretty(&document).unwrap() + "\n";
    let file = workspace().join("docs/openapi.json");
    if env::var_os("UPDATE_DOCUMENTS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let kept = fs::read_to_string(file).unwrap_or_default();
    assert!(kept == text, "docs/openapi.json is not what the program serves: UPDATE_DOCUMENTS=1 writes it anew");
}

#[tokio::test]
async fn nothing_is_answered_without_a_key() {
    let database = Database::new().await;
    let (router, document) = api(&database.pool);
    let document = serde_json::to_value(&document).unwrap();
    for operation in operations(&document).iter().filter(|operation| !operation.open()) {
        let path = operation.path_with(&TENANT.to_string(), &Uuid::from_u128(1).to_string());
        for key in [None, Some(99)] {
            let request = operation.request(&path, key, "application/json", "{}");
            refused(&router, operation, request, StatusCode::UNAUTHORIZED, "unauthenticated").await;
        }
    }
}

#[tokio::test]
async fn a_strangers_tenant_answers_as_one_that_does_not_exist() {
    let database = Database::new().await;
    let (router, document) = api(&database.pool);
    let document = serde_json::to_value(&document).unwrap();
    let tenant_routes = operations(&document)
        .into_iter()
        .filter(|operation| operation.path.contains("{tenant_id}") && !operation.open());
    for operation in tenant_routes {
        for stranger in [Uuid::from_u128(0x71), Uuid::from_u128(0x72)] {
            let path = operation.path_with(&stranger.to_string(), &Uuid::from_u128(1).to_string());
            let request = operation.request(&path, Some(2), "application/json", "{}");
            refused(&router, &operation, request, StatusCode::NOT_FOUND, "not_found").await;
        }
    }
}

#[tokio::test]
async fn bad_input_is_named_and_appends_nothing() {
    let database = Database::new().await;
    let (router, document) = api(&database.pool);
    let document = serde_json::to_value(&document).unwrap();
    let id = Uuid::from_u128(1).to_string();
    for operation in operations(&document).iter().filter(|operation| !operation.open()) {
        let path = operation.path_with(&TENANT.to_string(), &id);
        let json = "application/json";
        if operation.path.contains("{tenant_id}") {
            let bad = operation.path_with("not-a-uuid", &id);
            let request = operation.request(&bad, Some(1), json, "{}");
            refused(&router, operation, request, StatusCode::BAD_REQUEST, "invalid_uuid").await;
        }
        // The id of a framework is a word, and an unknown one is not found.
        let of_words = operation.path.contains("{framework_id}");
        if !of_words && (operation.path.ends_with("_id}") || operation.path.matches('{').count() > 1) {
            let bad = operation.path_with(&TENANT.to_string(), "not-a-uuid");
            let request = operation.request(&bad, Some(1), json, "{}");
            if bad.contains("not-a-uuid") {
                let no_id = ["{position}", "{kind}"].iter().any(|segment| operation.path.contains(segment));
                let code = if no_id { "invalid_path" } else { "invalid_uuid" };
                refused(&router, operation, request, StatusCode::BAD_REQUEST, code).await;
            }
        }
        if operation.method == "GET" {
            let request = operation.request(&format!("{path}?no_such_parameter=1"), Some(1), json, "");
            let response = send(&router, request).await;
            assert_ne!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{path}");
            continue;
        }
        let request = operation.request(&path, Some(1), json, "{ \"");
        refused(&router, operation, request, StatusCode::BAD_REQUEST, "malformed_json").await;
        let request = operation.request(&path, Some(1), json, "{\"no_such_field\": 1}");
        refused(&router, operation, request, StatusCode::UNPROCESSABLE_ENTITY, "invalid_body").await;
        let request = operation.request(&path, Some(1), json, "a".repeat(70_000));
        refused(&router, operation, request, StatusCode::PAYLOAD_TOO_LARGE, "body_too_large").await;
        if operation.body {
            let request = operation.request(&path, Some(1), json, "[]");
            refused(&router, operation, request, StatusCode::UNPROCESSABLE_ENTITY, "invalid_body").await;
            let request = operation.request(&path, Some(1), "text/plain", "{}");
            refused(&router, operation, request, StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type").await;
        }
        // A question has none of a command's headers.
        if operation.id == "findDataSubject" {
            continue;
        }
        let mut request = operation.request(&path, Some(1), json, "{}");
        request.headers_mut().insert("if-match", "7".parse().unwrap());
        refused(&router, operation, request, StatusCode::BAD_REQUEST, "invalid_header").await;
    }
    assert_eq!(Log::new(database.pool.clone()).head().await.unwrap(), 0, "nothing was appended");
}

#[tokio::test]
async fn an_unknown_route_and_a_wrong_method_are_problems() {
    let database = Database::new().await;
    let (router, _) = api(&database.pool);
    let ask = |method: &str, path: &str| Operation {
        method: method.to_owned(),
        path: path.to_owned(),
        id: String::new(),
        body: false,
    };
    let unknown = ask("GET", "/v1/nothing");
    refused(&router, &unknown, unknown.request(&unknown.path, Some(1), "", ""), StatusCode::NOT_FOUND, "unknown_route")
        .await;
    let wrong = ask("DELETE", "/v1/tenants");
    let request = wrong.request(&wrong.path, Some(1), "", "");
    refused(&router, &wrong, request, StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed").await;
}

#[tokio::test]
async fn a_problems_type_leads_to_its_page() {
    let database = Database::new().await;
    let (router, _) = api(&database.pool);
    let request = Request::builder().uri("/problems/tenant_slug_taken").body(Body::empty()).unwrap();
    let response = send(&router, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    let page = to_bytes(response.into_body(), 1 << 16).await.unwrap();
    assert!(String::from_utf8_lossy(&page).contains("Another tenant holds this slug."));
}
