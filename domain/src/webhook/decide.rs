//! What a webhook allows, and how it is counted.

use uuid::Uuid;

use crate::{aggregate::Decide, effect::Effect, text::Remark};

use super::{Command, Endpoint, EndpointUrl, Error, Event, EventFilters, Webhook};

/// The counter of a tenant's webhooks, from registration to deletion; its maximum is
/// [`WEBHOOK_COUNT_MAX`](super::WEBHOOK_COUNT_MAX), and a command that would exceed it is refused as
/// [`LIMIT_REACHED`](super::LIMIT_REACHED).
pub const WEBHOOKS: &str = "webhooks";

impl Decide for Webhook {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (self, command) {
            (Self::Absent, Command::Register { url, filters, description, secret_id, sealed_secret }) => {
                Ok(vec![Event::Registered { url, filters, description, secret_id, sealed_secret }])
            }
            (Self::Absent, _) => Err(Error::NotFound),
            (Self::Active(_) | Self::Paused(_), Command::Register { .. }) => Err(Error::AlreadyRegistered),
            (Self::Active(endpoint) | Self::Paused(endpoint), Command::Update { url, filters, description }) => {
                Ok(endpoint.update(url, filters, description))
            }
            (Self::Active(endpoint) | Self::Paused(endpoint), Command::RotateSecret { secret_id, .. })
                if endpoint.secret.secret_id == secret_id =>
            {
                Ok(vec![])
            }
            (Self::Active(_) | Self::Paused(_), Command::RotateSecret { secret_id, sealed_secret, rotated_at }) => {
                Ok(vec![Event::SecretRotated { secret_id, sealed_secret, rotated_at }])
            }
            (Self::Active(_), Command::Pause) => Ok(vec![Event::Paused {}]),
            (Self::Paused(_), Command::Resume) => Ok(vec![Event::Resumed {}]),
            (Self::Paused(_), Command::Pause) | (Self::Active(_), Command::Resume) => Ok(vec![]),
            (Self::Active(_) | Self::Paused(_), Command::Delete) => Ok(vec![Event::Deleted {}]),
            (Self::Deleted, _) => Err(Error::Deleted),
        }
    }

    fn effects(&self, _id: Uuid, event: &Event) -> Vec<Effect> {
        match event {
            Event::Registered { .. } => vec![Effect::Count { counter: WEBHOOKS, delta: 1 }],
            Event::Deleted {} => vec![Effect::Count { counter: WEBHOOKS, delta: -1 }],
            Event::UrlChanged { .. }
            | Event::FiltersChanged { .. }
            | Event::DescriptionChanged { .. }
            | Event::SecretRotated { .. }
            | Event::Paused {}
            | Event::Resumed {} => Vec::new(),
        }
    }
}

impl Endpoint {
    /// One event for each value that becomes another one.
    fn update(
        &self,
        url: Option<EndpointUrl>,
        filters: Option<EventFilters>,
        description: Option<Remark>,
    ) -> Vec<Event> {
        let url = url.filter(|url| *url != self.url).map(|to| Event::UrlChanged { from: self.url.clone(), to });
        let filters =
            filters.filter(|filters| *filters != self.filters).map(|filters| Event::FiltersChanged { filters });
        let description = description
            .filter(|description| *description != self.description)
            .map(|description| Event::DescriptionChanged { description });
        [url, filters, description].into_iter().flatten().collect()
    }
}
