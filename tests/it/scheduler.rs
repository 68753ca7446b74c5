//! What happens by itself when its time comes, on a clock that the test moves.

mod access;
mod subscriptions;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use chrono::{DateTime, TimeDelta, Utc};
use hub_commands::{Commands, Settings, effects::effects_of, process};
use hub_domain::{
    id::TenantId,
    personal::Pii,
    role::{SystemRole, system_role_id},
    tenant::{self, Tenant},
};
use hub_event_store::{
    append::Append,
    event::{Metadata, NewEvent, StreamId},
    repository::{Order, Prepared, Repository},
    store::EventStore,
    tail::Tail,
    upcast::Upcasters,
};
use hub_http::{Layers, Scope};
use hub_tests::kit::{Database, TestClock, eventually, vault_in};
use serde_json::{Value, json, value::RawValue};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::tokens::{gate, token};

/// How long anything may take; the process managers look at the clock every second.
const LIMIT: Duration = Duration::from_secs(30);

/// A database and a clock, for one process after another or several at once.
struct Platform {
    database: Database,
    clock: TestClock,
}

/// One process: its command API and its process managers.
struct Process {
    router: Router,
    store: EventStore,
    end: CancellationToken,
    tasks: [JoinHandle<()>; 2],
}

/// An event as the tests look at it.
#[derive(Debug, sqlx::FromRow)]
struct Event {
    kind: String,
    payload: Value,
    occurred_at: DateTime<Utc>,
    actor: String,
    command_id: String,
}

impl Event {
    fn time(&self, field: &str) -> DateTime<Utc> {
        at(self.payload[field].as_str().unwrap_or_else(|| panic!("no {field} in {self:?}")))
    }
}

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn key() -> String {
    token(1)
}

fn metadata(actor: &str, command_id: Uuid) -> Metadata {
    let actor = actor.to_owned();
    Metadata { actor, command_id, correlation_id: command_id, causation_id: None, traceparent: None }
}

fn plan(code: &str, minor: i64, interval: &str) -> Value {
    json!({ "code": code, "name": "Mail", "tier": "basic", "price": { "minor": minor, "currency": "EUR" }, "interval": interval })
}

fn registration(slug: &str) -> Value {
    json!({
        "slug": slug, "name": "Acme", "contact_email": "it@acme.example", "tier": "starter", "region": "eu-central",
        "currency": "EUR",
    })
}

impl Platform {
    async fn new(now: &str) -> Self {
        Self { database: Database::new().await, clock: TestClock::at(now) }
    }

    fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    /// Starts a process, as `hub` does.
    fn start(&self) -> Process {
        let (tail, end) = (Tail::default(), CancellationToken::new());
        let store = EventStore::start(self.pool().clone(), tail.clone(), Upcasters::default(), self.clock.clock());
        let commands = Commands::new(Settings {
            store: store.clone(),
            gate: gate([(1, "key:administrator", Scope::Platform)]),
            secret_key: [7; 32],
            random: Arc::new(|| [9; 32]),
        })
        .with_vault(vault_in(self.pool()));
        let router = Layers::default().wrap(hub_commands::routes(commands.clone()).into());
        let (pool, tail_end, process_end) = (self.pool().clone(), end.clone(), end.clone());
        let tasks = [
            tokio::spawn(async move { tail.run(pool, tail_end).await }),
            tokio::spawn(async move { process::run(commands, process_end).await }),
        ];
        Process { router, store, end, tasks }
    }

    /// The stream's events in order.
    async fn events(&self, id: Uuid) -> Vec<Event> {
        sqlx::query_as(
            "SELECT event_type AS kind, payload::jsonb AS payload, occurred_at, metadata->>'actor' AS actor, \
             metadata->>'command_id' AS command_id FROM events WHERE aggregate_id = $1 ORDER BY sequence",
        )
        .bind(id)
        .fetch_all(self.pool())
        .await
        .unwrap()
    }

    async fn events_of(&self, id: Uuid, kind: &str) -> Vec<Event> {
        let mut events = self.events(id).await;
        events.retain(|event| event.kind == kind);
        events
    }

    /// Waits until the stream has `count` events of one type, and answers them.
    async fn happens(&self, id: Uuid, kind: &str, count: usize) -> Vec<Event> {
        eventually(LIMIT, async || {
            let events = self.events_of(id, kind).await;
            (events.len() >= count).then_some(events)
        })
        .await
    }

