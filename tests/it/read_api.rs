//! Every query over HTTP, on a real database with real projections: what it answers, what it refuses, and for whom it waits.
//!
//! The pool of the queries is read-only, so a query that wrote anything would fail here.

mod analytics;
mod api_keys;
mod audit;
mod billing;
mod callers;
mod clients;
mod consistency;
mod crash;
mod events;
mod kept;
mod lists;
mod past;
mod slow;
mod socket;
mod stream;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use crate::tokens::{gate, token};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, Response},
};
use hub::api::Served;
use hub_event_store::{
    append::{Append, AppendError},
    event::{Metadata, NewEvent, StreamId},
    store::EventStore,
    tail::Tail,
    upcast::Upcasters,
};
use hub_http::{ConsistencyToken, CursorKey, Gate, Scope, health::Health};
use hub_projections::{
    positions::Positions,
    runner::{Runner, Settings as Pace},
};
use hub_read_api::{Queries, Settings, StreamSettings};
use hub_tests::kit::{Database, TestClock, eventually};
use serde_json::{Value, json, value::RawValue};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt as _;
use uuid::Uuid;

/// The tenant that most tests are about.
const ACME: Uuid = Uuid::from_u128(0xac);

/// Another tenant, with a key of its own.
const OTHER: Uuid = Uuid::from_u128(0x07);

/// A tenant that nothing ever happened to.
const NOBODY: Uuid = Uuid::from_u128(0xbad);

/// Projections that look often, so that tests do not wait.
const PROMPT: Pace = Pace {
    lease: Duration::from_secs(5),
    poll_interval: Duration::from_millis(50),
    grace: Duration::from_millis(10),
    batch_size_max: 100,
};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Platform,
    Acme,
    Other,
    Unknown,
}

impl Who {
    fn key(self) -> String {
        token(self.number())
    }

    fn number(self) -> u8 {
        self as u8 + 1
    }
}

/// The query API of one process, the log behind it, and the projections between them.
struct Api {
    database: Database,
    store: EventStore,
    clock: TestClock,
    router: Router,
    document: Value,
    /// What the queries are told of projections in their process.
    positions: Positions,
    shutdown: CancellationToken,
    /// The position of the last event that the test appended.
    head: AtomicI64,
    _end: DropGuard,
}

