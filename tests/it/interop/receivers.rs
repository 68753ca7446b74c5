//! The receivers of `examples/receivers` believe what was signed by the secret, once, and nothing else.

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hub_signature::{ID_HEADER, Key, SIGNATURE_HEADER, SigningKey, SymmetricSecret, TIMESTAMP_HEADER, sign};
use hub_tests::kit::workspace;
use reqwest::StatusCode;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use super::Language;

/// How long a receiver may take to listen, or to print a line.
const LIMIT: Duration = Duration::from_secs(60);

/// How long cargo may take to build the one in Rust, beside other tests.
const BUILD_LIMIT: Duration = Duration::from_secs(300);

/// A receiver that runs; dropping it ends it.
struct Receiver {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    url: String,
    client: reqwest::Client,
    secret: Key,
}

impl Receiver {
    async fn start(command: Command) -> Self {
        let secret = SymmetricSecret::from_random([5; 32]);
        let mut child = tokio::process::Command::from(command)
            .arg("0")
            .env("WEBHOOK_SECRET", secret.reveal().as_str())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = timeout(LIMIT, lines.next_line()).await.expect("it listens in time").unwrap().unwrap();
        let url = first.strip_prefix("listening on ").unwrap_or_else(|| panic!("{first}")).to_owned();
        // A connection of its own for each message: a receiver closes that of one which is too large.
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        Self { _child: child, lines, url, client, secret: secret.into() }
    }

    async fn send(&self, id: &str, at: i64, signature: &str, body: &str) -> StatusCode {
        let request = self
            .client
            .post(&self.url)
            .header(ID_HEADER, id)
            .header(TIMESTAMP_HEADER, at)
            .header(SIGNATURE_HEADER, signature)
            .header("content-type", "application/cloudevents+json")
            .body(body.to_owned());
        request.send().await.unwrap().status()
    }

    async fn send_signed(&self, id: &str, body: &str) -> StatusCode {
        let at = now();
        self.send(id, at, &sign([&self.secret], id, at, body.as_bytes()), body).await
    }

    async fn line(&mut self) -> String {
        timeout(LIMIT, self.lines.next_line()).await.expect("it prints in time").unwrap().unwrap()
    }
}

#[expect(clippy::disallowed_methods, reason = "other people's programs verify against the real time")]
fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn event(kind: &str) -> String {
    json!({ "specversion": "1.0", "type": kind, "subject": "tenant/7", "data": { "name": "Bäckerei" } }).to_string()
}

async fn receives(command: Command) {
    let mut receiver = Receiver::start(command).await;
    let body = event("tenant.registered");
    assert_eq!(receiver.send_signed("a", &body).await, StatusCode::NO_CONTENT);
    assert_eq!(receiver.line().await, "a tenant.registered tenant/7");

    let at = now();
    let signature = sign([&receiver.secret], "b", at, body.as_bytes());
    let stranger = SymmetricSecret::from_random([6; 32]).into();
    let refused = StatusCode::BAD_REQUEST;
    assert_eq!(receiver.send("b", at, &signature, &event("tenant.archived")).await, refused, "another body");
    assert_eq!(receiver.send("c", at, &signature, &body).await, refused, "another id");
    assert_eq!(
        receiver.send("b", at, &sign([&stranger], "b", at, body.as_bytes()), &body).await,
        refused,
        "a stranger"
    );
    let old = at - 360;
    assert_eq!(receiver.send("b", old, &sign([&receiver.secret], "b", old, body.as_bytes()), &body).await, refused);

    // The same again, at another time: taken, and not printed again, as the next line shows.
    assert_eq!(receiver.send_signed("a", &body).await, StatusCode::NO_CONTENT);
    let both = [&stranger, &SigningKey::from_seed([7; 32]).into(), &receiver.secret];
    let rotated = sign(both, "b", at, body.as_bytes());
    assert_eq!(receiver.send("b", at, &rotated, &body).await, StatusCode::NO_CONTENT, "what was refused is not seen");
    assert_eq!(receiver.line().await, "b tenant.registered tenant/7");

    let batch = format!("[{},{}]", event("tenant.suspended"), event("tenant.resumed"));
    assert_eq!(receiver.send_signed("d", &batch).await, StatusCode::NO_CONTENT);
    assert_eq!(receiver.line().await, "d tenant.suspended tenant/7");
    assert_eq!(receiver.line().await, "d tenant.resumed tenant/7");

    let huge = format!("\"{}\"", "a".repeat(2 << 20));
    let answer = receiver.client.post(&receiver.url).body(huge).send().await;
    // Whoever stops reading may close before the sender has read the answer.
    assert!(answer.is_err() || answer.unwrap().status() == StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(receiver.send_signed("e", &body).await, StatusCode::NO_CONTENT);
}

fn example(file: &str) -> std::path::PathBuf {
    workspace().join("examples/receivers").join(file)
}

#[tokio::test]
async fn the_python_receiver_takes_each_signed_event_once() {
    if let Some(command) = Language::Python.command(example("python/receiver.py")) {
        receives(command).await;
    }
}

#[tokio::test]
async fn the_typescript_receiver_takes_each_signed_event_once() {
    if let Some(command) = Language::Node.command(example("typescript/receiver.ts")) {
        receives(command).await;
    }
}

#[tokio::test]
async fn the_rust_receiver_takes_each_signed_event_once() {
    let target =
        std::env::var("CARGO_TARGET_DIR").map_or_else(|_| workspace().join("target"), Into::into).join("receiver");
    let build = tokio::process::Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(["build", "--quiet", "--locked", "--manifest-path"])
        .arg(example("rust/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .kill_on_drop(true)
        .output();
    let built = timeout(BUILD_LIMIT, build).await.expect("it is small").unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    receives(Command::new(target.join("debug/webhook-receiver"))).await;
}

#[test]
fn the_examples_use_the_versions_that_are_tested() {
    let read = |file: &str| std::fs::read_to_string(workspace().join(file)).unwrap();
    let wanted = read("examples/receivers/python/requirements.txt");
    assert!(read("tests/interop/python/requirements.txt").lines().any(|line| line == wanted.trim()));
    let packages = |file: &str| -> serde_json::Value { serde_json::from_str(&read(file)).unwrap() };
    let tested = packages("tests/interop/node/package.json");
    let example = packages("examples/receivers/typescript/package.json");
    for (name, version) in example["dependencies"].as_object().unwrap() {
        assert_eq!(tested["dependencies"][name], *version, "{name}");
    }
}
