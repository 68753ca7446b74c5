//! Which pages of others may read answers in a browser: none, unless their origins are named.
//!
//! Credentials of the browser are never allowed; a page must have a key of its own and send it itself.

use std::time::Duration;

use axum::http::{HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::headers::{
    CAUSATION_ID, CONSISTENCY_TOKEN, CORRELATION_ID, IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED, PREFER, PROJECTION_POSITION,
    RATE_LIMIT, RATE_LIMIT_POLICY, REQUEST_ID, TRACEPARENT,
};

/// So long a browser keeps the answer to a preflight.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

/// Opens the API for these origins; `None` without any.
pub(crate) fn layer(origins: &[HeaderValue]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let layer = CorsLayer::new()
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
            IDEMPOTENT_REPLAYED,
            PROJECTION_POSITION,
            RATE_LIMIT,
            RATE_LIMIT_POLICY,
            REQUEST_ID,
        ])
        .max_age(PREFLIGHT_AGE);
    Some(layer)
}
