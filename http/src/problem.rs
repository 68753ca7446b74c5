//! Every error that leaves the service: `application/problem+json` as RFC 9457 has it, with a stable `code`.
//!
//! Shape: `type` (`/problems/<code>`), `title`, `status`, `detail`, `code`, `errors` (`[{pointer, detail}]`, JSON
//! pointers into the request body) and extension members. HTTP statuses of errors are spoken in this file and in
//! `problem/codes.rs` only: a refusal of the business arrives as a `RefusalKind`.

mod codes;
mod transport;

use std::{borrow::Cow, fmt, time::Duration};

use aide::{
    OperationOutput,
    generate::GenContext,
    openapi::{self, MediaType, Operation, SchemaObject},
};
use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

pub use self::codes::{
    BODY_TIMEOUT, BODY_TOO_LARGE, CODES, CONCURRENT_CHANGE, FORBIDDEN, HEADERS_TOO_LARGE, HISTORY_TOO_LONG,
    IDEMPOTENCY_KEY_IN_FLIGHT, IDEMPOTENCY_KEY_REUSED, INTERNAL, INVALID_BODY, INVALID_CURSOR, INVALID_EVENT_ID,
    INVALID_HEADER, INVALID_PAGE_LIMIT, INVALID_PATH, INVALID_QUERY, INVALID_SIGNATURE, INVALID_UUID, MALFORMED_JSON,
    METHOD_NOT_ALLOWED, NOT_FOUND, NOT_SEALED, OVERLOADED, POSITION_EXPIRED, PROJECTION_BEHIND, ProblemCode,
    RATE_LIMITED, REQUEST_TIMEOUT, STORE_UNAVAILABLE, UNAUTHENTICATED, UNKNOWN_ROUTE, UNSUPPORTED_MEDIA_TYPE,
    UPGRADE_REQUIRED, URI_TOO_LONG, VERSION_CONFLICT, codes_with_status,
};

/// The media type of every problem.
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

/// What `type` begins with; a relative reference, so that it leads to the host that answered.
pub const TYPE_BASE: &str = "/problems/";

/// How many entries `errors` holds at most; further ones are dropped.
pub const ERRORS_MAX: usize = 100;

/// Member names that `with` refuses, because the shape itself uses them.
const RESERVED_MEMBERS: &[&str] = &["type", "title", "status", "detail", "code", "errors", "instance"];

/// Why the business refused a command; each kind has one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// The thing does not exist: 404.
    NotFound,
    /// The thing is in a state, or a claim is held, that does not allow it: 409.
    Conflict,
    /// The order contradicts itself or a rule about values: 422.
    Invalid,
    /// A quota or bound is reached. 409, because the order is well formed and succeeds once room is made; 429 would
    /// say that waiting is enough.
    LimitExceeded,
    /// The caller may not give this order: 403.
    Forbidden,
}

impl RefusalKind {
    /// The HTTP status of this kind.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Conflict | Self::LimitExceeded => StatusCode::CONFLICT,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Forbidden => StatusCode::FORBIDDEN,
        }
    }
}

/// One error answer. Cheap to move; build it with the constructors and the builder methods.
#[derive(Clone, Debug)]
pub struct Problem(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    status: StatusCode,
    code: Cow<'static, str>,
    title: Cow<'static, str>,
    detail: Option<String>,
    errors: Vec<FieldError>,
    members: Map<String, Value>,
    headers: HeaderMap,
}

/// One place in the request body that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the request body; empty for the body as a whole.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

