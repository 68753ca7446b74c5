//! The headers of a command, and the receipt that answers it.

use std::fmt;

use aide::{
    OperationInput, OperationOutput,
    generate::GenContext,
    openapi::{self, Operation, StatusCode as DocumentedStatus},
};
use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    consistency::ConsistencyToken,
    etag,
    headers::{self, CAUSATION_ID, CONSISTENCY_TOKEN, CORRELATION_ID, IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED},
    openapi::{add_parameter_once, header_documented, header_parameter, json_response},
    problem::{self, Problem},
    traceparent::TraceParent,
};

/// Longest idempotency key, in characters.
pub const IDEMPOTENCY_KEY_CHARACTERS_MAX: usize = 255;

/// A key under which a command is executed once: 1 to 255 visible ASCII characters, no spaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Checks a key; `None` when it is empty, too long or holds something else than visible ASCII.
    pub fn parse(text: &str) -> Option<Self> {
        let bounded = (1..=IDEMPOTENCY_KEY_CHARACTERS_MAX).contains(&text.len());
        (bounded && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.to_owned()))
    }

    /// The key as it was sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What the caller believes about the current version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// `*`: the thing exists, in whatever version.
    Exists,
    /// The stream's sequence is exactly this.
    Sequence(i64),
}

/// The headers of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandHeaders {
    /// `Idempotency-Key`.
    pub idempotency_key: Option<IdempotencyKey>,
    /// `If-Match`: one strong ETag of this service, or `*`.
    pub if_match: Option<IfMatch>,
    /// `Correlation-Id`, or a new random UUIDv7.
    pub correlation_id: Uuid,
    /// `Causation-Id`: the event or command that led to this one.
    pub causation_id: Option<Uuid>,
    /// `traceparent` as it was sent, when it is valid.
    pub traceparent: Option<String>,
}

impl CommandHeaders {
    /// Reads the headers; 400 `invalid_header` names the one that cannot be read.
    pub fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let idempotency_key = headers::single(headers, &IDEMPOTENCY_KEY)?
            .map(|text| {
                let expected = || format!("must be 1 to {IDEMPOTENCY_KEY_CHARACTERS_MAX} visible ascii characters");
                IdempotencyKey::parse(text).ok_or_else(|| Problem::invalid_header("Idempotency-Key", expected()))
            })
            .transpose()?;
        let if_match = headers::single(headers, &header::IF_MATCH)?.map(parse_if_match).transpose()?;
        Ok(Self {
            idempotency_key,
            if_match,
            correlation_id: headers::uuid(headers, &CORRELATION_ID)?.unwrap_or_else(Uuid::now_v7),
            causation_id: headers::uuid(headers, &CAUSATION_ID)?,
            traceparent: TraceParent::of(headers).map(|parent| parent.as_str().to_owned()),
        })
    }

    /// The sequence that `If-Match` names, when it names one.
    pub fn expected_sequence(&self) -> Option<i64> {
        match self.if_match {
            Some(IfMatch::Sequence(sequence)) => Some(sequence),
            Some(IfMatch::Exists) | None => None,
        }
    }
}

fn parse_if_match(text: &str) -> Result<IfMatch, Problem> {
    if text == "*" {
        return Ok(IfMatch::Exists);
    }
    etag::parse_strong(text).map(IfMatch::Sequence).ok_or_else(|| {
        Problem::invalid_header("If-Match", "must be one strong ETag of this service such as \"7\", or *")
    })
}

impl<S: Send + Sync> FromRequestParts<S> for CommandHeaders {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Self::read(&parts.headers)
    }
}

