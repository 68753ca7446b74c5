//! The claims of a token: each with its type checked, those that must be there required, and judged against a time.
//!
//! `jsonwebtoken` checks `aud`, `iss` and `nbf` only when they are present and reads the system's clock, so the rules are
//! here and it is asked for a second opinion only. Times are NumericDates: seconds since 1970, fractions allowed.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

use crate::{refused::Refused, verify::Provider};

/// By how much the clocks of an issuer and ours may differ.
pub const SKEW: TimeDelta = TimeDelta::seconds(60);

/// Longest `sub` and `jti`, in bytes; OpenID Connect allows a `sub` no more.
const ID_BYTES_MAX: usize = 255;

/// What a token says.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) issuer: String,
    /// At least one.
    pub(crate) audiences: BTreeSet<String>,
    pub(crate) subject: String,
    pub(crate) expires_at: DateTime<Utc>,
    not_before: Option<DateTime<Utc>>,
    pub(crate) issued_at: Option<DateTime<Utc>>,
    pub(crate) token_id: Option<String>,
    pub(crate) scope: Option<BTreeSet<String>>,
}

impl Claims {
    pub(crate) fn read(members: &Map<String, Value>) -> Result<Self, Refused> {
        let issuer = required(members, "iss")?.as_str().filter(|text| !text.is_empty());
        let subject = required(members, "sub")?.as_str().filter(|text| id(text));
        Ok(Self {
            issuer: issuer.ok_or(Refused::WrongClaim("iss"))?.to_owned(),
            audiences: audiences(required(members, "aud")?)?,
            subject: subject.ok_or(Refused::WrongClaim("sub"))?.to_owned(),
            expires_at: time("exp", required(members, "exp")?)?,
            not_before: members.get("nbf").map(|value| time("nbf", value)).transpose()?,
            issued_at: members.get("iat").map(|value| time("iat", value)).transpose()?,
            token_id: members.get("jti").map(token_id).transpose()?,
            scope: members.get("scope").map(scope).transpose()?,
        })
    }

    /// Whether this provider's tokens are what these claims are about, and we who they are meant for.
    pub(crate) fn fit(&self, provider: &Provider) -> Result<(), Refused> {
        if self.issuer != provider.issuer {
            return Err(Refused::UnknownIssuer);
        }
        if !self.audiences.contains(&provider.audience) {
            return Err(Refused::WrongAudience);
        }
        Ok(())
    }

    /// Whether `now` is in the token's time: not on or after `exp`, not before `nbf`, each give or take `SKEW`.
    pub(crate) fn valid_at(&self, now: DateTime<Utc>) -> Result<(), Refused> {
        if now - SKEW >= self.expires_at {
            return Err(Refused::Expired);
        }
        if [self.not_before, self.issued_at].into_iter().flatten().any(|time| time > now + SKEW) {
            return Err(Refused::NotYetValid);
        }
        Ok(())
    }
}

fn required<'a>(members: &'a Map<String, Value>, name: &'static str) -> Result<&'a Value, Refused> {
    members.get(name).ok_or(Refused::MissingClaim(name))
}

/// 1 to `ID_BYTES_MAX` bytes that can stand in a log line.
fn id(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control)
}

/// One string, or an array of at least one.
fn audiences(value: &Value) -> Result<BTreeSet<String>, Refused> {
    let texts = match value {
        Value::String(text) => Some(BTreeSet::from([text.clone()])),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    texts
        .filter(|texts| !texts.is_empty() && texts.iter().all(|text| !text.is_empty()))
        .ok_or(Refused::WrongClaim("aud"))
}

/// A NumericDate up to the year 9999, to the millisecond.
fn time(name: &'static str, value: &Value) -> Result<DateTime<Utc>, Refused> {
    const SECONDS_MAX: f64 = 253_402_300_799.0;
    value
        .as_f64()
        .filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds))
        // In range, and a float has these integers exactly; the fraction may lose digits nobody sends.
        .and_then(|seconds| DateTime::from_timestamp_millis((seconds * 1000.0) as i64))
        .ok_or(Refused::WrongClaim(name))
}

fn token_id(value: &Value) -> Result<String, Refused> {
    value.as_str().filter(|text| id(text)).map(str::to_owned).ok_or(Refused::WrongClaim("jti"))
}

/// Words between blanks (RFC 6749, 3.3). No words are a scope of nothing, which is not the same as no scope.
fn scope(value: &Value) -> Result<BTreeSet<String>, Refused> {
    let text = value.as_str().ok_or(Refused::WrongClaim("scope"))?;
    let words: BTreeSet<String> = text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let spelled = |byte: u8| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~');
    words.iter().all(|word| word.bytes().all(spelled)).then_some(words).ok_or(Refused::WrongClaim("scope"))
}
