//! A constructor for each transport problem, in order of status.

use std::time::Duration;

use axum::http::{HeaderValue, header};
use serde_json::Value;

use crate::access::Permission;

use super::{
    BODY_TIMEOUT, BODY_TOO_LARGE, CONCURRENT_CHANGE, FORBIDDEN, HEADERS_TOO_LARGE, HISTORY_TOO_LONG,
    IDEMPOTENCY_KEY_IN_FLIGHT, IDEMPOTENCY_KEY_REUSED, INTERNAL, INVALID_BODY, INVALID_CURSOR, INVALID_EVENT_ID,
    INVALID_HEADER, INVALID_PAGE_LIMIT, INVALID_PATH, INVALID_QUERY, INVALID_SIGNATURE, INVALID_UUID, MALFORMED_JSON,
    METHOD_NOT_ALLOWED, NOT_FOUND, NOT_SEALED, OVERLOADED, POSITION_EXPIRED, PROJECTION_BEHIND, Problem, RATE_LIMITED,
    REQUEST_TIMEOUT, STORE_UNAVAILABLE, UNAUTHENTICATED, UNKNOWN_ROUTE, UNSUPPORTED_MEDIA_TYPE, UPGRADE_REQUIRED,
    URI_TOO_LONG, VERSION_CONFLICT, capitalized,
};

const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// The transport problems, in order of status.
impl Problem {
    /// 400 `invalid_cursor`.
    pub fn invalid_cursor() -> Self {
        Self::of(INVALID_CURSOR).detail("this cursor was not given to this key for this query")
    }

    /// 400 `invalid_event_id`: a bad `Last-Event-ID`.
    pub fn invalid_event_id(detail: impl Into<String>) -> Self {
        Self::of(INVALID_EVENT_ID).detail(detail).with("header", "Last-Event-ID")
    }

    /// 400 `invalid_header` with the member `header`, spelled as in documents (`If-Match`).
    pub fn invalid_header(header: &str, detail: impl Into<String>) -> Self {
        let title = header.split('-').map(capitalized).collect::<Vec<_>>().join("-");
        Self::of(INVALID_HEADER).detail(detail).with("header", title)
    }

    /// 400 `invalid_page_limit`; `limit_max` is the largest limit that is served.
    pub fn invalid_page_limit(limit_max: u32) -> Self {
        Self::of(INVALID_PAGE_LIMIT)
            .detail(format!("limit must be a whole number between 1 and {limit_max}"))
            .with("parameter", "limit")
            .with("limit_max", limit_max)
    }

    /// 400 `invalid_path` with the member `parameter`: the name of the segment.
    pub fn invalid_path(parameter: &str, detail: impl Into<String>) -> Self {
        Self::of(INVALID_PATH).detail(detail).with("parameter", parameter)
    }

    /// 400 `invalid_query`; `parameter` names the query parameter where it is known.
    pub fn invalid_query(parameter: Option<&str>, detail: impl Into<String>) -> Self {
        let problem = Self::of(INVALID_QUERY).detail(detail);
        match parameter {
            Some(parameter) => problem.with("parameter", parameter),
            None => problem,
        }
    }

    /// 400 `invalid_uuid` with the member `parameter`: the name of the segment.
    pub fn invalid_uuid(parameter: &str) -> Self {
        Self::of(INVALID_UUID)
            .detail(format!("the path segment {parameter} is not a uuid"))
            .with("parameter", parameter)
    }

    /// 400 `malformed_json`.
    pub fn malformed_json(detail: impl Into<String>) -> Self {
        Self::of(MALFORMED_JSON).detail(detail)
    }

    /// 401 `unauthenticated`, with `WWW-Authenticate: Bearer`. Says nothing about why the key was not accepted.
    pub fn unauthenticated() -> Self {
        Self::of(UNAUTHENTICATED)
            .detail("send Authorization: Bearer with a valid key")
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 401 `invalid_signature`, with `WWW-Authenticate: Signature`.
    pub fn invalid_signature(detail: impl Into<String>) -> Self {
        Self::of(INVALID_SIGNATURE)
            .detail(detail)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Signature"))
    }

    /// 403 `forbidden`.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::of(FORBIDDEN).detail(detail)
    }

    /// 403 `forbidden` for want of a permission, which the member `permission` names.
    pub fn not_permitted(permission: Permission) -> Self {
        let permission = permission.to_string();
        Self::of(FORBIDDEN).detail(format!("this needs the permission {permission}")).with("permission", permission)
    }

    /// 404 `not_found`; the same bytes for what does not exist and for what belongs to another tenant.
    pub fn not_found() -> Self {
        Self::of(NOT_FOUND).detail("nothing is here that this key may see")
    }

    /// 404 `unknown_route`.
    pub fn unknown_route() -> Self {
        Self::of(UNKNOWN_ROUTE).detail("no operation has this path, see /openapi.json")
    }

    /// 405 `method_not_allowed`; the router adds `Allow`.
    pub fn method_not_allowed() -> Self {
        Self::of(METHOD_NOT_ALLOWED).detail("the path exists, but not with this method")
    }

    /// 408 `body_timeout`: the client was slow, not the service.
    pub fn body_timeout(patience: Duration) -> Self {
        Self::of(BODY_TIMEOUT).detail(format!("the body did not arrive within {} s", patience.as_secs_f32()))
    }

    /// 409 `concurrent_change`: the retries after lost races are used up.
    pub fn concurrent_change() -> Self {
        Self::of(CONCURRENT_CHANGE)
            .detail("other commands kept changing the same thing, send it again")
            .retry_after(RETRY_AFTER_DEFAULT)
    }

