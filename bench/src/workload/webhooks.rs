//! webhooks: deliveries to a receiver in the same process, against a bare HTTP client that sends it the same requests.
//!
//! `hub` follows a log and delivers each event to ten endpoints: rows, leases, signatures, the log of attempts and all. `bare` sends as many
//! copies of one of these requests, headers and all, to the same receiver over as many connections and does nothing else. `healthy` are the deliveries to 900 endpoints of
//! 1,000 when the other hundred answer as well; `healthy-beside-dead` the same when those hundred take connections and never answer. `paced`
//! is the time from sending a command to the first attempt to deliver its event, at 500 commands a second.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ::hub::clock::system_clock;
use anyhow::{Context as _, ensure};
use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use futures::future::BoxFuture;
use hub_delivery::{Deliveries, Orders};
use hub_domain::webhook::{Delivery, Disablement, Endpoint, Secret, Webhook};
use hub_event_store::{
    repository::{Effects, ExecuteError, Order, Prepared, Repository},
    tail::Tail,
};
use hub_outbound::{Outbound, Reach};
use hub_sealing::Sealing;
use serde::Deserialize;
use sqlx::{PgPool, types::Json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{Run, Workload};
use crate::{
    account::{Account, Command, Error, metadata},
    connection::Connection,
    fill,
    measure::Sample,
    report::Report,
    subject::hub::store,
};

/// The databases: a long log for few endpoints, a short one for many, and one that grows.
const FEW: &str = "hub_webhooks_few";
const MANY: &str = "hub_webhooks_many";
const PACED: &str = "hub_webhooks_paced";

const TENANT: Uuid = Uuid::from_u128(0xacce);
const SECRET_KEY: [u8; 32] = [7; 32];

/// Endpoints of the first comparison, what each may have under way, and events for each.
const ENDPOINTS: usize = 10;
const CONCURRENCY: u16 = 10;
const EVENTS: i64 = 10_000;

/// Endpoints of the second, those of them that are dead in one half, and events for each.
const MANY_ENDPOINTS: usize = 1_000;
const DEAD: usize = 100;
const MANY_EVENTS: i64 = 80;

/// Those thousand are on so many hosts.
const HOSTS: usize = 100;

/// This part of what arrives is not counted: until then connections are made and PostgreSQL has not seen its memory yet.
const WARM_UP_PART: u64 = 4;

/// Commands a second of the third.
const PACE: u32 = 500;

/// All deliveries have arrived within this time.
const LIMIT: Duration = Duration::from_secs(180);

/// The workload.
#[derive(Debug)]
pub struct Webhooks;

impl Workload for Webhooks {
    fn name(&self) -> &'static str {
        "webhooks"
    }

    fn prepare<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            for (database, count) in [(FEW, EVENTS), (MANY, MANY_EVENTS), (PACED, 0)] {
                let pool = run.servers.create_migrated(database).await?;
                if count > 0 {
                    fill::tenant(&pool, TENANT, count).await?;
                }
                pool.close().await;
            }
            Ok(())
        })
    }

    fn round<'a>(&'a mut self, run: &'a Run, _: u32, report: &'a mut Report) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            let connections = ENDPOINTS * usize::from(CONCURRENCY);
            run.servers.settle().await?;
            let (sample, first) = few(run).await?;
            report.add("webhooks", connections, "hub", sample);
            run.servers.settle().await?;
            report.add("webhooks", connections, "bare", bare(connections, &first).await?);
            for (subject, dead) in [("healthy", 0), ("healthy-beside-dead", DEAD)] {
                run.servers.settle().await?;
                report.add("webhooks", MANY_ENDPOINTS, subject, many(run, dead).await?);
            }
            run.servers.settle().await?;
            report.add("webhooks", 1, "paced", paced(run).await?);
            Ok(())
        })
    }
}

/// What has arrived. The first part of a path says for which count, `dead` is never answered.
#[derive(Debug, Default)]
struct Arrived {
    count: AtomicU64,
    warm_up: u64,
    first_at: Mutex<Option<Instant>>,
    last_at: Mutex<Option<Instant>>,
    first: Mutex<(HeaderMap, Bytes)>,
    references: Mutex<HashMap<Uuid, Instant>>,
}

#[derive(Deserialize)]
struct Told {
    data: ToldData,
}

#[derive(Deserialize)]
struct ToldData {
    payload: ToldPayload,
}

#[derive(Deserialize)]
struct ToldPayload {
    reference: Uuid,
}

struct Receiver {
    /// Where it listens: thousands of endpoints are not one host.
    addresses: Vec<SocketAddr>,
    arrived: Arc<Arrived>,
    /// They end with it.
    _listening: JoinSet<()>,
}

