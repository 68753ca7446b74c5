//! Two processes of the real program on one database and one NATS behind a proxy, which are killed while clients use both.

use std::{
    path::Path,
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

use futures::{TryStreamExt as _, future::join_all};
use hub_event_store::{event::Recorded, log::Log};
use hub_tests::kit::{Mischief, Nats, NatsProxy, OwnPostgres, ServeProcess, directory, eventually, run_hub};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    carrier::Carried,
    history::{Answer, History, Receipt},
    oracle::{Logged, Objection, Oracle},
    random::Random,
};

/// So many clients send at the same time.
const CLIENT_COUNT: usize = 16;

const TENANT_COUNT: usize = 3;

/// The quota of instances of each tenant, which is less than is asked for.
const INSTANCES_MAX: i64 = 30;

/// So many keys of roles are fought over in each tenant.
const ROLE_KEY_COUNT: usize = 40;

/// Waiting for answers, and for rest, ends after so long.
const LIMIT: Duration = Duration::from_secs(180);

const AGAIN_AFTER: Duration = Duration::from_millis(100);

const ATTEMPT_COUNT_MAX: u32 = 1_800;

/// What happens to the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// kill -9 of one; the other goes on, and it is started again.
    KillOne,
    /// kill -9 of both at the same moment.
    KillBoth,
    /// kill -9 of one together with `pg_ctl stop -m immediate`.
    KillOneAndCrashPostgres,
    /// Messages to and from NATS are lost, doubled and swapped, and the connections cut.
    HarmTheWay,
}

/// A command, the same every time it is sent.
#[derive(Debug, Clone)]
struct Order {
    mark: Uuid,
    path: String,
    body: Value,
}

#[derive(Debug, Clone, PartialEq)]
enum Verdict {
    Accepted { receipt: Receipt, replayed: bool },
    Refused(String),
    Unknown,
}

/// Everything that clients share.
struct Counter {
    http: reqwest::Client,
    /// Where the processes were last heard of.
    urls: RwLock<[String; 2]>,
    key: String,
    history: Arc<History>,
    answered: watch::Sender<usize>,
    unsettled: Mutex<Vec<Order>>,
}

/// A tenant and what its commands are about: a hot subscription and a hot role.
#[derive(Debug, Clone)]
struct Customer {
    path: String,
    subscription: Uuid,
    role: Uuid,
}

pub(crate) struct Program {
    // Fields are dropped in this order: first the processes, then their servers.
    hubs: [ServeProcess; 2],
    proxy: NatsProxy,
    nats: Nats,
    postgres: OwnPostgres,
    _files: TempDir,
    counter: Arc<Counter>,
    customers: Vec<Customer>,
    oracle: Oracle,
    carried: Carried,
}

impl Program {
    pub(crate) async fn start(random: &mut Random) -> Self {
        let (postgres, nats, files) = (OwnPostgres::start().await, Nats::start().await, directory());
        let proxy = NatsProxy::start(&nats.url(), random.next()).await;
        let hub = |name| ServeProcess::new(files.path(), name, &postgres.url, &proxy.url());
        let mut hubs = [hub("one"), hub("two")];
        for hub in &mut hubs {
            hub.start().await;
        }
        let counter = Counter {
            http: reqwest::Client::builder().timeout(Duration::from_secs(40)).build().unwrap(),
            urls: RwLock::new([hubs[0].url().to_owned(), hubs[1].url().to_owned()]),
            key: hubs[0].admin_key(),
            history: Arc::default(),
            answered: watch::Sender::new(0),
            unsettled: Mutex::default(),
        };
        let mut customers = Vec::new();
        for number in 0..TENANT_COUNT {
            customers.push(counter.customer(number, random).await);
        }
        Self {
            hubs,
            proxy,
            nats,
            postgres,
            _files: files,
            counter: Arc::new(counter),
            customers,
            oracle: Oracle::new(INSTANCES_MAX),
            carried: Carried::default(),
        }
    }

