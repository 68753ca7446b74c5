//! What stands between the network and the handlers, over real connections: slow and greedy clients, proxies, browsers, TLS.

mod inbound;
mod tls;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request},
    routing::{get, post},
};
use futures::stream;
use hub::{
    api,
    config::{Config, Edge, Flags},
    listener::Connections,
};
use hub_http::{Body as Json, PeerAddress};
use hub_tests::kit::{Database, HubProcess, eventually};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    api::{TENANT, api_within},
    tokens::token,
};

/// Longer than every timeout that a test sets, and much shorter than those it leaves alone or sets out of reach.
const SOON: Duration = Duration::from_secs(20);

/// Out of the reach of every test.
const NEVER: &str = "300";

/// The settings of the edge as the environment gives them: `("header_timeout_seconds", "1")`.
fn edge(settings: &[(&str, &str)]) -> Edge {
    let find = |variable: &str| {
        let found = settings.iter().find(|(name, _)| variable == format!("HUB_{}", name.to_uppercase()));
        found.map(|(_, value)| (*value).to_owned())
    };
    Config::from_sources(&Flags::default(), &find, None).unwrap().edge
}

/// A listener that serves until it is told to stop.
struct Served {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Served {
    async fn new(edge: &Edge, router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let connections = Connections::new(edge).unwrap();
        let task = tokio::spawn(connections.serve(listener, router, shutdown.clone()));
        Self { address, shutdown, task }
    }

    /// The routes of this file within the layers of these settings.
    async fn small(settings: &[(&str, &str)]) -> Self {
        let edge = edge(settings);
        let router = api::layers(&edge).wrap(routes());
        Self::new(&edge, router).await
    }

