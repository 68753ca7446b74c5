//! Asking how a thing was: `?as_of=` on queries about one thing, with a permission of its own.
//!
//! The moment is a place in the tenant's log, as its events bear it, or a time. Only routes that were made for it answer such a question; every
//! other one refuses the parameter, because an answer about today would be a wrong one.

use aide::{
    OperationInput,
    generate::GenContext,
    openapi::{self, Operation},
};
use axum::{
    extract::FromRequestParts,
    http::{Uri, request::Parts},
};
use chrono::{DateTime, Utc};

use crate::{
    access::Permission,
    openapi::{add_parameter_once, query_parameter},
    params::query_of,
    problem::{self, Problem},
};

/// The parameter.
pub(crate) const PARAMETER: &str = "as_of";

/// What it takes to ask how things were, beside the permission to see them as they are.
pub const HISTORY_READ: &str = "history:read";

/// What is behind the path of a route in the catalogue of permissions when it is asked with the parameter.
pub const CATALOGUE_SUFFIX: &str = "?as_of=";

/// A moment of a tenant's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// Up to and with the event of this place in the tenant's log, from 1.
    Position(i64),
    /// Up to and with the last event that had happened by then.
    Time(DateTime<Utc>),
}

/// The moment that a query is about; `None` is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsOf(pub Option<Past>);

/// Whether a query is about another moment than now, as far as can be seen without reading the moment.
pub(crate) fn asked(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    !query.is_empty() && form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == PARAMETER)
}

/// Says that a route has no past.
pub(crate) fn refused() -> Problem {
    Problem::invalid_query(Some(PARAMETER), "only single things are answered as they were, not lists, sums or the log")
}

/// The permission as the gate takes it.
pub(crate) fn permission() -> Permission {
    Permission::parse(HISTORY_READ).expect("the name is a constant")
}

impl<S: Send + Sync> FromRequestParts<S> for AsOf {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let query = query_of(parts)?;
        let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == PARAMETER);
        let refused = |detail: &str| Problem::invalid_query(Some(PARAMETER), detail);
        match (values.next(), values.next()) {
            (None, _) => Ok(Self(None)),
            (Some((_, text)), None) => {
                let moment = read(&text);
                moment.map(|moment| Self(Some(moment))).ok_or_else(|| {
                    refused(
                        "neither a position from 1 nor a moment such as 2026-01-31T00:00:00Z (a `+` is written %2B)",
                    )
                })
            }
            (Some(_), Some(_)) => Err(refused("it is given more than once")),
        }
    }
}

fn read(text: &str) -> Option<Past> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|position| *position > 0).map(Past::Position);
    }
    DateTime::parse_from_rfc3339(text).ok().map(|time| Past::Time(time.with_timezone(&Utc)))
}

impl OperationInput for AsOf {
    fn operation_input(_ctx: &mut GenContext, operation: &mut Operation) {
        let description = "Answer as it was: up to and with the event of this position in the tenant's log, or up to and with this moment \
            (RFC 3339). `Projection-Position` is then the place of that event in the platform's log. Needs `history:read`, too. \
            400 for a moment in the future or behind the end of the log, 404 for what did not exist then, 422 `history_too_long` \
            when too many events lead there.";
        let schema = schemars::json_schema!({ "type": "string", "examples": ["2026-01-31T00:00:00Z", "57"] });
        add_parameter_once(operation, query_parameter(PARAMETER, description, schema));
    }

    fn inferred_early_responses(
        ctx: &mut GenContext,
        _operation: &mut Operation,
    ) -> Vec<(Option<openapi::StatusCode>, openapi::Response)> {
        problem::documented_statuses(ctx, &[400, 422])
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn as_of(query: &str) -> Result<Option<Past>, String> {
        let (mut parts, ()) = Request::builder().uri(format!("/a?{query}")).body(()).unwrap().into_parts();
        let as_of = AsOf::from_request_parts(&mut parts, &()).await;
        as_of.map(|as_of| as_of.0).map_err(|problem| problem.to_json()["parameter"].as_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn a_moment_is_a_position_or_a_time() {
        let time = Past::Time("2026-01-31T10:00:00.000001Z".parse().unwrap());
        assert_eq!(as_of("as_of=57").await, Ok(Some(Past::Position(57))));
        assert_eq!(as_of("as_of=2026-01-31T10:00:00.000001Z").await, Ok(Some(time)));
        assert_eq!(as_of("as_of=2026-01-31T12:00:00.000001%2B02:00").await, Ok(Some(time)));
        assert_eq!(as_of("of=3").await, Ok(None));
        let huge = format!("as_of={}0", i64::MAX);
        for bad in ["as_of=", "as_of=0", "as_of=-1", "as_of=yesterday", "as_of=2026-01-31", "as_of=1&as_of=1", &huge] {
            assert_eq!(as_of(bad).await, Err("as_of".to_owned()), "{bad}");
        }
    }

    #[test]
    fn a_question_about_the_past_is_recognised_however_it_is_written() {
        let asked = |query: &str| asked(&format!("/a?{query}").parse().unwrap());
        assert!(asked("as_of=1") && asked("limit=1&as_of") && asked("as_of=nonsense"));
        assert!(asked("as%5Fof=1"), "percent encoding hides nothing");
        assert!(!asked("limit=1") && !asked("was_as_of_old=1"));
    }
}
