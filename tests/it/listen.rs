//! `hub listen` and `hub webhooks tail`, with a platform and a program that are played by the test, and with real ones.

mod restarted;

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use hub_signature::{ID_HEADER, Key, Received, SIGNATURE_HEADER, TIMESTAMP_HEADER, TOLERANCE, verify};
use hub_tests::kit::{HubProcess, directory, program};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const TENANT: &str = "0197f2f0-0000-7000-8000-000000000070";

const LIMIT: Duration = Duration::from_secs(60);

/// A request that the platform or the program has got: the address and the headers, and the body.
type Request = (Uri, HeaderMap, Bytes);

/// What it answers, one after the other; when there are no more, the last for ever.
type Answers = Arc<Mutex<VecDeque<Box<dyn Fn() -> Response + Send>>>>;

/// Somebody who answers over HTTP and remembers what was asked.
#[derive(Clone, Default)]
struct Played {
    answers: Answers,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Played {
    async fn start(answers: Vec<Box<dyn Fn() -> Response + Send>>) -> (Self, String) {
        let played = Self { answers: Arc::new(Mutex::new(answers.into())), ..Self::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().fallback(Self::answer).with_state(played.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (played, url)
    }

    async fn answer(State(played): State<Self>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
        played.requests.lock().unwrap().push((uri, headers, body));
        let mut answers = played.answers.lock().unwrap();
        if answers.len() > 1 { answers.pop_front().unwrap()() } else { answers[0]() }
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn status(status: u16) -> Box<dyn Fn() -> Response + Send> {
    Box::new(move || StatusCode::from_u16(status).unwrap().into_response())
}

/// A stream of these frames that ends, or that stays open without a word.
fn stream(frames: String, stays_open: bool) -> Box<dyn Fn() -> Response + Send> {
    Box::new(move || {
        let frames = futures::stream::iter([Ok::<_, std::io::Error>(frames.clone())]);
        let body = if stays_open {
            Body::from_stream(frames.chain(futures::stream::pending()))
        } else {
            Body::from_stream(frames)
        };
        ([("content-type", "text/event-stream")], body).into_response()
    })
}

fn event(position: u32, event_type: &str) -> String {
    let event = json!({
        "specversion": "1.0", "id": format!("event-{position}"), "type": event_type, "source": "urn:test", "data": { "name": "Žižek" },
    });
    format!("id: {position}\nevent: {event_type}\ndata: {event}\n\n")
}

/// `hub listen`, with the lines that it prints.
struct Listening {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    _files: tempfile::TempDir,
}

impl Listening {
    fn start(api: &str, forward_to: &str, more: &[&str]) -> Self {
        let verb = ["listen", "--tenant", TENANT, "--api-url", api, "--forward-to", forward_to];
        Self::run(&[&verb, more].concat(), "hub_key_of_the_test")
    }

    fn run(arguments: &[&str], key: &str) -> Self {
        let files = directory();
        let mut command = Command::new(program("hub_under_test"));
        command
            .args(arguments)
            .env("HUB_KEY", key)
            .current_dir(files.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, _files: files }
    }

    async fn line(&mut self) -> String {
        let line = timeout(LIMIT, self.lines.next_line()).await.expect("it prints in time").unwrap();
        line.expect("it goes on")
    }

    /// The words of the next line behind the time.
    async fn attempt(&mut self) -> Vec<String> {
        self.line().await.split_whitespace().skip(1).map(str::to_owned).collect()
    }

    async fn head(&mut self) -> Vec<String> {
        let mut head = Vec::new();
        loop {
            let line = self.line().await;
            if line == "Ctrl-C ends" {
                return head;
            }
            head.push(line);
        }
    }

    fn ctrl_c(&self) {
        kill_process(Pid::from_raw(self.child.id().unwrap() as i32).unwrap(), Signal::INT).unwrap();
    }

    /// What it says at the end, after Ctrl-C.
    async fn interrupt(mut self) -> String {
        self.ctrl_c();
        let mut last = self.line().await;
        while !last.contains(" taken, ") {
            last = self.line().await;
        }
        let status = timeout(LIMIT, self.child.wait()).await.unwrap().unwrap();
        assert!(status.success(), "{status}");
        last
    }

    /// Its exit code and what it said on standard error.
    async fn failure(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        timeout(LIMIT, stderr.read_to_string(&mut said)).await.expect("it ends").unwrap();
        (self.child.wait().await.unwrap().code(), said)
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// Whether the request was signed by the key, at the time it says.
fn signed((_, headers, body): &Request, key: &Key) -> bool {
    let timestamp = header(headers, TIMESTAMP_HEADER);
    let received =
        Received { id: header(headers, ID_HEADER), timestamp, signature: header(headers, SIGNATURE_HEADER), body };
    verify(received, &[key.verifying()], timestamp.parse().unwrap(), TOLERANCE).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_signed_in_order_and_once_over_a_lost_connection_and_a_program_that_fails() {
    let first =
        format!("event: hello\nid: 4\ndata: {{\"position\":4}}\n\n{}: heartbeat\n\n", event(5, "tenant.registered"));
    let second = format!("{}event: end\ndata: {{\"reason\":\"shutdown\"}}\n\n", event(8, "tenant.activated"));
    let third = "event: checkpoint\nid: 12\ndata: {\"position\":12}\n\n".to_owned();
    let (platform, api) =
        Played::start(vec![status(503), stream(first, false), stream(second, false), stream(third, true)]).await;
    let (receiver, forward_to) = Played::start(vec![status(500), status(204)]).await;
    let mut listening = Listening::start(&api, &forward_to, &["--types", "tenant.*,role.*", "--after", "4"]);

    let head = listening.head().await;
    let secret = head.iter().find_map(|line| line.strip_prefix("secret   ")).expect("it says its secret");
    let key = Key::parse(secret).unwrap();
    let attempt = listening.attempt().await;
    assert_eq!(attempt[..3], ["tenant.registered", "5", "500"]);
    assert_eq!(attempt[5..].join(" "), "attempt 1, again in 0.2 s");
    assert_eq!(listening.attempt().await[..3], ["tenant.registered", "5", "204"]);
    assert_eq!(listening.attempt().await[..3], ["tenant.activated", "8", "204"]);
    assert_eq!(listening.line().await, "the platform ended the stream: shutdown");
    hub_tests::kit::eventually(LIMIT, async || (platform.requests().len() == 4).then_some(())).await;
    let last = listening.interrupt().await;
    assert!(["8", "12"].iter().any(|at| last == format!("2 taken, 0 given up; go on with --after {at}")), "{last}");

    let asked: Vec<_> = platform
        .requests()
        .iter()
        .map(|(uri, headers, _)| (uri.to_string(), header(headers, "last-event-id").to_owned()))
        .collect();
    let path = format!("/v1/tenants/{TENANT}/events/stream");
    let filtered = format!("{path}?types=tenant.*%2Crole.*");
    assert_eq!(asked[0], (format!("{path}?types=tenant.*%2Crole.*&after=4"), String::new()));
    assert_eq!(asked[1], asked[0]);
    assert_eq!(asked[2], (filtered.clone(), "5".to_owned()));
    assert_eq!(asked[3], (filtered, "8".to_owned()));
    assert_eq!(header(&platform.requests()[0].1, "authorization"), "Bearer hub_key_of_the_test");

    let received = receiver.requests();
    let ids: Vec<_> = received.iter().map(|(_, headers, _)| header(headers, ID_HEADER)).collect();
    assert_eq!(ids, ["event-5", "event-5", "event-8"], "the id stays the same over all attempts");
    for request in &received {
        assert!(signed(request, &key));
        assert!(!signed(&(request.0.clone(), request.1.clone(), Bytes::from_static(b"{}")), &key));
        assert_eq!(header(&request.1, "content-type"), "application/cloudevents+json");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_given_is_used_and_not_printed() {
    let (_, api) = Played::start(vec![stream(event(1, "tenant.registered"), true)]).await;
    let (receiver, forward_to) = Played::start(vec![status(204)]).await;
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let mut listening = Listening::start(&api, &forward_to, &["--secret", secret]);
    assert!(!listening.head().await.concat().contains("whsec_"));
    assert_eq!(listening.attempt().await[..3], ["tenant.registered", "1", "204"]);
    assert_eq!(listening.interrupt().await, "1 taken, 0 given up; go on with --after 1");
    assert!(signed(&receiver.requests()[0], &Key::parse(secret).unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_the_wait_for_a_program_that_is_not_there() {
    let (_, api) = Played::start(vec![stream(event(1, "tenant.registered"), true)]).await;
    let nobody = format!("http://127.0.0.1:{}", hub_tests::kit::free_port());
    let mut listening = Listening::start(&api, &nobody, &["--after", "0"]);
    listening.head().await;
    let attempt = listening.attempt().await;
    assert_eq!(attempt[..3], ["tenant.registered", "1", "---"]);
    assert!(attempt.join(" ").contains("nobody listens attempt 1, again in"), "{attempt:?}");
    // The event was not taken, so the next run must begin before it: there is no position to go on from yet.
    assert_eq!(listening.interrupt().await, "0 taken, 0 given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_said_in_one_line() {
    let problem = || {
        (StatusCode::NOT_FOUND, json!({ "code": "not_found", "detail": "no such tenant" }).to_string()).into_response()
    };
    let (platform, api) = Played::start(vec![Box::new(problem)]).await;
    let failure = Listening::start(&api, "http://127.0.0.1:9", &[]).failure().await;
    assert_eq!(
        failure,
        (Some(1), "hub: the platform does not let us follow: 404 not_found (no such tenant)\n".to_owned())
    );
    assert_eq!(platform.requests().len(), 1, "a refusal is not asked again");

    let nobody = format!("http://127.0.0.1:{}", hub_tests::kit::free_port());
    let (code, said) = Listening::start(&nobody, "http://127.0.0.1:9", &[]).failure().await;
    assert!(code == Some(1) && said.starts_with("hub: the platform did not answer"), "{said}");

    for (more, expected) in
        [(["--forward-to", "http://hooks.example/"], "--allow-remote"), (["--secret", "whsec_short"], "--secret")]
    {
        let forward_to = if more[0] == "--forward-to" { more[1] } else { "http://127.0.0.1:9" };
        let more = if more[0] == "--forward-to" { &[][..] } else { &more[..] };
        let (code, said) = Listening::start(&api, forward_to, more).failure().await;
        assert!(code == Some(1) && said.contains(expected) && said.lines().count() == 1, "{said}");
    }
}

fn answer(body: Value) -> Box<dyn Fn() -> Response + Send> {
    Box::new(move || ([("content-type", "application/json")], body.to_string()).into_response())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_of_a_webhook_goes_on_behind_what_it_has_shown() {
    let webhook = "0197f2f0-0000-7000-8000-0000000000aa";
    let attempt = |status: Value, outcome: &str| {
        json!({
            "id": TENANT, "at": "2026-06-01T12:00:01Z", "position": 7, "event_id": TENANT, "event_type": "tenant.renamed", "message_id": "m",
            "attempt": 1, "outcome": outcome, "status": status, "error": null, "latency_ms": 3, "response_headers": {}, "response_body": "",
            "next_attempt_at": null,
        })
    };
    let first =
        json!({ "items": [attempt(json!(500), "retrying"), attempt(json!(204), "delivered")], "next": "17-ab" });
    let (platform, api) = Played::start(vec![answer(first), answer(json!({ "items": [], "next": "17-ab" }))]).await;
    let verb = ["webhooks", "tail", "--tenant", TENANT, "--api-url", &api, "--webhook", webhook];
    let mut tail = Listening::run(&[&verb[..], &["--since", "2026-06-01T00:00:00Z"]].concat(), "k");
    assert_eq!(tail.line().await, format!("from     {api}/v1/tenants/{TENANT}/webhooks"));
    assert_eq!(tail.line().await, "Ctrl-C ends");
    assert_eq!(
        tail.line().await,
        format!("12:00:01  {:<40}        7  500      3 ms  retrying at attempt 1", "tenant.renamed")
    );
    assert!(tail.line().await.ends_with("204      3 ms  delivered at attempt 1"));
    hub_tests::kit::eventually(LIMIT, async || (platform.requests().len() >= 3).then_some(())).await;
    tail.ctrl_c();
    assert!(timeout(LIMIT, tail.child.wait()).await.unwrap().unwrap().success());
    assert_eq!(tail.lines.next_line().await.unwrap(), None, "nothing is shown twice");
    let asked: Vec<_> = platform.requests().iter().map(|(uri, ..)| uri.to_string()).collect();
    let path = format!("/v1/tenants/{TENANT}/webhooks/{webhook}/attempts?limit=200");
    assert_eq!(asked[0], format!("{path}&since=2026-06-01T00:00:00.000000Z"));
    assert!(asked[1..].iter().all(|uri| *uri == format!("{path}&after=17-ab")), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_platform_delivers_and_its_tail_shows_it() {
    let hub = HubProcess::start().await;
    let (receiver, address) = Played::start(vec![status(204)]).await;
    let client = reqwest::Client::new();
    let post = async |path: String, body: Value| -> Value {
        let request = client.post(format!("{}{path}", hub.url())).bearer_auth(hub.admin_key()).json(&body);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    };
    let registration = json!({
        "slug": "acme", "name": "Acme", "contact_email": "it@acme.example", "tier": "starter", "region": "eu-central", "currency": "EUR",
    });
    let tenant = post("/v1/tenants".to_owned(), registration).await["id"].as_str().unwrap().to_owned();
    let hook = json!({ "url": address, "events": ["tenant.*"] });
    let webhook = post(format!("/v1/tenants/{tenant}/webhooks"), hook).await;
    let verb = ["webhooks", "tail", "--tenant", &tenant, "--api-url", hub.url()];
    let mut tail = Listening::run(&[&verb[..], &["--since", "2020-01-01T00:00:00Z"]].concat(), &hub.admin_key());
    post(format!("/v1/tenants/{tenant}/activate"), json!({})).await;
    assert!(tail.line().await.ends_with("/webhooks") && tail.line().await == "Ctrl-C ends");
    let line = tail.line().await;
    assert!(
        line.contains("tenant.activated") && line.contains("204") && line.contains("delivered at attempt 1"),
        "{line}"
    );
    assert!(line.ends_with(webhook["id"].as_str().unwrap()), "{line}");
    tail.ctrl_c();
    assert!(timeout(LIMIT, tail.child.wait()).await.unwrap().unwrap().success());
    let key = Key::parse(webhook["secret"].as_str().unwrap()).unwrap();
    assert!(signed(&receiver.requests()[0], &key), "what the platform signs is verified by what the receivers use");
}
