//! Which pages of others may read answers in a browser: none, unless their origins are named.
//!
//! Credentials of the browser are never allowed; a page must have a key of its own and send it itself.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, Method, header},
    response::Response,
};
use tower::ServiceExt as _;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{
    edge::Edge,
    headers::{
        CAUSATION_ID, CONSISTENCY_TOKEN, CORRELATION_ID, EVENTS_COMPLETE, EVENTS_NEXT_AFTER, IDEMPOTENCY_KEY,
        IDEMPOTENT_REPLAYED, PREFER, PROJECTION_POSITION, RATE_LIMIT, RATE_LIMIT_POLICY, REQUEST_ID, TRACEPARENT,
    },
};

/// So long a browser keeps the answer to a preflight.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

/// Opens the routes for the pages of these origins, whose preflights are answered here, in front of everything.
///
/// The layer of tower-http answers the preflights of all origins; so it sees none but those of the named ones, and everybody else is
/// answered as if CORS were closed.
pub(crate) fn open(origins: Vec<HeaderValue>, edge: &Edge, router: Router) -> Router {
    if origins.is_empty() {
        return router;
    }
    let named = router.clone().layer(layer(&origins));
    let (origins, edge) = (Arc::<[HeaderValue]>::from(origins), edge.clone());
    Router::new().fallback(async move |request: Request| -> Response {
        let origin = request.headers().get(header::ORIGIN);
        let route = if origin.is_some_and(|origin| origins.contains(origin)) { &named } else { &router };
        let Ok(mut response) = route.clone().oneshot(request).await;
        let headers = response.headers_mut();
        if !headers.contains_key(header::VARY) {
            headers.insert(header::VARY, HeaderValue::from_static("origin"));
        }
        edge.secure(headers);
        response
    })
}

fn layer(origins: &[HeaderValue]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header::HeaderName::from_static("last-event-id"),
            CAUSATION_ID,
            CONSISTENCY_TOKEN,
            CORRELATION_ID,
            IDEMPOTENCY_KEY,
            PREFER,
            REQUEST_ID,
            TRACEPARENT,
        ])
        .expose_headers([
            header::ETAG,
            header::LINK,
            header::LOCATION,
            header::RETRY_AFTER,
            CONSISTENCY_TOKEN,
            CORRELATION_ID,
            EVENTS_COMPLETE,
            EVENTS_NEXT_AFTER,
            IDEMPOTENT_REPLAYED,
            PROJECTION_POSITION,
            RATE_LIMIT,
            RATE_LIMIT_POLICY,
            REQUEST_ID,
        ])
        .max_age(PREFLIGHT_AGE)
}