impl Receiver {
    /// What arrives before `expected / WARM_UP_PART` have is not counted.
    async fn start(listeners: usize, expected: u64) -> anyhow::Result<Self> {
        let arrived = Arc::new(Arrived { warm_up: expected / WARM_UP_PART, ..Arrived::default() });
        let router = Router::new().route("/{kind}", post(take)).with_state(arrived.clone());
        let (mut addresses, mut listening) = (Vec::new(), JoinSet::new());
        for _ in 0..listeners {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            addresses.push(listener.local_addr()?);
            let router = router.clone();
            listening.spawn(async move {
                // It ends with the benchmark.
                let _ = axum::serve(listener, router).await;
            });
        }
        Ok(Self { addresses, arrived, _listening: listening })
    }

    /// Waits until so many have arrived; the rate is that of what was counted of them.
    async fn reaches(&self, count: u64) -> anyhow::Result<Sample> {
        let started = Instant::now();
        while self.arrived.count.load(Ordering::Acquire) < count {
            ensure!(started.elapsed() < LIMIT, "{} of {count} arrived", self.arrived.count.load(Ordering::Acquire));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let at = |place: &Mutex<Option<Instant>>| *place.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, last) = (at(&self.arrived.first_at).context("none")?, at(&self.arrived.last_at).context("none")?);
        Ok(Sample::rate(count - self.arrived.warm_up - 1, last - first))
    }
}

async fn take(
    Path(kind): Path<String>,
    State(arrived): State<Arc<Arrived>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let now = Instant::now();
    match kind.as_str() {
        "dead" => std::future::pending().await,
        "counted" => {
            if arrived.count.fetch_add(1, Ordering::AcqRel) == arrived.warm_up {
                *arrived.first_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
                *arrived.first.lock().unwrap_or_else(PoisonError::into_inner) = (headers, body);
            }
            *arrived.last_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        }
        "timed" => {
            if let Ok(told) = serde_json::from_slice::<Told>(&body) {
                let mut references = arrived.references.lock().unwrap_or_else(PoisonError::into_inner);
                references.entry(told.data.payload.reference).or_insert(now);
            }
        }
        _ => {}
    }
    StatusCode::NO_CONTENT
}

