//! PostgreSQL or NATS goes away, hangs, or forgets: what callers see meanwhile, and that everything comes back by itself.

mod wire;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    process::Stdio,
    time::{Duration, Instant},
};

use futures::future::join_all;
use hub_tests::kit::{Database, Nats, OwnPostgres, directory, eventually, free_port, program};
use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::PgPool;
use tempfile::TempDir;
use uuid::Uuid;

use crate::relay::{Published, published, published_up_to};

/// How long anything may take to come back.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a caller may wait for the answer that nothing can be done.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// `hub serve` with servers that the test stops and starts.
struct Serve {
    /// Ends with this.
    _child: tokio::process::Child,
    files: TempDir,
    client: reqwest::Client,
    url: String,
    key: String,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
    took: Duration,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn id(&self) -> Uuid {
        assert!(self.status.is_success(), "{self:?}");
        self.body["id"].as_str().unwrap().parse().unwrap()
    }

    fn replayed(&self) -> bool {
        self.header("idempotent-replayed") == Some("true")
    }

    /// 503, in time, with what a program needs to come again.
    #[track_caller]
    fn assert_unavailable(&self) {
        assert_eq!(self.status, 503, "{self:?}");
        assert_eq!(self.body["code"], "store_unavailable", "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let seconds: u64 = self.header("retry-after").unwrap_or_else(|| panic!("{self:?}")).parse().unwrap();
        assert!((1..=60).contains(&seconds), "{self:?}");
        assert!(self.took < ANSWER_LIMIT, "{self:?}");
    }
}

impl Serve {
    async fn start(database_url: &str, nats_url: &str) -> Self {
        let files = directory();
        let address = format!("127.0.0.1:{}", free_port());
        let output = File::create(files.path().join("output.txt")).unwrap();
        let child = tokio::process::Command::new(program("hub_under_test"))
            .args(["serve", "--role", "all", "--metrics-listen", "127.0.0.1:0", "--listen", &address])
            .envs([("DATABASE_URL", database_url), ("NATS_URL", nats_url)])
            .current_dir(files.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(40)).build().unwrap();
        let url = format!("http://{address}");
        let mut serve = Self { _child: child, files, client, url, key: String::new() };
        serve.ready(200).await;
        serve.key = fs::read_to_string(serve.files.path().join(".hub/admin.key")).unwrap().trim().to_owned();
        serve
    }

    /// Waits until `/health/ready` answers so.
    async fn ready(&self, status: u16) {
        eventually(LIMIT, async || {
            let answer = self.client.get(format!("{}/health/ready", self.url)).send().await.ok()?;
            (answer.status() == status).then_some(())
        })
        .await;
    }

    async fn send(&self, request: RequestBuilder) -> Answer {
        let started = Instant::now();
        let response = request.bearer_auth(&self.key).send().await.expect("the process answers");
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.expect("the answer is whole");
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status, headers, body, took: started.elapsed() }
    }

    async fn post(&self, path: &str, key: &str, body: Value) -> Answer {
        let request = self.client.post(format!("{}{path}", self.url)).header("idempotency-key", key);
        self.send(if body.is_null() { request } else { request.json(&body) }).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(self.client.request(Method::GET, format!("{}{path}", self.url))).await
    }

    /// Reads what `receipt` has led to, however long the read model needs.
    async fn get_after(&self, receipt: &Answer, path: &str) -> Answer {
        let token = receipt.header("consistency-token").unwrap();
        eventually(LIMIT, async || {
            let request = self.client.get(format!("{}{path}", self.url));
            let answer = self.send(request.header("consistency-token", token).header("prefer", "wait=5")).await;
            (answer.body["code"] != "projection_behind").then_some(answer)
        })
        .await
    }

    /// The path of a new tenant that is active and can be read.
    async fn tenant(&self, slug: &str) -> String {
        let registration = json!({
            "slug": slug, "name": "Acme", "contact_email": "it@acme.example", "tier": "enterprise",
            "region": "eu-central", "currency": "EUR",
        });
        let registered = self.post("/v1/tenants", &format!("register-{slug}"), registration).await;
        let path = format!("/v1/tenants/{}", registered.id());
        let activated = self.post(&format!("{path}/activate"), &format!("activate-{slug}"), Value::Null).await;
        assert_eq!(self.get_after(&activated, &path).await.body["status"], "active");
        path
    }

