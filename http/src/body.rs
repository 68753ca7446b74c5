//! JSON request bodies: checked for type, size and shape, with a JSON pointer to what is wrong.
//!
//! Order of the checks: media type 415, size 413, arrival 408, depth 422, well-formed 400, shape 422. Body types should derive
//! `#[serde(deny_unknown_fields)]`, so that a misspelt field is refused and not ignored.

use std::time::Duration;

use aide::{
    OperationInput,
    generate::GenContext,
    openapi::{self, MediaType, Operation, RequestBody, SchemaObject},
    operation::set_body,
};
use axum::{
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, OriginalUri, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::IntoResponse,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use tokio::time::timeout;

use crate::{
    fingerprint::Fingerprint,
    problem::{self, Problem},
};

/// Largest request body in bytes, unless the layers set another `BodyLimit`.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long a body may take to arrive, unless the layers set another `BodyLimit`.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// So deep may arrays and objects be nested; the parser itself would go on to 128.
pub const DEPTH_MAX: usize = 32;

/// Longest text about one error, in bytes, because it may quote the caller's own value.
const DETAIL_BYTES_MAX: usize = 300;

/// The bounds of a request body; as a request extension it replaces `BODY_BYTES_MAX` and `BODY_TIMEOUT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimit {
    /// Longest body.
    pub bytes_max: usize,
    /// How long it may take to arrive as a whole.
    pub timeout: Duration,
}

impl Default for BodyLimit {
    fn default() -> Self {
        Self { bytes_max: BODY_BYTES_MAX, timeout: BODY_TIMEOUT }
    }
}

/// A JSON body of type `T`, and the fingerprint of the request that carried it. Must be the last extractor.
#[derive(Clone, Debug)]
pub struct Body<T> {
    /// The parsed body.
    pub value: T,
    /// Over method, path and the exact bytes.
    pub fingerprint: Fingerprint,
}

/// For commands that take no body: nothing, or `{}`. Anything else is refused. Must be the last extractor.
#[derive(Clone, Copy, Debug)]
pub struct NoBody {
    /// Over method, path and the exact bytes.
    pub fingerprint: Fingerprint,
}

/// A body of any type, byte for byte. Must be the last extractor.
#[derive(Clone, Debug)]
pub struct RawBody {
    /// As it was sent.
    pub bytes: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (_, bytes) = read(request).await?;
        Ok(Self { bytes })
    }
}

impl<T, S> FromRequest<S> for Body<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::unsupported_media_type());
        }
        let (fingerprint, bytes) = read(request).await?;
        Ok(Self { value: parse_object(&bytes)?, fingerprint })
    }
}

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (fingerprint, bytes) = read(request).await?;
        if !bytes.trim_ascii().is_empty() {
            let fields: serde_json::Map<String, serde_json::Value> = parse(&bytes)?;
            if let Some(name) = fields.keys().next() {
                return Err(Problem::invalid_body(pointer_of([name.as_str()]), "this operation takes no fields"));
            }
        }
        Ok(Self { fingerprint })
    }
}

async fn read(mut request: Request) -> Result<(Fingerprint, Bytes), Problem> {
    let BodyLimit { bytes_max, timeout: patience } =
        request.extensions().get::<BodyLimit>().copied().unwrap_or_default();
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|bytes: u64| bytes > bytes_max as u64) {
        return Err(Problem::body_too_large(bytes_max));
    }
    DefaultBodyLimit::max(bytes_max).apply(&mut request);
    let (parts, body) = request.into_parts();
    let (method, path) = (parts.method.clone(), path_of(&parts));
    let arrived = timeout(patience, Bytes::from_request(Request::from_parts(parts, body), &())).await;
    let bytes = arrived.map_err(|_| Problem::body_timeout(patience))?.map_err(|rejection| {
        match rejection.into_response().status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::body_too_large(bytes_max),
            _ => Problem::malformed_json("the body ended before it was complete"),
        }
    })?;
    Ok((Fingerprint::of(method.as_str(), &path, &bytes), bytes))
}

/// The path as it was sent, also inside nested routers.
pub(crate) fn path_of(parts: &Parts) -> String {
    parts.extensions.get::<OriginalUri>().map_or_else(|| parts.uri.path(), |uri| uri.path()).to_owned()
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Parses a JSON text; public for other places that take JSON from callers, such as a line of NDJSON.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if deeper_than(DEPTH_MAX, bytes) {
        let detail = format!("arrays and objects are nested deeper than {DEPTH_MAX}");
        return Err(Problem::invalid_body(String::new(), detail));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer_of_path(error.path());
        describe(pointer, error.inner())
    })?;
    deserializer.end().map_err(|error| describe(String::new(), &error))?;
    Ok(value)
}

/// Whether a JSON text opens more than `depth_max` arrays and objects inside each other. What is no JSON is for the parser to refuse.
fn deeper_than(depth_max: usize, bytes: &[u8]) -> bool {
    let (mut depth, mut text, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'[' | b'{' if !text => depth += 1,
            b']' | b'}' if !text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > depth_max {
            return true;
        }
    }
    false
}

