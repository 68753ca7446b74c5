//! An inbound source: a provider outside whose signed webhooks become events of the tenant.
//!
//! Life: absent, enabled or disabled, removed; a removed source accepts nothing. The secret is the provider's or was made for it; it is
//! sealed outside and kept in its sealed form only. A rotation keeps the secret before it until a time, so that the provider can follow. The
//! signature of what was received is verified outside; that the secret behind it is still good is decided here. Whether a delivery came before
//! is told by its command id.

pub mod decide;
pub mod delivery;
pub mod scheme;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, mem};

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};
use uuid::Uuid;

use crate::{
    aggregate,
    refusal::{Code, Kind, Refusal},
    text::Name,
    webhook::SealedSecret,
};

pub use delivery::Content;
pub use scheme::{Scheme, SignatureHeader, SignaturePrefix};

/// At most so many sources a tenant; removed ones do not count. Held by the counter [`decide::SOURCES`].
pub const SOURCE_COUNT_MAX: i64 = 50;

/// What has happened to an inbound source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// The provider may send, from now on.
    Registered { name: Name, scheme: Scheme, secret_id: Uuid, sealed_secret: SealedSecret },
    /// A new secret is good; the one before it until `previous_until`.
    SecretRotated { secret_id: Uuid, sealed_secret: SealedSecret, previous_until: DateTime<Utc> },
    /// Nothing is taken for now.
    Disabled {},
    /// The provider may send again.
    Enabled {},
    /// The end of the source.
    Removed {},
    /// The provider sent this, signed. `headers` are some of the request's.
    Received { delivery_id: String, content_type: String, body: Content, headers: BTreeMap<String, String> },
}

/// What an inbound source can be ordered to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Register {
        name: Name,
        scheme: Scheme,
        secret_id: Uuid,
        sealed_secret: SealedSecret,
    },
    /// `secret_id` is new, and `sealed_secret` the sealed form of another secret.
    RotateSecret {
        secret_id: Uuid,
        sealed_secret: SealedSecret,
        previous_until: DateTime<Utc>,
    },
    Disable,
    Enable,
    Remove,
    /// What was verified by this secret, at `now`.
    Receive {
        secret_id: Uuid,
        now: DateTime<Utc>,
        delivery_id: String,
        content_type: String,
        body: Content,
        headers: BTreeMap<String, String>,
    },
}

/// Why an inbound source refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no such inbound source")]
    NotFound,
    #[error("the inbound source is already registered")]
    AlreadyRegistered,
    #[error("the inbound source is disabled and takes nothing")]
    Disabled,
    #[error("the inbound source is removed and accepts nothing")]
    Removed,
    #[error("the signature is by a secret that is good no longer")]
    SecretReplaced,
}

/// The tenant has [`SOURCE_COUNT_MAX`] sources.
///
/// No state of one source knows how many others there are: the store counts [`SOURCES`](decide::SOURCES) in the transaction that appends.
pub const LIMIT_REACHED: Code = Code {
    code: "inbound_source_limit_reached",
    kind: Kind::LimitReached,
    meaning: "The tenant has as many inbound sources as are allowed.",
};

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code { code: "inbound_source_not_found", kind: Kind::NotFound, meaning: "There is no such inbound source." },
    Code {
        code: "inbound_source_already_registered",
        kind: Kind::Conflict,
        meaning: "An inbound source with this id exists already.",
    },
    Code {
        code: "inbound_source_disabled",
        kind: Kind::Conflict,
        meaning: "The inbound source is disabled: nothing is taken until it is enabled.",
    },
    Code {
        code: "inbound_source_removed",
        kind: Kind::Conflict,
        meaning: "The inbound source is removed and accepts no command.",
    },
    LIMIT_REACHED,
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "inbound_source_not_found",
            Self::AlreadyRegistered => "inbound_source_already_registered",
            Self::Disabled => "inbound_source_disabled",
            Self::Removed => "inbound_source_removed",
            // A provider hears of it as of any signature that is not good, so it is no code of this context.
            Self::SecretReplaced => "invalid_signature",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::AlreadyRegistered | Self::Disabled | Self::Removed => Kind::Conflict,
            Self::SecretReplaced => Kind::Forbidden,
        }
    }
}

/// An inbound source at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum InboundSource {
    /// Not registered.
    #[default]
    Absent,
    /// What it sends is taken.
    Enabled(Provider),
    /// Registered, but nothing is taken.
    Disabled(Provider),
    /// Removed for ever.
    Removed,
}

/// What a registered source is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provider {
    pub scheme: Scheme,
    pub secret: Secret,
    /// `None` until the first rotation.
    pub previous: Option<Previous>,
}

/// A secret and the id by which it is spoken of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Not secret.
    pub secret_id: Uuid,
    pub sealed_secret: SealedSecret,
}

/// The secret before the current one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    pub secret: Secret,
    /// From then on it is not good.
    pub until: DateTime<Utc>,
}

impl InboundSource {
    /// What a registered source is made of; `None` when absent or removed.
    #[must_use]
    pub fn provider(&self) -> Option<&Provider> {
        match self {
            Self::Enabled(provider) | Self::Disabled(provider) => Some(provider),
            Self::Absent | Self::Removed => None,
        }
    }
}

impl Provider {
    /// The secrets that are good at this time, the current one first.
    pub fn secrets(&self, now: DateTime<Utc>) -> impl Iterator<Item = &Secret> {
        let previous = self.previous.iter().filter(move |previous| now < previous.until);
        std::iter::once(&self.secret).chain(previous.map(|previous| &previous.secret))
    }

    /// Whether this secret is good at this time.
    fn trusts(&self, secret_id: Uuid, now: DateTime<Utc>) -> bool {
        self.secrets(now).any(|secret| secret.secret_id == secret_id)
    }
}

impl Aggregate for InboundSource {
    const TYPE: &'static str = "inbound_source";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        *self = match (mem::take(self), event) {
            (_, Event::Registered { scheme, secret_id, sealed_secret, .. }) => {
                Self::Enabled(Provider { scheme, secret: Secret { secret_id, sealed_secret }, previous: None })
            }
            (_, Event::Removed {}) => Self::Removed,
            (Self::Enabled(provider) | Self::Disabled(provider), Event::Disabled {}) => Self::Disabled(provider),
            (Self::Enabled(provider) | Self::Disabled(provider), Event::Enabled {}) => Self::Enabled(provider),
            (Self::Enabled(provider), event) => Self::Enabled(provider.after(event)),
            (Self::Disabled(provider), event) => Self::Disabled(provider.after(event)),
            (state @ (Self::Absent | Self::Removed), _) => state, // No such history is ever written.
        };
    }
}

impl Provider {
    fn after(self, event: Event) -> Self {
        match event {
            Event::SecretRotated { secret_id, sealed_secret, previous_until } => Self {
                previous: Some(Previous { secret: self.secret, until: previous_until }),
                secret: Secret { secret_id, sealed_secret },
                ..self
            },
            // What was received changes nothing of the source; the others are applied to it as a whole.
            Event::Received { .. }
            | Event::Registered { .. }
            | Event::Disabled {}
            | Event::Enabled {}
            | Event::Removed {} => self,
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", InboundSource::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
