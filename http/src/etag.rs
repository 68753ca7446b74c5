//! `ETag` is the sequence of a stream in quotes; `If-None-Match` turns an unchanged detail into a 304.

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

use crate::{
    consistency::ReadPosition,
    headers,
    openapi::{add_parameter_once, header_documented, header_parameter, json_response},
    problem::{self, Problem},
};

/// How many entity tags of one `If-None-Match` are looked at; more are refused.
const TAGS_MAX: usize = 32;

/// The strong entity tag of a sequence: `"7"`.
pub fn header_value(sequence: i64) -> HeaderValue {
    headers::ascii(&format!("\"{sequence}\""))
}

/// Reads a strong entity tag that this service made; `None` for anything else, weak tags included.
pub fn parse_strong(tag: &str) -> Option<i64> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// `If-None-Match` of a GET: which versions the caller already has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IfNoneMatch {
    any: bool,
    sequences: Vec<i64>,
}

impl IfNoneMatch {
    /// Whether the caller already has this version. Tags of others are no error: they match nothing.
    pub fn matches(&self, sequence: i64) -> bool {
        self.any || self.sequences.contains(&sequence)
    }

    /// Reads the header; 400 `invalid_header` when it cannot be read or has too many tags.
    pub fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut found = Self::default();
        let mut seen = 0;
        for value in headers.get_all(header::IF_NONE_MATCH) {
            let text = value.to_str().map_err(|_| Problem::invalid_header("If-None-Match", "is not visible ascii"))?;
            for tag in text.split(',').map(str::trim) {
                seen += 1;
                if seen > TAGS_MAX {
                    return Err(Problem::invalid_header("If-None-Match", format!("has more than {TAGS_MAX} tags")));
                }
                // If-None-Match compares weakly, so W/"7" is the same as "7" here.
                match tag {
                    "*" => found.any = true,
                    tag => found.sequences.extend(parse_strong(tag.strip_prefix("W/").unwrap_or(tag))),
                }
            }
        }
        Ok(found)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Self::of(&parts.headers)
    }
}

impl OperationInput for IfNoneMatch {
    fn operation_input(_ctx: &mut GenContext, operation: &mut Operation) {
        let description = "ETag of the version that you have; answered with 304 when it is still the current one.";
        add_parameter_once(operation, header_parameter("If-None-Match", description, "string", Some("\"7\"")));
    }

    fn inferred_early_responses(
        ctx: &mut GenContext,
        _operation: &mut Operation,
    ) -> Vec<(Option<DocumentedStatus>, openapi::Response)> {
        let mut responses = problem::documented_statuses(ctx, &[400]);
        let unchanged =
            openapi::Response { description: "You already have this version.".into(), ..openapi::Response::default() };
        responses.push((Some(DocumentedStatus::Code(304)), unchanged));
        responses
    }
}

/// Put among the extensions of an answer that replaces what anybody has of the same version: nobody is told 304 instead of it, neither by
/// the handler nor by whoever gives the answer again.
#[derive(Clone, Copy, Debug)]
pub struct Replaces;

/// The answer of a GET that is not a list: JSON, `ETag` when the thing has a stream, `Projection-Position`.
#[derive(Clone, Debug)]
pub struct Detail<T> {
    value: T,
    sequence: Option<i64>,
    position: ReadPosition,
    unchanged: bool,
    replaces: bool,
}

impl<T> Detail<T> {
    /// A thing with a stream of its own, at `sequence`, read from a read model at `position`.
    pub fn new(value: T, sequence: i64, position: ReadPosition) -> Self {
        Self { value, sequence: Some(sequence), position, unchanged: false, replaces: false }
    }

    /// Something without a version, such as a sum.
    pub fn unversioned(value: T, position: ReadPosition) -> Self {
        Self { value, sequence: None, position, unchanged: false, replaces: false }
    }

    /// Answers in full whatever version the caller has, for the same version says something else now.
    #[must_use]
    pub fn replacing(mut self) -> Self {
        self.replaces = true;
        self
    }

    /// Answers 304 without a body when the caller already has this version.
    #[must_use]
    pub fn unless(mut self, known: &IfNoneMatch) -> Self {
        self.unchanged = !self.replaces && self.sequence.is_some_and(|sequence| known.matches(sequence));
        self
    }
}

impl<T: Serialize> IntoResponse for Detail<T> {
    fn into_response(self) -> Response {
        let mut response =
            if self.unchanged { StatusCode::NOT_MODIFIED.into_response() } else { Json(self.value).into_response() };
        if let Some(sequence) = self.sequence {
            response.headers_mut().insert(header::ETAG, header_value(sequence));
            // Without this a client that follows the default `no-store` could never use the ETag.
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        }
        if self.replaces {
            response.extensions_mut().insert(Replaces);
        }
        self.position.write(response.headers_mut());
        response
    }
}

impl<T: JsonSchema> OperationOutput for Detail<T> {
    type Inner = T;

    fn operation_response(ctx: &mut GenContext, _operation: &mut Operation) -> Option<openapi::Response> {
        let mut response = json_response::<T>(ctx, "What was asked for.");
        let etag = "Sequence of the thing's stream, for If-Match and If-None-Match; absent where there is none.";
        response.headers.insert("ETag".into(), header_documented(etag, "string"));
        ReadPosition::document(&mut response);
        Some(response)
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<DocumentedStatus>, openapi::Response)> {
        let response = Self::operation_response(ctx, operation);
        response.map(|response| (Some(DocumentedStatus::Code(200)), response)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};

    use super::*;
    use crate::testing::send;

    #[test]
    fn only_our_strong_tags_are_read() {
        assert_eq!(parse_strong("\"7\""), Some(7));
        for bad in ["7", "\"\"", "W/\"7\"", "\"-7\"", "\"+7\"", "\"a\"", "\"99999999999999999999\"", "\""] {
            assert_eq!(parse_strong(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn an_unchanged_detail_answers_304_with_its_tag() {
        let handler = async |known: IfNoneMatch| Detail::new("x", 7, ReadPosition(40)).unless(&known);
        let router: Router = Router::new().route("/", get(handler));
        for (tag, status) in [("\"7\"", 304), ("\"6\"", 200), ("\"6\", W/\"7\"", 304), ("*", 304), ("\"abc\"", 200)] {
            let response = send(&router, "GET", "/", &[("if-none-match", tag)], "").await;
            assert_eq!(response.status().as_u16(), status, "{tag}");
            assert_eq!(response.headers()["etag"], "\"7\"");
            assert_eq!(response.headers()["projection-position"], "40");
        }
        let replacing = async |known: IfNoneMatch| Detail::new("x", 7, ReadPosition(40)).replacing().unless(&known);
        let replacing: Router = Router::new().route("/", get(replacing));
        let response = send(&replacing, "GET", "/", &[("if-none-match", "\"7\"")], "").await;
        assert_eq!((response.status().as_u16(), &response.headers()["etag"]), (200, &header_value(7)));
        assert!(response.extensions().get::<Replaces>().is_some());
        let many = vec!["\"1\""; TAGS_MAX + 1].join(",");
        assert_eq!(send(&router, "GET", "/", &[("if-none-match", &many)], "").await.status(), 400);
    }
}
