//! Reading your own writes: a command answers a token, a query that sends it waits until its read model got there.

use std::{fmt, str::FromStr, time::Duration};

use aide::{
    OperationInput,
    generate::GenContext,
    openapi::{self, Operation},
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, request::Parts},
    response::{IntoResponseParts, ResponseParts},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    headers::{self, CONSISTENCY_TOKEN, PREFER, PROJECTION_POSITION},
    openapi::{add_parameter_once, header_documented, header_parameter},
    problem::{self, Problem},
};

/// How long a query waits for its read model when `Prefer: wait` says nothing.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(2);

/// The longest wait that `Prefer: wait` can ask for; more is cut down to it.
pub const WAIT_MAX: Duration = Duration::from_secs(10);

const TOKEN_VERSION: u8 = 1;

/// A position in the log as callers carry it: opaque text, `Consistency-Token`. Positions are not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConsistencyToken(pub i64);

impl fmt::Display for ConsistencyToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [TOKEN_VERSION; 9];
        bytes[1..].copy_from_slice(&self.0.to_be_bytes());
        formatter.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// The text is not a token of this service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a consistency token of this service")]
pub struct InvalidToken;

impl FromStr for ConsistencyToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidToken)?;
        let (version, position) = bytes.split_first().ok_or(InvalidToken)?;
        let position = i64::from_be_bytes(position.try_into().map_err(|_| InvalidToken)?);
        if *version == TOKEN_VERSION && position >= 0 { Ok(Self(position)) } else { Err(InvalidToken) }
    }
}

impl ConsistencyToken {
    /// The header value.
    pub fn header_value(self) -> HeaderValue {
        headers::ascii(&self.to_string())
    }
}

/// What a query asks of its read model's freshness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadConsistency {
    /// The read model must have applied the log up to here, inclusive; `None` takes it as it is.
    pub at_least: Option<i64>,
    /// How long to wait for that before `projection_behind` is answered.
    pub wait: Duration,
}

impl<S: Send + Sync> FromRequestParts<S> for ReadConsistency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Self::of(&parts.headers)
    }
}

impl ReadConsistency {
    /// Reads the headers; 400 `invalid_header` when the token cannot be read.
    pub fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let token = headers::single(headers, &CONSISTENCY_TOKEN)?
            .map(|text| text.parse::<ConsistencyToken>())
            .transpose()
            .map_err(|error| Problem::invalid_header("Consistency-Token", error.to_string()))?;
        Ok(Self { at_least: token.map(|token| token.0), wait: preferred_wait(headers) })
    }
}

/// `Prefer: wait=n` in seconds. A preference that cannot be read is ignored, as RFC 7240 has it.
fn preferred_wait(headers: &HeaderMap) -> Duration {
    let preferences = headers.get_all(&PREFER).iter().filter_map(|value| value.to_str().ok());
    let seconds = preferences.flat_map(|text| text.split(',')).find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let named = name.trim().eq_ignore_ascii_case("wait");
        if named { value.trim().trim_matches('"').parse::<u64>().ok() } else { None }
    });
    seconds.map_or(WAIT_DEFAULT, |seconds| Duration::from_secs(seconds).min(WAIT_MAX))
}

impl OperationInput for ReadConsistency {
    fn operation_input(_ctx: &mut GenContext, operation: &mut Operation) {
        let token = "Token of a command's answer: the query then waits until it can see that command.";
        add_parameter_once(operation, header_parameter("Consistency-Token", token, "string", None));
        let prefer = "`wait=n`: how many seconds to wait for the Consistency-Token; 2 if absent, 10 at most.";
        add_parameter_once(operation, header_parameter("Prefer", prefer, "string", Some("wait=5")));
    }

    fn inferred_early_responses(
        ctx: &mut GenContext,
        _operation: &mut Operation,
    ) -> Vec<(Option<openapi::StatusCode>, openapi::Response)> {
        problem::documented_statuses(ctx, &[400, 503])
    }
}

/// The position up to which the read model behind an answer had applied the log: `Projection-Position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadPosition(pub i64);

impl ReadPosition {
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        headers.insert(PROJECTION_POSITION, HeaderValue::from(self.0));
    }

    pub(crate) fn document(response: &mut openapi::Response) {
        let description = "Position in the log up to which the read model behind this answer had come.";
        response.headers.insert("Projection-Position".into(), header_documented(description, "integer"));
    }
}

impl IntoResponseParts for ReadPosition {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        self.write(parts.headers_mut());
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn read(headers: &[(&str, &str)]) -> Result<ReadConsistency, Problem> {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        ReadConsistency::from_request_parts(&mut parts, &()).await
    }

    #[test]
    fn a_token_survives_the_way_through_text() {
        for position in [0, 1, 1 << 40, i64::MAX] {
            let token = ConsistencyToken(position);
            assert_eq!(token.to_string().parse(), Ok(token));
        }
        for bad in ["", "a", "AAAAAAAAAAAA", "Af__________", "!!", &ConsistencyToken(-1).to_string()] {
            assert_eq!(bad.parse::<ConsistencyToken>(), Err(InvalidToken), "{bad}");
        }
    }

    #[tokio::test]
    async fn the_wait_is_two_seconds_unless_told_and_ten_at_most() {
        let wait = async |prefer: &'static str| read(&[("prefer", prefer)]).await.unwrap().wait.as_secs();
        assert_eq!(read(&[]).await.unwrap(), ReadConsistency { at_least: None, wait: WAIT_DEFAULT });
        assert_eq!(wait("wait=0").await, 0);
        assert_eq!(wait("respond-async, Wait = \"5\"").await, 5);
        assert_eq!(wait("wait=86400").await, 10);
        assert_eq!(wait("wait=soon").await, 2);
    }

    #[tokio::test]
    async fn a_bad_token_names_its_header() {
        let token = ConsistencyToken(77).to_string();
        assert_eq!(read(&[("consistency-token", &token)]).await.unwrap().at_least, Some(77));
        let problem = read(&[("consistency-token", "nonsense")]).await.unwrap_err().to_json();
        assert_eq!((&problem["code"], &problem["header"]), (&"invalid_header".into(), &"Consistency-Token".into()));
        assert!(read(&[("consistency-token", &token), ("consistency-token", &token)]).await.is_err());
    }
}
