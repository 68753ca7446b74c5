//! A webhook: an address of the tenant's that is told of events, from its registration to its deletion.
//!
//! Life: absent, active or paused or disabled, deleted; a deleted webhook accepts nothing. Paused is what its owner wants: events wait.
//! Disabled is what failing leads to: events are missed, and may be replayed when it is enabled again. The signing secret is made and
//! sealed outside and kept in its sealed form only. A rotation keeps the secret before it for a while, so that receivers can follow in
//! their own time. Delivering itself is not part of this aggregate; what is asked of it (a replay, a test) is an event that it follows.

pub mod decide;
pub mod delivery;
pub mod endpoint;
pub mod filter;
pub mod replay;
pub mod secret;
#[cfg(test)]
mod tests;

use std::mem;

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use hub_filter::{Filter, TypePatterns};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};
use uuid::Uuid;

use crate::{
    aggregate,
    refusal::{Code, Kind, Refusal},
    text::Remark,
};

pub use delivery::Delivery;
pub use endpoint::EndpointUrl;
pub use replay::{Only, Replay};
pub use secret::{KeyPair, SealedSecret, Secret};

/// At most so many webhooks a tenant; deleted ones do not count.
pub const WEBHOOK_COUNT_MAX: u64 = 50;

/// At most so many secrets are valid besides the current one.
pub const PREVIOUS_SECRET_COUNT_MAX: usize = 3;

/// What has happened to a webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// The address wants to be told of events, from now on.
    Registered {
        url: EndpointUrl,
        filters: TypePatterns,
        description: Remark,
        secret_id: Uuid,
        sealed_secret: SealedSecret,
        /// What an event must fit besides `filters`.
        #[serde(default, skip_serializing_if = "Filter::wants_everything")]
        filter: Filter,
        #[serde(default, skip_serializing_if = "Delivery::is_default")]
        delivery: Delivery,
        #[serde(flatten)]
        key_pair: Option<KeyPair>,
    },
    /// Events go to another address.
    UrlChanged { from: EndpointUrl, to: EndpointUrl },
    /// Other events are wanted; these are all the filters there are now.
    FiltersChanged { filters: TypePatterns },
    /// What an event must fit besides the filters is another thing now.
    FilterChanged { filter: Filter },
    /// The description changed.
    DescriptionChanged { description: Remark },
    /// Events are delivered in another way.
    DeliveryChanged { delivery: Delivery },
    /// A new secret signs deliveries, and a new private key; those before it sign besides it for a while.
    SecretRotated {
        secret_id: Uuid,
        sealed_secret: SealedSecret,
        rotated_at: DateTime<Utc>,
        /// For so long the secret before it is valid; absent: until the next rotation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous_until: Option<DateTime<Utc>>,
        #[serde(flatten)]
        key_pair: Option<KeyPair>,
    },
    /// Nothing is delivered for now.
    Paused {},
    /// Events are delivered again.
    Resumed {},
    /// Nothing is delivered any more, since the endpoint does not take it.
    Disabled(Disablement),
    /// Events are delivered again. With `replay_from`, those that were missed from that position of the tenant's log on are as well.
    Enabled { replay_from: Option<i64> },
    /// Events that happened before are delivered again.
    ReplayRequested(Replay),
    /// A test: this event is delivered to the endpoint, whatever its filters.
    Tested {},
    /// A proof is asked for: this event is delivered to the endpoint, which answers with the challenge if it is ours to send to.
    Pinged { challenge: String },
    /// The endpoint answered a ping with its challenge.
    Verified { challenge: String },
    /// The end of the webhook.
    Deleted {},
}

/// Why and since when nothing is delivered any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Disablement {
    pub reason: DisabledReason,
    /// The first failure after the last success.
    pub failing_since: DateTime<Utc>,
    /// The first position of the tenant's log that may have been missed.
    pub missed_from: i64,
}

/// Why a webhook was disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// Every attempt has failed for days.
    Failing,
    /// The endpoint answered that it is gone for good (410).
    Gone,
}

/// What a webhook can be ordered to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Register {
        url: EndpointUrl,
        filters: TypePatterns,
        filter: Filter,
        description: Remark,
        delivery: Delivery,
        secret: Secret,
    },
    /// Each value that is given replaces the old one as a whole.
    Update {
        url: Option<EndpointUrl>,
        filters: Option<TypePatterns>,
        filter: Option<Filter>,
        description: Option<Remark>,
        delivery: Option<Delivery>,
    },
    /// The secret is fresh, with a new id; the one before it is valid until `previous_until`.
    RotateSecret {
        secret: Secret,
        rotated_at: DateTime<Utc>,
        previous_until: DateTime<Utc>,
    },
    Pause,
    Resume,
    Disable(Disablement),
    /// With `replay_missed`, what was missed is delivered.
    Enable {
        replay_missed: bool,
    },
    Replay(Replay),
    Test,
    Ping {
        challenge: String,
    },
    /// Of a ping: whoever answered with its challenge.
    Verify {
        challenge: String,
    },
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
    #[error("the webhook is disabled and has to be enabled first")]
    Disabled,
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
    Code {
        code: "webhook_disabled",
        kind: Kind::Conflict,
        meaning: "The webhook was disabled because its endpoint failed or is gone; it has to be enabled first.",
    },
    ADDRESS_REFUSED,
    LIMIT_REACHED,
];

