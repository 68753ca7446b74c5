//! `Last-Event-ID`: where a server-sent event stream goes on after a broken connection.

use aide::{
    OperationInput,
    generate::GenContext,
    openapi::{self, Operation},
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderName, request::Parts},
};

use crate::{
    headers,
    openapi::{add_parameter_once, header_parameter},
    problem::{self, Problem},
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The id of the last event that the caller has: a position that is not negative, or `None` to begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastEventId(pub Option<i64>);

impl<S: Send + Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let position = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let position = if digits { text.parse().ok() } else { None };
            position.ok_or_else(|| Problem::invalid_event_id("must be the id of an event of this stream"))
        };
        headers::single(&parts.headers, &LAST_EVENT_ID)?.map(position).transpose().map(Self)
    }
}

impl OperationInput for LastEventId {
    fn operation_input(_ctx: &mut GenContext, operation: &mut Operation) {
        let description = "Id of the last event that you have; the stream goes on after it.";
        add_parameter_once(operation, header_parameter("Last-Event-ID", description, "string", Some("42")));
    }

    fn inferred_early_responses(
        ctx: &mut GenContext,
        _operation: &mut Operation,
    ) -> Vec<(Option<openapi::StatusCode>, openapi::Response)> {
        problem::documented_statuses(ctx, &[400, 410])
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[tokio::test]
    async fn only_positions_are_taken() {
        let read = async |value: Option<&'static str>| {
            let mut request = Request::builder();
            if let Some(value) = value {
                request = request.header(LAST_EVENT_ID, value);
            }
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            LastEventId::from_request_parts(&mut parts, &()).await.map_err(|problem| problem.code().to_owned())
        };
        assert_eq!(read(None).await, Ok(LastEventId(None)));
        assert_eq!(read(Some("42")).await, Ok(LastEventId(Some(42))));
        for bad in ["", "-1", "+1", "x", "99999999999999999999"] {
            assert_eq!(read(Some(bad)).await, Err("invalid_event_id".to_owned()), "{bad}");
        }
    }
}
