//! `hub up` and `hub serve` as a person meets them: start, refusals, restart, crash, stop.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use hub::embedded::Running;
use hub_tests::kit::servers::started_below;
use hub_tests::kit::{Database, HubProcess, Nats, Outcome, directory, eventually, free_port, program, run_hub};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, PgConnection};

/// Asserts that a run was refused: exit code 1, nothing on standard output, and one line that says all of `words`.
#[track_caller]
fn assert_refused(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(outcome.stdout, "");
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    assert!(outcome.stderr.starts_with("hub: "), "{}", outcome.stderr);
    for word in words {
        assert!(outcome.stderr.contains(word), "no `{word}` in: {}", outcome.stderr);
    }
}

async fn status(url: &str) -> u16 {
    reqwest::get(url).await.unwrap().status().as_u16()
}

fn server_pid(hub: &HubProcess, file: &str) -> Pid {
    let text = fs::read_to_string(hub.directory().join("servers").join(file)).unwrap();
    Pid::from_raw(text.lines().next().unwrap().trim().parse().unwrap()).unwrap()
}

/// Writes something that a restart must not lose.
async fn remember(hub: &HubProcess) {
    let mut connection = PgConnection::connect(hub.database_url()).await.unwrap();
    sqlx::query("CREATE TABLE remembered AS SELECT 42 AS answer").execute(&mut connection).await.unwrap();
}

