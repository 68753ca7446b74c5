//! Every command over HTTP, on a real database: what it answers, what it appends, and what it refuses.

mod access_request;
mod break_glass;
mod duty_set;
mod event_subscription;
mod identity_provider;
mod inbound_source;
mod nats_credential;
mod rehearsal;
mod role;
mod role_template;
mod routes;
mod service_instance;
mod subscription;
mod support_access;
mod tenant;
mod webhook;

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use crate::tokens::{gate, token};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use hub_commands::{Commands, Settings, nats_credential::Issuing};
use hub_event_store::{store::EventStore, tail::Tail, upcast::Upcasters};
use hub_http::{
    Gate, Layers, Scope,
    openapi::{About, document},
};
use hub_outbound::{Outbound, Reach};
use hub_tests::kit::{Database, TestClock, vault_in};
use serde_json::{Value, json};
use sqlx::PgPool;
use tower::ServiceExt as _;
use uuid::Uuid;

/// The tokens of two people of a tenant; see `Api::with_people`.
const ADA: u8 = 3;
const BOB: u8 = 4;

/// A tenant that a key exists for, and that is never registered.
const STRANGER: Uuid = Uuid::from_u128(0xbad);

/// The command API of one process, and the database behind it.
struct Api {
    router: Router,
    pool: PgPool,
    clock: TestClock,
    openapi: Value,
    database: Arc<Database>,
}

/// An answer, read to its end.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

fn platform_key() -> String {
    token(1)
}

fn stranger_key() -> String {
    token(2)
}

impl Api {
    /// On a database of its own.
    async fn start() -> Self {
        Self::on(Arc::new(Database::new().await), TestClock::default())
    }

    /// Another process on the same database.
    fn beside(&self) -> Self {
        Self::on(Arc::clone(&self.database), self.clock.clone())
    }

    /// Another process on the same database, which knows two people of a tenant: `user:ada` and `user:bob`.
    fn with_people(&self, tenant_id: Uuid) -> Self {
        let people = gate([
            (1, "key:administrator", Scope::Platform),
            (2, "key:stranger", Scope::Tenant(STRANGER)),
            (ADA, "user:ada", Scope::Tenant(tenant_id)),
            (BOB, "user:bob", Scope::Tenant(tenant_id)),
        ]);
        Self::behind(people, Arc::clone(&self.database), self.clock.clone())
    }

    fn on(database: Arc<Database>, clock: TestClock) -> Self {
        let gate = gate([(1, "key:administrator", Scope::Platform), (2, "key:stranger", Scope::Tenant(STRANGER))]);
        Self::behind(gate, database, clock)
    }

    fn behind(gate: Arc<dyn Gate>, database: Arc<Database>, clock: TestClock) -> Self {
        Self::with(gate, database, clock, |commands| commands)
    }

    /// One that may issue NATS credentials.
    fn issuing(nats: Issuing, gate: Arc<dyn Gate>, database: Arc<Database>, clock: TestClock) -> Self {
        Self::with(gate, database, clock, |commands| commands.with_nats(nats))
    }

    /// Another process on the same database, whose webhooks may lead to this machine.
    fn reaching_loopback(&self) -> Self {
        let gate = gate([(1, "key:administrator", Scope::Platform)]);
        let outbound = Outbound::new(Reach::PublicAndLoopback);
        Self::with(gate, Arc::clone(&self.database), self.clock.clone(), |commands| commands.with_outbound(outbound))
    }

    fn with(
        gate: Arc<dyn Gate>,
        database: Arc<Database>,
        clock: TestClock,
        settle: impl FnOnce(Commands) -> Commands,
    ) -> Self {
        let pool = database.pool.clone();
        let store = EventStore::start(pool.clone(), Tail::default(), Upcasters::default(), clock.clock());
        let drawn = AtomicU8::new(0);
        let random = Arc::new(move || [drawn.fetch_add(1, Ordering::Relaxed); 32]);
        let commands = Commands::new(Settings { store, gate, secret_key: [7; 32], random }).with_vault(vault_in(&pool));
        let commands = settle(commands);
        let about = About { title: "Commands", version: "1", description: "Under test.", tags: TAGS };
        let (router, openapi) = document(about, || hub_commands::routes(commands));
        assert_eq!(
            hub_http::openapi::complaints(&openapi, &[hub_commands::inbound_source::receive::OPERATION]),
            Vec::<String>::new()
        );
        let openapi = serde_json::to_value(openapi).unwrap();
        Self { router: Layers::default().wrap(router), pool, clock, openapi, database }
    }