/// Endpoints that lead to these paths, as if they had been registered before the first event; and nothing delivered yet.
async fn endpoints(pool: &PgPool, tenant_id: Uuid, receiver: &Receiver, kinds: &[&str]) -> anyhow::Result<()> {
    let sealing = Sealing::new(&SECRET_KEY);
    for table in ["webhook_health", "webhook_endpoints", "webhook_queue", "webhook_attempts"] {
        sqlx::query(&format!("DELETE FROM {table}")).execute(pool).await?;
    }
    let head: i64 = sqlx::query_scalar("SELECT position FROM log_head").fetch_one(pool).await?;
    let begin = if tenant_id == TENANT { 0 } else { head };
    let cursors = "INSERT INTO process_cursors VALUES ('webhooks', $1), ('webhooks_beginning', $1) \
                   ON CONFLICT (process) DO UPDATE SET position = EXCLUDED.position";
    sqlx::query(cursors).bind(begin).execute(pool).await?;
    for (kind, address) in kinds.iter().zip(receiver.addresses.iter().cycle()) {
        let (webhook_id, secret_id) = (Uuid::now_v7(), Uuid::now_v7());
        let sealed = sealing.seal(
            "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
            [tenant_id, webhook_id, secret_id],
            [9; 32],
        );
        let state = Webhook::Active(Endpoint {
            url: format!("http://{address}/{kind}").parse()?,
            filters: serde_json::from_str(r#"["*"]"#)?,
            description: "".parse()?,
            filter: Default::default(),
            delivery: Delivery { concurrency: CONCURRENCY, ..Delivery::default() },
            secret: Secret { secret_id, sealed_secret: sealed.parse()?, key_pair: None },
            previous_secrets: Vec::new(),
            verified: None,
        });
        sqlx::query("INSERT INTO webhook_endpoints (tenant_id, webhook_id, state) VALUES ($1, $2, $3)")
            .bind(tenant_id)
            .bind(webhook_id)
            .bind(Json(state))
            .execute(pool)
            .await?;
    }
    Ok(())
}

struct NoOrders;

impl Orders for NoOrders {
    fn disable(&self, _: Uuid, _: Uuid, _: Disablement) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn verify(&self, _: Uuid, _: Uuid, _: String) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
}

/// Delivers until the guard is dropped.
fn deliver(pool: &PgPool, tail: Tail) -> DropGuard {
    let end = CancellationToken::new();
    tokio::spawn({
        let (tail, pool, end) = (tail.clone(), pool.clone(), end.clone());
        async move { tail.run(pool, end).await }
    });
    let outbound = Outbound::new(Reach::PublicAndLoopback);
    let deliveries =
        Deliveries::new(pool.clone(), tail, system_clock(), outbound, Sealing::new(&SECRET_KEY), Arc::new(NoOrders));
    tokio::spawn(deliveries.run(end.clone()));
    end.drop_guard()
}

async fn few(run: &Run) -> anyhow::Result<(Sample, (HeaderMap, Bytes))> {
    let pool = run.servers.pool(FEW, 4).await?;
    let count = u64::try_from(EVENTS)? * u64::try_from(ENDPOINTS)?;
    let receiver = Receiver::start(1, count).await?;
    endpoints(&pool, TENANT, &receiver, &["counted"; ENDPOINTS]).await?;
    let delivering = deliver(&pool, Tail::default());
    let sample = receiver.reaches(count).await?;
    drop(delivering);
    pool.close().await;
    let first = receiver.arrived.first.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((sample, first))
}

async fn bare(connections: usize, (headers, body): &(HeaderMap, Bytes)) -> anyhow::Result<Sample> {
    let count = u64::try_from(EVENTS)? * u64::try_from(ENDPOINTS)?;
    let receiver = Receiver::start(1, count).await?;
    let left = Arc::new(AtomicU64::new(count));
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let (left, body, headers, address) = (left.clone(), body.clone(), headers.clone(), receiver.addresses[0]);
        clients.spawn(async move {
            let mut connection = Connection::open(&address.to_string(), "bare").await?;
            while left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok() {
                connection.post_bytes("/counted", &headers, body.clone()).await?.success()?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    receiver.reaches(count).await
}

async fn many(run: &Run, dead: usize) -> anyhow::Result<Sample> {
    let pool = run.servers.pool(MANY, 4).await?;
    let count = u64::try_from(MANY_EVENTS)? * u64::try_from(MANY_ENDPOINTS - DEAD)?;
    let receiver = Receiver::start(HOSTS, count).await?;
    // Spread among the others, as they would be.
    let kinds: Vec<&str> = (0..MANY_ENDPOINTS)
        .map(|number| match number % (MANY_ENDPOINTS / DEAD) {
            0 if dead > 0 => "dead",
            0 => "uncounted",
            _ => "counted",
        })
        .collect();
    endpoints(&pool, TENANT, &receiver, &kinds).await?;
    let delivering = deliver(&pool, Tail::default());
    let sample = receiver.reaches(count).await?;
    drop(delivering);
    pool.close().await;
    Ok(sample)
}

async fn paced(run: &Run) -> anyhow::Result<Sample> {
    let pool = run.servers.pool(PACED, 8).await?;
    let receiver = Receiver::start(1, 0).await?;
    let tenant_id = Uuid::now_v7();
    endpoints(&pool, tenant_id, &receiver, &["timed"]).await?;
    let store = store(&pool);
    let delivering = deliver(&pool, store.tail().clone());
    let accounts = Repository::<Account>::new(store, |_, _, _| Effects::default());
    let account_ids: Vec<Uuid> = (0..50).map(|_| Uuid::now_v7()).collect();
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / PACE);
    let mut commands = JoinSet::new();
    let mut sent = HashMap::new();
    let mut number = 0;
    while began.elapsed() < run.window.warm_up + run.window.length {
        ticks.tick().await;
        let (accounts, account_id) = (accounts.clone(), account_ids[number % account_ids.len()]);
        let reference = Uuid::now_v7();
        number += 1;
        if began.elapsed() >= run.window.warm_up {
            sent.insert(reference, Instant::now());
        }
        commands.spawn(async move {
            let command = Command::new(reference);
            let order = Order {
                metadata: metadata(reference),
                fingerprint: [0; 32],
                repeatable: false,
                expected_sequence: None,
            };
            let prepare = |_| {
                let prepared = Prepared::new(command.clone());
                async { Ok::<_, ExecuteError<Error>>(prepared) }
            };
            accounts.execute(tenant_id, account_id, &order, prepare).await
        });
    }
    while let Some(command) = commands.join_next().await {
        command??;
    }
    let ended = Instant::now();
    let mut latencies_us = Vec::new();
    while latencies_us.len() < sent.len() {
        ensure!(ended.elapsed() < LIMIT, "{} of {} events were delivered", latencies_us.len(), sent.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
        let arrived = receiver.arrived.references.lock().unwrap_or_else(PoisonError::into_inner);
        latencies_us = sent
            .iter()
            .filter_map(|(reference, sent_at)| Some(arrived.get(reference)?.saturating_duration_since(*sent_at)))
            .map(|latency| u32::try_from(latency.as_micros()).unwrap_or(u32::MAX))
            .collect();
    }
    drop(delivering);
    let count = u64::try_from(latencies_us.len())?;
    Ok(Sample { latencies_us, ..Sample::rate(count, run.window.length) })
}
