//! A webhook: an address of the tenant's that is told of events, from its registration to its deletion.
//!
//! Life: absent, active or paused, deleted; a deleted webhook accepts nothing. The signing secret is made and sealed outside and
//! kept in its sealed form only. A rotation keeps the secret before it, until the next one, so that receivers can follow in their
//! own time. Delivering is not part of this aggregate.

pub mod decide;
pub mod endpoint;
pub mod filter;
pub mod secret;
#[cfg(test)]
mod tests;

use std::mem;

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};
use uuid::Uuid;

use crate::{
    aggregate,
    refusal::{Code, Kind, Refusal},
    text::Remark,
};

pub use endpoint::EndpointUrl;
pub use filter::{EventFilter, EventFilters};
pub use secret::{SealedSecret, Secret};

/// At most so many webhooks a tenant; deleted ones do not count.
pub const WEBHOOK_COUNT_MAX: u64 = 50;

/// What has happened to a webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// The address wants to be told of events, from now on.
    Registered {
        url: EndpointUrl,
        filters: EventFilters,
        description: Remark,
        secret_id: Uuid,
        sealed_secret: SealedSecret,
    },
    /// Events go to another address.
    UrlChanged { from: EndpointUrl, to: EndpointUrl },
    /// Other events are wanted; these are all the filters there are now.
    FiltersChanged { filters: EventFilters },
    /// The description changed.
    DescriptionChanged { description: Remark },
    /// A new secret signs deliveries; the one before it is kept until the next rotation, older ones are not.
    SecretRotated { secret_id: Uuid, sealed_secret: SealedSecret, rotated_at: DateTime<Utc> },
    /// Nothing is delivered for now.
    Paused {},
    /// Events are delivered again.
    Resumed {},
    /// The end of the webhook.
    Deleted {},
}

/// What a webhook can be ordered to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Register {
        url: EndpointUrl,
        filters: EventFilters,
        description: Remark,
        secret_id: Uuid,
        sealed_secret: SealedSecret,
    },
    /// Each value that is given replaces the old one as a whole.
    Update {
        url: Option<EndpointUrl>,
        filters: Option<EventFilters>,
        description: Option<Remark>,
    },
    /// `secret_id` is new, and `sealed_secret` the sealed form of a fresh secret.
    RotateSecret {
        secret_id: Uuid,
        sealed_secret: SealedSecret,
        rotated_at: DateTime<Utc>,
    },
    Pause,
    Resume,
    Delete,
}

/// Why a webhook refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no such webhook")]
    NotFound,
    #[error("the webhook is already registered")]
    AlreadyRegistered,
    #[error("the webhook is deleted and accepts nothing")]
    Deleted,
}

/// The tenant has [`WEBHOOK_COUNT_MAX`] webhooks.
///
/// No state of one webhook knows how many others there are, so `decide` never answers it: the store does, which counts
/// [`WEBHOOKS`](decide::WEBHOOKS) in the transaction that appends.
pub const LIMIT_REACHED: Code = Code {
    code: "webhook_limit_reached",
    kind: Kind::LimitReached,
    meaning: "The tenant has as many webhooks as are allowed.",
};

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code { code: "webhook_not_found", kind: Kind::NotFound, meaning: "There is no such webhook." },
    Code {
        code: "webhook_already_registered",
        kind: Kind::Conflict,
        meaning: "A webhook with this id exists already.",
    },
    Code { code: "webhook_deleted", kind: Kind::Conflict, meaning: "The webhook is deleted and accepts no command." },
    LIMIT_REACHED,
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "webhook_not_found",
            Self::AlreadyRegistered => "webhook_already_registered",
            Self::Deleted => "webhook_deleted",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::AlreadyRegistered | Self::Deleted => Kind::Conflict,
        }
    }
}

/// A webhook at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum Webhook {
    /// Not registered.
    #[default]
    Absent,
    /// Events are delivered.
    Active(Endpoint),
    /// Registered, but nothing is delivered.
    Paused(Endpoint),
    /// Deleted for ever.
    Deleted,
}

/// What a registered webhook is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    pub url: EndpointUrl,
    pub filters: EventFilters,
    pub description: Remark,
    pub secret: Secret,
    /// `None` until the first rotation.
    pub previous_secret: Option<PreviousSecret>,
}

/// The secret before the current one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    pub secret: Secret,
    /// When the current secret took its place.
    pub rotated_at: DateTime<Utc>,
}

impl Webhook {
    /// What a registered webhook is made of; `None` when absent or deleted.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::Active(endpoint) | Self::Paused(endpoint) => Some(endpoint),
            Self::Absent | Self::Deleted => None,
        }
    }
}

impl Aggregate for Webhook {
    const TYPE: &'static str = "webhook";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        *self = match (mem::take(self), event) {
            (_, Event::Registered { url, filters, description, secret_id, sealed_secret }) => Self::Active(Endpoint {
                url,
                filters,
                description,
                secret: Secret { secret_id, sealed_secret },
                previous_secret: None,
            }),
            (_, Event::Deleted {}) => Self::Deleted,
            (Self::Active(endpoint) | Self::Paused(endpoint), Event::Paused {}) => Self::Paused(endpoint),
            (Self::Active(endpoint) | Self::Paused(endpoint), Event::Resumed {}) => Self::Active(endpoint),
            (Self::Active(endpoint), event) => Self::Active(endpoint.after(event)),
            (Self::Paused(endpoint), event) => Self::Paused(endpoint.after(event)),
            (state @ (Self::Absent | Self::Deleted), _) => state, // No such history is ever written.
        };
    }
}

impl Endpoint {
    fn after(self, event: Event) -> Self {
        match event {
            Event::UrlChanged { to, .. } => Self { url: to, ..self },
            Event::FiltersChanged { filters } => Self { filters, ..self },
            Event::DescriptionChanged { description } => Self { description, ..self },
            Event::SecretRotated { secret_id, sealed_secret, rotated_at } => Self {
                previous_secret: Some(PreviousSecret { secret: self.secret, rotated_at }),
                secret: Secret { secret_id, sealed_secret },
                ..self
            },
            // Applied to the webhook as a whole.
            Event::Registered { .. } | Event::Paused {} | Event::Resumed {} | Event::Deleted {} => self,
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", Webhook::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
