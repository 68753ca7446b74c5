//! Path segments and query parameters that answer problems naming what cannot be read.

use aide::{
    OperationInput,
    generate::GenContext,
    openapi::{self, Operation},
    operation::{ParamLocation, parameters_from_schema},
};
use axum::{
    extract::{FromRequestParts, path::ErrorKind, rejection::PathRejection},
    http::request::Parts,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{
    body::field_in,
    openapi::add_parameter_once,
    problem::{self, Problem},
};

/// Longest query string that is looked at, in bytes.
pub const QUERY_BYTES_MAX: usize = 8 * 1024;

/// The path segments as a struct with one field per segment: only then are they documented and named in problems.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

/// The query parameters as a flat struct. Derive `#[serde(deny_unknown_fields)]` on it: an ignored filter is a wrong
/// answer. Lists take a `PageQuery` instead.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => Err(path_problem(error.into_kind())),
            Err(rejection) => {
                tracing::error!(error = %rejection, "a route does not have the path segments of its handler");
                Err(Problem::internal())
            }
        }
    }
}

fn path_problem(kind: ErrorKind) -> Problem {
    match kind {
        ErrorKind::DeserializeError { key, message, .. } if message.starts_with("UUID parsing failed") => {
            Problem::invalid_uuid(&key)
        }
        ErrorKind::DeserializeError { key, message, .. } => Problem::invalid_path(&key, message),
        ErrorKind::ParseErrorAtKey { key, expected_type, .. } => {
            Problem::invalid_path(&key, format!("the path segment {key} is not a {expected_type}"))
        }
        ErrorKind::InvalidUtf8InPathParam { key } => {
            Problem::invalid_path(&key, format!("the path segment {key} is not utf-8"))
        }
        ErrorKind::ParseErrorAtIndex { index, expected_type, .. } => {
            Problem::invalid_path(&index.to_string(), format!("is not a {expected_type}"))
        }
        ErrorKind::ParseError { expected_type, .. } => Problem::invalid_path("0", format!("is not a {expected_type}")),
        // An enum segment with an unknown name arrives here, without the name of the segment.
        ErrorKind::Message(message) => Problem::of(problem::INVALID_PATH).detail(message),
        other => {
            tracing::error!(error = %other, "a route does not have the path segments of its handler");
            Problem::internal()
        }
    }
}

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parse_query(query_of(parts)?).map(Self)
    }
}

/// The raw query string, checked for length.
pub(crate) fn query_of(parts: &Parts) -> Result<&str, Problem> {
    let query = parts.uri.query().unwrap_or_default();
    if query.len() > QUERY_BYTES_MAX {
        return Err(Problem::invalid_query(None, format!("the query is longer than {QUERY_BYTES_MAX} bytes")));
    }
    Ok(query)
}

/// Reads a query string into a flat struct.
pub(crate) fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        let parameter = field_in(&message).or((path != ".").then_some(path.as_str()));
        Problem::invalid_query(parameter, &message)
    })
}

type Responses = Vec<(Option<openapi::StatusCode>, openapi::Response)>;

impl<T: JsonSchema> OperationInput for Path<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let schema = ctx.schema.subschema_for::<T>();
        for mut parameter in parameters_from_schema(ctx, schema, ParamLocation::Path) {
            parameter.parameter_data_mut().required = true;
            add_parameter_once(operation, parameter);
        }
    }

    fn inferred_early_responses(ctx: &mut GenContext, _operation: &mut Operation) -> Responses {
        problem::documented_statuses(ctx, &[400, 404])
    }
}

impl<T: JsonSchema> OperationInput for Query<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        document_query::<T>(ctx, operation);
    }

    fn inferred_early_responses(ctx: &mut GenContext, _operation: &mut Operation) -> Responses {
        problem::documented_statuses(ctx, &[400])
    }
}

pub(crate) fn document_query<T: JsonSchema>(ctx: &mut GenContext, operation: &mut Operation) {
    let schema = ctx.schema.subschema_for::<T>();
    for parameter in parameters_from_schema(ctx, schema, ParamLocation::Query) {
        add_parameter_once(operation, parameter);
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use serde::Deserialize;
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;
    use crate::testing::{body_json, send};

    #[derive(Deserialize)]
    struct Ids {
        tenant_id: Uuid,
        number: u32,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Filter {
        #[expect(dead_code, reason = "read by the parser only")]
        seats: Option<u32>,
        #[expect(dead_code, reason = "read by the parser only")]
        kind: String,
    }

    async fn answer(uri: &str) -> Value {
        let router: Router = Router::new()
            .route(
                "/t/{tenant_id}/{number}",
                get(async |Path(ids): Path<Ids>| format!("\"{}{}\"", ids.tenant_id, ids.number)),
            )
            .route("/q", get(async |Query(_): Query<Filter>| "\"ok\""));
        body_json(send(&router, "GET", uri, &[], "").await).await
    }

    #[tokio::test]
    async fn a_bad_segment_is_named() {
        let id = Uuid::from_u128(5);
        assert!(answer(&format!("/t/{id}/5")).await.is_string());
        let bad = answer("/t/nonsense/5").await;
        assert_eq!((&bad["code"], &bad["parameter"]), (&"invalid_uuid".into(), &"tenant_id".into()));
        let bad = answer(&format!("/t/{id}/five")).await;
        assert_eq!((&bad["code"], &bad["parameter"]), (&"invalid_path".into(), &"number".into()));
        let bad = answer("/t/%FF/5").await;
        assert_eq!((&bad["code"], &bad["parameter"]), (&"invalid_path".into(), &"tenant_id".into()));
    }

    #[tokio::test]
    async fn a_bad_unknown_missing_or_repeated_parameter_is_named() {
        assert_eq!(answer("/q?kind=a&seats=3").await, "ok");
        for (uri, parameter) in [
            ("/q?kind=a&seats=x", "seats"),
            ("/q?kind=a&color=x", "color"),
            ("/q", "kind"),
            ("/q?kind=a&kind=b", "kind"),
        ] {
            let bad = answer(uri).await;
            assert_eq!((&bad["code"], &bad["parameter"]), (&"invalid_query".into(), &parameter.into()), "{uri}");
        }
        assert_eq!(answer(&format!("/q?kind={}", "a".repeat(QUERY_BYTES_MAX))).await["code"], "invalid_query");
    }
}
