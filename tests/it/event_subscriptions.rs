//! Named subscriptions over HTTP, on a real database: who is handed what, in which order, and what becomes of it.
//!
//! Time is the test's own, so a lease ends when the test says so. A second process is a second router on the same database.

mod ends;
mod exclusive;
mod exclusive_model;
mod handing_out;
mod kept_apart;
mod killed;
mod model;
mod order;
mod parking;
mod waiting;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use chrono::TimeDelta;
use hub::api::Served;
use hub_commands::Commands;
use hub_consumers::Consumers;
use hub_event_store::{
    append::{Append, AppendError},
    event::{Metadata, NewEvent, StreamId},
    store::EventStore,
    tail::Tail,
    upcast::Upcasters,
};
use hub_http::{CursorKey, Scope, access::NoResources, health::Health};
use hub_tests::kit::{Database, TestClock, eventually, vault_in};
use serde_json::{Value, json, value::RawValue};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::tokens::{gate, token};

/// No answer takes longer, on a machine that runs other tests beside it.
const LIMIT: Duration = Duration::from_secs(90);

/// A tenant with a key of its own.
const OTHER: Uuid = Uuid::from_u128(0x07);

/// The key of the platform's administrator.
const PLATFORM: u8 = 1;

/// The key of the tenant [`OTHER`].
const OTHERS_KEY: u8 = 2;

/// One process of the platform, and the database behind it.
struct Process {
    database: Arc<Database>,
    clock: TestClock,
    store: EventStore,
    commands: Commands,
    router: Router,
    _end: DropGuard,
}

/// An answer, read to its end.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    status: u16,
    body: Value,
}

impl Process {
    /// On a database of its own.
    async fn start() -> Self {
        Self::on(Arc::new(Database::new().await), TestClock::default())
    }

    /// Another process on the same database.
    fn beside(&self) -> Self {
        Self::on(Arc::clone(&self.database), self.clock.clone())
    }

    fn on(database: Arc<Database>, clock: TestClock) -> Self {
        let (pool, end, tail) = (database.pool.clone(), CancellationToken::new(), Tail::default());
        tokio::spawn({
            let (tail, pool, end) = (tail.clone(), pool.clone(), end.clone());
            async move { tail.run(pool, end).await }
        });
        let store = EventStore::start(pool.clone(), tail, Upcasters::default(), clock.clock());
        let gate =
            gate([(PLATFORM, "key:administrator", Scope::Platform), (OTHERS_KEY, "key:other", Scope::Tenant(OTHER))]);
        let random = Arc::new(|| [7; 32]);
        let settings = hub_commands::Settings { store: store.clone(), gate: gate.clone(), secret_key: [7; 32], random };
        let commands = Commands::new(settings).with_vault(vault_in(&pool));
        let consumers = Consumers::new(hub_consumers::Settings {
            pool: hub::pool::for_consumers(&pool),
            store: store.clone(),
            clock: clock.clock(),
            gate,
            resources: Arc::new(NoResources),
            cursor_key: CursorKey::new([8; 32]),
            wait_max: LIMIT,
            shutdown: end.clone(),
        });
        let served = Served { commands: Some(commands.clone()), consumers: Some(consumers), ..Served::default() };
        let (router, _) = hub::api::router(served, Health::new([], Duration::from_secs(1)));
        Self { database, clock, store, commands, router, _end: end.drop_guard() }
    }