    async fn rename(&self, tenant: &str, name: &str) -> Answer {
        self.post(&format!("{tenant}/rename"), name, json!({ "name": name })).await
    }

    /// The last lines that the process has written.
    fn output(&self) -> String {
        let text = fs::read_to_string(self.files.path().join("output.txt")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.output());
        }
    }
}

async fn head(pool: &PgPool) -> i64 {
    eventually(LIMIT, async || sqlx::query_scalar("SELECT position FROM log_head").fetch_one(pool).await.ok()).await
}

/// How often each name was given to a tenant.
async fn names(pool: &PgPool) -> BTreeMap<String, i64> {
    let names = "SELECT payload->>'name', count(*) FROM events WHERE event_type = 'tenant.renamed' GROUP BY 1";
    let names: Vec<(String, i64)> = sqlx::query_as(names).fetch_all(pool).await.unwrap();
    names.into_iter().collect()
}

fn assert_each_once(names: &BTreeMap<String, i64>, expected: impl IntoIterator<Item = String>) {
    let expected: BTreeMap<String, i64> = expected.into_iter().map(|name| (name, 1)).collect();
    assert_eq!(names, &expected);
}

/// Each message names the one before it in its partition.
fn assert_chained(published: &[Published]) {
    let mut previous: BTreeMap<&str, i64> = BTreeMap::new();
    let mut sorted: Vec<_> = published.iter().collect();
    sorted.sort_by_key(|message| message.position);
    for message in sorted {
        let partition = message.subject.split('.').nth(2).unwrap();
        if let Some(before) = previous.insert(partition, message.position) {
            assert_eq!(message.previous, before, "{message:?}");
        }
    }
}

fn sorted_positions(published: &[Published]) -> Vec<i64> {
    let mut positions: Vec<_> = published.iter().map(|message| message.position).collect();
    positions.sort_unstable();
    positions
}

/// A subscription that began long ago, so that its periods are opened by the scheduler.
fn old_subscription() -> Value {
    json!({
        "plan": {
            "code": "mail", "name": "Mail", "tier": "basic", "price": { "minor": 500, "currency": "EUR" },
            "interval": "month",
        },
        "seats": 1,
        "starts_at": "2025-01-31T00:00:00Z",
    })
}