/// The address leads where nothing may be sent.
///
/// Which networks those are is no question of the domain: whoever sends checks it, at the command and at every delivery.
pub const ADDRESS_REFUSED: Code = Code {
    code: "webhook_address_refused",
    kind: Kind::Invalid,
    meaning: "The address of the webhook is not https, or leads to a network that is not public.",
};

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "webhook_not_found",
            Self::AlreadyRegistered => "webhook_already_registered",
            Self::Deleted => "webhook_deleted",
            Self::Disabled => "webhook_disabled",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::AlreadyRegistered | Self::Deleted | Self::Disabled => Kind::Conflict,
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
    /// Registered, but nothing is delivered; what happens meanwhile waits.
    Paused(Endpoint),
    /// Registered, but nothing is delivered, since the endpoint did not take it; what happens meanwhile is missed.
    Disabled(Endpoint, Disablement),
    /// Deleted for ever.
    Deleted,
}

/// What a registered webhook is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    pub url: EndpointUrl,
    pub filters: TypePatterns,
    pub description: Remark,
    /// What an event must fit besides `filters`.
    pub filter: Filter,
    pub delivery: Delivery,
    pub secret: Secret,
    /// Those before it that may still be valid, the latest first.
    pub previous_secrets: Vec<PreviousSecret>,
    /// The challenge that the endpoint answered last; `None` since its address changed, or ever.
    pub verified: Option<String>,
}

/// A secret before the current one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    pub secret: Secret,
    /// When the secret after it took its place.
    pub rotated_at: DateTime<Utc>,
    /// For how long it is valid; `None`: until the next rotation.
    pub until: Option<DateTime<Utc>>,
}

impl Webhook {
    /// What a registered webhook is made of; `None` when absent or deleted.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::Active(endpoint) | Self::Paused(endpoint) | Self::Disabled(endpoint, _) => Some(endpoint),
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
            (
                _,
                Event::Registered { url, filters, description, secret_id, sealed_secret, filter, delivery, key_pair },
            ) => Self::Active(Endpoint {
                url,
                filters,
                description,
                filter,
                delivery,
                secret: Secret { secret_id, sealed_secret, key_pair },
                previous_secrets: Vec::new(),
                verified: None,
            }),
            (_, Event::Deleted {}) => Self::Deleted,
            (Self::Active(endpoint) | Self::Paused(endpoint), Event::Paused {}) => Self::Paused(endpoint),
            (Self::Active(endpoint) | Self::Paused(endpoint), Event::Resumed {}) => Self::Active(endpoint),
            (Self::Active(endpoint) | Self::Paused(endpoint), Event::Disabled(disablement)) => {
                Self::Disabled(endpoint, disablement)
            }
            (Self::Disabled(endpoint, _), Event::Enabled { .. }) => Self::Active(endpoint),
            (Self::Active(endpoint), event) => Self::Active(endpoint.after(event)),
            (Self::Paused(endpoint), event) => Self::Paused(endpoint.after(event)),
            (Self::Disabled(endpoint, disablement), event) => Self::Disabled(endpoint.after(event), disablement),
            (state @ (Self::Absent | Self::Deleted), _) => state, // No such history is ever written.
        };
    }
}

impl Endpoint {
    fn after(self, event: Event) -> Self {
        match event {
            Event::UrlChanged { to, .. } => Self { url: to, verified: None, ..self },
            Event::FiltersChanged { filters } => Self { filters, ..self },
            Event::FilterChanged { filter } => Self { filter, ..self },
            Event::DescriptionChanged { description } => Self { description, ..self },
            Event::DeliveryChanged { delivery } => Self { delivery, ..self },
            Event::SecretRotated { secret_id, sealed_secret, rotated_at, previous_until, key_pair } => {
                let replaced = PreviousSecret { secret: self.secret, rotated_at, until: previous_until };
                let valid = |previous: &PreviousSecret| previous.until.is_some_and(|until| until > rotated_at);
                let previous_secrets = [replaced]
                    .into_iter()
                    .chain(self.previous_secrets.into_iter().filter(valid))
                    .take(PREVIOUS_SECRET_COUNT_MAX)
                    .collect();
                Self { previous_secrets, secret: Secret { secret_id, sealed_secret, key_pair }, ..self }
            }
            Event::Verified { challenge } => Self { verified: Some(challenge), ..self },
            // Asked of whoever delivers, or applied to the webhook as a whole.
            Event::Registered { .. }
            | Event::Paused {}
            | Event::Resumed {}
            | Event::Disabled(_)
            | Event::Enabled { .. }
            | Event::ReplayRequested(_)
            | Event::Tested {}
            | Event::Pinged { .. }
            | Event::Deleted {} => self,
        }
    }

    /// The secrets that deliveries are signed with at a moment, the current one first.
    pub fn secrets_at(&self, now: DateTime<Utc>) -> impl Iterator<Item = &Secret> {
        let valid = move |previous: &&PreviousSecret| previous.until.is_none_or(|until| until > now);
        [&self.secret].into_iter().chain(self.previous_secrets.iter().filter(valid).map(|previous| &previous.secret))
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