/// Put among the extensions of a problem's response, so that the layers can log the code.
#[derive(Clone, Debug)]
pub struct AnsweredCode(pub Cow<'static, str>);

impl Problem {
    /// A problem with a code of its own. Transport problems have constructors; refusals have `refusal`.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, title: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            status,
            code: code.into(),
            title: title.into(),
            detail: None,
            errors: Vec::new(),
            members: Map::new(),
            headers: HeaderMap::new(),
        }))
    }

    /// A transport problem without detail.
    pub fn of(code: ProblemCode) -> Self {
        let status = StatusCode::from_u16(code.status).expect("the codes hold statuses between 400 and 599");
        Self::new(status, code.code, code.title)
    }

    /// A refusal of the business: status by kind, title made from the code, `data` (unless null) as member `data`.
    pub fn refusal(
        kind: RefusalKind,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
        data: Value,
    ) -> Self {
        let code = code.into();
        let title = title_of(&code);
        let problem = Self::new(kind.status(), code, title).detail(detail);
        if data.is_null() { problem } else { problem.with("data", data) }
    }

    /// Sets `detail`: what happened this time, for a person.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds one entry to `errors`; entries beyond `ERRORS_MAX` are dropped.
    #[must_use]
    pub fn error(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        if self.0.errors.len() < ERRORS_MAX {
            self.0.errors.push(FieldError { pointer: pointer.into(), detail: detail.into() });
        }
        self
    }

    /// Adds an extension member. Names of the shape itself (`status`, `code`, ...) are a mistake of the author: they
    /// panic in debug builds and are left out otherwise.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let reserved = RESERVED_MEMBERS.contains(&name);
        debug_assert!(!reserved, "{name} is a member of every problem");
        if !reserved {
            self.0.members.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Sets `Retry-After`, in whole seconds, rounded up, at least 1.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        let seconds = (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1);
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Sets a response header.
    #[must_use]
    pub fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The body as JSON.
    pub fn to_json(&self) -> Value {
        let mut body = self.0.members.clone();
        body.insert("type".into(), format!("{TYPE_BASE}{}", self.0.code).into());
        body.insert("title".into(), self.0.title.as_ref().into());
        body.insert("status".into(), self.0.status.as_u16().into());
        body.insert("code".into(), self.0.code.as_ref().into());
        if let Some(detail) = &self.0.detail {
            body.insert("detail".into(), detail.as_str().into());
        }
        if !self.0.errors.is_empty() {
            let errors = self.0.errors.iter();
            let errors = errors.map(|error| serde_json::json!({"pointer": error.pointer, "detail": error.detail}));
            body.insert("errors".into(), Value::Array(errors.collect()));
        }
        Value::Object(body)
    }
}

/// `slug_taken` becomes `Slug taken`.
fn title_of(code: &str) -> String {
    capitalized(&code.replace('_', " "))
}

fn capitalized(text: &str) -> String {
    let mut text = text.to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.0.status.as_u16(), self.0.code)?;
        match &self.0.detail {
            Some(detail) => write!(formatter, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = self.to_json().to_string();
        let Inner { status, code, headers, .. } = *self.0;
        let mut response = (status, headers, body).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_MEDIA_TYPE));
        response.extensions_mut().insert(AnsweredCode(code));
        response
    }
}

/// The documented shape of a problem; it is never built, `Problem::to_json` writes it.
#[derive(JsonSchema)]
#[schemars(rename = "Problem", description = "An error as RFC 9457 has it; a code may bring members of its own.")]
#[expect(dead_code, reason = "exists for its JSON Schema")]
pub(crate) struct ProblemDocument {
    /// Reference to the page that explains this code.
    #[schemars(extend("format" = "uri-reference"))]
    r#type: String,
    /// Short title, the same for every occurrence of the code.
    title: String,
    /// HTTP status.
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    /// What happened this time.
    detail: Option<String>,
    /// Stable name of the problem, for programs.
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]*$"))]
    code: String,
    /// What is wrong in the request body, by JSON pointer.
    errors: Option<Vec<FieldError>>,
    /// Facts of a refusal by the business.
    data: Option<Value>,
}

/// A documented problem response.
pub(crate) fn documented(ctx: &mut GenContext, description: impl Into<String>) -> openapi::Response {
    let schema = ctx.schema.subschema_for::<ProblemDocument>();
    let media_type = MediaType {
        schema: Some(SchemaObject { json_schema: schema, external_docs: None, example: None }),
        ..MediaType::default()
    };
    let mut response = openapi::Response { description: description.into(), ..openapi::Response::default() };
    response.content.insert(PROBLEM_MEDIA_TYPE.to_owned(), media_type);
    response
}

/// Documented problem responses of the transport, one per status, each naming its codes.
pub(crate) fn documented_statuses(
    ctx: &mut GenContext,
    statuses: &[u16],
) -> Vec<(Option<openapi::StatusCode>, openapi::Response)> {
    let entry = |status: &u16| {
        let description = describe_status(*status, &[]);
        (Some(openapi::StatusCode::Code(*status)), documented(ctx, description))
    };
    statuses.iter().map(entry).collect()
}

/// `409: concurrent_change, slug_taken` and the meaning of the transport codes among them.
pub(crate) fn describe_status(status: u16, refusal_codes: &[&str]) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Problem");
    let mut description = format!("{reason}.");
    for code in refusal_codes {
        description.push_str(&format!("\n- `{code}`"));
    }
    for code in codes_with_status(status) {
        description.push_str(&format!("\n- `{}`: {}", code.code, code.meaning));
    }
    description
}