/// An answer, read to its end.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Api {
    /// With projections that run.
    async fn start() -> Self {
        let api = Self::without_projections(10).await;
        api.run_projections();
        api
    }

    /// With room for so many event streams, and read models that stay as they are.
    async fn without_projections(streams_max: usize) -> Self {
        Self::with_streams(streams_max, StreamSettings::default()).await
    }

    /// The same with streams that behave like this.
    async fn with_streams(streams_max: usize, streams: StreamSettings) -> Self {
        let database = Database::new().await;
        let clock = TestClock::default();
        let store = EventStore::start(database.pool.clone(), Tail::default(), Upcasters::default(), clock.clock());
        let shutdown = CancellationToken::new();
        let (pool, tail, ended) = (database.pool.clone(), store.tail().clone(), shutdown.clone());
        tokio::spawn(async move { tail.run(pool, ended).await });
        let pool = read_only(&database.url, Duration::from_secs(20)).await;
        let positions = Positions::default();
        let (router, document) =
            build_with(pool, store.tail().clone(), positions.clone(), streams_max, shutdown.clone(), streams);
        let end = shutdown.clone().drop_guard();
        Self { database, store, clock, router, document, positions, shutdown, head: AtomicI64::new(0), _end: end }
    }

    fn run_projections(&self) {
        self.run_projections_until(self.shutdown.clone());
    }

    fn run_projections_until(&self, end: CancellationToken) -> JoinHandle<()> {
        let (pool, tail) = (self.database.pool.clone(), self.store.tail().clone());
        let runner = Runner::new(pool, None, tail, Upcasters::default(), hub_projections::all())
            .with_settings(PROMPT)
            .with_positions(self.positions.clone());
        tokio::spawn(runner.run(end))
    }

    /// Appends events to one stream and answers the position of the last one.
    async fn append(&self, stream: StreamId, events: &[(&str, Value)]) -> i64 {
        self.append_with(stream, events, metadata("user:test")).await
    }

    async fn append_with(&self, stream: StreamId, events: &[(&str, Value)], metadata: Metadata) -> i64 {
        let aggregate_type = stream.aggregate_type;
        let before = self.store.log().page_of_stream(&stream, 0, 10_000).await.unwrap().len();
        let events = events.iter().map(|(tag, payload)| NewEvent {
            event_id: Uuid::now_v7(),
            event_type: format!("{aggregate_type}.{tag}"),
            event_version: 1,
            payload: RawValue::from_string(payload.to_string()).unwrap(),
        });
        let append = Append {
            stream,
            expected_sequence: Some(i64::try_from(before).unwrap()),
            metadata,
            fingerprint: [0; 32],
            events: events.collect(),
            claims: Vec::new(),
            counters: Vec::new(),
            facts: Vec::new(),
            guards: Vec::new(),
            outcome: None,
        };
        // A machine that is busy with other tests may keep the writer from its connection; the same command may be sent again.
        let accepted = eventually(Duration::from_secs(120), async || match self.store.append(append.clone()).await {
            Err(AppendError::Unavailable(_)) => None,
            outcome => Some(outcome.unwrap()),
        });
        let position = accepted.await.position;
        self.head.fetch_max(position, Ordering::SeqCst);
        position
    }

    /// A registered tenant.
    async fn register(&self, tenant_id: Uuid, slug: &str) -> i64 {
        self.append(tenant(tenant_id), &[("registered", registered(slug, "starter", "eu-central"))]).await
    }

    /// Asks, waiting for everything that the test has appended so far.
    async fn get(&self, who: Who, uri: &str) -> Answer {
        let token = ConsistencyToken(self.head.load(Ordering::SeqCst)).to_string();
        let headers = [("consistency-token", token.as_str()), ("prefer", "wait=10")];
        // A machine that is busy with other tests may keep the projections waiting for longer.
        eventually(Duration::from_secs(120), async || {
            let answer = self.ask(who, uri, &headers).await;
            (answer.body["code"] != "projection_behind").then_some(answer)
        })
        .await
    }

    /// Asks with these headers only.
    async fn ask(&self, who: Who, uri: &str, headers: &[(&str, &str)]) -> Answer {
        read(self.send(who, uri, headers).await).await
    }

    async fn send(&self, who: Who, uri: &str, headers: &[(&str, &str)]) -> Response<Body> {
        send(&self.router, who, uri, headers).await
    }

    /// The items of all pages of a list, each page with at most `limit`.
    async fn walk(&self, who: Who, uri: &str, limit: usize) -> Vec<Value> {
        let and = if uri.contains('?') { '&' } else { '?' };
        let mut next = format!("{uri}{and}limit={limit}");
        let mut items = Vec::new();
        for _ in 0..1_000 {
            let answer = self.get(who, &next).await;
            assert_eq!(answer.status, 200, "{next}: {}", answer.body);
            let page = answer.body["items"].as_array().unwrap();
            assert!(page.len() <= limit, "{next}");
            items.extend(page.iter().cloned());
            let Some(link) = answer.headers.get("link") else {
                assert_eq!(answer.body["next_cursor"], Value::Null);
                return items;
            };
            assert_eq!(page.len(), limit, "only the last page may be short");
            let link = link.to_str().unwrap();
            next = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
        }
        panic!("{uri} has no end");
    }
}

impl Answer {
    #[track_caller]
    fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, &self.body["code"]), (status, &json!(code)), "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
    }

    #[track_caller]
    fn ok(&self) -> &Value {
        assert_eq!(self.status, 200, "{}", self.body);
        &self.body
    }
}

/// Connections that cannot write; a query waits for one at most `limit`.
async fn read_only(url: &str, limit: Duration) -> PgPool {
    PgPoolOptions::new()
        .max_connections(8)
        .acquire_timeout(limit)
        .after_connect(|connection, _| {
            Box::pin(async move {
                sqlx::query("SET default_transaction_read_only = on").execute(connection).await?;
                Ok(())
            })
        })
        .connect(url)
        .await
        .unwrap()
}

fn build(
    pool: PgPool,
    tail: Tail,
    positions: Positions,
    streams_max: usize,
    shutdown: CancellationToken,
) -> (Router, Value) {
    build_with(pool, tail, positions, streams_max, shutdown, StreamSettings::default())
}

fn build_with(
    pool: PgPool,
    tail: Tail,
    positions: Positions,
    streams_max: usize,
    shutdown: CancellationToken,
    streams: StreamSettings,
) -> (Router, Value) {
    build_behind(keys(), pool, tail, positions, streams_max, shutdown, streams)
}

/// The gate that knows the three keys.
fn keys() -> Arc<dyn Gate> {
    gate([
        (Who::Platform.number(), "key:administrator", Scope::Platform),
        (Who::Acme.number(), "key:acme", Scope::Tenant(ACME)),
        (Who::Other.number(), "key:other", Scope::Tenant(OTHER)),
    ])
}

fn build_behind(
    gate: Arc<dyn Gate>,
    pool: PgPool,
    tail: Tail,
    positions: Positions,
    streams_max: usize,
    shutdown: CancellationToken,
    streams: StreamSettings,
) -> (Router, Value) {
    let settings = Settings { pool, tail, positions, gate, cursor_key: CursorKey::new([9; 32]), streams_max, shutdown };
    let queries = Queries::new(settings).with_streams(streams);
    let health = Health::new([], Duration::from_secs(1));
    let (router, document) = hub::api::router(Served { queries: Some(queries), ..Served::default() }, health);
    (router, serde_json::to_value(document).unwrap())
}

