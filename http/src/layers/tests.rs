//! What every answer bears, and what happens beyond each bound.

use std::sync::Mutex;

use axum::routing::{get, post};
use serde_json::Value;
use tokio::sync::Notify;

use super::*;
use crate::{
    body::Body,
    testing::{body_json, send},
};

fn layers() -> Layers {
    Layers {
        request_timeout: Duration::from_millis(50),
        body_bytes_max: 100,
        requests_in_flight_max: 8,
        ..Layers::default()
    }
}

fn routes() -> Router {
    let panics = async || -> &'static str { panic!("secret of the house") };
    Router::new()
        .route("/ok/{id}", get(async || "ok"))
        .route("/cached", get(async || ([("cache-control", "max-age=5")], "ok")))
        .route("/panics", get(panics))
        .route("/hangs", get(std::future::pending::<&'static str>))
        .route("/body", post(async |_: Body<Value>| "ok"))
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_the_security_headers() {
    let router = layers().wrap(routes());
    let response = send(&router, "GET", "/ok/1", &[("x-request-id", "my-id.1")], "").await;
    assert_eq!(response.headers()["x-request-id"], "my-id.1");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(response.headers()[name], value);
    }
    assert!(!response.headers().contains_key("strict-transport-security"), "only with TLS");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let long = "x".repeat(129);
    for bad in ["a b", "", "a\"b", &long] {
        let response = send(&router, "GET", "/nowhere", &[("x-request-id", bad)], "").await;
        assert!(response.headers()["x-request-id"].to_str().unwrap().parse::<Uuid>().is_ok(), "{bad}");
    }
    assert_eq!(send(&router, "GET", "/cached", &[], "").await.headers()["cache-control"], "max-age=5");
}

#[tokio::test]
async fn behind_tls_browsers_are_told_to_stay_there() {
    let router = Layers { strict_transport: true, ..layers() }.wrap(routes());
    let response = send(&router, "GET", "/nowhere", &[], "").await;
    assert_eq!(response.headers()["strict-transport-security"], "max-age=31536000");
}

#[tokio::test]
async fn pages_of_others_are_let_in_by_name_only() {
    let origin = ("origin", "https://console.example");
    let preflight = [origin, ("access-control-request-method", "POST")];
    let crossing = |response: &Response| {
        let names = response.headers().keys().map(axum::http::HeaderName::as_str);
        names.filter(|name| name.starts_with("access-control-")).map(str::to_owned).collect::<Vec<_>>()
    };
    let closed = layers().wrap(routes());
    for (method, headers) in [("GET", &preflight[..1]), ("OPTIONS", &preflight[..])] {
        let response = send(&closed, method, "/ok/1", headers, "").await;
        assert_eq!(crossing(&response), Vec::<String>::new());
    }
    let origins = vec![HeaderValue::from_static("https://console.example")];
    let router = Layers { cors_allowed_origins: origins, ..layers() }.wrap(routes());
    let response = send(&router, "GET", "/ok/1", &[origin], "").await;
    assert_eq!(response.headers()["access-control-allow-origin"], "https://console.example");
    assert!(response.headers()["access-control-expose-headers"].to_str().unwrap().contains("consistency-token"));
    assert!(!response.headers().contains_key("access-control-allow-credentials"));
    let response = send(&router, "OPTIONS", "/ok/1", &preflight, "").await;
    assert_eq!((response.status().as_u16(), &response.headers()["x-frame-options"]), (200, &"DENY".parse().unwrap()));
    assert!(response.headers()["access-control-allow-headers"].to_str().unwrap().contains("authorization"));
    let stranger = [("origin", "https://console.example.evil"), preflight[1]];
    for (method, headers) in [("GET", &stranger[..1]), ("OPTIONS", &stranger[..])] {
        let response = send(&router, method, "/ok/1", headers, "").await;
        assert_eq!(crossing(&response), Vec::<String>::new(), "{method}");
        assert_eq!(response.headers()["vary"], "origin");
    }
}

#[tokio::test]
async fn long_addresses_and_many_headers_are_problems() {
    let router = layers().wrap(routes());
    let response = send(&router, "GET", &format!("/ok/{}", "a".repeat(8 * 1024 - 4)), &[], "").await;
    assert_eq!(response.status(), 200);
    let response = send(&router, "GET", &format!("/ok/1?a={}", "a".repeat(8 * 1024)), &[], "").await;
    assert_eq!((response.status().as_u16(), body_json(response).await["uri_bytes_max"].as_u64()), (414, Some(8192)));
    let long = "a".repeat(16 * 1024);
    let response = send(&router, "GET", "/ok/1", &[("x-long", &long)], "").await;
    assert_eq!((response.status().as_u16(), &body_json(response).await["code"]), (431, &"headers_too_large".into()));
    let many = vec![("x-many", "1"); HEADERS_MAX + 1];
    assert_eq!(send(&router, "GET", "/ok/1", &many, "").await.status(), 431);
    assert_eq!(send(&router, "GET", "/ok/1", &many[1..], "").await.status(), 200);
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problems() {
    let router = layers().wrap(routes());
    let response = send(&router, "GET", "/nowhere", &[], "").await;
    assert_eq!(response.status(), 404);
    assert_eq!(body_json(response).await["code"], "unknown_route");
    let response = send(&router, "DELETE", "/body", &[], "").await;
    assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &HeaderValue::from_static("POST")));
    assert_eq!(body_json(response).await["code"], "method_not_allowed");
}

#[tokio::test]
async fn a_panic_answers_internal_and_does_not_tell() {
    let response = send(&layers().wrap(routes()), "GET", "/panics", &[], "").await;
    assert_eq!(response.status(), 500);
    assert!(response.headers().contains_key("x-request-id"));
    let body = body_json(response).await;
    assert_eq!(body["code"], "internal");
    assert!(!body.to_string().contains("secret"));
}

#[tokio::test]
async fn a_handler_that_hangs_ends_in_request_timeout() {
    let response = send(&layers().wrap(routes()), "GET", "/hangs", &[], "").await;
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(body_json(response).await["code"], "request_timeout");
}

#[tokio::test]
async fn the_body_limit_reaches_the_extractor() {
    let router = layers().wrap(routes());
    let json = [("content-type", "application/json")];
    assert_eq!(send(&router, "POST", "/body", &json, "{}").await.status(), 200);
    let response = send(&router, "POST", "/body", &json, &format!("\"{}\"", "a".repeat(100))).await;
    assert_eq!(body_json(response).await["body_bytes_max"], 100);
}

#[tokio::test]
async fn requests_beyond_the_bound_are_refused_at_once_but_health_is_not() {
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (arrived, go) = (Arc::clone(&arrived), Arc::clone(&go));
        async move || {
            arrived.notify_one();
            go.notified().await;
            "ok"
        }
    };
    let router = Router::new().route("/slow", get(handler)).route("/health/live", get(async || "ok"));
    let bounds = Layers { request_timeout: Duration::from_secs(60), requests_in_flight_max: 1, ..layers() };
    let router = bounds.wrap(router);
    let slow = tokio::spawn({
        let router = router.clone();
        async move { send(&router, "GET", "/slow", &[], "").await.status() }
    });
    arrived.notified().await;
    let response = send(&router, "GET", "/slow", &[], "").await;
    assert_eq!(body_json(response).await["code"], "overloaded");
    assert_eq!(send(&router, "GET", "/health/live", &[], "").await.status(), 200);
    go.notify_one();
    assert_eq!(slow.await.unwrap(), 200);
}