impl OperationInput for CommandHeaders {
    fn operation_input(_ctx: &mut GenContext, operation: &mut Operation) {
        let parameters = [
            ("Idempotency-Key", "Executes the command once: sent again, the first outcome is answered.", None),
            ("If-Match", "ETag that must still be the current one, or `*` for any existing version.", Some("\"7\"")),
            ("Correlation-Id", "UUID that the events of one piece of work share; made when absent.", None),
            ("Causation-Id", "UUID of the event or command that led to this one.", None),
            ("traceparent", "W3C Trace Context.", None),
        ];
        for (name, description, example) in parameters {
            let mut parameter = header_parameter(name, description, "string", example);
            let constraints: &[(&str, serde_json::Value)] = match name {
                "Idempotency-Key" => &[("minLength", 1.into()), ("maxLength", IDEMPOTENCY_KEY_CHARACTERS_MAX.into())],
                "Correlation-Id" | "Causation-Id" => &[("format", "uuid".into())],
                _ => &[],
            };
            if let openapi::ParameterSchemaOrContent::Schema(schema) = &mut parameter.parameter_data_mut().format {
                for (keyword, value) in constraints {
                    schema.json_schema.insert((*keyword).to_owned(), value.clone());
                }
            }
            add_parameter_once(operation, parameter);
        }
    }

    fn inferred_early_responses(
        ctx: &mut GenContext,
        _operation: &mut Operation,
    ) -> Vec<(Option<DocumentedStatus>, openapi::Response)> {
        problem::documented_statuses(ctx, &[400, 409, 412, 422, 503])
    }
}

/// The answer to an executed command: 200, `ETag`, `Consistency-Token`, `Correlation-Id`, JSON.
#[derive(Clone, Debug)]
pub struct Receipt<T> {
    body: T,
    sequence: i64,
    token: ConsistencyToken,
    replayed: bool,
    correlation_id: Option<Uuid>,
}

impl<T> Receipt<T> {
    /// A command that left its stream at `sequence`; `token` is the position of its last event, or of the log when it
    /// had nothing to say.
    pub fn new(body: T, sequence: i64, token: ConsistencyToken) -> Self {
        Self { body, sequence, token, replayed: false, correlation_id: None }
    }

    /// Marks the first outcome of a command that was sent again: `Idempotent-Replayed: true`.
    #[must_use]
    pub fn replayed(mut self, replayed: bool) -> Self {
        self.replayed = replayed;
        self
    }

    /// Answers the correlation id, so that a caller that sent none learns it.
    #[must_use]
    pub fn correlated(mut self, correlation_id: Uuid) -> Self {
        self.correlation_id = Some(correlation_id);
        self
    }

    /// Turns it into 201 with a `Location`: the path of what was made, visible ASCII.
    pub fn created(self, location: impl Into<String>) -> Created<T> {
        Created { receipt: self, location: location.into() }
    }
}

/// The answer to a command that made something: a `Receipt` with 201 and `Location`.
#[derive(Clone, Debug)]
pub struct Created<T> {
    receipt: Receipt<T>,
    location: String,
}

impl<T: Serialize> IntoResponse for Receipt<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::ETAG, etag::header_value(self.sequence));
        headers.insert(CONSISTENCY_TOKEN, self.token.header_value());
        if self.replayed {
            headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
        }
        if let Some(correlation_id) = self.correlation_id {
            headers.insert(CORRELATION_ID, headers::ascii(&correlation_id.to_string()));
        }
        response
    }
}

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let mut response = self.receipt.into_response();
        // A failed serialisation has become a 500 by now, and must stay one.
        if response.status().is_success() {
            *response.status_mut() = StatusCode::CREATED;
            if let Ok(location) = HeaderValue::from_str(&self.location) {
                response.headers_mut().insert(header::LOCATION, location);
            }
        }
        response
    }
}

fn documented_receipt<T: JsonSchema>(ctx: &mut GenContext, description: &str) -> openapi::Response {
    let mut response = json_response::<T>(ctx, description);
    for (name, description) in [
        ("ETag", "Sequence of the stream after the command, for If-Match."),
        ("Consistency-Token", "Send it with a query to see this command in its answer."),
        ("Correlation-Id", "The correlation id of the events."),
        ("Idempotent-Replayed", "`true` when this is the outcome of an earlier request with the same Idempotency-Key."),
    ] {
        response.headers.insert(name.into(), header_documented(description, "string"));
    }
    response
}

impl<T: JsonSchema> OperationOutput for Receipt<T> {
    type Inner = T;