    /// Sends so many orders while the blows fall, lets everything come to rest, and judges it. Answers how many events there are now.
    ///
    /// # Panics
    /// With everything that the oracle objects to.
    pub(crate) async fn round(&mut self, random: &mut Random, order_count: usize, blows: &[Blow]) -> i64 {
        let before = self.oracle.head;
        self.counter.answered.send_replace(0);
        let orders = (0..order_count).map(|_| order(random.pick(&self.customers), random)).collect();
        let orders = Arc::new(Mutex::new(orders));
        let clients: Vec<_> = (0..CLIENT_COUNT)
            .map(|_| {
                let (counter, orders, random) = (Arc::clone(&self.counter), Arc::clone(&orders), random.fork());
                tokio::spawn(async move { counter.client(&orders, random).await })
            })
            .collect();
        let share = order_count * 8 / 10 / blows.len().max(1);
        for (place, blow) in blows.iter().enumerate() {
            let at = place * share + random.below(share) + 5;
            let mut answered = self.counter.answered.subscribe();
            let reached = tokio::time::timeout(LIMIT, answered.wait_for(|answered| *answered >= at)).await;
            drop(reached.expect("the hubs answer").expect("the counter lives on"));
            self.strike(*blow, random).await;
        }
        for client in clients {
            tokio::time::timeout(LIMIT, client).await.expect("the clients end").unwrap();
        }
        self.counter.settle(random).await;
        let head = self.rest().await;
        let (sent, contradictions) = self.counter.history.take();
        let acknowledged = sent.iter().filter(|sent| matches!(sent.answer, Answer::Acknowledged { .. })).count();
        println!("{acknowledged} of {} commands were accepted, the log ends at {head}", sent.len());
        let log: Vec<Logged> = Log::new(self.postgres.pool.clone())
            .read(before, i64::MAX)
            .map_ok(|event| logged(&event))
            .try_collect()
            .await
            .unwrap();
        let mut objections = self.oracle.judge(&log, &sent);
        objections.extend(contradictions.into_iter().map(Objection::Other));
        objections.extend(self.carried.look(&self.nats.url(), head).await.into_iter().map(Objection::Other));
        let shown: Vec<String> = objections.iter().take(25).map(ToString::to_string).collect();
        assert!(objections.is_empty(), "{} objections:\n{}", objections.len(), shown.join("\n"));
        self.assert_verified().await;
        head
    }

    async fn strike(&mut self, blow: Blow, random: &mut Random) {
        let one = random.below(2);
        let struck = match blow {
            Blow::KillOne | Blow::KillOneAndCrashPostgres => one..one + 1,
            Blow::KillBoth => 0..2,
            Blow::HarmTheWay => 0..0,
        };
        self.hubs[struck.clone()].iter_mut().for_each(ServeProcess::kill);
        if blow == Blow::KillOneAndCrashPostgres {
            self.postgres.crash();
            self.postgres.restart().await;
        }
        if blow == Blow::HarmTheWay {
            self.proxy.harm(Mischief { dropped: 2, doubled: 20, swapped: 20 });
            self.proxy.cut();
        }
        for place in struck {
            self.hubs[place].start().await;
            self.hubs[place].url().clone_into(&mut self.counter.urls.write().unwrap()[place]);
        }
    }

    /// Waits until the relay and the read models are at the end of the log, and answers where that is.
    async fn rest(&self) -> i64 {
        let projections = hub_projections::all();
        eventually(LIMIT, async || {
            let pool = &self.postgres.pool;
            let head = Log::new(pool.clone()).head().await.ok()?;
            let cursor: i64 = sqlx::query_scalar("SELECT position FROM relay_cursor").fetch_one(pool).await.ok()?;
            let statuses = hub_projections::status::list(pool, &projections).await.ok()?;
            (cursor == head && statuses.iter().all(|status| status.position == head)).then_some(head)
        })
        .await
    }

    /// Proves the log and the read models with the program's own verb.
    async fn assert_verified(&self) {
        let variables = [("DATABASE_URL", self.postgres.url.as_str())];
        let outcome = run_hub(Path::new("/"), &["replay", "verify"], &variables).await;
        assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
        assert!(outcome.stdout.contains("all is well"), "{}", outcome.stdout);
    }
}