    /// Waits until nothing is due any more and everything is followed, so that what has not happened by then will not.
    async fn settles(&self) {
        eventually(LIMIT, async || {
            let (head, followed, due): (i64, i64, i64) = sqlx::query_as(
                "SELECT (SELECT position FROM log_head), \
                 (SELECT CASE WHEN count(*) = 5 THEN min(position) ELSE 0 END FROM process_cursors), \
                 (SELECT count(*) FROM scheduler_due WHERE attempt_at <= $1)",
            )
            .bind(self.clock.now())
            .fetch_one(self.pool())
            .await
            .unwrap();
            (head == followed && due == 0).then_some(())
        })
        .await;
    }

    /// Moves the clock and lets everything happen that is due then.
    async fn reach(&self, time: &str) {
        self.clock.set(at(time));
        self.settles().await;
    }

    /// Starts and ends of the subscription's periods, after checking that each was opened once, in turn and not too early.
    async fn periods(&self, id: Uuid) -> Vec<(String, String)> {
        let opened = self.events_of(id, "subscription.period_opened").await;
        let mut until: Option<DateTime<Utc>> = None;
        for (number, event) in (1..).zip(&opened) {
            assert_eq!(event.payload["number"], number, "{opened:?}");
            let starts_at = event.time("starts_at");
            assert_eq!(until.unwrap_or(starts_at), starts_at, "periods are contiguous: {opened:?}");
            assert!(event.occurred_at >= starts_at, "opened before its time: {event:?}");
            until = Some(event.time("ends_at"));
        }
        let commands: BTreeSet<_> = opened.iter().map(|event| &event.command_id).collect();
        assert_eq!(commands.len(), opened.len(), "one command opens one period: {opened:?}");
        opened.iter().map(|event| (day(event.time("starts_at")), day(event.time("ends_at")))).collect()
    }
}

fn day(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d").to_string()
}

fn days(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
}

