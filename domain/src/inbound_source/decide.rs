//! What an inbound source allows, and what its events count in the tenant.

use uuid::Uuid;

use crate::{aggregate::Decide, effect::Effect};

use super::{Command, Error, Event, InboundSource};

/// Counts the sources of a tenant; its maximum is [`SOURCE_COUNT_MAX`](super::SOURCE_COUNT_MAX).
pub const SOURCES: &str = "inbound_sources";

impl Decide for InboundSource {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (self, command) {
            (Self::Absent, Command::Register { name, scheme, secret_id, sealed_secret }) => {
                Ok(vec![Event::Registered { name, scheme, secret_id, sealed_secret }])
            }
            // Whoever sends to a source that was removed learns no more than that there is none.
            (Self::Absent, _) | (Self::Removed, Command::Receive { .. }) => Err(Error::NotFound),
            (Self::Removed, _) => Err(Error::Removed),
            (Self::Enabled(_) | Self::Disabled(_), Command::Register { .. }) => Err(Error::AlreadyRegistered),
            (
                Self::Enabled(_) | Self::Disabled(_),
                Command::RotateSecret { secret_id, sealed_secret, previous_until },
            ) => Ok(vec![Event::SecretRotated { secret_id, sealed_secret, previous_until }]),
            (Self::Enabled(_), Command::Disable) => Ok(vec![Event::Disabled {}]),
            (Self::Disabled(_), Command::Enable) => Ok(vec![Event::Enabled {}]),
            (Self::Disabled(_), Command::Disable) | (Self::Enabled(_), Command::Enable) => Ok(vec![]),
            (Self::Enabled(_) | Self::Disabled(_), Command::Remove) => Ok(vec![Event::Removed {}]),
            // Whoever has an old secret does not even learn whether the source is disabled.
            (Self::Enabled(provider) | Self::Disabled(provider), Command::Receive { secret_id, now, .. })
                if !provider.trusts(secret_id, now) =>
            {
                Err(Error::SecretReplaced)
            }
            (Self::Enabled(_), Command::Receive { delivery_id, content_type, body, headers, .. }) => {
                Ok(vec![Event::Received { delivery_id, content_type, body, headers }])
            }
            (Self::Disabled(_), Command::Receive { .. }) => Err(Error::Disabled),
        }
    }

    fn effects(&self, _id: Uuid, event: &Event) -> Vec<Effect> {
        match event {
            Event::Registered { .. } => vec![Effect::Count { counter: SOURCES, delta: 1 }],
            Event::Removed {} => vec![Effect::Count { counter: SOURCES, delta: -1 }],
            Event::SecretRotated { .. } | Event::Disabled {} | Event::Enabled {} | Event::Received { .. } => Vec::new(),
        }
    }
}