impl Counter {
    async fn send_to(&self, hub: usize, order: &Order) -> Verdict {
        let url = self.urls.read().unwrap()[hub].clone();
        let request = self.http.post(format!("{url}{}", order.path)).bearer_auth(&self.key);
        let mark = order.mark.to_string();
        let request = request.header("idempotency-key", &mark).header("correlation-id", &mark);
        let request = if order.body.is_null() { request } else { request.json(&order.body) };
        let Ok(response) = request.send().await else { return Verdict::Unknown };
        let (status, replayed) = (response.status(), response.headers().contains_key("idempotent-replayed"));
        let Ok(body) = response.json::<Value>().await else { return Verdict::Unknown };
        verdict(status, replayed, &body)
    }

    async fn attempt(&self, hub: usize, order: &Order) -> Verdict {
        self.history.sending(order.mark);
        let verdict = self.send_to(hub, order).await;
        self.note(order, &verdict);
        verdict
    }

    fn note(&self, order: &Order, verdict: &Verdict) {
        match verdict {
            Verdict::Accepted { receipt, .. } => self.history.acknowledged(order.mark, receipt.clone()),
            Verdict::Refused(reason) => self.history.refused(order.mark, reason.clone()),
            Verdict::Unknown => return,
        }
        self.answered.send_modify(|answered| *answered += 1);
    }

    async fn see_through(&self, order: &Order, random: &mut Random) -> Verdict {
        for _ in 0..ATTEMPT_COUNT_MAX {
            match self.attempt(random.below(2), order).await {
                Verdict::Unknown => tokio::time::sleep(AGAIN_AFTER).await,
                verdict => return verdict,
            }
        }
        self.history.contradiction(format!("{order:?} never got a verdict"));
        Verdict::Unknown
    }

    async fn client(&self, orders: &Mutex<Vec<Order>>, mut random: Random) {
        loop {
            let Some(order) = orders.lock().unwrap().pop() else { return };
            if random.one_in(15) {
                self.send_to_both(&order).await;
            } else if random.one_in(3) {
                self.attempt(random.below(2), &order).await;
            } else {
                self.see_through(&order, &mut random).await;
            }
            match self.history.answer(order.mark) {
                Answer::Unknown => self.unsettled.lock().unwrap().push(order),
                first if random.one_in(12) => self.ask_again(&order, &first, &mut random).await,
                Answer::Refused(_) | Answer::Acknowledged { .. } => {}
            }
        }
    }

    /// Two copies at the same moment, each to another process: both are told the same, and at most one that it is new.
    async fn send_to_both(&self, order: &Order) {
        self.history.sending(order.mark);
        let both = futures::future::join(self.send_to(0, order), self.send_to(1, order)).await;
        let both = [both.0, both.1];
        let count = |matching: fn(&Verdict) -> bool| both.iter().filter(|verdict| matching(verdict)).count();
        let refused = count(|verdict| matches!(verdict, Verdict::Refused(_)));
        let accepted = count(|verdict| matches!(verdict, Verdict::Accepted { .. }));
        let new = count(|verdict| matches!(verdict, Verdict::Accepted { replayed: false, .. }));
        if new > 1 || (refused > 0 && accepted > 0) {
            self.history.contradiction(format!("two copies of {order:?} were answered with {both:?}"));
        }
        both.iter().for_each(|verdict| self.note(order, verdict));
    }

    /// The first outcome is answered again, a refusal too.
    async fn ask_again(&self, order: &Order, first: &Answer, random: &mut Random) {
        let again = self.see_through(order, random).await;
        let same = match (first, &again) {
            (Answer::Acknowledged { receipt, .. }, Verdict::Accepted { receipt: again, replayed: true }) => {
                receipt == again
            }
            (Answer::Refused(code), Verdict::Refused(again)) => code == again,
            _ => false,
        };
        if !same {
            self.history.contradiction(format!("{order:?} was answered with {first:?}, and again with {again:?}"));
        }
    }

    async fn settle(&self, random: &mut Random) {
        let unsettled = std::mem::take(&mut *self.unsettled.lock().unwrap());
        println!("{} commands are settled by asking again", unsettled.len());
        for orders in unsettled.chunks(CLIENT_COUNT) {
            let asking = orders.iter().map(|order| {
                let mut random = random.fork();
                async move { self.see_through(order, &mut random).await }
            });
            join_all(asking).await;
        }
    }

    /// Sends an order that must be accepted and answers the id of what it made or changed.
    async fn must(&self, random: &mut Random, path: &str, body: Value) -> Uuid {
        let order = Order { mark: random.id(), path: path.to_owned(), body };
        match self.see_through(&order, random).await {
            Verdict::Accepted { receipt, .. } => receipt.stream,
            other => panic!("{order:?}: {other:?}"),
        }
    }

