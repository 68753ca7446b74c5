//! Reading request headers strictly: once, visible ASCII, or a problem that names the header.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::problem::Problem;

/// `Idempotency-Key` on commands.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// `Idempotent-Replayed: true` on the answer to a command that was executed before.
pub const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// `Consistency-Token` on answers of commands and on queries.
pub const CONSISTENCY_TOKEN: HeaderName = HeaderName::from_static("consistency-token");
/// `Projection-Position` on answers of queries.
pub const PROJECTION_POSITION: HeaderName = HeaderName::from_static("projection-position");
/// `Correlation-Id` on commands and their answers.
pub const CORRELATION_ID: HeaderName = HeaderName::from_static("correlation-id");
/// `Causation-Id` on commands.
pub const CAUSATION_ID: HeaderName = HeaderName::from_static("causation-id");
/// `Events-Complete` on pages of a tenant's log: whether its end was reached.
pub const EVENTS_COMPLETE: HeaderName = HeaderName::from_static("events-complete");
/// `Events-Next-After` on pages of a tenant's log: where to go on.
pub const EVENTS_NEXT_AFTER: HeaderName = HeaderName::from_static("events-next-after");
/// `Prefer` on queries.
pub const PREFER: HeaderName = HeaderName::from_static("prefer");
/// `X-Request-Id` on requests and on every answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `RateLimit` on answers to authenticated requests: what is left.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// `RateLimit-Policy` on the same answers: what there is.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// `X-Forwarded-For` of a proxy.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `traceparent` of W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The one value of a header, trimmed; `None` when it is absent, a problem when it is repeated or not visible ASCII.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text.trim())),
            Err(_) => Err(Problem::invalid_header(name.as_str(), "holds something else than visible ascii")),
        },
        (Some(_), Some(_)) => Err(Problem::invalid_header(name.as_str(), "is sent more than once")),
    }
}

/// The one value of a header that holds a UUID.
pub(crate) fn uuid(headers: &HeaderMap, name: &HeaderName) -> Result<Option<uuid::Uuid>, Problem> {
    single(headers, name)?
        .map(|text| text.parse().map_err(|_| Problem::invalid_header(name.as_str(), "is not a uuid")))
        .transpose()
}

/// A header value from text that is visible ASCII by construction.
pub(crate) fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("the text is visible ascii by construction")
}