    async fn send(&self, key: Option<&str>, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::post(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 1 << 20).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// As the platform's administrator.
    async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(Some(&*platform_key()), path, headers, &body).await
    }

    /// As the person with that token.
    async fn post_as(&self, person: u8, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(Some(&*token(person)), path, &[], &body).await
    }

    /// The principals that hold something by grants of this stream, as decisions read it.
    async fn granted(&self, id: Uuid) -> Vec<String> {
        sqlx::query_scalar("SELECT fact->>'principal' FROM facts WHERE aggregate_id = $1 AND fact->>'kind' = 'grant'")
            .bind(id)
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_with(path, &[], &body).await
    }

    /// Refused with `code`, and nothing was appended.
    async fn refused(&self, path: &str, body: Value, code: &str) {
        let before = self.head().await;
        self.post(path, body).await.assert_code(code);
        assert_eq!(self.head().await, before, "{path}: {code}");
    }

    /// Executed, and it was so already.
    async fn nothing(&self, path: &str, body: Value) -> Value {
        let answer = self.done(path, body).await;
        assert_eq!(answer["event_count"], 0, "{path}");
        answer
    }

    /// The position of the last event.
    async fn head(&self) -> i64 {
        sqlx::query_scalar("SELECT position FROM log_head").fetch_one(&self.pool).await.unwrap()
    }

    /// The event types of one stream in order.
    async fn events(&self, id: Uuid) -> Vec<String> {
        sqlx::query_scalar("SELECT event_type FROM events WHERE aggregate_id = $1 ORDER BY sequence")
            .bind(id)
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }

    /// A tenant that is active.
    async fn tenant(&self, slug: &str) -> Tenant<'_> {
        let answer = self.post("/v1/tenants", registration(slug)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let tenant = Tenant { api: self, id: answer.id() };
        assert_eq!(self.post(&tenant.path("activate"), Value::Null).await.status, 200);
        tenant
    }
}

/// The paths of one tenant.
#[derive(Clone, Copy)]
struct Tenant<'a> {
    api: &'a Api,
    id: Uuid,
}

impl Tenant<'_> {
    fn path(&self, rest: &str) -> String {
        format!("/v1/tenants/{}/{rest}", self.id)
    }

    /// Makes one of `noun` and answers its id and path.
    async fn make(&self, noun: &str, body: Value) -> (Uuid, String) {
        let answer = self.api.done(&self.path(noun), body).await;
        let id = answer["id"].as_str().unwrap().parse().unwrap();
        (id, self.path(&format!("{noun}/{id}")))
    }
}

impl Answer {
    fn id(&self) -> Uuid {
        self.body["id"].as_str().unwrap_or_else(|| panic!("no id in {self:?}")).parse().unwrap()
    }

    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    fn assert_code(&self, code: &str) {
        assert_eq!(self.code(), code, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
    }

    fn replayed(&self) -> bool {
        self.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
    }
}

/// One wins, the other is refused with `code`.
fn assert_one_wins(answers: [Answer; 2], code: &str) {
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status.is_success());
    assert_eq!((won.len(), lost.len()), (1, 1), "{won:?} {lost:?}");
    lost[0].assert_code(code);
}

fn registration(slug: &str) -> Value {
    json!({
        "slug": slug,
        "name": "Acme",
        "contact_email": "it@acme.example",
        "tier": "starter",
        "region": "eu-central",
        "currency": "EUR",
    })
}

const TAGS: &[(&str, &str)] = &[
    ("access-requests", "Access requests."),
    ("api-keys", "API keys."),
    ("break-glass", "Emergency accesses."),
    ("compliance", "Controls and findings."),
    ("duty-sets", "Sets of duties."),
    ("principals", "People and services that end."),
    ("erasures", "Erasures."),
    ("event-subscriptions", "Event subscriptions."),
    ("legal-holds", "Legal holds."),
    ("nats-credentials", "NATS credentials."),
    ("retention", "Retention."),
    ("identity-providers", "Identity providers."),
    ("inbound-sources", "Inbound sources."),
    ("support-access", "Support accesses."),
    ("role-templates", "Templates of roles."),
    ("roles", "Roles."),
    ("service-instances", "Service instances."),
    ("subscriptions", "Subscriptions."),
    ("tenants", "Tenants."),
    ("webhooks", "Webhooks."),
];