/// Waits until the process managers have opened the second period of a new subscription, and the read model shows it.
async fn the_scheduler_works(serve: &Serve, tenant: &str, key: &str) {
    let created = serve.post(&format!("{tenant}/subscriptions"), key, old_subscription()).await;
    let path = format!("{tenant}/subscriptions/{}", created.id());
    eventually(LIMIT, async || {
        let answer = serve.get(&path).await;
        (answer.status == 200 && answer.body["current_period"]["number"].as_i64()? >= 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgresql_everything_says_so_at_once_and_comes_back_by_itself() {
    let (mut postgres, nats) = (OwnPostgres::start().await, Nats::start().await);
    let serve = Serve::start(&postgres.url, &nats.url()).await;
    let tenants = [serve.tenant("acme").await, serve.tenant("bolt").await];
    assert_eq!(serve.rename(&tenants[0], "before").await.status, 200);

    // The outage begins in the middle of work.
    let mut during: Vec<String> = (0..40).map(|number| format!("during-{number}")).collect();
    let (answers, ()) =
        tokio::join!(join_all(during.iter().map(|name| serve.rename(&tenants[0], name))), postgres.stop());
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.assert_unavailable();
    }

    // Each kind of request, several at a time: commands on a tenant that is known, on one that is not, a command that makes
    // something, queries of a row, a list, events and numbers. Those on one stream do not wait out each other's time limit.
    during.extend((0..10).map(|number| format!("without-{number}")));
    let commands = during[40..].iter().map(|name| serve.rename(&tenants[0], name));
    let unknown: Vec<String> = (0..10).map(|number| format!("nobody-{number}")).collect();
    let random = format!("/v1/tenants/{}", Uuid::now_v7());
    let subscriptions = format!("{}/subscriptions", tenants[1]);
    let events = format!("{}/events", tenants[0]);
    let audit = format!("{}/audit", tenants[1]);
    let queries = [&tenants[0], "/v1/tenants", &events, &subscriptions, "/v1/analytics/tenants", &audit];
    let (commands, unknown, made, queries) = tokio::join!(
        join_all(commands),
        join_all(unknown.iter().map(|name| serve.rename(&random, name))),
        serve.post(&subscriptions, "made", old_subscription()),
        join_all(queries.iter().map(|path| serve.get(path))),
    );
    for answer in commands.iter().chain(&unknown).chain([&made]).chain(&queries) {
        answer.assert_unavailable();
    }
    let ready = serve.get("/health/ready").await;
    assert_eq!((ready.status.as_u16(), &ready.body["status"]), (503, &json!("not_ready")), "{ready:?}");
    assert!(ready.took < ANSWER_LIMIT);
    let live = serve.get("/health/live").await;
    assert!(live.status == 200 && live.took < Duration::from_secs(2), "{live:?}");

    postgres.restart().await;
    serve.ready(200).await;
    // The same keys lead to each command once, whether it had got through or not.
    let again = join_all(during.iter().map(|name| serve.rename(&tenants[0], name))).await;
    for answer in &again {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    for (first, second) in answers.iter().zip(&again).filter(|(first, _)| first.status == 200) {
        assert!(second.replayed());
        assert_eq!(first.body, second.body);
    }
    let once_more = join_all(during.iter().map(|name| serve.rename(&tenants[0], name))).await;
    for (second, third) in again.iter().zip(&once_more) {
        assert!(third.replayed());
        assert_eq!(second.body, third.body);
    }
    assert_each_once(&names(&postgres.pool).await, during.iter().cloned().chain(["before".to_owned()]));
    assert_eq!(serve.post(&subscriptions, "made", old_subscription()).await.status, 201);

    // Read models, process managers and the relay are back as well.
    let last = serve.rename(&tenants[0], "after").await;
    assert_eq!(serve.get_after(&last, &tenants[0]).await.body["name"], "after");
    the_scheduler_works(&serve, &tenants[1], "second").await;
    let head = head(&postgres.pool).await;
    let published = published_up_to(&nats.client().await, head).await;
    assert_chained(&published);
    let positions = sorted_positions(&published);
    assert_eq!(positions[..usize::try_from(head).unwrap()], (1..=head).collect::<Vec<_>>());
}

/// Stops the processes of a server in the middle of whatever they do; they go on when this is dropped.
struct Frozen(Vec<Pid>);

impl Frozen {
    async fn postgres(pool: &PgPool) -> Self {
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(pool).await.unwrap();
        let parent = |pid: i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name, in brackets, may hold anything; after it come the state and the parent.
            stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<i32>().ok()
        };
        let postmaster = parent(backend).unwrap();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let family = pids.filter(|pid| *pid == postmaster || parent(*pid) == Some(postmaster));
        let frozen = Self(family.filter_map(Pid::from_raw).collect());
        for pid in &frozen.0 {
            // It fails only for one that has ended meanwhile.
            kill_process(*pid, Signal::STOP).ok();
        }
        frozen
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            kill_process(*pid, Signal::CONT).ok();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_that_hangs_holds_nobody_up() {
    let (postgres, nats) = (OwnPostgres::start().await, Nats::start().await);
    let serve = Serve::start(&postgres.url, &nats.url()).await;
    let tenant = serve.tenant("acme").await;
    assert_eq!(serve.rename(&tenant, "before").await.status, 200);
    let frozen = Frozen::postgres(&postgres.pool).await;
    let names_during: Vec<String> = (0..10).map(|number| format!("during-{number}")).collect();
    let (commands, query, live, ready) = tokio::join!(
        join_all(names_during.iter().map(|name| serve.rename(&tenant, name))),
        serve.get("/v1/tenants?limit=7"), // Nobody has asked this, so no answer is kept.
        serve.get("/health/live"),
        serve.get("/health/ready"),
    );
    for answer in commands.iter().chain([&query]) {
        answer.assert_unavailable();
    }
    assert!(live.status == 200 && live.took < Duration::from_secs(2), "{live:?}");
    assert!(ready.status == 503 && ready.took < ANSWER_LIMIT, "{ready:?}");
    drop(frozen);
    serve.ready(200).await;
    for name in &names_during {
        // The command may still be at work that was cut off.
        let answer = eventually(LIMIT, async || {
            let answer = serve.rename(&tenant, name).await;
            (answer.status == 200).then_some(answer)
        })
        .await;
        assert_eq!(answer.body["event_count"], 1);
    }
    let last = serve.rename(&tenant, "after").await;
    assert_eq!(serve.get_after(&last, &tenant).await.body["name"], "after");
    let expected = names_during.iter().cloned().chain(["before".to_owned(), "after".to_owned()]);
    assert_each_once(&names(&postgres.pool).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nats_commands_and_queries_go_on_and_the_relay_catches_up() {
    let (database, mut nats) = (Database::new().await, Nats::start().await);
    let serve = Serve::start(&database.url, &nats.url()).await;
    let tenants = [serve.tenant("acme").await, serve.tenant("bolt").await];
    let first = head(&database.pool).await;
    published_up_to(&nats.client().await, first).await;

    nats.stop().await;
    eventually(LIMIT, async || (serve.get("/health/ready").await.body["status"] == "degraded").then_some(())).await;
    for tenant in &tenants {
        let names: Vec<String> = (0..50).map(|number| format!("without-{number}")).collect();
        let answers = join_all(names.iter().map(|name| serve.rename(tenant, name))).await;
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        // The read model follows from PostgreSQL.
        let receipt = serve.rename(tenant, "last").await;
        assert_eq!(serve.get_after(&receipt, tenant).await.body["name"], "last");
    }
    the_scheduler_works(&serve, &tenants[0], "meanwhile").await;
    assert_eq!(serve.get("/health/ready").await.status, 200);

    nats.restart().await;
    let head = eventually(LIMIT, async || {
        let head = head(&database.pool).await;
        let cursor: i64 =
            sqlx::query_scalar("SELECT position FROM relay_cursor").fetch_one(&database.pool).await.unwrap();
        (cursor == head).then_some(head)
    })
    .await;
    let published = published(&nats.client().await).await;
    assert_chained(&published);
    assert_eq!(sorted_positions(&published), (1..=head).collect::<Vec<_>>());
    eventually(LIMIT, async || (serve.get("/health/ready").await.body["status"] == "ready").then_some(())).await;
    let receipt = serve.rename(&tenants[0], "again").await;
    assert_eq!(serve.get_after(&receipt, &tenants[0]).await.body["name"], "again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_that_has_lost_everything_is_filled_again() {
    let (database, mut nats) = (Database::new().await, Nats::start().await);
    let serve = Serve::start(&database.url, &nats.url()).await;
    let tenant = serve.tenant("acme").await;
    let before = head(&database.pool).await;
    published_up_to(&nats.client().await, before).await;
    eventually(LIMIT, async || {
        let cursor: i64 =
            sqlx::query_scalar("SELECT position FROM relay_cursor").fetch_one(&database.pool).await.unwrap();
        (cursor == before).then_some(())
    })
    .await;

    nats.lose_everything().await;
    for number in 0..20 {
        assert_eq!(serve.rename(&tenant, &format!("without-{number}")).await.status, 200);
    }
    nats.restart().await;
    let receipt = serve.rename(&tenant, "after").await;
    assert_eq!(serve.get_after(&receipt, &tenant).await.body["name"], "after");
    let head = head(&database.pool).await;
    let published = published_up_to(&nats.client().await, head).await;
    // Also what it had held before is there again.
    assert_eq!(sorted_positions(&published), (1..=head).collect::<Vec<_>>());
    assert_chained(&published);
}