    /// Both APIs of the program, on a database of their own.
    async fn whole(settings: &[(&str, &str)], database: &Database) -> Self {
        let edge = edge(settings);
        let (router, _) = api_within(api::layers(&edge), &database.pool);
        Self::new(&edge, router).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// One request over a connection of its own.
    async fn ask(&self, head: &str, body: &str) -> Answer {
        let mut connection = self.connect().await;
        let length = body.len();
        let text = format!("{head}\r\nhost: hub\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        connection.write_all(text.as_bytes()).await.unwrap();
        Answer::read(&mut connection).await
    }

    async fn get(&self, path: &str, headers: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1{headers}"), "").await
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(SOON, self.task).await.expect("it ends").unwrap().unwrap();
    }
}

fn routes() -> Router {
    let piece = |_| Ok::<_, std::io::Error>(vec![b'a'; 1 << 20]);
    let peer = async |peer: Option<axum::Extension<PeerAddress>>| peer.map(|peer| peer.0.0.to_string()).unwrap();
    Router::new()
        .route("/ok", get(async || "ok"))
        .route("/peer", get(peer))
        .route("/body", post(async |_: Json<Value>| "ok"))
        .route("/much", get(async move || Body::from_stream(stream::iter((0..64).map(piece)))))
}

/// An answer over HTTP/1.1.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    /// Reads to the end of the connection.
    async fn read(connection: &mut TcpStream) -> Self {
        let text = String::from_utf8(to_the_end(connection).await).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer in {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pairs = lines.map(|line| line.split_once(": ").unwrap());
        let headers = pairs.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Self { status, headers: headers.collect(), body: body.to_owned() }
    }

    fn code(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        problem["code"].as_str().unwrap().to_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")).to_str().unwrap()
    }
}

/// What comes until the other side closes; being reset is an end as well.
async fn to_the_end(connection: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(SOON, connection.read_to_end(&mut bytes)).await.expect("the connection ends").ok();
    bytes
}

fn bearer(number: u8) -> String {
    format!("\r\nauthorization: Bearer {}", token(number))
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_headers_is_cut_off() {
    let served = Served::small(&[("header_timeout_seconds", "1"), ("idle_timeout_seconds", NEVER)]).await;
    for begun in ["", "G", "GET /ok HTTP/1.1\r\nhost: hub\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let began = Instant::now();
        let mut connection = served.connect().await;
        connection.write_all(begun.as_bytes()).await.unwrap();
        let said = to_the_end(&mut connection).await;
        assert!(!said.starts_with(b"HTTP/1.1 2"), "{begun:?}");
        assert!(began.elapsed() >= Duration::from_millis(990), "{begun:?}: {:?}", began.elapsed());
    }
    // The second request of a connection as well, although it may rest for long.
    let mut connection = served.connect().await;
    connection.write_all(b"GET /ok HTTP/1.1\r\nhost: hub\r\n\r\n").await.unwrap();
    let mut answer = [0; 17];
    connection.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK\r\n");
    connection.write_all(b"GET /ok HT").await.unwrap();
    to_the_end(&mut connection).await;
    served.stop().await;
}

#[tokio::test]
async fn a_connection_may_rest_between_requests_but_not_for_ever() {
    let served = Served::small(&[("header_timeout_seconds", "1"), ("idle_timeout_seconds", "3")]).await;
    let mut connection = served.connect().await;
    connection.write_all(b"GET /ok HTTP/1.1\r\nhost: hub\r\n\r\n").await.unwrap();
    let began = Instant::now();
    let text = to_the_end(&mut connection).await;
    assert!(text.starts_with(b"HTTP/1.1 200"));
    assert!(began.elapsed() >= Duration::from_millis(2_900), "{:?}", began.elapsed());
    served.stop().await;
}

#[tokio::test]
async fn a_body_that_trickles_is_a_problem() {
    let served = Served::small(&[("body_timeout_seconds", "1")]).await;
    let mut connection = served.connect().await;
    let head = "POST /body HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    connection.write_all(head.as_bytes()).await.unwrap();
    let answer = Answer::read(&mut connection).await;
    assert_eq!((answer.status, answer.code().as_str()), (408, "body_timeout"));
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_an_answer_gives_its_place_free() {
    let served = Served::small(&[("write_timeout_seconds", "1"), ("connections_max", "1")]).await;
    let mut greedy = served.connect().await;
    greedy.write_all(b"GET /much HTTP/1.1\r\nhost: hub\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    greedy.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let mut refused = served.connect().await;
    refused.write_all(b"GET /ok HTTP/1.1\r\nhost: hub\r\n\r\n").await.ok();
    assert!(to_the_end(&mut refused).await.is_empty(), "there is room for one only");
    eventually(SOON, async || {
        let mut connection = served.connect().await;
        connection.write_all(b"GET /ok HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n").await.ok()?;
        to_the_end(&mut connection).await.starts_with(b"HTTP/1.1 200").then_some(())
    })
    .await;
    drop(greedy);
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_closes_its_window_gives_its_place_free() {
    let served = Served::small(&[("write_timeout_seconds", "1"), ("idle_timeout_seconds", NEVER)]).await;
    let connection = TokioIo::new(served.connect().await);
    let (mut requests, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1_000)
        .handshake(connection)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://hub/much").body(Body::empty()).unwrap();
    // The window opens when its body is read, which nobody does.
    let response = timeout(SOON, requests.send_request(request)).await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    timeout(SOON, connection).await.expect("it ends").unwrap().ok();
    served.stop().await;
}

#[tokio::test]
async fn stopping_waits_for_requests_and_not_for_connections_that_rest() {
    let (arrived, go) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let handler = {
        let (arrived, go) = (Arc::clone(&arrived), Arc::clone(&go));
        async move || {
            arrived.notify_one();
            go.notified().await;
            "done"
        }
    };
    let edge = edge(&[("header_timeout_seconds", NEVER)]);
    let served = Served::new(&edge, Router::new().route("/slow", get(handler))).await;
    let resting = served.connect().await;
    let mut asking = served.connect().await;
    asking.write_all(b"GET /slow HTTP/1.1\r\nhost: hub\r\n\r\n").await.unwrap();
    arrived.notified().await;
    served.shutdown.cancel();
    eventually(SOON, async || TcpStream::connect(served.address).await.is_err().then_some(())).await;
    assert!(!served.task.is_finished(), "a request is under way");
    go.notify_one();
    let answer = Answer::read(&mut asking).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "done"));
    served.stop().await;
    drop(resting);
}

#[tokio::test]
async fn oversized_requests_are_refused_with_a_problem_and_enormous_ones_without() {
    let served = Served::small(&[]).await;
    let answer = served.get("/ok", &format!("\r\nx-long: {}", "a".repeat(20_000))).await;
    assert_eq!((answer.status, answer.code().as_str()), (431, "headers_too_large"));
    let answer = served.get(&format!("/ok?{}", "a".repeat(9_000)), "").await;
    assert_eq!((answer.status, answer.code().as_str()), (414, "uri_too_long"));
    let mut connection = served.connect().await;
    let enormous = format!("GET /ok HTTP/1.1\r\nhost: hub\r\nx-long: {}\r\n\r\n", "a".repeat(200_000));
    connection.write_all(enormous.as_bytes()).await.ok();
    assert!(!to_the_end(&mut connection).await.starts_with(b"HTTP/1.1 2"));
    let many = "\r\nx-many: 1".repeat(200);
    assert_eq!(served.get("/ok", &many).await.status, 431);
    assert_eq!(served.get("/ok", "").await.status, 200);
    served.stop().await;
}

#[tokio::test]
async fn json_that_is_nested_too_deep_is_a_problem() {
    let database = Database::new().await;
    let served = Served::whole(&[], &database).await;
    let deep = format!("{{\"name\":{}{}}}", "[".repeat(40), "]".repeat(40));
    let head = format!("POST /v1/tenants HTTP/1.1\r\ncontent-type: application/json{}", bearer(1));
    let answer = served.ask(&head, &deep).await;
    assert_eq!((answer.status, answer.code().as_str()), (422, "invalid_body"));
    assert!(answer.body.contains("nested deeper than 32"), "{}", answer.body);
    served.stop().await;
}

#[tokio::test]
async fn cors_is_closed_and_opens_for_named_origins_only() {
    let database = Database::new().await;
    let origin = "\r\norigin: https://console.example";
    let preflight = format!("OPTIONS /v1/tenants HTTP/1.1{origin}\r\naccess-control-request-method: POST");
    let ask = format!("{origin}{}", bearer(1));
    let closed = Served::whole(&[], &database).await;
    for answer in [closed.ask(&preflight, "").await, closed.get("/v1/tenants", &ask).await] {
        let names = answer.headers.keys().map(axum::http::HeaderName::as_str);
        assert_eq!(names.filter(|name| name.starts_with("access-control")).count(), 0, "{answer:?}");
    }
    closed.stop().await;

    let open = Served::whole(&[("cors_allowed_origins", "https://console.example")], &database).await;
    let answer = open.ask(&preflight, "").await;
    assert_eq!(answer.header("access-control-allow-origin"), "https://console.example");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    // The second answer comes from the shortcut.
    for _ in 0..2 {
        let answer = open.get("/v1/tenants", &ask).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), "https://console.example");
        assert!(answer.header("access-control-expose-headers").contains("ratelimit"));
        assert!(!answer.headers.contains_key("access-control-allow-credentials"));
    }
    let other = open.get("/v1/tenants", &ask.replace("console", "evil")).await;
    assert!(!other.headers.contains_key("access-control-allow-origin"));
    open.stop().await;
}

#[tokio::test]
async fn who_asks_too_much_is_told_so_on_every_answer_and_may_come_again() {
    let database = Database::new().await;
    let settings = [("rate_limit_principal_per_second", "1"), ("rate_limit_principal_burst", "4")];
    let served = Served::whole(&settings, &database).await;
    // The same address again and again: the shortcut's answers count as well.
    let mut refused = None;
    for round in 0..8 {
        let answer = served.get("/v1/tenants", &bearer(1)).await;
        assert_eq!(answer.header("ratelimit-policy"), "\"principal\";q=4;w=4");
        assert!(answer.header("ratelimit").starts_with("\"principal\";r="), "{answer:?}");
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status, 200, "{round}: {answer:?}");
    }
    let refused = refused.expect("four at once and one a second are not eight");
    assert_eq!((refused.code().as_str(), refused.header("retry-after")), ("rate_limited", "1"));
    assert!(refused.header("ratelimit").starts_with("\"principal\";r=0;t="), "{refused:?}");
    let stranger = served.get(&format!("/v1/tenants/{}", Uuid::from_u128(9)), &bearer(3)).await;
    assert_eq!((stranger.status, stranger.header("ratelimit")), (404, "\"principal\";r=3;t=1, \"tenant\";r=9999;t=1"));
    assert_eq!(stranger.header("ratelimit-policy"), "\"principal\";q=4;w=4, \"tenant\";q=10000;w=2");
    eventually(SOON, async || (served.get("/v1/tenants", &bearer(1)).await.status == 200).then_some(())).await;
    assert!(!served.get("/health/live", "").await.headers.contains_key("ratelimit"));
    served.stop().await;
}

#[tokio::test]
async fn two_tenants_do_not_use_up_each_others_limit() {
    let database = Database::new().await;
    let settings = [("rate_limit_tenant_per_second", "1"), ("rate_limit_tenant_burst", "2")];
    let served = Served::whole(&settings, &database).await;
    let roles = |tenant: Uuid| format!("/v1/tenants/{tenant}/roles");
    let next = Uuid::from_u128(TENANT.as_u128() + 1);
    // Nothing is there yet, but who may ask is told so with 404 and who may not with 429.
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(served.get(&roles(TENANT), &bearer(2)).await.status);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(served.get(&roles(next), &bearer(3)).await.status, 404);
    // Nor by asking for each other's things: who asks counts.
    for _ in 0..6 {
        served.get(&roles(next), &bearer(2)).await;
    }
    assert_eq!(served.get(&roles(next), &bearer(3)).await.status, 404);
    served.stop().await;
}

#[tokio::test]
async fn guesses_are_counted_by_the_address_that_a_trusted_proxy_names_and_by_no_other() {
    let database = Database::new().await;
    let guesses = [("rate_limit_failed_logins_per_second", "1"), ("rate_limit_failed_logins_burst", "2")];
    let guess = |peer: u8| format!("\r\nx-forwarded-for: 203.0.113.{peer}\r\nauthorization: Bearer hub_a_b");

    let served = Served::whole(&guesses, &database).await;
    let mut statuses = Vec::new();
    for peer in 0..8 {
        statuses.push(served.get("/v1/tenants", &guess(peer)).await.status);
    }
    assert!(statuses.contains(&429), "a made-up address does not help: {statuses:?}");
    served.stop().await;

    let trusted = [guesses[0], guesses[1], ("trusted_proxies", "127.0.0.0/8")];
    let served = Served::whole(&trusted, &database).await;
    for peer in 0..8 {
        assert_eq!(served.get("/v1/tenants", &guess(peer)).await.status, 401);
    }
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(served.get("/v1/tenants", &guess(99)).await.status);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    served.stop().await;
}

#[tokio::test]
async fn handlers_know_the_peer_and_nobody_can_make_one_up() {
    let served = Served::small(&[]).await;
    assert_eq!(served.get("/peer", "\r\nx-forwarded-for: 203.0.113.1").await.body, "127.0.0.1");
    served.stop().await;
    let served = Served::small(&[("trusted_proxies", "127.0.0.1")]).await;
    let made_up = "\r\nx-forwarded-for: 198.51.100.7, 203.0.113.1\r\nforwarded: for=198.51.100.7";
    assert_eq!(served.get("/peer", made_up).await.body, "203.0.113.1");
    served.stop().await;
}

#[tokio::test]
async fn the_program_is_within_these_bounds_and_counts_what_it_refuses() {
    let settings = [
        ("HUB_RATE_LIMIT_FAILED_LOGINS_PER_SECOND", "1"),
        ("HUB_RATE_LIMIT_FAILED_LOGINS_BURST", "1"),
        ("HUB_HEADER_TIMEOUT_SECONDS", "1"),
    ];
    let hub = HubProcess::start_with(&settings).await;
    eventually(SOON, async || {
        let answer = reqwest::get(format!("{}/v1/tenants", hub.url())).await.ok()?;
        (answer.status() == 429 && answer.headers().contains_key("retry-after")).then_some(())
    })
    .await;
    let address = hub.url().strip_prefix("http://").unwrap();
    to_the_end(&mut TcpStream::connect(address).await.unwrap()).await;
    let metrics = reqwest::get(hub.metrics_url()).await.unwrap().text().await.unwrap();
    let counted = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert!(counted("hub_http_rate_limited_total{limit=\"address\"}") > 0);
    assert!(counted("hub_connections_expired_total{reason=\"header\"}") > 0);
    assert!(metrics.contains("hub_connections_open"));
}
