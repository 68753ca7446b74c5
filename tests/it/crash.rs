//! The program is killed in the middle of many commands: what was acknowledged is in the log exactly once, and the rest at most once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hub_tests::kit::{HubProcess, eventually, run_hub};
use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::{sync::watch, task::JoinSet};
use uuid::Uuid;

use crate::relay::published;

/// So many clients send them at the same time.
const CLIENT_COUNT: usize = 96;

const TENANT_COUNT: usize = 6;

/// How long one storm may take.
const STORM_LIMIT: Duration = Duration::from_secs(120);

/// Chooses the moment of the crash; a failure prints it, and setting it plays the same again.
const SEED: &str = "HUB_CRASH_SEED";

/// A command, the same every time it is sent.
#[derive(Debug, Clone)]
struct Order {
    /// Its idempotency key, and a text that one of its events has in it and none of another command.
    mark: String,
    path: String,
    body: Value,
}

/// What the sender was told.
#[derive(Debug, Clone, PartialEq)]
struct Receipt {
    body: Value,
    replayed: bool,
}

/// What the log holds of one command.
#[derive(Debug, Default)]
struct Traces {
    commands: BTreeSet<String>,
    /// Stream and sequence of each event, in order.
    events: Vec<(Uuid, i64)>,
}

/// A client of the command API, cheap to clone.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
    /// What is not answered is sent so often.
    attempts: usize,
}

impl Client {
    fn of(hub: &HubProcess) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        Self { http, url: hub.url().to_owned(), key: hub.admin_key(), attempts: 1 }
    }

    /// The answer, or nothing when there was none or it was cut off.
    async fn send(&self, order: &Order) -> Option<(StatusCode, Receipt)> {
        for _ in 0..self.attempts {
            match self.try_send(order).await {
                Ok(answer) => return Some(answer),
                Err(error) => println!("no answer to {}: {error:?}", order.path),
            }
        }
        None
    }

    async fn try_send(&self, order: &Order) -> reqwest::Result<(StatusCode, Receipt)> {
        let request = self.http.post(format!("{}{}", self.url, order.path)).bearer_auth(&self.key);
        let request = request.header("idempotency-key", &order.mark);
        let request = if order.body.is_null() { request } else { request.json(&order.body) };
        let response = request.send().await?;
        let status = response.status();
        let replayed = response.headers().contains_key("idempotent-replayed");
        Ok((status, Receipt { body: response.json().await?, replayed }))
    }

    /// Sends a command that must be accepted, and answers the id of what it made or changed.
    async fn must(&self, mark: &str, path: &str, body: Value) -> Uuid {
        let order = Order { mark: mark.to_owned(), path: path.to_owned(), body };
        let (status, receipt) = self.send(&order).await.expect("the hub answers");
        assert!(status.is_success(), "{order:?}: {status} {receipt:?}");
        receipt.body["id"].as_str().unwrap().parse().unwrap()
    }
}

fn plan(code: &str) -> Value {
    json!({ "code": code, "name": "Mail", "tier": "basic", "price": { "minor": 500, "currency": "EUR" }, "interval": "month" })
}

/// Tenants, each with a subscription and a role, and the commands on them: some streams are hot, others are made by the command.
async fn orders(client: &Client, count: usize) -> Vec<Order> {
    let mut tenants = Vec::new();
    for number in 0..TENANT_COUNT {
        let registration = json!({
            "slug": format!("tenant-{number}"), "name": "Acme", "contact_email": "it@acme.example", "tier": "enterprise",
            "region": "eu-central", "currency": "EUR",
        });
        let id = client.must(&format!("register-{number}"), "/v1/tenants", registration).await;
        let tenant = format!("/v1/tenants/{id}");
        client.must(&format!("activate-{number}"), &format!("{tenant}/activate"), Value::Null).await;
        let quota = json!({ "resource": "instances", "limit": 1_000_000 });
        client.must(&format!("quota-{number}"), &format!("{tenant}/set-quota"), quota).await;
        let body = json!({ "plan": plan("first"), "seats": 1 });
        let subscription = client.must(&format!("subscribe-{number}"), &format!("{tenant}/subscriptions"), body).await;
        let body = json!({ "key": "hot", "name": "Hot" });
        let role = client.must(&format!("role-{number}"), &format!("{tenant}/roles"), body).await;
        tenants.push((tenant, subscription, role));
    }
    (0..count)
        .map(|number| {
            // No mark is the beginning of another.
            let mark = format!("m{number:05}z");
            let (tenant, subscription, role) = &tenants[number % TENANT_COUNT];
            let (path, body) = match number / TENANT_COUNT % 10 {
                0..=3 => ("rename".to_owned(), json!({ "name": mark })),
                4 | 5 => {
                    let body = json!({ "plan": plan(&mark), "timing": "immediate" });
                    (format!("subscriptions/{subscription}/change-plan"), body)
                }
                6 => (format!("roles/{role}/assign"), json!({ "principal": format!("user:{mark}") })),
                7 => ("roles".to_owned(), json!({ "key": mark, "name": "Helper" })),
                8 => ("service-instances".to_owned(), json!({ "service": "mail", "plan": mark })),
                _ => ("subscriptions".to_owned(), json!({ "plan": plan(&mark), "seats": 2 })),
            };
            Order { mark, path: format!("{tenant}/{path}"), body }
        })
        .collect()
}

