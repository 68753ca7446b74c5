//! The problems that the transport itself can answer, one constant each.
//!
//! A code is stable for ever: programs branch on it. Each has a page `docs/problems/<code>.md`, and `CODES` is what a
//! test walks to require that page. Refusals of the business bring codes of their own and are listed where they are
//! declared.

/// One transport problem: its stable code, HTTP status, title and what it means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemCode {
    /// Stable snake_case name, also the last segment of `type` and the name of the page.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// Short title, the same for every occurrence.
    pub title: &'static str,
    /// One sentence for documents: when it is answered and what to do.
    pub meaning: &'static str,
}

macro_rules! codes {
    ($($name:ident = $code:literal, $status:literal, $title:literal, $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $name: ProblemCode =
                ProblemCode { code: $code, status: $status, title: $title, meaning: $meaning };
        )*

        /// Every transport problem, in order of status.
        pub const CODES: &[ProblemCode] = &[$($name),*];
    };
}

codes! {
    INVALID_CURSOR = "invalid_cursor", 400, "Invalid cursor",
        "The paging cursor is not one that this list gave to this caller for this query; start again without it.";
    INVALID_EVENT_ID = "invalid_event_id", 400, "Invalid event id",
        "Last-Event-ID is not a position of this event stream; start again without it.";
    INVALID_HEADER = "invalid_header", 400, "Invalid header",
        "The header named in `header` cannot be read.";
    INVALID_PAGE_LIMIT = "invalid_page_limit", 400, "Invalid page limit",
        "The parameter `limit` is not a whole number between 1 and 500.";
    INVALID_PATH = "invalid_path", 400, "Invalid path",
        "The path segment named in `parameter` cannot be read.";
    INVALID_QUERY = "invalid_query", 400, "Invalid query",
        "A query parameter is unknown, repeated or cannot be read; `parameter` names it where it is known.";
    INVALID_UUID = "invalid_uuid", 400, "Invalid UUID",
        "The path segment named in `parameter` is not a UUID.";
    MALFORMED_JSON = "malformed_json", 400, "Malformed JSON",
        "The request body is not well-formed JSON.";
    UNAUTHENTICATED = "unauthenticated", 401, "Unauthenticated",
        "The request carries no bearer key, or one that is not known.";
    INVALID_SIGNATURE = "invalid_signature", 401, "Invalid signature",
        "The request is not signed with the secret of the inbound source, or not just now; nothing was done.";
    FORBIDDEN = "forbidden", 403, "Forbidden",
        "The key is known, but it may not do this.";
    NOT_FOUND = "not_found", 404, "Not found",
        "Nothing is here, or nothing that this key may see; the two are answered alike.";
    UNKNOWN_ROUTE = "unknown_route", 404, "Unknown route",
        "No operation has this path; /openapi.json lists those that exist.";
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, "Method not allowed",
        "The path exists, but not with this method; the Allow header lists the methods.";
    BODY_TIMEOUT = "body_timeout", 408, "Body timeout",
        "The request body did not arrive in time; nothing was done.";
    CONCURRENT_CHANGE = "concurrent_change", 409, "Concurrent change",
        "Other commands changed the same thing again and again while this one was tried; send it again.";
    IDEMPOTENCY_KEY_IN_FLIGHT = "idempotency_key_in_flight", 409, "Idempotency key in flight",
        "A request with this Idempotency-Key is being executed; send it again a little later for its outcome.";
    POSITION_EXPIRED = "position_expired", 410, "Position expired",
        "Events so far back are not served any more; begin at `earliest`, which is the member `oldest_position`, and know that what lies between is missing.";
    VERSION_CONFLICT = "version_conflict", 412, "Version conflict",
        "If-Match names another version than the current one, which is in `current_sequence` and ETag.";
    BODY_TOO_LARGE = "body_too_large", 413, "Body too large",
        "The request body is longer than `body_bytes_max`.";
    URI_TOO_LONG = "uri_too_long", 414, "URI too long",
        "Path and query together are longer than `uri_bytes_max`.";
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", 415, "Unsupported media type",
        "The request body must be sent as Content-Type: application/json.";
    HISTORY_TOO_LONG = "history_too_long", 422, "History too long",
        "More than `event_count_max` events lead to the thing as it was; ask for an earlier moment, or read its events.";
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused", 422, "Idempotency key reused",
        "This Idempotency-Key was used before with another method, path or body; use a new key for a new request.";
    INVALID_BODY = "invalid_body", 422, "Invalid body",
        "The JSON body does not have the documented shape; `errors` points at what is wrong.";
    UPGRADE_REQUIRED = "upgrade_required", 426, "Upgrade required",
        "Here only WebSocket over HTTP/1.1 is spoken; send the request with Upgrade: websocket, or follow the events at `/events/stream`.";
    RATE_LIMITED = "rate_limited", 429, "Rate limited",
        "This key, its tenant or this address has sent too many requests, `limit` says which; nothing was done, send it again after Retry-After seconds.";
    HEADERS_TOO_LARGE = "headers_too_large", 431, "Headers too large",
        "The request has more than `headers_max` headers, or they are longer than `header_bytes_max` together.";
    INTERNAL = "internal", 500, "Internal error",
        "The server failed; the request id in X-Request-Id finds the cause in its log.";
    NOT_SEALED = "not_sealed", 503, "Not sealed yet",
        "No signed checkpoint covers it yet, which takes a second as a rule; send it again after Retry-After seconds.";
    OVERLOADED = "overloaded", 503, "Overloaded",
        "Too many requests are being served; nothing was done, send it again after Retry-After seconds.";
    PROJECTION_BEHIND = "projection_behind", 503, "Projection behind",
        "The read model has not reached the Consistency-Token within the wait; send it again after Retry-After seconds.";
    REQUEST_TIMEOUT = "request_timeout", 503, "Request timeout",
        "The request was not answered in time and its outcome is unknown; send it again with the same Idempotency-Key.";
    STORE_UNAVAILABLE = "store_unavailable", 503, "Store unavailable",
        "The database cannot be reached; send it again after Retry-After seconds, with the same Idempotency-Key.";
}

/// The transport codes that answer with `status`.
pub fn codes_with_status(status: u16) -> impl Iterator<Item = &'static ProblemCode> {
    CODES.iter().filter(move |code| code.status == status)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_snake_case_and_errors() {
        let mut seen = BTreeSet::new();
        for code in CODES {
            assert!(seen.insert(code.code), "{} twice", code.code);
            assert!(code.code.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()), "{}", code.code);
            assert!((400..600).contains(&code.status), "{}", code.code);
            assert!(code.meaning.ends_with('.'), "{}", code.code);
        }
    }
}