/// Reads a body that must be an object: serde would also read a struct's fields from an array, by their order.
fn parse_object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.trim_ascii_start().first() == Some(&b'{') {
        return parse(bytes);
    }
    parse::<serde::de::IgnoredAny>(bytes)?;
    Err(Problem::invalid_body(String::new(), "must be an object"))
}

fn describe(pointer: String, error: &serde_json::Error) -> Problem {
    let message = error.to_string();
    if !error.is_data() {
        return Problem::malformed_json(truncated(&message));
    }
    // serde_json appends where the parser stood; the pointer says that better.
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(text, _)| text);
    let pointer = match field_in(message) {
        Some(field) => format!("{pointer}{}", pointer_of([field])),
        None => pointer,
    };
    Problem::invalid_body(pointer, truncated(message))
}

/// The name in serde's message for a missing or repeated field, which the path of the error ends before.
pub(crate) fn field_in(message: &str) -> Option<&str> {
    let prefixes = ["missing field `", "duplicate field `"];
    prefixes.iter().find_map(|prefix| message.strip_prefix(prefix))?.strip_suffix('`')
}

fn pointer_of_path(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&pointer_of([key.as_str()])),
            Segment::Enum { variant } => pointer.push_str(&pointer_of([variant.as_str()])),
            Segment::Unknown => break,
        }
    }
    pointer
}

/// A JSON pointer (RFC 6901) from unescaped segments.
pub fn pointer_of<'a>(segments: impl IntoIterator<Item = &'a str>) -> String {
    segments.into_iter().map(|segment| format!("/{}", segment.replace('~', "~0").replace('/', "~1"))).collect()
}

fn truncated(text: &str) -> String {
    if text.len() <= DETAIL_BYTES_MAX {
        return text.to_owned();
    }
    let end = (0..=DETAIL_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

type Responses = Vec<(Option<openapi::StatusCode>, openapi::Response)>;

impl<T: JsonSchema> OperationInput for Body<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let json_schema = ctx.schema.subschema_for::<T>();
        set_body(ctx, operation, json_body(json_schema, true));
    }

    fn inferred_early_responses(ctx: &mut GenContext, _operation: &mut Operation) -> Responses {
        problem::documented_statuses(ctx, &[400, 408, 413, 415, 422])
    }
}

impl OperationInput for RawBody {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let mut body = RequestBody { required: true, ..RequestBody::default() };
        body.content.insert("*/*".to_owned(), MediaType::default());
        set_body(ctx, operation, body);
    }

    fn inferred_early_responses(ctx: &mut GenContext, _operation: &mut Operation) -> Responses {
        problem::documented_statuses(ctx, &[400, 408, 413])
    }
}

impl OperationInput for NoBody {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let empty = schemars::json_schema!({"type": "object", "maxProperties": 0});
        set_body(ctx, operation, json_body(empty, false));
    }

    fn inferred_early_responses(ctx: &mut GenContext, _operation: &mut Operation) -> Responses {
        problem::documented_statuses(ctx, &[400, 408, 413, 422])
    }
}

