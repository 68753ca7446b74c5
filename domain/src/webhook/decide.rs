//! What a webhook allows, and how it is counted.

use chrono::{DateTime, Utc};
use hub_filter::{Filter, TypePatterns};
use uuid::Uuid;

use crate::{aggregate::Decide, effect::Effect, text::Remark};

use super::{Command, Delivery, Endpoint, EndpointUrl, Error, Event, Secret, Webhook};

/// The counter of a tenant's webhooks, from registration to deletion; its maximum is
/// [`WEBHOOK_COUNT_MAX`](super::WEBHOOK_COUNT_MAX), and a command that would exceed it is refused as
/// [`LIMIT_REACHED`](super::LIMIT_REACHED).
pub const WEBHOOKS: &str = "webhooks";

impl Decide for Webhook {
    const STATE_VERSION: i32 = 2;

    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (self, command) {
            (Self::Absent, Command::Register { url, filters, filter, description, delivery, secret }) => {
                let Secret { secret_id, sealed_secret, key_pair } = secret;
                let event = Event::Registered {
                    url,
                    filters,
                    description,
                    secret_id,
                    sealed_secret,
                    filter,
                    delivery,
                    key_pair,
                };
                Ok(vec![event])
            }
            (Self::Absent, _) => Err(Error::NotFound),
            (Self::Deleted, _) => Err(Error::Deleted),
            (Self::Active(_) | Self::Paused(_) | Self::Disabled(..), Command::Register { .. }) => {
                Err(Error::AlreadyRegistered)
            }
            (Self::Active(_) | Self::Paused(_) | Self::Disabled(..), Command::Delete) => Ok(vec![Event::Deleted {}]),
            (
                Self::Active(endpoint) | Self::Paused(endpoint) | Self::Disabled(endpoint, _),
                Command::Update { url, filters, filter, description, delivery },
            ) => Ok(endpoint.update(url, filters, filter, description, delivery)),
            (
                Self::Active(endpoint) | Self::Paused(endpoint) | Self::Disabled(endpoint, _),
                Command::RotateSecret { secret, rotated_at, previous_until },
            ) => Ok(endpoint.rotate(secret, rotated_at, previous_until)),
            (
                Self::Active(endpoint) | Self::Paused(endpoint) | Self::Disabled(endpoint, _),
                Command::Verify { challenge },
            ) => {
                let known = endpoint.verified.as_ref() == Some(&challenge);
                Ok(if known { vec![] } else { vec![Event::Verified { challenge }] })
            }
            (Self::Disabled(_, disablement), Command::Enable { replay_missed }) => {
                Ok(vec![Event::Enabled { replay_from: replay_missed.then_some(disablement.missed_from) }])
            }
            (Self::Disabled(..), Command::Disable(_)) => Ok(vec![]),
            (Self::Disabled(..), _) => Err(Error::Disabled),
            (Self::Active(_), Command::Pause) => Ok(vec![Event::Paused {}]),
            (Self::Paused(_), Command::Resume) => Ok(vec![Event::Resumed {}]),
            (Self::Paused(_), Command::Pause) | (Self::Active(_), Command::Resume) => Ok(vec![]),
            (Self::Active(_) | Self::Paused(_), Command::Enable { .. }) => Ok(vec![]),
            (Self::Active(_) | Self::Paused(_), Command::Disable(disablement)) => {
                Ok(vec![Event::Disabled(disablement)])
            }
            (Self::Active(_) | Self::Paused(_), Command::Replay(replay)) => Ok(vec![Event::ReplayRequested(replay)]),
            (Self::Active(_) | Self::Paused(_), Command::Test) => Ok(vec![Event::Tested {}]),
            (Self::Active(_) | Self::Paused(_), Command::Ping { challenge }) => Ok(vec![Event::Pinged { challenge }]),
        }
    }

    fn effects(&self, _id: Uuid, event: &Event) -> Vec<Effect> {
        match event {
            Event::Registered { .. } => vec![Effect::Count { counter: WEBHOOKS, delta: 1 }],
            Event::Deleted {} => vec![Effect::Count { counter: WEBHOOKS, delta: -1 }],
            Event::UrlChanged { .. }
            | Event::FiltersChanged { .. }
            | Event::FilterChanged { .. }
            | Event::DescriptionChanged { .. }
            | Event::DeliveryChanged { .. }
            | Event::SecretRotated { .. }
            | Event::Paused {}
            | Event::Resumed {}
            | Event::Disabled(_)
            | Event::Enabled { .. }
            | Event::ReplayRequested(_)
            | Event::Tested {}
            | Event::Pinged { .. }
            | Event::Verified { .. } => Vec::new(),
        }
    }
}

impl Endpoint {
    /// One event for each value that becomes another one.
    fn update(
        &self,
        url: Option<EndpointUrl>,
        filters: Option<TypePatterns>,
        filter: Option<Filter>,
        description: Option<Remark>,
        delivery: Option<Delivery>,
    ) -> Vec<Event> {
        let url = url.filter(|url| *url != self.url).map(|to| Event::UrlChanged { from: self.url.clone(), to });
        let filters =
            filters.filter(|filters| *filters != self.filters).map(|filters| Event::FiltersChanged { filters });
        let filter = filter.filter(|filter| *filter != self.filter).map(|filter| Event::FilterChanged { filter });
        let description = description
            .filter(|description| *description != self.description)
            .map(|description| Event::DescriptionChanged { description });
        let delivery =
            delivery.filter(|delivery| *delivery != self.delivery).map(|delivery| Event::DeliveryChanged { delivery });
        [url, filters, filter, description, delivery].into_iter().flatten().collect()
    }

    fn rotate(&self, secret: Secret, rotated_at: DateTime<Utc>, previous_until: DateTime<Utc>) -> Vec<Event> {
        let Secret { secret_id, sealed_secret, key_pair } = secret;
        if self.secret.secret_id == secret_id {
            return Vec::new();
        }
        let previous_until = Some(previous_until);
        vec![Event::SecretRotated { secret_id, sealed_secret, rotated_at, previous_until, key_pair }]
    }
}