/// Sends all orders, many at a time, until all are answered or the hub is gone; `answered` counts along.
async fn storm(
    client: &Client,
    orders: &Arc<Vec<Order>>,
    answered: &watch::Sender<usize>,
) -> BTreeMap<String, Receipt> {
    let next = Arc::new(AtomicUsize::new(0));
    let receipts = Arc::new(Mutex::new(BTreeMap::new()));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENT_COUNT {
        let (client, orders, next) = (client.clone(), Arc::clone(orders), Arc::clone(&next));
        let (receipts, answered) = (Arc::clone(&receipts), answered.clone());
        clients.spawn(async move {
            while let Some(order) = orders.get(next.fetch_add(1, Ordering::Relaxed)) {
                let Some((status, receipt)) = client.send(order).await else { return };
                assert!(status.is_success(), "{order:?}: {status} {receipt:?}");
                receipts.lock().unwrap().insert(order.mark.clone(), receipt);
                answered.send_modify(|count| *count += 1);
            }
        });
    }
    let all = async {
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
    };
    tokio::time::timeout(STORM_LIMIT, all).await.expect("the storm ends");
    Arc::into_inner(receipts).unwrap().into_inner().unwrap()
}

/// What the log holds of each marked command.
async fn traces(hub: &HubProcess) -> BTreeMap<String, Traces> {
    let mut connection = PgConnection::connect(hub.database_url()).await.unwrap();
    let rows: Vec<(String, Option<String>, Uuid, i64)> = sqlx::query_as(
        // A change of plan tells the plan before as well.
        "SELECT metadata->>'command_id', coalesce(payload->'to'->>'code', substring(payload::text FROM 'm[0-9]{5}z')), \
         aggregate_id, sequence FROM events WHERE metadata->>'actor' LIKE 'key:%' ORDER BY position",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    // Not each event of a command has the mark in it, but one of them does.
    let marks = rows.iter().filter_map(|(command, mark, ..)| Some((command.clone(), mark.clone()?)));
    let marks: BTreeMap<String, String> = marks.collect();
    let mut traces: BTreeMap<String, Traces> = BTreeMap::new();
    for (command, _, stream, sequence) in rows {
        let Some(mark) = marks.get(&command) else { continue };
        let trace = traces.entry(mark.clone()).or_default();
        trace.commands.insert(command);
        trace.events.push((stream, sequence));
    }
    traces
}

/// Each acknowledged command is in the log exactly once and as its receipt says, every other at most once.
fn assert_kept(orders: &[Order], receipts: &BTreeMap<String, Receipt>, traces: &BTreeMap<String, Traces>) {
    let known: BTreeSet<_> = orders.iter().map(|order| &order.mark).collect();
    assert!(traces.keys().all(|mark| known.contains(mark)));
    for order in orders {
        let commands = traces.get(&order.mark).map_or(0, |trace| trace.commands.len());
        assert!(commands <= 1, "{order:?} is in the log {commands} times");
        let Some(receipt) = receipts.get(&order.mark) else { continue };
        let trace = traces.get(&order.mark).unwrap_or_else(|| panic!("{order:?} is lost: {receipt:?}"));
        assert_eq!(receipt.body["event_count"], trace.events.len(), "{order:?}: {receipt:?} {trace:?}");
        let (stream, sequence) = trace.events.last().expect("a trace has events");
        assert_eq!(receipt.body["id"], stream.to_string(), "{order:?}");
        assert_eq!(receipt.body["sequence"], *sequence, "{order:?}");
    }
}

/// Waits until the read models and the relay have come to the end of the log, and answers where that is.
async fn everything_follows(hub: &HubProcess) -> i64 {
    let mut connection = PgConnection::connect(hub.database_url()).await.unwrap();
    eventually(STORM_LIMIT, async || {
        let (head, slowest): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT position FROM log_head), \
             least((SELECT min(position) FROM projection_checkpoints), (SELECT position FROM relay_cursor))",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        (head == slowest).then_some(head)
    })
    .await
}