fn json_body(json_schema: schemars::Schema, required: bool) -> RequestBody {
    let schema = Some(SchemaObject { json_schema, external_docs: None, example: None });
    let mut body = RequestBody { required, ..RequestBody::default() };
    body.content.insert("application/json".to_owned(), MediaType { schema, ..MediaType::default() });
    body
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        #[expect(dead_code, reason = "read by the parser only")]
        name: String,
        #[expect(dead_code, reason = "read by the parser only")]
        lines: Vec<Line>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        #[expect(dead_code, reason = "read by the parser only")]
        seats: u32,
    }

    fn refused(text: &str) -> Value {
        parse::<Order>(text.as_bytes()).unwrap_err().to_json()
    }

    #[test]
    fn malformed_json_is_told_from_a_wrong_shape() {
        for text in ["", "{", "{\"name\": }", "nonsense", "{\"name\":\"a\",\"lines\":[]} x", "\u{0}"] {
            assert_eq!(refused(text)["code"], "malformed_json", "{text}");
        }
        assert_eq!(refused("[]")["code"], "invalid_body");
    }

    #[test]
    fn a_wrong_type_an_unknown_and_a_missing_field_are_pointed_at() {
        let pointer = |text: &str| refused(text)["errors"][0]["pointer"].as_str().unwrap().to_owned();
        assert_eq!(pointer(r#"{"name": 5, "lines": []}"#), "/name");
        assert_eq!(pointer(r#"{"name": "a", "lines": [{"seats": 1}, {"seats": "x"}]}"#), "/lines/1/seats");
        assert_eq!(pointer(r#"{"name": "a", "lines": [{"seats": -1}]}"#), "/lines/0/seats");
        assert_eq!(pointer(r#"{"name": "a", "lines": [{"seats": 1, "a/b~c": 1}]}"#), "/lines/0/a~1b~0c");
        assert_eq!(pointer(r#"{"name": "a", "lines": [{}]}"#), "/lines/0/seats");
        assert_eq!(pointer(r#"{"name": "a"}"#), "/lines");
        assert_eq!(pointer(r#"{"name": "a", "lines": [{"seats": 1, "seats": 2}]}"#), "/lines/0/seats");
        assert_eq!(pointer("null"), "");
        let detail = refused(r#"{"name": 5, "lines": []}"#)["errors"][0]["detail"].clone();
        assert_eq!(detail, json!("invalid type: integer `5`, expected a string"));
    }

    #[test]
    fn a_long_value_is_not_quoted_whole() {
        let text = format!(r#"{{"name": "a", "lines": "{}"}}"#, "é".repeat(10_000));
        assert!(refused(&text)["errors"][0]["detail"].as_str().unwrap().len() < DETAIL_BYTES_MAX + 10);
    }

    fn request(content_type: Option<&str>, body: impl Into<axum::body::Body>) -> Request {
        let mut builder = Request::builder().method("POST").uri("/orders?a=b");
        if let Some(content_type) = content_type {
            builder = builder.header("content-type", content_type);
        }
        builder.body(body.into()).unwrap()
    }

    #[tokio::test]
    async fn the_media_type_is_checked_before_the_body_is_read() {
        for bad in [None, Some("text/plain"), Some("application/jsonx"), Some("multipart/form-data")] {
            let problem = Body::<Value>::from_request(request(bad, "{}"), &()).await.unwrap_err();
            assert_eq!(problem.code(), "unsupported_media_type");
        }
        for good in ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"] {
            assert!(Body::<Value>::from_request(request(Some(good), "{}"), &()).await.is_ok());
        }
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_refused_with_or_without_its_length() {
        let exact = format!("{{\"a\":\"{}\"}}", "a".repeat(BODY_BYTES_MAX - 8));
        let over = format!("{{\"a\":\"{}\"}}", "a".repeat(BODY_BYTES_MAX - 7));
        let json = Some("application/json");
        assert!(Body::<Value>::from_request(request(json, exact), &()).await.is_ok());
        let problem = Body::<Value>::from_request(request(json, over), &()).await.unwrap_err();
        assert_eq!(problem.code(), "body_too_large");
        let mut declared = request(json, "{}");
        declared.headers_mut().insert("content-length", "1000000".parse().unwrap());
        assert_eq!(Body::<Value>::from_request(declared, &()).await.unwrap_err().code(), "body_too_large");
        let mut small = request(json, "{\"a\":1}");
        small.extensions_mut().insert(BodyLimit { bytes_max: 3, ..BodyLimit::default() });
        assert_eq!(Body::<Value>::from_request(small, &()).await.unwrap_err().code(), "body_too_large");
    }

    #[tokio::test]
    async fn a_body_that_does_not_arrive_is_not_waited_for() {
        let begun = futures::stream::once(async { Ok::<_, std::io::Error>("{") });
        let hangs = futures::StreamExt::chain(begun, futures::stream::pending());
        let mut slow = request(Some("application/json"), axum::body::Body::from_stream(hangs));
        slow.extensions_mut().insert(BodyLimit { timeout: Duration::from_millis(20), ..BodyLimit::default() });
        let problem = Body::<Value>::from_request(slow, &()).await.unwrap_err();
        assert_eq!((problem.status().as_u16(), problem.code()), (408, "body_timeout"));
    }

    #[test]
    fn json_that_is_nested_too_deep_is_refused_before_it_is_parsed() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse::<Value>(nested(DEPTH_MAX).as_bytes()).is_ok());
        let problem = parse::<Value>(nested(DEPTH_MAX + 1).as_bytes()).unwrap_err();
        assert_eq!(problem.code(), "invalid_body");
        assert!(problem.to_json().to_string().contains("deeper than 32"));
        let objects = format!("{}1{}", r#"{"a":"#.repeat(33), "}".repeat(33));
        assert_eq!(parse::<Value>(objects.as_bytes()).unwrap_err().code(), "invalid_body");
        // Brackets in a text, and arrays beside each other, are not depth.
        let text = format!(r#"{{"a": "\"{}", "b\\": [{}[]]}}"#, "[".repeat(99), "[],".repeat(99));
        assert!(parse::<Value>(text.as_bytes()).is_ok(), "{text}");
    }

    #[tokio::test]
    async fn the_fingerprint_is_of_the_exact_bytes() {
        let json = Some("application/json");
        let body = Body::<Value>::from_request(request(json, "{ }"), &()).await.unwrap();
        assert_eq!(body.fingerprint, Fingerprint::of("POST", "/orders", b"{ }"));
    }

    #[tokio::test]
    async fn no_body_takes_nothing_or_an_empty_object() {
        for good in ["", " ", "{}"] {
            assert!(NoBody::from_request(request(None, good), &()).await.is_ok(), "{good}");
        }
        let code = async |text: &'static str| {
            let problem = NoBody::from_request(request(None, text), &()).await.unwrap_err();
            problem.code().to_owned()
        };
        assert_eq!(code("{\"a\": 1}").await, "invalid_body");
        assert_eq!(code("[]").await, "invalid_body");
        assert_eq!(code("{").await, "malformed_json");
    }
}
