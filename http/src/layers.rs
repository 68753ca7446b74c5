//! What every request passes: request id, span, metrics, bounds, panics, security headers, fallbacks.
//!
//! From the outside in: the shortcut, if there is one; `observe` (request id, span, latency, headers), panic to problem, bound on requests in flight
//! and time limit, body limit, route. The time limit and the bound end when the response begins, so an event stream
//! or an export that is still being sent is touched by neither; its handler must return its response at once.

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use tokio::{sync::Semaphore, time::timeout};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{Instrument, Span, field::Empty};
use uuid::Uuid;

use crate::{
    body::{BODY_BYTES_MAX, BodyLimit},
    headers::{self, REQUEST_ID},
    meters::Meters,
    problem::{AnsweredCode, Problem},
    shortcut::{Front, Shortcut},
    traceparent::TraceParent,
};

pub use crate::meters::{REQUEST_DURATION, REQUESTS};

/// Longest request id that is kept from a request, in characters.
const REQUEST_ID_CHARACTERS_MAX: usize = 128;

/// Where requests are let through although too many are in flight: an overloaded process is alive all the same.
const HEALTH_PREFIX: &str = "/health/";

/// The route label of requests that match none.
const UNMATCHED: &str = "unmatched";

/// The bounds of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers {
    /// How long a handler may take until its response begins; then 503 `request_timeout`.
    pub request_timeout: Duration,
    /// Longest request body.
    pub body_bytes_max: usize,
    /// Most requests whose response has not begun; further ones get 503 `overloaded` at once.
    pub requests_in_flight_max: usize,
}

impl Default for Layers {
    /// 30 s, which is more than the longest wait for a read model; 64 KiB; 4,096 requests.
    fn default() -> Self {
        Self { request_timeout: Duration::from_secs(30), body_bytes_max: BODY_BYTES_MAX, requests_in_flight_max: 4096 }
    }
}

/// The id of a request, an extension of every request: 1 to 128 of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

impl Layers {
    /// Wraps a finished router: all routes merged and all state given. Sets its fallbacks.
    pub fn wrap(self, router: Router) -> Router {
        self.wrap_with(router, Meters::default())
    }

    /// The same behind a shortcut, whose answers are finished and counted like those of the routes.
    pub fn wrap_behind(self, shortcut: Shortcut, router: Router) -> Router {
        let meters = Meters::default();
        let router = self.wrap_with(router, meters.clone());
        Router::new().fallback_service(Front { shortcut, meters, router })
    }

    fn wrap_with(self, router: Router, meters: Meters) -> Router {
        let bounds = Bounds {
            timeout: self.request_timeout,
            body: BodyLimit(self.body_bytes_max),
            in_flight: Arc::new(Semaphore::new(self.requests_in_flight_max)),
        };
        router
            .fallback(async || Problem::unknown_route())
            .method_not_allowed_fallback(async || Problem::method_not_allowed())
            .layer(DefaultBodyLimit::max(self.body_bytes_max))
            .layer(from_fn_with_state(bounds, bound))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(from_fn_with_state(meters, observe))
    }
}

/// Tells the metrics recorder what the metrics of this crate are; call it once, after installing the recorder.
pub fn describe_metrics() {
    metrics::describe_histogram!(REQUEST_DURATION, metrics::Unit::Seconds, "Time until the response begins.");
    metrics::describe_counter!(REQUESTS, "Requests answered.");
}

#[derive(Clone, Debug)]
struct Bounds {
    timeout: Duration,
    body: BodyLimit,
    in_flight: Arc<Semaphore>,
}

async fn bound(State(bounds): State<Bounds>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(bounds.body);
    let health = request.uri().path().starts_with(HEALTH_PREFIX);
    let permit = bounds.in_flight.try_acquire();
    if permit.is_err() && !health {
        return Problem::overloaded().into_response();
    }
    match timeout(bounds.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::request_timeout().into_response(),
    }
}

fn panicked(payload: Box<dyn Any + Send>) -> Response {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
    tracing::error!(panic = text, "a handler panicked");
    Problem::internal().into_response()
}

async fn observe(State(meters): State<Meters>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let label = || route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    let id = request_id(request.headers());
    let span = span_of(method, label(), &id, TraceParent::of(request.headers()));
    request.extensions_mut().insert(id.clone());

    let mut response = next.run(request).instrument(span.clone()).await;

    let duration = began.elapsed();
    finish_headers(response.headers_mut(), headers::ascii(&id.0));
    record(&span, &response, duration.as_secs_f64());
    meters.record(method, label(), response.status().as_u16(), duration);
    response
}

/// Methods are the caller's words; only known ones become labels.
pub(crate) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

fn request_id(headers: &HeaderMap) -> RequestId {
    let kept = headers.get(&REQUEST_ID).filter(|value| is_request_id(value)).and_then(|value| value.to_str().ok());
    let mut buffer = Uuid::encode_buffer();
    RequestId(kept.unwrap_or_else(|| Uuid::now_v7().hyphenated().encode_lower(&mut buffer)).into())
}

/// The same, for whoever needs it as a header only.
pub(crate) fn request_id_value(headers: &HeaderMap) -> HeaderValue {
    headers
        .get(&REQUEST_ID)
        .filter(|value| is_request_id(value))
        .cloned()
        .unwrap_or_else(|| headers::ascii(Uuid::now_v7().hyphenated().encode_lower(&mut Uuid::encode_buffer())))
}

fn is_request_id(value: &HeaderValue) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=REQUEST_ID_CHARACTERS_MAX).contains(&value.len()) && value.as_bytes().iter().all(plain)
}

/// Route and ids only: no path with its ids in it, no query, no body, no key.
fn span_of(method: &str, route: &str, id: &RequestId, parent: Option<TraceParent>) -> Span {
    tracing::info_span!(
        "request",
        method,
        route,
        request_id = %id.0,
        trace_id = parent.as_ref().map(TraceParent::trace_id),
        parent_id = parent.as_ref().map(TraceParent::parent_id),
        status = Empty,
        code = Empty,
        latency_ms = Empty,
    )
}

fn record(span: &Span, response: &Response, seconds: f64) {
    span.record("status", response.status().as_u16());
    span.record("latency_ms", seconds * 1000.0);
    if let Some(AnsweredCode(code)) = response.extensions().get::<AnsweredCode>() {
        span.record("code", code.as_ref());
    }
    let _entered = span.enter();
    if response.status().is_server_error() {
        tracing::warn!("answered with a server error");
    } else {
        tracing::debug!("answered");
    }
}

pub(crate) fn finish_headers(headers: &mut HeaderMap, id: HeaderValue) {
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
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
        Layers { request_timeout: Duration::from_millis(50), body_bytes_max: 100, requests_in_flight_max: 8 }
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
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let long = "x".repeat(129);
        for bad in ["a b", "", "a\"b", &long] {
            let response = send(&router, "GET", "/nowhere", &[("x-request-id", bad)], "").await;
            assert!(response.headers()["x-request-id"].to_str().unwrap().parse::<Uuid>().is_ok(), "{bad}");
        }
        assert_eq!(send(&router, "GET", "/cached", &[], "").await.headers()["cache-control"], "max-age=5");
    }

    #[tokio::test]
    async fn unknown_routes_and_methods_are_problems() {
        let router = layers().wrap(routes());
        let response = send(&router, "GET", "/nowhere", &[], "").await;
        assert_eq!(response.status(), 404);
        assert_eq!(body_json(response).await["code"], "unknown_route");
        let response = send(&router, "DELETE", "/body", &[], "").await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &HeaderValue::from_static("POST"))
        );
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
}