/// Proves the log and the read models with the program's own verb.
async fn assert_verified(hub: &HubProcess) {
    let directory = hub.directory();
    let arguments = ["replay", "verify", "--directory", directory.to_str().unwrap()];
    let outcome = run_hub(Path::new("/"), &arguments, &[]).await;
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.contains("all is well"), "{}", outcome.stdout);
}

/// A number that the seed decides, from `from` to `to`.
fn chosen(seed: u64, from: usize, to: usize) -> usize {
    // SplitMix64, so that neighbours among seeds are none among moments.
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    from + usize::try_from((mixed ^ (mixed >> 31)) % (to - from) as u64).unwrap()
}

fn seed() -> u64 {
    let seed = std::env::var(SEED).map_or_else(|_| Uuid::new_v4().as_u64_pair().0, |text| text.parse().unwrap());
    println!("{SEED}={seed} plays this again");
    seed
}

/// The whole play with so many commands; `crash` ends the hub, with or without its servers.
async fn survives(command_count: usize, crash: impl Fn(&mut HubProcess)) {
    let moment = chosen(seed(), 50, command_count * 9 / 10);
    let mut hub = HubProcess::start().await;
    let client = Client::of(&hub);
    let orders = Arc::new(orders(&client, command_count).await);

    let (answered, mut count) = watch::channel(0);
    let started = Instant::now();
    let (receipts, ()) = tokio::join!(storm(&client, &orders, &answered), async {
        tokio::time::timeout(STORM_LIMIT, count.wait_for(|count| *count >= moment)).await.unwrap().unwrap();
        crash(&mut hub);
    });
    println!("{} of {command_count} were acknowledged before the crash, {:?}", receipts.len(), started.elapsed());
    assert!(receipts.len() >= moment, "{} were acknowledged", receipts.len());
    assert!(receipts.len() < command_count, "the crash came too late");

    hub.start_again().await;
    let kept = traces(&hub).await;
    println!("{} were committed", kept.len());
    assert_kept(&orders, &receipts, &kept);

    // Sent again, each is answered, the first time or again, and then all are there once. A connection that was opened and not used is closed after
    // a while, perhaps just when it is used at last; whoever sends again then has lost nothing.
    let client = Client { attempts: 3, ..Client::of(&hub) };
    let started = Instant::now();
    let again = storm(&client, &orders, &watch::Sender::new(0)).await;
    println!("all were answered again, {:?}", started.elapsed());
    assert_eq!(again.len(), command_count);
    for (mark, first) in &receipts {
        let second = &again[mark];
        assert!(second.replayed, "{mark} was executed again: {second:?}");
        assert_eq!(first.body, second.body, "{mark}");
    }
    let traces = traces(&hub).await;
    assert_kept(&orders, &again, &traces);
    assert_eq!(traces.len(), command_count);
    let head = everything_follows(&hub).await;
    assert_verified(&hub).await;
    let nats = hub.nats_client().await.unwrap();
    // What happens by itself may have gone on since.
    let published = published(&nats).await;
    let positions = published.iter().map(|message| message.position).filter(|position| *position <= head);
    let positions: BTreeSet<i64> = positions.collect();
    assert_eq!(positions.len(), usize::try_from(head).unwrap(), "{:?}", positions.first());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_2_000_commands_loses_nothing_acknowledged_and_does_nothing_twice() {
    survives(2_000, HubProcess::kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_does_a_kill_of_the_hub_together_with_its_servers() {
    survives(800, |hub| {
        let servers = hub.directory().join("servers");
        let pids = ["postgres/postmaster.pid", "nats.pid"].map(|file| {
            let text = fs::read_to_string(servers.join(file)).unwrap();
            Pid::from_raw(text.lines().next().unwrap().trim().parse().unwrap()).unwrap()
        });
        hub.kill();
        for pid in pids {
            kill_process(pid, Signal::KILL).unwrap();
        }
    })
    .await;
}
