//! More commands than the store can take: the one too many is told so at once, and the others lose nothing.

use std::{sync::Arc, time::Duration};

use crate::tokens::{gate, token};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, header},
};
use hub::api::Served;
use hub_commands::Commands;
use hub_event_store::{
    append::{Append, AppendError},
    event::{Metadata, NewEvent, StreamId},
    store::EventStore,
    tail::Tail,
};
use hub_http::Scope;
use hub_tests::kit::{Database, TestClock, eventually, vault_in};
use serde_json::{Value, value::RawValue};
use tokio::task::JoinSet;
use tower::ServiceExt as _;
use uuid::Uuid;

/// What every batch needs; whoever holds it keeps all others waiting.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7236831001)";

/// More than any queue of the store holds.
const ENOUGH: usize = 100_000;

fn append() -> Append {
    let id = Uuid::now_v7();
    let payload = RawValue::from_string("{}".to_owned()).unwrap();
    Append {
        stream: StreamId { tenant_id: id, aggregate_type: "tenant", aggregate_id: id },
        expected_sequence: Some(0),
        metadata: Metadata {
            actor: "user:test".to_owned(),
            command_id: id,
            correlation_id: id,
            causation_id: None,
            traceparent: None,
        },
        fingerprint: [0; 32],
        events: vec![NewEvent { event_id: id, event_type: "tenant.tested".to_owned(), event_version: 1, payload }],
        claims: Vec::new(),
        counters: Vec::new(),
        facts: Vec::new(),
        guards: Vec::new(),
        outcome: None,
    }
}

fn router(store: EventStore) -> (Router, String) {
    let key = token(1);
    let gate = gate([(1, "key:test", Scope::Platform)]);
    let vault = vault_in(store.pool());
    let commands = hub_commands::Settings { store, gate, secret_key: [7; 32], random: Arc::new(|| [9; 32]) };
    let (router, _) = hub::api::router(
        Served { commands: Some(Commands::new(commands).with_vault(vault)), ..Served::default() },
        hub_http::health::Health::new([], Duration::from_secs(1)),
    );
    (router, key)
}

#[tokio::test]
async fn a_command_too_many_is_told_to_come_again_and_can() {
    let database = Database::new().await;
    let clock = TestClock::default();
    let store = EventStore::start(database.pool.clone(), Tail::default(), hub::serve::upcasters(), clock.clock());
    let (router, key) = router(store.clone());
    let register = async || {
        let body = r#"{"slug":"acme","name":"Acme","contact_email":"a@acme.example","tier":"starter","region":"eu-central","currency":"EUR"}"#;
        let request = Request::post("/v1/tenants")
            .header(header::AUTHORIZATION, format!("Bearer {}", key))
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", "first")
            .body(Body::from(body))
            .unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body: Value = serde_json::from_slice(&to_bytes(body, 1 << 20).await.unwrap()).unwrap();
        (parts.status.as_u16(), parts.headers, body)
    };

    let mut holder = database.pool.begin().await.unwrap();
    sqlx::query(LOCK).execute(&mut *holder).await.unwrap();
    let mut waiting = JoinSet::new();
    let mut refused = 0;
    for _ in 0..ENOUGH {
        let store = store.clone();
        waiting.spawn(async move { store.append(append()).await });
        // Each is handed to the writer before the next one comes.
        tokio::task::yield_now().await;
        if let Some(first) = waiting.try_join_next() {
            assert!(matches!(first.unwrap(), Err(AppendError::Overloaded)));
            refused += 1;
            break;
        }
    }
    assert_eq!(refused, 1, "the queue has an end");

    let (status, headers, body) = register().await;
    assert_eq!((status, body["code"].as_str()), (503, Some("overloaded")));
    assert!(headers.contains_key(header::RETRY_AFTER));

    holder.rollback().await.unwrap();
    // The same command may come again, and has not happened before.
    let (_, headers, body) = eventually(Duration::from_secs(60), async || {
        let answer = register().await;
        (answer.0 == 201).then_some(answer)
    })
    .await;
    assert!(body["id"].is_string() && !headers.contains_key("idempotent-replayed"));
    while let Some(outcome) = waiting.join_next().await {
        outcome.unwrap().expect("who was let in is served");
    }
}