impl OperationOutput for Problem {
    type Inner = Self;

    fn operation_response(ctx: &mut GenContext, _operation: &mut Operation) -> Option<openapi::Response> {
        Some(documented(ctx, "Any other problem; `code` says which."))
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<openapi::StatusCode>, openapi::Response)> {
        Self::operation_response(ctx, operation).map(|response| (None, response)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::body_json;

    #[tokio::test]
    async fn a_problem_is_written_as_rfc_9457_has_it() {
        let problem = Problem::new(StatusCode::CONFLICT, "slug_taken", "Slug taken")
            .detail("acme is taken")
            .error("/slug", "is taken")
            .with("slug", "acme")
            .retry_after(Duration::from_millis(1500));
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(response.headers()["content-type"], PROBLEM_MEDIA_TYPE);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(
            body_json(response).await,
            json!({
                "type": "/problems/slug_taken", "title": "Slug taken", "status": 409, "code": "slug_taken",
                "detail": "acme is taken", "errors": [{"pointer": "/slug", "detail": "is taken"}], "slug": "acme",
            })
        );
    }

    #[test]
    fn each_kind_of_refusal_has_its_status() {
        let status = |kind| Problem::refusal(kind, "a_code", "detail", Value::Null).status().as_u16();
        assert_eq!(status(RefusalKind::NotFound), 404);
        assert_eq!(status(RefusalKind::Conflict), 409);
        assert_eq!(status(RefusalKind::Invalid), 422);
        assert_eq!(status(RefusalKind::LimitExceeded), 409);
        assert_eq!(status(RefusalKind::Forbidden), 403);
    }

    #[test]
    fn the_data_of_a_refusal_cannot_overwrite_the_shape() {
        let problem =
            Problem::refusal(RefusalKind::Conflict, "not_active", "suspended", json!({"status": "suspended"}));
        let body = problem.to_json();
        assert_eq!(body["status"], 409);
        assert_eq!(body["title"], "Not active");
        assert_eq!(body["data"]["status"], "suspended");
    }

    #[test]
    fn constructors_answer_the_status_of_their_code() {
        let problems = [
            Problem::invalid_cursor(),
            Problem::invalid_event_id("x"),
            Problem::invalid_header("X", "x"),
            Problem::invalid_page_limit(500),
            Problem::invalid_path("id", "x"),
            Problem::invalid_query(None, "x"),
            Problem::invalid_uuid("id"),
            Problem::malformed_json("x"),
            Problem::unauthenticated(),
            Problem::invalid_signature("x"),
            Problem::forbidden("x"),
            Problem::not_found(),
            Problem::unknown_route(),
            Problem::method_not_allowed(),
            Problem::body_timeout(Duration::from_secs(1)),
            Problem::concurrent_change(),
            Problem::idempotency_key_in_flight(),
            Problem::position_expired(5),
            Problem::version_conflict(Some(3)),
            Problem::body_too_large(1),
            Problem::uri_too_long(1),
            Problem::unsupported_media_type(),
            Problem::history_too_long(1),
            Problem::idempotency_key_reused(),
            Problem::invalid_body("", "x"),
            Problem::upgrade_required(),
            Problem::rate_limited("tenant", Duration::ZERO),
            Problem::headers_too_large(1, 1),
            Problem::internal(),
            Problem::not_sealed(),
            Problem::overloaded(),
            Problem::projection_behind(1),
            Problem::request_timeout(),
            Problem::store_unavailable(),
        ];
        let made: Vec<&str> = problems.iter().map(Problem::code).collect();
        let listed: Vec<&str> = CODES.iter().map(|code| code.code).collect();
        assert_eq!(made, listed);
        for (problem, code) in problems.iter().zip(CODES) {
            assert_eq!(problem.status().as_u16(), code.status);
            let retry = problem.clone().into_response().headers().contains_key("retry-after");
            assert!(retry || code.status != 503, "{} needs Retry-After", code.code);
        }
    }

    #[test]
    fn errors_are_bounded() {
        let problem = (0..1000).fold(Problem::invalid_body("", "x"), |problem, _| problem.error("/a", "b"));
        assert_eq!(problem.to_json()["errors"].as_array().unwrap().len(), ERRORS_MAX);
    }
}
