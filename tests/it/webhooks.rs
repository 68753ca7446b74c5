//! Webhooks: what happens arrives at the endpoints that want it, in the order that was asked for, whatever they do.

mod attempts_kept;
mod cleared;
mod endpoints;
mod killed;
mod large;
mod missed;
mod odd;
mod ordering;
mod paused;
mod receiver;
mod replays;
mod waiting;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use hub::api::Served;
use hub_commands::{Commands, webhook_delivery::WebhookOrders};
use hub_delivery::{Deliveries, Orders, Settings};
use hub_domain::webhook::Disablement;
use hub_event_store::{store::EventStore, tail::Tail};
use hub_http::{CursorKey, Gate, Scope};
use hub_outbound::{Outbound, Reach};
use hub_projections::{positions::Positions, runner::Runner};
use hub_read_api::Queries;
use hub_sealing::Sealing;
use hub_tests::kit::{Database, TestClock, eventually, vault_in};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt as _;
use uuid::Uuid;

use self::receiver::Receiver;
use crate::tokens::{gate, token};

/// No wait takes longer, on a machine that runs other tests beside it.
const LIMIT: Duration = Duration::from_secs(60);

const SECRET_KEY: [u8; 32] = [7; 32];

/// One process: its APIs, its read models and, until it is killed, its deliveries.
struct World {
    database: Arc<Database>,
    clock: TestClock,
    router: Router,
    store: EventStore,
    tail: Tail,
    reach: Reach,
    deliveries: Option<DropGuard>,
    /// Whether what deliveries tell webhooks fails.
    orders_fail: Arc<AtomicBool>,
    _end: DropGuard,
}

struct ToTheLog(WebhookOrders, Arc<AtomicBool>);

impl Orders for ToTheLog {
    fn disable(&self, tenant_id: Uuid, id: Uuid, disablement: Disablement) -> BoxFuture<'static, Result<(), String>> {
        if self.1.load(Relaxed) {
            return Box::pin(async { Err("as the test wants it".to_owned()) });
        }
        let orders = self.0.clone();
        Box::pin(async move { orders.disable(tenant_id, id, disablement).await.map_err(|error| error.to_string()) })
    }

    fn verify(&self, tenant_id: Uuid, id: Uuid, challenge: String) -> BoxFuture<'static, Result<(), String>> {
        let orders = self.0.clone();
        Box::pin(async move { orders.verify(tenant_id, id, challenge).await.map_err(|error| error.to_string()) })
    }
}

impl World {
    async fn start() -> Self {
        Self::reaching(Reach::PublicAndLoopback).await
    }

    async fn reaching(reach: Reach) -> Self {
        let mut world = Self::on(Arc::new(Database::new().await), TestClock::default(), reach);
        world.deliver();
        world
    }

    fn on(database: Arc<Database>, clock: TestClock, reach: Reach) -> Self {
        let (pool, end) = (database.pool.clone(), CancellationToken::new());
        let (tail, positions) = (Tail::default(), Positions::default());
        tokio::spawn({
            let (tail, pool, end) = (tail.clone(), pool.clone(), end.clone());
            async move { tail.run(pool, end).await }
        });
        let runner = Runner::new(pool.clone(), None, tail.clone(), hub::serve::upcasters(), hub_projections::all())
            .with_positions(positions.clone());
        tokio::spawn(runner.run(end.clone()));
        let store = EventStore::start(pool.clone(), tail.clone(), hub::serve::upcasters(), clock.clock());
        let gate: Arc<dyn Gate> = gate([(1, "key:administrator", Scope::Platform)]);
        let random = Arc::new(|| Uuid::new_v4().into_bytes().repeat(2).try_into().expect("twice sixteen bytes"));
        let settings =
            hub_commands::Settings { store: store.clone(), gate: gate.clone(), secret_key: SECRET_KEY, random };
        let commands = Commands::new(settings).with_vault(vault_in(&pool)).with_outbound(Outbound::new(reach));
        let queries = Queries::new(hub_read_api::Settings {
            pool: pool.clone(),
            tail: tail.clone(),
            positions,
            gate,
            cursor_key: CursorKey::new([8; 32]),
            streams_max: 10,
            shutdown: end.clone(),
        })
        .with_vault(vault_in(&pool));
        let served = Served { commands: Some(commands), queries: Some(queries), consumers: None, authorization: None };
        let (router, _) = hub::api::router(served, hub::api::health(&pool, None));
        Self {
            database,
            clock,
            router,
            store,
            tail,
            reach,
            deliveries: None,
            orders_fail: Arc::default(),
            _end: end.drop_guard(),
        }
    }

    /// Delivers from now on, with leases that are short on the test's clock.
    fn deliver(&mut self) {
        self.deliver_with(Settings::default());
    }

    fn deliver_with(&mut self, settings: Settings) {
        let end = CancellationToken::new();
        let deliveries = Deliveries::new(
            self.database.pool.clone(),
            self.tail.clone(),
            self.clock.clock(),
            Outbound::new(self.reach),
            Sealing::new(&SECRET_KEY),
            Arc::new(ToTheLog(WebhookOrders::new(self.store.clone()), self.orders_fail.clone())),
        );
        tokio::spawn(deliveries.with_settings(settings).run(end.clone()));
        self.deliveries = Some(end.drop_guard());
    }