#[tokio::test]
async fn a_stream_that_is_being_sent_is_not_in_flight_any_more() {
    let stream = async || axum::body::Body::from_stream(futures::stream::pending::<Result<String, axum::Error>>());
    let router = Router::new().route("/stream", get(stream));
    let router = Layers { requests_in_flight_max: 1, ..layers() }.wrap(router);
    let first = send(&router, "GET", "/stream", &[], "").await;
    let second = send(&router, "GET", "/stream", &[], "").await;
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
}

/// Keeps the labels of what is registered.
#[derive(Clone, Debug, Default)]
struct Registered(Arc<Mutex<Vec<String>>>);

impl Registered {
    fn keep(&self, key: &metrics::Key) {
        let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        self.0.lock().unwrap().push(format!("{} {}", key.name(), labels.join(" ")));
    }
}

impl metrics::Recorder for Registered {
    fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_histogram(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        self.keep(key);
        metrics::Counter::noop()
    }
    fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::noop()
    }
    fn register_histogram(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
        self.keep(key);
        metrics::Histogram::noop()
    }
}

#[test]
fn metrics_are_labelled_by_route_and_never_by_the_words_of_the_caller() {
    let registered = Registered::default();
    metrics::with_local_recorder(&registered, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let router = layers().wrap(routes());
            send(&router, "GET", "/ok/7", &[], "").await;
            send(&router, "BREW", "/coffee/7", &[], "").await;
        });
    });
    let expected = [
        "hub_http_requests_total method=GET route=/ok/{id} status=200",
        "hub_http_request_duration_seconds method=GET route=/ok/{id} status=200",
        "hub_http_requests_total method=OTHER route=unmatched status=404",
        "hub_http_request_duration_seconds method=OTHER route=unmatched status=404",
    ];
    assert_eq!(*registered.0.lock().unwrap(), expected);
}