    async fn send(&self, key: u8, method: &str, path: &str, body: &Value) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", token(key)))
            .header("content-type", "application/json")
            .body(Body::from(if body.is_null() { String::new() } else { body.to_string() }))
            .unwrap();
        let answer = tokio::time::timeout(LIMIT, self.router.clone().oneshot(request)).await;
        let (parts, body) = answer.expect("every wait has an end").unwrap().into_parts();
        let bytes = to_bytes(body, 16 << 20).await.unwrap();
        Answer { status: parts.status.as_u16(), body: serde_json::from_slice(&bytes).unwrap_or_default() }
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(PLATFORM, "POST", path, &body).await
    }

    /// A tenant that is there, with some events of its own.
    async fn tenant(&self, slug: &str) -> Uuid {
        let body = json!({
            "slug": slug, "name": slug, "contact_email": "it@acme.example", "tier": "starter", "region": "eu-central",
            "currency": "EUR",
        });
        let answer = self.post("/v1/tenants", body).await;
        answer.body["id"].as_str().unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap()
    }

    /// A subscription of a new tenant that wants all letters from now on, and whatever else `settings` say.
    async fn subscription(&self, slug: &str, settings: Value) -> Consuming<'_> {
        let tenant_id = self.tenant(slug).await;
        self.subscribe(tenant_id, "letters", settings).await
    }

    async fn subscribe(&self, tenant_id: Uuid, name: &str, settings: Value) -> Consuming<'_> {
        let mut body = json!({ "name": name, "filter": { "types": ["letter.*"] } });
        body.as_object_mut().unwrap().extend(settings.as_object().cloned().unwrap_or_default());
        let answer = self.post(&format!("/v1/tenants/{tenant_id}/event-subscriptions"), body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        Consuming { process: self, tenant_id, id: answer.body["id"].as_str().unwrap().parse().unwrap() }
    }

    /// One letter for each of these boxes, in this order; answers the tenant's position of the last one.
    async fn letters(&self, tenant_id: Uuid, boxes: &[u128]) -> i64 {
        for (place, number) in boxes.iter().enumerate() {
            self.append(tenant_id, "letter", *number, json!({ "place": place })).await;
        }
        self.store.log().tenant_head(tenant_id).await.unwrap().unwrap()
    }

    async fn append(&self, tenant_id: Uuid, aggregate_type: &'static str, number: u128, payload: Value) {
        let command_id = Uuid::now_v7();
        let stream = StreamId { tenant_id, aggregate_type, aggregate_id: Uuid::from_u128(number) };
        let before = self.store.log().page_of_stream(&stream, 0, 1_000).await.unwrap().len();
        let append = Append {
            stream,
            expected_sequence: Some(i64::try_from(before).unwrap()),
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
                event_type: format!("{aggregate_type}.sent"),
                event_version: 1,
                payload: RawValue::from_string(payload.to_string()).unwrap(),
            }],
            claims: Vec::new(),
            counters: Vec::new(),
            facts: Vec::new(),
            guards: Vec::new(),
            outcome: None,
        };
        // A machine that is busy with other tests may keep the writer from its connection; the same command may be sent again.
        eventually(LIMIT, async || match self.store.append(append.clone()).await {
            Err(AppendError::Unavailable(_)) => None,
            outcome => Some(outcome.unwrap()),
        })
        .await;
    }

    fn pass(&self, seconds: i64) {
        self.clock.advance(TimeDelta::seconds(seconds));
    }
}

/// A subscription as its consumers see it.
#[derive(Clone, Copy)]
struct Consuming<'a> {
    process: &'a Process,
    tenant_id: Uuid,
    id: Uuid,
}

/// One event as it was handed out.
#[derive(Debug, Clone, PartialEq)]
struct Handed {
    ack_id: String,
    delivery: i64,
    position: i64,
    /// The letter box.
    number: u128,
}

impl<'a> Consuming<'a> {
    /// The same subscription, asked of another process.
    fn at(self, process: &Process) -> Consuming<'_> {
        Consuming { process, tenant_id: self.tenant_id, id: self.id }
    }

    fn path(self, rest: &str) -> String {
        format!("/v1/tenants/{}/event-subscriptions/{}/{rest}", self.tenant_id, self.id)
    }

    async fn post(self, verb: &str, body: Value) -> Answer {
        self.process.post(&self.path(verb), body).await
    }

    /// Done, and its answer.
    async fn done(self, verb: &str, body: Value) -> Value {
        let answer = self.post(verb, body).await;
        assert_eq!(answer.status, 200, "{verb}: {answer:?}");
        answer.body
    }

    async fn get(self, what: &str) -> Value {
        let answer = self.process.send(PLATFORM, "GET", &self.path(what), &Value::Null).await;
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        answer.body
    }

    async fn pull(self, consumer: &str, max: usize) -> Vec<Handed> {
        self.handed(json!({ "consumer": consumer, "max": max })).await
    }

    async fn handed(self, body: Value) -> Vec<Handed> {
        let answer = self.done("pull", body).await;
        let messages = answer["messages"].as_array().unwrap().iter();
        messages
            .map(|message| Handed {
                ack_id: message["ack_id"].as_str().unwrap().to_owned(),
                delivery: message["delivery"].as_i64().unwrap(),
                position: message["event"]["sequence"].as_str().unwrap().parse().unwrap(),
                number: message["event"]["partitionkey"].as_str().unwrap().parse::<Uuid>().unwrap().as_u128(),
            })
            .collect()
    }

    async fn acknowledge(self, handed: &[Handed]) -> Value {
        self.done("acknowledge", json!({ "ack_ids": ids(handed) })).await
    }

    async fn letters(self, boxes: &[u128]) -> i64 {
        self.process.letters(self.tenant_id, boxes).await
    }

    /// How many rows the subscription has.
    async fn rows(self) -> i64 {
        sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM event_subscription_messages WHERE subscription_id = $1) \
             + (SELECT count(*) FROM event_subscription_cursors WHERE subscription_id = $1)",
        )
        .bind(self.id)
        .fetch_one(&self.process.database.pool)
        .await
        .unwrap()
    }
}

impl Answer {
    #[track_caller]
    fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, &self.body["code"]), (status, &json!(code)), "{}", self.body);
    }
}

fn ids(handed: &[Handed]) -> Vec<&str> {
    handed.iter().map(|one| one.ack_id.as_str()).collect()
}

fn numbers(handed: &[Handed]) -> Vec<u128> {
    handed.iter().map(|one| one.number).collect()
}

fn positions(handed: &[Handed]) -> Vec<i64> {
    handed.iter().map(|one| one.position).collect()
}
