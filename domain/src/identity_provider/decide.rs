//! What an identity provider allows, what its events take and count in the tenant, and what decisions read of it.

use uuid::Uuid;

use crate::{
    aggregate::Decide,
    effect::{Effect, Reach},
    fact::{Fact, IdentityProviderFact},
};

use super::{Command, Error, Event, IdentityProvider, Issuer, KeysAddress, Provider, audience_of};

/// The scope in which issuers are unique within their tenant.
pub const ISSUER: &str = "identity_provider_issuer";
/// Counts the providers of a tenant; its maximum is [`PROVIDER_COUNT_MAX`](super::PROVIDER_COUNT_MAX).
pub const PROVIDERS: &str = "identity_providers";
/// The fact of an enabled provider.
pub const PROVIDER: &str = "provider";

impl Decide for IdentityProvider {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (self, command) {
            (Self::Absent, Command::Register { tenant_id, issuer, jwks_uri, loopback_allowed }) => {
                if issuer.plain() && !loopback_allowed {
                    return Err(Error::Insecure);
                }
                let jwks_uri = secure(jwks_uri, loopback_allowed)?;
                Ok(vec![Event::Registered { issuer, audience: audience_of(tenant_id), jwks_uri }])
            }
            (Self::Absent, _) => Err(Error::NotFound),
            (Self::Removed, _) => Err(Error::Removed),
            (Self::Enabled(_) | Self::Disabled(_), Command::Register { .. }) => Err(Error::AlreadyRegistered),
            (
                Self::Enabled(provider) | Self::Disabled(provider),
                Command::ChangeKeysAddress { jwks_uri, loopback_allowed },
            ) => {
                let to = secure(jwks_uri, loopback_allowed)?;
                if to == provider.jwks_uri {
                    return Ok(vec![]);
                }
                Ok(vec![Event::KeysAddressChanged { from: provider.jwks_uri.clone(), to }])
            }
            (Self::Enabled(_), Command::Disable) => Ok(vec![Event::Disabled {}]),
            (Self::Disabled(_), Command::Enable) => Ok(vec![Event::Enabled {}]),
            (Self::Disabled(_), Command::Disable) | (Self::Enabled(_), Command::Enable) => Ok(vec![]),
            (Self::Enabled(_) | Self::Disabled(_), Command::Remove) => Ok(vec![Event::Removed {}]),
        }
    }

    fn effects(&self, _id: Uuid, event: &Event) -> Vec<Effect> {
        match (self, event) {
            (_, Event::Registered { issuer, audience, jwks_uri }) => vec![
                Effect::Take { reach: Reach::Tenant, scope: ISSUER, key: issuer.to_string() },
                Effect::Count { counter: PROVIDERS, delta: 1 },
                shown(issuer, audience, jwks_uri),
            ],
            (Self::Enabled(provider), Event::KeysAddressChanged { to, .. }) => {
                vec![shown(&provider.issuer, &provider.audience, to)]
            }
            (Self::Disabled(provider), Event::Enabled {}) => {
                vec![shown(&provider.issuer, &provider.audience, &provider.jwks_uri)]
            }
            (_, Event::Disabled {}) => vec![Effect::Hide { part: PROVIDER.to_owned() }],
            (Self::Enabled(Provider { issuer, .. }) | Self::Disabled(Provider { issuer, .. }), Event::Removed {}) => {
                vec![
                    Effect::Release { reach: Reach::Tenant, scope: ISSUER, key: issuer.to_string() },
                    Effect::Count { counter: PROVIDERS, delta: -1 },
                    Effect::Hide { part: PROVIDER.to_owned() },
                ]
            }
            (Self::Disabled(_), Event::KeysAddressChanged { .. }) => Vec::new(),
            // No such history is ever written.
            (
                Self::Absent | Self::Removed,
                Event::KeysAddressChanged { .. } | Event::Enabled {} | Event::Removed {},
            )
            | (Self::Enabled(_), Event::Enabled {}) => Vec::new(),
        }
    }
}

fn secure(jwks_uri: KeysAddress, loopback_allowed: bool) -> Result<KeysAddress, Error> {
    if jwks_uri.plain() && !loopback_allowed { Err(Error::Insecure) } else { Ok(jwks_uri) }
}

fn shown(issuer: &Issuer, audience: &str, jwks_uri: &KeysAddress) -> Effect {
    let fact = Fact::IdentityProvider(IdentityProviderFact {
        issuer: issuer.to_string(),
        audience: audience.to_owned(),
        jwks_uri: jwks_uri.to_string(),
    });
    Effect::Show { part: PROVIDER.to_owned(), fact }
}