impl Process {
    async fn post(&self, path: &str, body: Value) -> Value {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", key()));
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let answer = String::from_utf8_lossy(&bytes).into_owned();
        assert!(status.is_success(), "{path}: {status} {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    /// Makes one of `noun` and answers its id and path.
    async fn make(&self, noun: &str, body: Value) -> (Uuid, String) {
        let id: Uuid = self.post(noun, body).await["id"].as_str().unwrap().parse().unwrap();
        (id, format!("{noun}/{id}"))
    }

    /// The path of a new tenant that is active.
    async fn tenant(&self, slug: &str) -> String {
        let (_, tenant) = self.make("/v1/tenants", registration(slug)).await;
        self.post(&format!("{tenant}/activate"), Value::Null).await;
        tenant
    }

    async fn subscription(&self, tenant: &str, plan: Value, trial_days: u32) -> (Uuid, String) {
        let body = json!({ "plan": plan, "seats": 2, "trial_days": trial_days });
        self.make(&format!("{tenant}/subscriptions"), body).await
    }

    async fn stop(self) {
        self.end.cancel();
        for task in self.tasks {
            tokio::time::timeout(LIMIT, task).await.unwrap().unwrap();
        }
    }

    /// Registers a tenant as one does who crashes before making its system roles.
    async fn register_without_roles(&self, slug: &str) -> Uuid {
        let id = Uuid::now_v7();
        let command = tenant::Command::Register {
            slug: slug.parse().unwrap(),
            name: "Acme".parse().unwrap(),
            contact_email: Pii::Clear("it@acme.example".parse().unwrap()),
            tier: tenant::Tier::Starter,
            region: "eu-central".parse().unwrap(),
            currency: "EUR".parse().unwrap(),
        };
        let order = Order {
            metadata: metadata("key:administrator", Uuid::now_v7()),
            fingerprint: [0; 32],
            repeatable: false,
            expected_sequence: None,
        };
        let tenants: Repository<Tenant> = Repository::new(self.store.clone(), effects_of::<Tenant>);
        let prepare = |_| std::future::ready(Ok(Prepared::new(command.clone())));
        tenants.execute(id, id, &order, prepare).await.unwrap();
        id
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_ends_when_it_was_to_end() {
    let platform = Platform::new("2026-01-01T00:00:00Z").await;
    let process = platform.start();
    let acme = process.tenant("acme").await;
    let (id, path) = process.make(&format!("{acme}/roles"), json!({ "key": "helper", "name": "Helper" })).await;
    let mut assignments = Vec::new();
    for (principal, until) in [
        ("user:ada", json!("2026-01-10T00:00:00Z")),
        ("user:bob", json!("2026-01-20T00:00:00Z")),
        ("user:eve", json!("2026-01-20T00:00:00Z")),
        ("user:ann", Value::Null),
    ] {
        let answer = process.post(&format!("{path}/assign"), json!({ "principal": principal, "until": until })).await;
        assignments.push(answer["assignment_id"].clone());
    }
    let ended = async || {
        let ended = platform.events_of(id, "role.assignment_ended").await;
        ended.iter().map(|event| event.payload["assignment_id"].clone()).collect::<Vec<_>>()
    };
    platform.reach("2026-01-09T23:59:59Z").await;
    assert_eq!(ended().await, Vec::<Value>::new());
    platform.reach("2026-01-10T00:00:00Z").await;
    assert_eq!(ended().await, assignments[..1]);
    platform.reach("2026-01-25T00:00:00Z").await;
    let mut all = ended().await;
    all[1..].sort_by_key(ToString::to_string);
    let mut expected = assignments[..3].to_vec();
    expected[1..].sort_by_key(ToString::to_string);
    assert_eq!(all, expected);
    // The same principal again, later, is another assignment.
    process.post(&format!("{path}/assign"), json!({ "principal": "user:ada", "until": "2026-02-01T00:00:00Z" })).await;
    platform.reach("2026-02-01T00:00:00Z").await;
    assert_eq!(ended().await.len(), 4);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_schedulers_do_nothing_twice_and_one_takes_over_from_the_other() {
    let platform = Platform::new("2026-01-31T12:00:00Z").await;
    let first = platform.start();
    let acme = first.tenant("acme").await;
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(first.subscription(&acme, plan(&format!("mail-{number}"), 500, "month"), 0).await.0);
    }
    let second = platform.start();
    platform.reach("2026-04-30T12:00:00Z").await;
    let count = async |expected| {
        for id in &ids {
            assert_eq!(platform.periods(*id).await.len(), expected);
        }
    };
    count(4).await;
    // Somebody opens a period by hand before the scheduler comes to it.
    platform.clock.set(at("2026-05-31T12:00:00Z"));
    for id in &ids[..5] {
        // It is done, or the scheduler was faster; both open the period once.
        let path = format!("{acme}/subscriptions/{id}/open-next-period");
        let request = Request::post(path).header("authorization", format!("Bearer {}", key()));
        second.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    }
    platform.settles().await;
    count(5).await;
    first.stop().await;
    platform.reach("2026-06-30T12:00:00Z").await;
    count(6).await;
    second.stop().await;
    // Whoever has forgotten everything does nothing twice either: the log remembers.
    for table in ["process_cursors", "scheduler_due"] {
        sqlx::query(&format!("DELETE FROM {table}")).execute(platform.pool()).await.unwrap();
    }
    let head: i64 = sqlx::query_scalar("SELECT position FROM log_head").fetch_one(platform.pool()).await.unwrap();
    let third = platform.start();
    platform.settles().await;
    let after: i64 = sqlx::query_scalar("SELECT position FROM log_head").fetch_one(platform.pool()).await.unwrap();
    assert_eq!(after, head);
    platform.reach("2026-07-31T12:00:00Z").await;
    count(7).await;
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_tenant_gets_its_system_roles_whatever_happened() {
    let platform = Platform::new("2026-01-01T00:00:00Z").await;
    let process = platform.start();
    // One whose registration was cut short, and one where it was not.
    let short = process.register_without_roles("short").await;
    let whole = process.tenant("whole").await;
    for system in SystemRole::ALL {
        platform.happens(system_role_id(TenantId(short), system).0, "role.created", 1).await;
    }
    platform.settles().await;
    let whole: Uuid = whole.rsplit('/').next().unwrap().parse().unwrap();
    for tenant in [short, whole] {
        let roles: i64 =
            sqlx::query_scalar("SELECT count(*) FROM events WHERE tenant_id = $1 AND event_type = 'role.created'")
                .bind(tenant)
                .fetch_one(platform.pool())
                .await
                .unwrap();
        assert_eq!(roles, 5);
    }
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_it_goes_on_where_it_stopped() {
    let platform = Platform::new("2026-01-31T12:00:00Z").await;
    let process = platform.start();
    let acme = process.tenant("acme").await;
    let (id, path) = process.subscription(&acme, plan("mail", 500, "month"), 0).await;
    platform.reach("2026-02-28T12:00:00Z").await;
    // What happens while the process managers are away is not missed.
    let Process { router, end, tasks, .. } = process;
    end.cancel();
    for task in tasks {
        tokio::time::timeout(LIMIT, task).await.unwrap().unwrap();
    }
    platform.clock.set(at("2026-03-05T00:00:00Z"));
    let body = json!({ "timing": "period_end", "reason": "" }).to_string();
    let request = Request::post(format!("{path}/cancel"))
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {}", key()));
    assert_eq!(router.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap().status(), 200);
    platform.clock.set(at("2026-08-01T00:00:00Z"));
    assert_eq!(platform.periods(id).await.len(), 2);
    let process = platform.start();
    platform.happens(id, "subscription.cancelled", 1).await;
    platform.settles().await;
    assert_eq!(platform.periods(id).await.len(), 2);
    let cancelled = platform.events_of(id, "subscription.cancelled").await;
    assert_eq!(cancelled[0].time("cancelled_at"), at("2026-03-31T12:00:00Z"));
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_read_is_put_off_and_the_others_go_on() {
    let platform = Platform::new("2026-01-31T12:00:00Z").await;
    let process = platform.start();
    let acme = process.tenant("acme").await;
    let (id, _) = process.subscription(&acme, plan("mail", 500, "month"), 0).await;
    let tenant: Uuid = acme.rsplit('/').next().unwrap().parse().unwrap();
    let stranger = Uuid::now_v7();
    // An event of a program that is newer than this one.
    let command_id = Uuid::now_v7();
    let append = Append {
        stream: StreamId { tenant_id: tenant, aggregate_type: "subscription", aggregate_id: stranger },
        expected_sequence: Some(0),
        metadata: metadata("user:later", command_id),
        fingerprint: [0; 32],
        events: vec![NewEvent {
            event_id: Uuid::now_v7(),
            event_type: "subscription.teleported".to_owned(),
            event_version: 1,
            payload: RawValue::from_string("{}".to_owned()).unwrap(),
        }],
        claims: Vec::new(),
        counters: Vec::new(),
        facts: Vec::new(),
        guards: Vec::new(),
        outcome: None,
    };
    process.store.append(append).await.unwrap();
    // It is noticed, and tried again later.
    eventually(LIMIT, async || {
        let later: Option<bool> =
            sqlx::query_scalar("SELECT attempt_at > $2 FROM scheduler_due WHERE aggregate_id = $1")
                .bind(stranger)
                .bind(platform.clock.now())
                .fetch_optional(platform.pool())
                .await
                .unwrap();
        later.filter(|later| *later)
    })
    .await;
    platform.clock.advance(TimeDelta::days(59));
    platform.happens(id, "subscription.period_opened", 3).await;
    assert_eq!(platform.periods(id).await.len(), 3);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_tenant_is_wound_up() {
    let platform = Platform::new("2026-01-31T12:00:00Z").await;
    let process = platform.start();
    let acme = process.tenant("acme").await;
    let (subscription, _) = process.subscription(&acme, plan("mail", 500, "month"), 0).await;
    let order = json!({ "service": "mail", "plan": "basic", "parameters": {} });
    let (ready, ready_path) = process.make(&format!("{acme}/service-instances"), order.clone()).await;
    let (busy, busy_path) = process.make(&format!("{acme}/service-instances"), order).await;
    let operation = |event: &Event| event.payload["operation_id"].clone();
    let requested = platform.events_of(ready, "service_instance.provision_requested").await;
    process.post(&format!("{ready_path}/report-success"), json!({ "operation_id": operation(&requested[0]) })).await;

    process.post(&format!("{acme}/archive"), Value::Null).await;
    platform.happens(subscription, "subscription.cancelled", 1).await;
    platform.happens(ready, "service_instance.deprovision_requested", 1).await;
    // An operation that is in flight is waited for.
    platform.settles().await;
    assert!(platform.events_of(busy, "service_instance.deprovision_requested").await.is_empty());
    let requested = platform.events_of(busy, "service_instance.provision_requested").await;
    process.post(&format!("{busy_path}/report-success"), json!({ "operation_id": operation(&requested[0]) })).await;
    platform.happens(busy, "service_instance.deprovision_requested", 1).await;

    platform.reach("2026-06-01T00:00:00Z").await;
    assert_eq!(platform.periods(subscription).await.len(), 1, "nothing is charged any more");
    process.stop().await;
}