async fn remembered(hub: &HubProcess) -> i32 {
    let mut connection = PgConnection::connect(hub.database_url()).await.unwrap();
    sqlx::query_scalar("SELECT answer FROM remembered").fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn up_serves_stops_in_order_and_keeps_its_data() {
    let mut hub = HubProcess::start().await;
    assert_eq!(status(&format!("{}/health/live", hub.url())).await, 200);
    assert_eq!(status(hub.metrics_url()).await, 200);
    let key = hub.admin_key();
    for file in ["admin.key", "secret.key", "running.json", "nats-signing.key", "nats.creds"] {
        let mode = fs::metadata(hub.directory().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert!(hub.output().contains(&key), "the key is shown at the first start");
    assert!(hub.output().contains(hub.url()));
    remember(&hub).await;

    assert_eq!(hub.stop(Signal::TERM).await.code(), Some(0));
    assert!(started_below(&hub.directory()).is_empty(), "a server is left");
    assert!(Running::read(&hub.directory()).is_none());
    let log = fs::read_to_string(hub.directory().join("log/postgres.log")).unwrap();
    assert!(log.contains("received fast shutdown request"), "{log}");
    assert!(log.contains("database system is shut down"), "{log}");

    hub.start_again().await;
    assert_eq!(remembered(&hub).await, 42);
    assert_eq!(hub.admin_key(), key);
    assert_eq!(hub.output().matches(&key).count(), 1, "the key is shown once");
    assert_eq!(hub.stop(Signal::INT).await.code(), Some(0));
}

#[tokio::test]
async fn the_administrator_key_is_known_to_the_database_by_its_hash_only() {
    let hub = HubProcess::start().await;
    let mut connection = PgConnection::connect(hub.database_url()).await.unwrap();
    let payloads: Vec<serde_json::Value> =
        sqlx::query_scalar("SELECT payload FROM events WHERE event_type = 'api_key.issued'")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let key = hub_domain::api_key::KeyText::parse(&hub.admin_key()).unwrap();
    assert_eq!(payloads.len(), 1);
    assert_eq!(payloads[0]["sha256"], key.sha256().as_str());
    assert!(!payloads[0].to_string().contains(key.reveal()));
}

#[tokio::test]
async fn a_second_up_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let hub = HubProcess::start().await;
    let path = hub.directory();
    let outcome =
        run_hub(Path::new("/"), &["up", "--listen", "127.0.0.1:0", "--directory", path.to_str().unwrap()], &[]).await;
    let holder = format!("process {}", hub.pid().as_raw_nonzero());
    assert_refused(&outcome, &["another hub", &holder, "--directory"]);
    assert_eq!(status(&format!("{}/health/live", hub.url())).await, 200);
}

#[tokio::test]
async fn a_busy_port_is_refused_before_anything_is_started() {
    let files = directory();
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let outcome = run_hub(files.path(), &["up"], &[("HUB_LISTEN", &address)]).await;
    assert_refused(&outcome, &["cannot listen on", &address, "HUB_LISTEN"]);
    assert!(!files.path().join(".hub/servers").exists());
    let metrics = ["up", "--listen", "127.0.0.1:0", "--metrics-listen", &address];
    let outcome = run_hub(files.path(), &metrics, &[]).await;
    assert_refused(&outcome, &["cannot listen on", &address, "--metrics-listen"]);
}

#[tokio::test]
async fn a_missing_program_is_named_with_what_to_do() {
    let files = directory();
    let nowhere = files.path().join("nowhere");
    let nowhere = nowhere.to_str().unwrap();
    let up = ["up", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    let outcome = run_hub(files.path(), &up, &[("HUB_POSTGRES_BIN", nowhere)]).await;
    assert_refused(&outcome, &["HUB_POSTGRES_BIN", nowhere, "postgres"]);
    let outcome = run_hub(files.path(), &up, &[("HUB_NATS_SERVER", nowhere)]).await;
    assert_refused(&outcome, &["HUB_NATS_SERVER", nowhere]);
}

#[tokio::test]
async fn data_of_another_version_is_refused_and_left_alone() {
    let mut hub = HubProcess::start().await;
    remember(&hub).await;
    hub.stop(Signal::TERM).await;
    let version = hub.directory().join("servers/postgres/PG_VERSION");
    let real = fs::read_to_string(&version).unwrap();
    fs::write(&version, "9\n").unwrap();
    let path = hub.directory();
    let arguments = ["up", "--listen", "127.0.0.1:0", "--directory", path.to_str().unwrap()];
    let outcome = run_hub(Path::new("/"), &arguments, &[]).await;
    assert_refused(&outcome, &["written by PostgreSQL 9", "postgresql-9"]);
    fs::write(&version, real).unwrap();
    hub.start_again().await;
    assert_eq!(remembered(&hub).await, 42);
}

#[tokio::test]
async fn another_secret_key_than_the_one_in_use_is_refused_and_nothing_is_damaged() {
    let mut hub = HubProcess::start().await;
    remember(&hub).await;
    hub.stop(Signal::TERM).await;
    let file = hub.directory().join("secret.key");
    let real = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{}\n", "ab".repeat(32))).unwrap();
    let path = hub.directory();
    let arguments = ["up", "--listen", "127.0.0.1:0", "--directory", path.to_str().unwrap()];
    let outcome = run_hub(Path::new("/"), &arguments, &[]).await;
    assert_refused(&outcome, &["another secret key", "secret.key"]);
    fs::write(&file, real).unwrap();
    hub.start_again().await;
    assert_eq!(remembered(&hub).await, 42);
}

#[tokio::test]
async fn an_unknown_key_in_the_file_is_refused_by_name() {
    let files = directory();
    fs::write(files.path().join("hub.toml"), "lissten = \"127.0.0.1:1\"\n").unwrap();
    let outcome = run_hub(files.path(), &["up"], &[]).await;
    assert_refused(&outcome, &["hub.toml", "unknown key `lissten`"]);
    let other = files.path().join("other.toml");
    fs::write(&other, "database_pool_size = \"many\"\n").unwrap();
    let other = other.to_str().unwrap();
    let outcome = run_hub(files.path(), &["up"], &[("HUB_CONFIG", other)]).await;
    assert_refused(&outcome, &["database_pool_size `many`", other]);
}

#[tokio::test]
async fn after_a_kill_the_next_up_stops_the_servers_left_and_finds_the_data() {
    let mut hub = HubProcess::start().await;
    remember(&hub).await;
    let left = [server_pid(&hub, "postgres/postmaster.pid"), server_pid(&hub, "nats.pid")];
    hub.kill();
    let alive = started_below(&hub.directory());
    assert!(left.iter().all(|pid| alive.contains(pid)), "the servers went with the hub");
    hub.start_again().await;
    let alive = started_below(&hub.directory());
    assert!(left.iter().all(|pid| !alive.contains(pid)), "an old server is left");
    assert_eq!(remembered(&hub).await, 42);
}

#[tokio::test]
async fn a_number_in_the_pid_file_that_belongs_to_a_stranger_by_now_does_no_harm() {
    let mut hub = HubProcess::start().await;
    hub.stop(Signal::TERM).await;
    let pid_file = hub.directory().join("servers/postgres/postmaster.pid");
    fs::write(pid_file, format!("{}\n/elsewhere\n", std::process::id())).unwrap();
    hub.start_again().await;
    assert_eq!(status(&format!("{}/health/live", hub.url())).await, 200);
}

#[tokio::test]
async fn a_nats_that_dies_is_started_again_on_its_port() {
    let hub = HubProcess::start().await;
    let first = server_pid(&hub, "nats.pid");
    kill_process(first, Signal::KILL).unwrap();
    eventually(Duration::from_secs(30), async || {
        let pid = fs::read_to_string(hub.directory().join("servers/nats.pid")).ok()?;
        (pid.trim() != first.as_raw_nonzero().to_string()).then_some(())
    })
    .await;
    eventually(Duration::from_secs(30), async || hub.nats_client().await.ok()).await;
    assert!(hub.output().contains("nats-server has ended by itself"));
    assert_eq!(status(&format!("{}/health/live", hub.url())).await, 200);
}

#[tokio::test]
async fn when_postgresql_dies_hub_says_so_and_stops_the_rest() {
    let mut hub = HubProcess::start().await;
    kill_process(server_pid(&hub, "postgres/postmaster.pid"), Signal::KILL).unwrap();
    assert_eq!(hub.wait().await.code(), Some(1));
    let output = hub.output();
    assert!(output.contains("hub: PostgreSQL has ended by itself (signal: 9"), "{output}");
    assert!(started_below(&hub.directory()).is_empty(), "a server is left");
}

#[tokio::test]
async fn serve_runs_with_servers_that_exist() {
    let database = Database::new().await;
    let nats = Nats::start().await;
    let files = directory();
    let address = format!("127.0.0.1:{}", free_port());
    let mut serve = tokio::process::Command::new(program("hub_under_test"))
        .args(["serve", "--role", "all", "--metrics-listen", "127.0.0.1:0", "--listen", &address])
        .envs([("DATABASE_URL", &database.url), ("NATS_URL", &nats.url())])
        .current_dir(files.path())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    eventually(Duration::from_secs(60), async || {
        let answer = reqwest::get(format!("http://{address}/health/live")).await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    assert!(files.path().join(".hub/admin.key").exists());
    let pid = Pid::from_raw(serve.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), serve.wait()).await;
    assert_eq!(ended.unwrap().unwrap().code(), Some(0));
}

#[tokio::test]
async fn serve_says_which_servers_it_needs() {
    let files = directory();
    let outcome = run_hub(files.path(), &["serve"], &[]).await;
    assert_refused(&outcome, &["needs a PostgreSQL", "DATABASE_URL"]);
    let database = [("DATABASE_URL", "postgres://hub@127.0.0.1:1/hub")];
    let outcome = run_hub(files.path(), &["serve", "--role", "relay"], &database).await;
    assert_refused(&outcome, &["needs a NATS", "NATS_URL"]);
    let arguments = ["serve", "--role", "queries", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    let outcome = run_hub(files.path(), &arguments, &database).await;
    assert_refused(&outcome, &["cannot connect to PostgreSQL at 127.0.0.1:1"]);
}

#[tokio::test]
async fn a_nats_of_the_kit_comes_back_on_its_port_with_its_streams() {
    let mut nats = Nats::start().await;
    let config = async_nats::jetstream::stream::Config { name: "kept".to_owned(), ..Default::default() };
    let url = nats.url();
    let stream = async_nats::jetstream::new(nats.client().await);
    stream.create_stream(config).await.unwrap();
    nats.restart().await;
    assert_eq!(nats.url(), url);
    let context = async_nats::jetstream::new(nats.client().await);
    context.get_stream("kept").await.unwrap();
    nats.lose_everything().await;
    nats.restart().await;
    let context = async_nats::jetstream::new(nats.client().await);
    assert!(context.get_stream("kept").await.is_err());
}

#[tokio::test]
async fn verbs_find_the_database_of_a_hub_that_runs_and_of_one_that_has_stopped() {
    let mut hub = HubProcess::start().await;
    remember(&hub).await;
    let path = hub.directory().to_str().unwrap().to_owned();
    let flags = hub::config::Flags { directory: Some(path), ..Default::default() };
    let config = hub::config::Config::from_sources(&flags, &|_| None, None).unwrap();
    let open = hub::embedded::OpenDatabase::open(&config).await.unwrap();
    assert_eq!(open.url(), hub.database_url());
    open.close().await;
    hub.stop(Signal::TERM).await;
    let open = hub::embedded::OpenDatabase::open(&config).await.unwrap();
    let mut connection = PgConnection::connect(open.url()).await.unwrap();
    let answer: i32 = sqlx::query_scalar("SELECT answer FROM remembered").fetch_one(&mut connection).await.unwrap();
    assert_eq!(answer, 42);
    open.close().await;
    assert!(started_below(&hub.directory()).is_empty(), "a server is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_closed_leaves_no_connection_open() {
    let database = Database::new().await;
    for _ in 0..20 {
        let pool = hub::pool::open(&database.url, 4).await.unwrap();
        let connections = join_all((0..4).map(|_| pool.acquire())).await;
        // Some are on their way back when it is closed, others are there.
        for connection in connections {
            drop(connection.unwrap());
            tokio::task::yield_now().await;
        }
        hub::pool::close(&pool).await;
        assert_eq!(pool.size(), 0);
    }
}
