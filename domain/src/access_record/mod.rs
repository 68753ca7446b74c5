//! Access records: what was refused in a tenant, which credentials were not accepted, and who read what is sensitive, so that an audit finds
//! it in the log.
//!
//! One record is what one process noted in some seconds about one principal, or about credentials that belong to nobody. What is alike is
//! counted, so that a flood of refusals is a few events. Life: absent, written; a record never changes.

pub mod decide;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, IntoStaticStr, VariantNames};
use uuid::Uuid;

use crate::{
    aggregate,
    fact::Home,
    personal::Pii,
    refusal::{Kind, Refusal},
    role::Principal,
};

/// At most so many observations a record.
pub const OBSERVATION_COUNT_MAX: usize = 1_000;
/// Of the things that refused requests were about, so many are named.
pub const RESOURCE_COUNT_MAX: usize = 20;

/// What has been recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// A principal, at home in the tenant or on the platform, was refused a permission `seen.count` times. The things that it was about are
    /// named up to twenty.
    Refused {
        principal: Principal,
        home: Home,
        permission: String,
        reason: Reason,
        resource_ids: Vec<Uuid>,
        seen: Seen,
    },
    /// A credential was not accepted. `key_id` is the public part of a key that is or was the tenant's, `network` the /24 (IPv4) or /48
    /// (IPv6) that the requests came from.
    LoginFailed { reason: LoginFailure, key_id: Option<String>, network: Option<Pii<String>>, seen: Seen },
    /// A principal, at home in the tenant or on the platform, was let in to read what is sensitive in the record's tenant, `seen.count` times. The
    /// things that it was about, if it was about one, are named up to twenty.
    SensitiveRead { principal: Principal, home: Home, permission: String, resource_ids: Vec<Uuid>, seen: Seen },
    /// More kinds of observations than are told apart; these were only counted.
    Unlisted { seen: Seen },
}

/// How often, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Seen {
    pub count: u64,
    pub first_at: DateTime<Utc>,
    pub last_at: DateTime<Utc>,
}

/// Why somebody was refused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    /// A role denies it.
    Denied,
    /// No role that held then permits it.
    NoRole,
    /// The key or token was over or revoked.
    Credential,
    /// The principal has ended.
    Ended,
    /// The key's scopes do not reach so far.
    Scope,
    /// No role can permit it to a principal that is at home there.
    Rule,
    /// The decision failed, which counts as a denial.
    Error,
    /// It was about another tenant.
    AnotherTenant,
    /// Only the platform's own principals may do it.
    PlatformOnly,
    /// It would have given away rights that the principal does not hold.
    Granting,
}

/// Why a credential was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoginFailure {
    /// It is neither a key nor a token.
    Malformed,
    /// There never was such a key.
    UnknownKey,
    /// The key, or this secret of it, was revoked.
    RevokedKey,
    /// The key's time, or that of this secret, is over.
    ExpiredKey,
    /// The secret is wrong.
    WrongSecret,
    /// The key may not be used from there.
    Network,
    /// The access token was not accepted.
    Token,
}

/// One record before it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// The record's own id.
    pub id: Uuid,
    /// The tenant of who was refused, or whose things were read.
    pub tenant_id: Uuid,
    /// Who was refused, or read; `None` for credentials that were not accepted.
    pub principal: Option<Principal>,
    /// What was observed.
    pub observations: Vec<Event>,
}

/// What can be ordered.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Writes down what was observed.
    Record { observations: Vec<Event> },
}

/// Why a command is refused; only the platform itself sends one, so no client meets these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("an access record has from 1 to {OBSERVATION_COUNT_MAX} observations")]
    Size,
    #[error("the access record is written already")]
    Written,
}

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Size => "access_record_size",
            Self::Written => "access_record_written",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Size => Kind::Invalid,
            Self::Written => Kind::Conflict,
        }
    }
}

/// A record at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessRecord {
    /// Not written.
    #[default]
    Absent,
    /// Written.
    Written,
}

impl Aggregate for AccessRecord {
    const TYPE: &'static str = "access_record";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Refused { .. }
            | Event::LoginFailed { .. }
            | Event::SensitiveRead { .. }
            | Event::Unlisted { .. } => *self = Self::Written,
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", AccessRecord::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        match self {
            // Version 1 has the network in clear text.
            Self::LoginFailed { .. } => "2",
            Self::Refused { .. } | Self::Unlisted { .. } => "1",
        }
        .to_owned()
    }
}