    async fn customer(&self, number: usize, random: &mut Random) -> Customer {
        let registration = json!({
            "slug": format!("customer-{number}"), "name": "Acme", "contact_email": "it@acme.example", "tier": "enterprise",
            "region": "eu-central", "currency": "EUR",
        });
        let id = self.must(random, "/v1/tenants", registration).await;
        let path = format!("/v1/tenants/{id}");
        self.must(random, &format!("{path}/activate"), Value::Null).await;
        let quota = json!({ "resource": "instances", "limit": INSTANCES_MAX });
        self.must(random, &format!("{path}/set-quota"), quota).await;
        let body = json!({ "plan": plan("first"), "seats": 1 });
        let subscription = self.must(random, &format!("{path}/subscriptions"), body).await;
        let role = self.must(random, &format!("{path}/roles"), json!({ "key": "hot", "name": "Hot" })).await;
        Customer { path, subscription, role }
    }
}

fn verdict(status: StatusCode, replayed: bool, body: &Value) -> Verdict {
    let code = body["code"].as_str().unwrap_or_default();
    if status.is_success() {
        let receipt = Receipt {
            stream: body["id"].as_str().unwrap().parse().unwrap(),
            sequence: body["sequence"].as_i64().unwrap(),
            event_count: i32::try_from(body["event_count"].as_i64().unwrap()).unwrap(),
            position: None,
        };
        return Verdict::Accepted { receipt, replayed };
    }
    // A copy at work, or a race that was lost too often, says nothing about the command itself.
    let open = status.is_server_error() || ["idempotency_key_in_flight", "concurrent_change"].contains(&code);
    if open { Verdict::Unknown } else { Verdict::Refused(code.to_owned()) }
}

fn plan(code: &str) -> Value {
    json!({ "code": code, "name": "Mail", "tier": "basic", "price": { "minor": 500, "currency": "EUR" }, "interval": "month" })
}

fn order(customer: &Customer, random: &mut Random) -> Order {
    let mark = random.id();
    let code = format!("m{}", &mark.simple().to_string()[..12]);
    let (path, body) = match random.below(20) {
        0..6 => ("rename".to_owned(), json!({ "name": code })),
        6..10 => {
            let body = json!({ "plan": plan(&code), "timing": "immediate" });
            (format!("subscriptions/{}/change-plan", customer.subscription), body)
        }
        10..12 => (format!("roles/{}/assign", customer.role), json!({ "principal": format!("user:{code}") })),
        12..15 => {
            let key = format!("key-{}", random.below(ROLE_KEY_COUNT));
            ("roles".to_owned(), json!({ "key": key, "name": "Helper" }))
        }
        15..18 => ("service-instances".to_owned(), json!({ "service": "mail", "plan": "basic" })),
        _ => ("subscriptions".to_owned(), json!({ "plan": plan(&code), "seats": 2 })),
    };
    Order { mark, path: format!("{}/{path}", customer.path), body }
}

/// The event as the oracle reads it. What the program does by itself bears no client's mark.
fn logged(event: &Recorded) -> Logged {
    let payload: Value = serde_json::from_str(event.payload.get()).unwrap();
    let metadata: Value = serde_json::from_str(event.metadata.get()).unwrap();
    let id = |name: &str| metadata[name].as_str().and_then(|text| text.parse::<Uuid>().ok());
    let key = payload["key"].as_str().filter(|_| event.event_type == "role.created");
    Logged {
        position: event.position,
        tenant_position: event.tenant_position,
        tenant_id: event.tenant_id,
        kind: event.aggregate_type.clone(),
        stream: event.aggregate_id,
        sequence: event.sequence,
        intact: event.leaf_hash == event.computed_leaf_hash(),
        command_id: id("command_id").unwrap(),
        mark: metadata["actor"]
            .as_str()
            .is_some_and(|actor| actor.starts_with("key:"))
            .then(|| id("correlation_id").unwrap()),
        part: None,
        total: None,
        names: key.map(|key| (key.to_owned(), true)).into_iter().collect(),
        counted: i64::from(event.aggregate_type == "service_instance" && event.sequence == 1),
    }
}