async fn send(router: &Router, who: Who, uri: &str, headers: &[(&str, &str)]) -> Response<Body> {
    let mut request = Request::get(uri).header("authorization", format!("Bearer {}", who.key()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn read(response: Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 16 << 20).await.unwrap();
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

fn metadata(actor: &str) -> Metadata {
    let command_id = Uuid::now_v7();
    Metadata { actor: actor.to_owned(), command_id, correlation_id: command_id, causation_id: None, traceparent: None }
}

fn tenant(tenant_id: Uuid) -> StreamId {
    StreamId { tenant_id, aggregate_type: "tenant", aggregate_id: tenant_id }
}

fn subscription(tenant_id: Uuid, id: u128) -> StreamId {
    StreamId { tenant_id, aggregate_type: "subscription", aggregate_id: Uuid::from_u128(id) }
}

fn role(tenant_id: Uuid, id: u128) -> StreamId {
    StreamId { tenant_id, aggregate_type: "role", aggregate_id: Uuid::from_u128(id) }
}

fn instance(tenant_id: Uuid, id: u128) -> StreamId {
    StreamId { tenant_id, aggregate_type: "service_instance", aggregate_id: Uuid::from_u128(id) }
}

fn api_key(tenant_id: Uuid, id: u128) -> StreamId {
    StreamId { tenant_id, aggregate_type: "api_key", aggregate_id: Uuid::from_u128(id) }
}

fn webhook(tenant_id: Uuid, id: u128) -> StreamId {
    StreamId { tenant_id, aggregate_type: "webhook", aggregate_id: Uuid::from_u128(id) }
}

fn registered(slug: &str, tier: &str, region: &str) -> Value {
    json!({"slug": slug, "name": slug, "contact_email": "ops@acme.example", "tier": tier, "region": region, "currency": "EUR"})
}

fn money(minor: i64, currency: &str) -> Value {
    json!({"minor": minor, "currency": currency})
}

fn mrr(before: i64, after: i64, currency: &str, movement: &str) -> Value {
    json!({"before_minor": before, "after_minor": after, "currency": currency, "movement": movement})
}

/// A subscription to `plan` without a trial, not yet active.
fn created(plan: &str, currency: &str) -> (&'static str, Value) {
    let price = money(1_000, currency);
    let plan = json!({"code": plan, "name": "Mail", "tier": "basic", "price": price, "interval": "month"});
    let created = json!({
        "plan": plan, "seats": 3, "trial_days": 0, "starts_at": "2026-01-01T00:00:00Z", "trial_ends_at": null,
        "recurring": money(3_000, currency), "mrr": mrr(0, 0, currency, "none"), "next_due_at": null,
    });
    ("created", created)
}

fn activated(minor: i64, currency: &str) -> (&'static str, Value) {
    let activated = json!({
        "anchor_at": "2026-01-01T00:00:00Z", "recurring": money(minor, currency), "mrr": mrr(0, minor, currency, "new"),
        "next_due_at": null,
    });
    ("activated", activated)
}

fn period_opened(number: u32, starts_at: &str, minor: i64, currency: &str) -> (&'static str, Value) {
    let opened = json!({
        "number": number, "kind": "service", "starts_at": starts_at, "ends_at": "2027-01-01T00:00:00Z",
        "amount": money(minor, currency), "seats": 1, "plan_code": "mail", "plan_name": "Mail",
        "price": money(minor, currency), "interval": "month", "next_due_at": null,
    });
    ("period_opened", opened)
}

/// A key with the secret of this number and without end.
fn api_key_issued(secret: u64) -> (&'static str, Value) {
    let issued = json!({
        "name": "Deploys", "secret_id": format!("{secret:016x}"), "sha256": "5a".repeat(32), "roles": [Uuid::from_u128(7)],
        "scopes": ["service_instance:*"], "networks": ["10.1.0.0/16"], "issued_at": "2026-01-01T00:00:00Z",
    });
    ("issued", issued)
}

fn api_key_rotated(secret: u64) -> (&'static str, Value) {
    let until = "2026-02-01T00:00:00Z";
    let rotated = json!({ "secret_id": format!("{secret:016x}"), "sha256": "5a".repeat(32), "previous_until": until });
    ("rotated", rotated)
}

fn webhook_registered() -> (&'static str, Value) {
    let registered = json!({
        "url": "https://hooks.acme.example/hub", "filters": ["subscription.*"], "description": "",
        "secret_id": Uuid::from_u128(5), "sealed_secret": "c2VhbGVkIG9uY2U=",
    });
    ("registered", registered)
}