    /// 409 `idempotency_key_in_flight`.
    pub fn idempotency_key_in_flight() -> Self {
        Self::of(IDEMPOTENCY_KEY_IN_FLIGHT)
            .detail("a request with this idempotency key is being executed")
            .retry_after(RETRY_AFTER_DEFAULT)
    }

    /// 410 `position_expired` with the member `oldest_position`: after it everything is still served.
    pub fn position_expired(oldest_position: i64) -> Self {
        Self::of(POSITION_EXPIRED)
            .detail(format!("only what comes after position {oldest_position} is still served"))
            .with("oldest_position", oldest_position)
    }

    /// 412 `version_conflict`, with the current sequence as member `current_sequence` and as `ETag`. `None` when the
    /// thing does not exist, so that there is no current version (`If-Match: *`).
    pub fn version_conflict(current_sequence: Option<i64>) -> Self {
        let problem = Self::of(VERSION_CONFLICT);
        match current_sequence {
            Some(sequence) => problem
                .detail(format!("the current version is {sequence}"))
                .with("current_sequence", sequence)
                .header(header::ETAG, crate::etag::header_value(sequence)),
            None => problem.detail("there is no current version").with("current_sequence", Value::Null),
        }
    }

    /// 413 `body_too_large` with the member `body_bytes_max`.
    pub fn body_too_large(body_bytes_max: usize) -> Self {
        Self::of(BODY_TOO_LARGE)
            .detail(format!("the body is longer than {body_bytes_max} bytes"))
            .with("body_bytes_max", body_bytes_max)
    }

    /// 414 `uri_too_long` with the member `uri_bytes_max`.
    pub fn uri_too_long(uri_bytes_max: usize) -> Self {
        Self::of(URI_TOO_LONG)
            .detail(format!("path and query are longer than {uri_bytes_max} bytes"))
            .with("uri_bytes_max", uri_bytes_max)
    }

    /// 415 `unsupported_media_type`.
    pub fn unsupported_media_type() -> Self {
        Self::of(UNSUPPORTED_MEDIA_TYPE)
            .detail("send the body as Content-Type: application/json")
            .header(header::ACCEPT, HeaderValue::from_static("application/json"))
    }

    /// 422 `history_too_long` with the member `event_count_max`.
    pub fn history_too_long(event_count_max: i64) -> Self {
        Self::of(HISTORY_TOO_LONG)
            .detail(format!("more than {event_count_max} events lead to it"))
            .with("event_count_max", event_count_max)
    }

    /// 422 `idempotency_key_reused`.
    pub fn idempotency_key_reused() -> Self {
        Self::of(IDEMPOTENCY_KEY_REUSED)
            .detail("this idempotency key was used before with another method, path or body")
    }

    /// 422 `invalid_body` with one `errors` entry; add more with `error`.
    pub fn invalid_body(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::of(INVALID_BODY).detail("the body does not have the documented shape").error(pointer, detail)
    }

    /// 426 `upgrade_required`, with `Upgrade: websocket`.
    pub fn upgrade_required() -> Self {
        Self::of(UPGRADE_REQUIRED)
            .detail("send the request with Upgrade: websocket over HTTP/1.1")
            .header(header::UPGRADE, HeaderValue::from_static("websocket"))
            .header(header::CONNECTION, HeaderValue::from_static("upgrade"))
    }

    /// 429 `rate_limited` with the member `limit` (`principal`, `tenant`, `address`), and how long to wait.
    pub fn rate_limited(limit: &str, wait: Duration) -> Self {
        Self::of(RATE_LIMITED).detail("too many requests, nothing was done").with("limit", limit).retry_after(wait)
    }

    /// 431 `headers_too_large` with the members `header_bytes_max` and `headers_max`.
    pub fn headers_too_large(header_bytes_max: usize, headers_max: usize) -> Self {
        Self::of(HEADERS_TOO_LARGE)
            .detail(format!(
                "there are more than {headers_max} headers, or they are longer than {header_bytes_max} bytes"
            ))
            .with("header_bytes_max", header_bytes_max)
            .with("headers_max", headers_max)
    }

    /// 500 `internal`. Says nothing about the cause; log that where it is handled.
    pub fn internal() -> Self {
        Self::of(INTERNAL).detail("the server failed, its log has the cause under this request id")
    }

    /// 503 `not_sealed`, to be tried again in a second.
    pub fn not_sealed() -> Self {
        Self::of(NOT_SEALED).detail("no signed checkpoint covers it yet").retry_after(RETRY_AFTER_DEFAULT)
    }

    /// 503 `overloaded`.
    pub fn overloaded() -> Self {
        Self::of(OVERLOADED)
            .detail("too many requests are being served, nothing was done")
            .retry_after(RETRY_AFTER_DEFAULT)
    }

    /// 503 `projection_behind`, with the position that the read model has reached.
    pub fn projection_behind(projection_position: i64) -> Self {
        Self::of(PROJECTION_BEHIND)
            .detail("the read model has not reached the consistency token yet")
            .with("projection_position", projection_position)
            .retry_after(RETRY_AFTER_DEFAULT)
    }

    /// 503 `request_timeout`. Not 408: the client was not slow, and 408 makes some clients repeat by themselves.
    pub fn request_timeout() -> Self {
        Self::of(REQUEST_TIMEOUT)
            .detail("not answered in time, the outcome is unknown, repeat it with the same idempotency key")
            .retry_after(RETRY_AFTER_DEFAULT)
    }

    /// 503 `store_unavailable`.
    pub fn store_unavailable() -> Self {
        Self::of(STORE_UNAVAILABLE).detail("the database cannot be reached").retry_after(RETRY_AFTER_DEFAULT)
    }
}
