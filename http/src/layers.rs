//! What every request passes: request id, span, metrics, bounds, panics, security headers, fallbacks.
//!
//! From the outside in: CORS, if it is open for anybody; the shortcut, if there is one; `observe` (peer, request id, span, latency,
//! headers), panic to problem, bounds on requests in flight, addresses and headers, time limit, body limit, route. The time limit and the bound end when the response begins, so an event stream
//! or an export that is still being sent is touched by neither; its handler must return its response at once.

use std::{
    any::Any,
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use aide::OperationInput;
use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRequestParts, MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, request::Parts},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use tokio::{sync::Semaphore, time::timeout};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{Instrument, Span, field::Empty};
use uuid::Uuid;

use crate::{
    body::{BODY_BYTES_MAX, BODY_TIMEOUT, BodyLimit},
    cors,
    edge::Edge,
    headers::{self, REQUEST_ID},
    peer::TrustedProxies,
    problem::{AnsweredCode, Problem},
    rate_limit::{RATE_LIMITED, RateLimits},
    shortcut::{Front, Shortcut},
    traceparent::TraceParent,
};

pub use crate::meters::{REQUEST_DURATION, REQUESTS};

/// Longest request id that is kept from a request, in characters.
const REQUEST_ID_CHARACTERS_MAX: usize = 128;

/// Most header lines of a request.
pub const HEADERS_MAX: usize = 100;

/// Where requests are let through although too many are in flight: an overloaded process is alive all the same.
const HEALTH_PREFIX: &str = "/health/";

/// The route label of requests that match none.
const UNMATCHED: &str = "unmatched";

/// The bounds of every request, and what an answer tells browsers.
#[derive(Clone, Debug)]
pub struct Layers {
    /// How long a handler may take until its response begins; then 503 `request_timeout`.
    pub request_timeout: Duration,
    /// Longest request body.
    pub body_bytes_max: usize,
    /// How long a body may take to arrive; then 408 `body_timeout`.
    pub body_timeout: Duration,
    /// Longest path with query; beyond it 414 `uri_too_long`.
    pub uri_bytes_max: usize,
    /// All names and values of a request's headers together; beyond it, or with more than `HEADERS_MAX`, 431 `headers_too_large`.
    pub header_bytes_max: usize,
    /// Most requests whose response has not begun; further ones get 503 `overloaded` at once.
    pub requests_in_flight_max: usize,
    /// How much may be asked in a time.
    pub rate_limits: RateLimits,
    /// Who is believed when he says whom he speaks for.
    pub trusted_proxies: TrustedProxies,
    /// Whether browsers are told to come over TLS only.
    pub strict_transport: bool,
    /// Origins whose pages may read answers, such as `https://console.example`; none closes CORS.
    pub cors_allowed_origins: Vec<HeaderValue>,
}

impl Default for Layers {
    /// 30 s, which is more than the longest wait for a read model; 64 KiB within 10 s; 8 KiB; 16 KiB; 4,096 requests; no limits in a
    /// time, no proxies, no TLS, no origins.
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(30),
            body_bytes_max: BODY_BYTES_MAX,
            body_timeout: BODY_TIMEOUT,
            uri_bytes_max: 8 * 1024,
            header_bytes_max: 16 * 1024,
            requests_in_flight_max: 4096,
            rate_limits: RateLimits::default(),
            trusted_proxies: TrustedProxies::default(),
            strict_transport: false,
            cors_allowed_origins: Vec::new(),
        }
    }
}

/// The id of a request, an extension of every request: 1 to 128 of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

/// When the answer must have begun, for handlers that wait on purpose; `None` when nobody has said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub Option<Instant>);

impl<S: Send + Sync> FromRequestParts<S> for Deadline {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or(Self(None)))
    }
}

/// It is no part of a request.
impl OperationInput for Deadline {}

impl Layers {
    /// Wraps a finished router: all routes merged and all state given. Sets its fallbacks.
    pub fn wrap(self, router: Router) -> Router {
        let edge = self.edge();
        let origins = self.cors_allowed_origins.clone();
        cors::open(origins, &edge, self.wrap_with(router, edge.clone()))
    }

    /// The same behind a shortcut, whose answers are finished and counted like those of the routes.
    pub fn wrap_behind(self, shortcut: Shortcut, router: Router) -> Router {
        let edge = self.edge();
        let origins = self.cors_allowed_origins.clone();
        let router = self.wrap_with(router, edge.clone());
        let front = Router::new().fallback_service(Front { shortcut, edge: edge.clone(), router });
        cors::open(origins, &edge, front)
    }

    fn edge(&self) -> Edge {
        Edge::new(self.rate_limits.clone(), self.trusted_proxies.clone(), self.strict_transport)
    }

    fn wrap_with(self, router: Router, edge: Edge) -> Router {
        let bounds = Bounds {
            timeout: self.request_timeout,
            body: BodyLimit { bytes_max: self.body_bytes_max, timeout: self.body_timeout },
            uri_bytes_max: self.uri_bytes_max,
            header_bytes_max: self.header_bytes_max,
            in_flight: Arc::new(Semaphore::new(self.requests_in_flight_max)),
        };
        router
            .fallback(async || Problem::unknown_route())
            .method_not_allowed_fallback(async || Problem::method_not_allowed())
            .layer(DefaultBodyLimit::max(self.body_bytes_max))
            .layer(from_fn_with_state(bounds, bound))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(from_fn_with_state(edge, observe))
    }
}

/// Tells the metrics recorder what the metrics of this crate are; call it once, after installing the recorder.
pub fn describe_metrics() {
    metrics::describe_histogram!(REQUEST_DURATION, metrics::Unit::Seconds, "Time until the response begins.");
    metrics::describe_counter!(REQUESTS, "Requests answered.");
    metrics::describe_counter!(RATE_LIMITED, "Requests refused because too many were sent, by limit.");
}

#[derive(Clone, Debug)]
struct Bounds {
    timeout: Duration,
    body: BodyLimit,
    uri_bytes_max: usize,
    header_bytes_max: usize,
    in_flight: Arc<Semaphore>,
}

impl Bounds {
    fn check(&self, request: &Request) -> Result<(), Problem> {
        let uri_bytes = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if uri_bytes > self.uri_bytes_max {
            return Err(Problem::uri_too_long(self.uri_bytes_max));
        }
        let headers = request.headers();
        let header_bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if headers.len() > HEADERS_MAX || header_bytes > self.header_bytes_max {
            return Err(Problem::headers_too_large(self.header_bytes_max, HEADERS_MAX));
        }
        Ok(())
    }
}

async fn bound(State(bounds): State<Bounds>, mut request: Request, next: Next) -> Response {
    if let Err(problem) = bounds.check(&request) {
        return problem.into_response();
    }
    request.extensions_mut().insert(bounds.body);
    request.extensions_mut().insert(Deadline(Some(Instant::now() + bounds.timeout)));
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

async fn observe(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let admission = edge.enter(&mut request);
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let label = || route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    let id = request_id(request.headers());
    let span = span_of(method, label(), &id, TraceParent::of(request.headers()));
    request.extensions_mut().insert(id.clone());

    let mut response = next.run(request).instrument(span.clone()).await;

    let duration = began.elapsed();
    edge.finish(response.headers_mut(), headers::ascii(&id.0), &admission);
    record(&span, &response, duration.as_secs_f64());
    edge.meters().record(method, label(), response.status().as_u16(), duration);
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

#[cfg(test)]
mod tests;
