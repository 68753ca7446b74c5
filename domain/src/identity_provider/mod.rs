//! An identity provider: whose access tokens a tenant accepts, from its registration to its removal.
//!
//! Life: absent, enabled or disabled, removed; a removed provider accepts nothing and gives its issuer back. While it is enabled decisions read
//! it as a fact. Tokens must be meant for this platform and this tenant: the audience follows from the tenant's id. Fetching keys is not part
//! of this aggregate.

pub mod address;
pub mod decide;
#[cfg(test)]
mod tests;

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::{
    aggregate,
    id::TenantId,
    refusal::{Code, Kind, Refusal},
};

pub use self::address::{Issuer, KeysAddress};

/// At most so many providers a tenant, disabled ones included; held by the counter [`decide::PROVIDERS`].
pub const PROVIDER_COUNT_MAX: i64 = 5;

/// What has happened to an identity provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// The tenant accepts access tokens of `issuer` for `audience`, signed with one of the keys at `jwks_uri`.
    Registered { issuer: Issuer, audience: String, jwks_uri: KeysAddress },
    /// The keys are at another address.
    KeysAddressChanged { from: KeysAddress, to: KeysAddress },
    /// No token is accepted for now.
    Disabled {},
    /// Tokens are accepted again.
    Enabled {},
    /// The end of the provider.
    Removed {},
}

/// What an identity provider can be ordered to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `tenant_id` is the tenant that the stream belongs to. `loopback_allowed` lets a developer's own machine be a provider, without TLS.
    Register {
        tenant_id: TenantId,
        issuer: Issuer,
        jwks_uri: KeysAddress,
        loopback_allowed: bool,
    },
    ChangeKeysAddress {
        jwks_uri: KeysAddress,
        loopback_allowed: bool,
    },
    Disable,
    Enable,
    Remove,
}

/// Why an identity provider refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no such identity provider")]
    NotFound,
    #[error("the identity provider is already registered")]
    AlreadyRegistered,
    #[error("the identity provider is removed and accepts nothing")]
    Removed,
    #[error("an identity provider is reached by https")]
    Insecure,
}

/// The tenant has [`PROVIDER_COUNT_MAX`] identity providers.
///
/// No state of one provider knows how many others there are: the store counts [`PROVIDERS`](decide::PROVIDERS) in the transaction that appends.
pub const LIMIT_REACHED: Code = Code {
    code: "identity_provider_limit_reached",
    kind: Kind::LimitReached,
    meaning: "The tenant has as many identity providers as are allowed.",
};

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code { code: "identity_provider_not_found", kind: Kind::NotFound, meaning: "There is no such identity provider." },
    Code {
        code: "identity_provider_already_registered",
        kind: Kind::Conflict,
        meaning: "An identity provider with this id exists already.",
    },
    Code {
        code: "identity_provider_removed",
        kind: Kind::Conflict,
        meaning: "The identity provider is removed and accepts no command.",
    },
    Code {
        code: "identity_provider_issuer_taken",
        kind: Kind::Conflict,
        meaning: "The tenant has another identity provider with this issuer.",
    },
    Code {
        code: "identity_provider_insecure",
        kind: Kind::Invalid,
        meaning: "An identity provider is reached by https; only for development may one on the same machine do without.",
    },
    LIMIT_REACHED,
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "identity_provider_not_found",
            Self::AlreadyRegistered => "identity_provider_already_registered",
            Self::Removed => "identity_provider_removed",
            Self::Insecure => "identity_provider_insecure",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::AlreadyRegistered | Self::Removed => Kind::Conflict,
            Self::Insecure => Kind::Invalid,
        }
    }
}

/// An identity provider at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum IdentityProvider {
    /// Not registered.
    #[default]
    Absent,
    /// Its tokens are accepted.
    Enabled(Provider),
    /// Registered, but no token is accepted.
    Disabled(Provider),
    /// Removed for ever.
    Removed,
}

/// What a registered provider is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provider {
    pub issuer: Issuer,
    pub audience: String,
    pub jwks_uri: KeysAddress,
}

/// What tokens for a tenant name as their audience.
#[must_use]
pub fn audience_of(tenant_id: TenantId) -> String {
    format!("urn:service-hub:tenant:{}", tenant_id.0)
}

impl Aggregate for IdentityProvider {
    const TYPE: &'static str = "identity_provider";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Registered { issuer, audience, jwks_uri } => {
                *self = Self::Enabled(Provider { issuer, audience, jwks_uri });
            }
            Event::KeysAddressChanged { to, .. } => {
                if let Self::Enabled(provider) | Self::Disabled(provider) = self {
                    provider.jwks_uri = to;
                }
            }
            Event::Disabled {} => {
                if let Self::Enabled(provider) = self {
                    *self = Self::Disabled(provider.clone());
                }
            }
            Event::Enabled {} => {
                if let Self::Disabled(provider) = self {
                    *self = Self::Enabled(provider.clone());
                }
            }
            Event::Removed {} => *self = Self::Removed,
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", IdentityProvider::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
