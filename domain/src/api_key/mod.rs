//! An API key: a program's credential in one tenant or on the platform, with the roles it holds and the bounds it keeps.
//!
//! Life: absent, valid, revoked for ever. The secret is made outside and known here by its SHA-256 only. A rotation gives the key a second
//! secret and keeps the one before it for a grace period, so that programs can follow in their own time. A key whose end has come is not
//! accepted any more, without an event. Its roles are the key's own and end with it.

pub mod bounds;
pub mod decide;
#[cfg(test)]
mod tests;
pub mod text;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::{
    aggregate,
    id::RoleId,
    refusal::{Code, Kind, Refusal},
    text::{Name, Remark},
};

pub use bounds::{KeyScope, KeyScopes, Network, Networks, SecretHash, SecretId, parsed_networks, parsed_scopes};
pub use decide::principal_of;
pub use text::KeyText;

/// At most so many keys a tenant that are not revoked; held by the counter [`decide::API_KEYS`].
pub const API_KEY_COUNT_MAX: i64 = 200;

/// At most so many roles a key.
pub const ROLE_COUNT_MAX: usize = 20;

/// After a rotation the secret before is valid for so long at most, in seconds: a week.
pub const GRACE_SECONDS_MAX: u32 = 7 * 24 * 3_600;

/// The scope in which the ids of secrets are unique on the platform.
pub const KEY_ID: &str = "api_key_id";

/// What has happened to a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// The key is valid from `issued_at` on, with these roles and within these bounds.
    Issued {
        name: Name,
        secret_id: SecretId,
        sha256: SecretHash,
        roles: BTreeSet<RoleId>,
        scopes: KeyScopes,
        networks: Networks,
        issued_at: DateTime<Utc>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<DateTime<Utc>>,
    },
    /// A new secret is valid; the one before it until `previous_until`, older ones no longer.
    Rotated { secret_id: SecretId, sha256: SecretHash, previous_until: DateTime<Utc> },
    /// The end of the key.
    Revoked { reason: Remark },
}

/// What a key can be ordered to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Issue {
        name: Name,
        secret_id: SecretId,
        sha256: SecretHash,
        roles: BTreeSet<RoleId>,
        scopes: KeyScopes,
        networks: Networks,
        expires_at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    },
    /// `secret_id` and `sha256` are of a fresh secret.
    Rotate {
        secret_id: SecretId,
        sha256: SecretHash,
        grace_seconds: u32,
        now: DateTime<Utc>,
    },
    Revoke {
        reason: Remark,
    },
}

/// Why a key refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no such key")]
    NotFound,
    #[error("the key is already issued")]
    AlreadyIssued,
    #[error("the key is revoked and accepts nothing")]
    Revoked,
    #[error("the key's end has come")]
    Expired,
    #[error("a key ends in the future")]
    ExpiryInThePast,
    #[error("a key has 1 to {ROLE_COUNT_MAX} roles")]
    RolesOutOfRange,
    #[error("a secret stays valid for at most {GRACE_SECONDS_MAX} seconds after a rotation")]
    GraceOutOfRange,
}

/// The tenant has [`API_KEY_COUNT_MAX`] keys; answered by the store, which counts.
pub const LIMIT_REACHED: Code = Code {
    code: "api_key_limit_reached",
    kind: Kind::LimitReached,
    meaning: "The tenant has as many API keys as are allowed.",
};

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code { code: "api_key_not_found", kind: Kind::NotFound, meaning: "There is no such API key." },
    Code { code: "api_key_already_issued", kind: Kind::Conflict, meaning: "An API key with this id exists already." },
    Code { code: "api_key_revoked", kind: Kind::Conflict, meaning: "The API key is revoked and accepts no command." },
    Code { code: "api_key_expired", kind: Kind::Conflict, meaning: "The API key's end has come." },
    Code { code: "api_key_expiry_in_the_past", kind: Kind::Invalid, meaning: "An API key ends in the future." },
    Code { code: "api_key_roles_out_of_range", kind: Kind::Invalid, meaning: "An API key has 1 to 20 roles." },
    Code {
        code: "api_key_grace_out_of_range",
        kind: Kind::Invalid,
        meaning: "After a rotation the old secret stays valid for at most a week.",
    },
    LIMIT_REACHED,
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "api_key_not_found",
            Self::AlreadyIssued => "api_key_already_issued",
            Self::Revoked => "api_key_revoked",
            Self::Expired => "api_key_expired",
            Self::ExpiryInThePast => "api_key_expiry_in_the_past",
            Self::RolesOutOfRange => "api_key_roles_out_of_range",
            Self::GraceOutOfRange => "api_key_grace_out_of_range",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::AlreadyIssued | Self::Revoked | Self::Expired => Kind::Conflict,
            Self::ExpiryInThePast | Self::RolesOutOfRange | Self::GraceOutOfRange => Kind::Invalid,
        }
    }
}

/// A key at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum ApiKey {
    /// Not issued.
    #[default]
    Absent,
    /// Issued and not revoked; perhaps its end has come.
    Valid(Box<Credential>),
    /// Revoked for ever.
    Revoked,
}

/// What a key is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Credential {
    pub secret: Secret,
    /// The secret before the current one, and when it ends; `None` until the first rotation.
    pub previous: Option<(Secret, DateTime<Utc>)>,
    pub roles: BTreeSet<RoleId>,
    pub scopes: KeyScopes,
    pub networks: Networks,
    pub issued_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// One secret as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    pub secret_id: SecretId,
    pub sha256: SecretHash,
}

impl Aggregate for ApiKey {
    const TYPE: &'static str = "api_key";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Issued { name: _, secret_id, sha256, roles, scopes, networks, issued_at, expires_at } => {
                let secret = Secret { secret_id, sha256 };
                *self = Self::Valid(Box::new(Credential {
                    secret,
                    previous: None,
                    roles,
                    scopes,
                    networks,
                    issued_at,
                    expires_at,
                }));
            }
            Event::Rotated { secret_id, sha256, previous_until } => match self {
                Self::Valid(credential) => {
                    let before = std::mem::replace(&mut credential.secret, Secret { secret_id, sha256 });
                    credential.previous = Some((before, previous_until));
                }
                Self::Absent | Self::Revoked => {} // No such history is ever written.
            },
            Event::Revoked { .. } => *self = Self::Revoked,
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", ApiKey::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