    /// Ends the deliveries where they are, as if the process had been killed.
    fn stop_delivering(&mut self) {
        self.deliveries = None;
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let answer = tokio::time::timeout(LIMIT, self.router.clone().oneshot(request)).await;
        let answer = answer.expect("every wait has an end").unwrap();
        let status = answer.status();
        let bytes = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = Request::post(path)
            .header("authorization", format!("Bearer {}", token(1)))
            .header("content-type", "application/json");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    async fn done(&self, path: &str, body: Value) -> Value {
        eventually(LIMIT, async || {
            let (status, answer) = self.post(path, &body).await;
            assert!(status.is_success() || status == StatusCode::SERVICE_UNAVAILABLE, "{path}: {status} {answer}");
            // A machine that is busy with other tests may keep it from its connection.
            status.is_success().then_some(answer)
        })
        .await
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let request = Request::get(path).header("authorization", format!("Bearer {}", token(1)));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// An active tenant.
    async fn tenant(&self, slug: &str) -> Uuid {
        let body = json!({
            "slug": slug, "name": slug, "contact_email": "it@acme.example", "tier": "starter", "region": "eu", "currency": "EUR"
        });
        let tenant = id_of(&self.done("/v1/tenants", body).await);
        self.done(&format!("/v1/tenants/{tenant}/activate"), Value::Null).await;
        tenant
    }

    /// A webhook that leads to the receiver.
    async fn webhook(&self, tenant: Uuid, receiver: &Receiver, delivery: Value) -> Hook {
        self.webhook_at(tenant, &receiver.url(), delivery).await
    }

    async fn webhook_at(&self, tenant: Uuid, url: &str, delivery: Value) -> Hook {
        let body =
            json!({ "url": url, "events": ["role.*", "tenant.renamed", "webhook.tested"], "delivery": delivery });
        let answer = self.done(&format!("/v1/tenants/{tenant}/webhooks"), body).await;
        Hook {
            id: id_of(&answer),
            secret: answer["secret"].as_str().unwrap().to_owned(),
            public_key: answer["public_key"].as_str().unwrap().to_owned(),
            tenant,
        }
    }

    /// A role of the tenant's; each is an aggregate of its own.
    async fn role(&self, tenant: Uuid, key: &str) -> Uuid {
        id_of(&self.done(&format!("/v1/tenants/{tenant}/roles"), json!({ "key": key, "name": key })).await)
    }

    /// One more event of the role.
    async fn grant(&self, tenant: Uuid, role: Uuid, resource: &str) {
        let permission = json!({ "resource": resource, "actions": ["read"], "effect": "allow" });
        self.done(&format!("/v1/tenants/{tenant}/roles/{role}/grant-permission"), permission).await;
    }

    /// One more event of the tenant.
    async fn rename(&self, tenant: Uuid, name: &str) {
        self.done(&format!("/v1/tenants/{tenant}/rename"), json!({ "name": name })).await;
    }

    /// The webhook when it is as it should be.
    async fn hook_when(&self, hook: &Hook, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        eventually(LIMIT, async || {
            let (status, answer) = self.get(&hook.path("")).await;
            (status.is_success() && wanted(&answer)).then_some(answer)
        })
        .await
    }

    /// Attempts since the test began.
    async fn attempts(&self, hook: &Hook) -> Vec<Value> {
        eventually(LIMIT, async || {
            let (status, page) = self.get(&hook.path("/attempts?limit=500&since=2020-01-01T00:00:00Z")).await;
            // The read model may not know the webhook yet.
            status.is_success().then(|| page["items"].as_array().unwrap().clone())
        })
        .await
    }

    async fn pending(&self, hook: &Hook) -> i64 {
        let count = "SELECT count(*) FROM webhook_queue WHERE webhook_id = $1";
        sqlx::query_scalar(count).bind(hook.id).fetch_one(&self.database.pool).await.unwrap()
    }

    /// Lets time pass until `done`: whenever nothing can be done now and something waits for its next attempt, the clock moves there.
    async fn pass_until<T>(&self, mut done: impl AsyncFnMut() -> Option<T>) -> T {
        eventually(LIMIT, async || {
            let answer = done().await;
            if answer.is_none()
                && let Some(next) = self.next_attempt_at().await
            {
                self.clock.set(next);
            }
            answer
        })
        .await
    }

    /// When something is to be sent that is not yet; none while something is being sent or could be, so that time does not run away from
    /// whoever delivers.
    async fn next_attempt_at(&self) -> Option<DateTime<Utc>> {
        let next = "SELECT min(greatest(due_at, open_until)) FILTER (WHERE greatest(due_at, open_until) > $1) \
             FROM webhook_queue q LEFT JOIN webhook_health USING (tenant_id, webhook_id) \
             HAVING NOT bool_or(leased OR (greatest(due_at, open_until) <= $1 AND NOT EXISTS (SELECT FROM webhook_queue e \
                 WHERE e.webhook_id = q.webhook_id AND e.position < q.position AND e.due_at > $1)))";
        let next = sqlx::query_scalar(next).bind(self.clock.now()).fetch_optional(&self.database.pool).await;
        next.unwrap().flatten()
    }
}

/// A webhook as its owner has it.
struct Hook {
    tenant: Uuid,
    id: Uuid,
    secret: String,
    public_key: String,
}

impl Hook {
    fn path(&self, rest: &str) -> String {
        format!("/v1/tenants/{}/webhooks/{}{rest}", self.tenant, self.id)
    }
}

fn id_of(answer: &Value) -> Uuid {
    answer["id"].as_str().unwrap_or_else(|| panic!("no id in {answer}")).parse().unwrap()
}