    fn operation_response(ctx: &mut GenContext, _operation: &mut Operation) -> Option<openapi::Response> {
        Some(documented_receipt::<T>(ctx, "The command was executed."))
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<DocumentedStatus>, openapi::Response)> {
        let response = Self::operation_response(ctx, operation);
        response.map(|response| (Some(DocumentedStatus::Code(200)), response)).into_iter().collect()
    }
}

impl<T: JsonSchema> OperationOutput for Created<T> {
    type Inner = T;

    fn operation_response(ctx: &mut GenContext, _operation: &mut Operation) -> Option<openapi::Response> {
        let mut response = documented_receipt::<T>(ctx, "The command was executed and made something.");
        response.headers.insert("Location".into(), header_documented("Path of what was made.", "string"));
        Some(response)
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<DocumentedStatus>, openapi::Response)> {
        let response = Self::operation_response(ctx, operation);
        response.map(|response| (Some(DocumentedStatus::Code(201)), response)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> Result<CommandHeaders, Problem> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        CommandHeaders::read(&headers)
    }

    #[test]
    fn nothing_is_required_and_a_correlation_id_is_made() {
        let headers = read(&[]).unwrap();
        assert_eq!((headers.idempotency_key.is_none(), headers.if_match), (true, None));
        assert_eq!(headers.correlation_id.get_version_num(), 7);
        assert_ne!(headers.correlation_id, read(&[]).unwrap().correlation_id);
    }

    #[test]
    fn every_header_is_read() {
        let id = Uuid::from_u128(9);
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let headers = read(&[
            ("idempotency-key", "order-1"),
            ("if-match", "\"7\""),
            ("correlation-id", &id.to_string()),
            ("causation-id", &id.to_string()),
            ("traceparent", trace),
        ])
        .unwrap();
        assert_eq!(headers.idempotency_key.as_ref().unwrap().as_str(), "order-1");
        assert_eq!(headers.expected_sequence(), Some(7));
        assert_eq!((headers.correlation_id, headers.causation_id), (id, Some(id)));
        assert_eq!(headers.traceparent.as_deref(), Some(trace));
        assert_eq!(read(&[("if-match", "*")]).unwrap().if_match, Some(IfMatch::Exists));
        assert_eq!(read(&[("traceparent", "nonsense")]).unwrap().traceparent, None);
    }

    #[test]
    fn a_bad_header_is_named() {
        let long = "k".repeat(256);
        let exact = "k".repeat(255);
        assert!(read(&[("idempotency-key", &exact)]).is_ok());
        for (name, value, title) in [
            ("idempotency-key", "", "Idempotency-Key"),
            ("idempotency-key", "a b", "Idempotency-Key"),
            ("idempotency-key", "schlüssel", "Idempotency-Key"),
            ("idempotency-key", &long, "Idempotency-Key"),
            ("if-match", "W/\"7\"", "If-Match"),
            ("if-match", "\"7\", \"8\"", "If-Match"),
            ("if-match", "7", "If-Match"),
            ("correlation-id", "x", "Correlation-Id"),
            ("causation-id", "x", "Causation-Id"),
        ] {
            let problem = read(&[(name, value)]).unwrap_err().to_json();
            assert_eq!((&problem["code"], &problem["header"]), (&"invalid_header".into(), &title.into()), "{value}");
        }
        assert!(read(&[("idempotency-key", "a"), ("idempotency-key", "b")]).is_err());
    }

    #[test]
    fn a_receipt_carries_its_headers() {
        let receipt = Receipt::new("x", 7, ConsistencyToken(40)).correlated(Uuid::nil());
        let response = receipt.clone().into_response();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["etag"], "\"7\"");
        assert_eq!(response.headers()["consistency-token"], ConsistencyToken(40).to_string().as_str());
        assert!(!response.headers().contains_key("idempotent-replayed"));
        let response = receipt.replayed(true).created("/v1/things/1").into_response();
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(response.headers()["location"], "/v1/things/1");
        assert_eq!(response.headers()["idempotent-replayed"], "true");
    }
}
