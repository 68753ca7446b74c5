//! A named subscription to a tenant's events: what its consumers are handed, from where on, and how it is handed to them.
//!
//! Life: absent, active or paused, deleted; a deleted subscription accepts nothing and gives its name back. What has been handed out and
//! acknowledged is not part of this aggregate: that is reading state, which changes with every event, and is kept beside the log.

pub mod decide;
pub mod handling;
pub mod start;
#[cfg(test)]
mod tests;

use std::mem;

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use hub_filter::Filter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::{
    aggregate,
    refusal::{Code, Kind, Refusal},
    text::Key,
};

pub use handling::{
    DELIVERIES_MAX_DEFAULT, Handling, LEASE_SECONDS_DEFAULT, LEASE_SECONDS_MAX, Mode, OnExhausted, Retry,
};
pub use start::Start;

/// At most so many subscriptions a tenant; deleted ones do not count. Held by the counter [`decide::EVENT_SUBSCRIPTIONS`].
pub const EVENT_SUBSCRIPTION_COUNT_MAX: i64 = 50;

/// What has happened to a subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// Events of the tenant after this position of its log are handed to consumers.
    Created { name: Key, filter: Filter, start_position: i64, handling: Handling },
    /// Other events are wanted, from the next one that is looked at.
    FilterChanged { filter: Filter },
    /// Events are handed out in another way; this is all of it.
    HandlingChanged { handling: Handling },
    /// Nothing is handed out for now.
    Paused {},
    /// Events are handed out again, beginning with those of the meantime.
    Resumed {},
    /// The end of the subscription.
    Deleted {},
}

/// What a subscription can be ordered to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Create {
        name: Key,
        filter: Filter,
        start_position: i64,
        handling: Handling,
    },
    /// Each value that is given replaces the old one as a whole.
    Update {
        filter: Option<Filter>,
        mode: Option<Mode>,
        lease_seconds: Option<u32>,
        deliveries_max: Option<u32>,
        retry: Option<Retry>,
        on_exhausted: Option<OnExhausted>,
    },
    Pause,
    Resume,
    Delete,
}

/// Why a subscription refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no such event subscription")]
    NotFound,
    #[error("the event subscription is already created")]
    AlreadyCreated,
    #[error("the event subscription is deleted and accepts nothing")]
    Deleted,
    /// Of consuming, not of commands.
    #[error("the event subscription is paused and hands out nothing")]
    Paused,
    #[error("a lease has 5 to {LEASE_SECONDS_MAX} seconds")]
    LeaseOutOfBounds,
    #[error("an event is handed out 1 to 100 times")]
    DeliveriesOutOfBounds,
    #[error("the first retry comes after 1 to 3600 seconds, and none later than after the maximum of at most 86400")]
    RetryOutOfBounds,
}

/// The tenant has [`EVENT_SUBSCRIPTION_COUNT_MAX`] subscriptions.
///
/// No state of one subscription knows how many others there are: the store counts them in the transaction that appends.
pub const LIMIT_REACHED: Code = Code {
    code: "event_subscription_limit_reached",
    kind: Kind::LimitReached,
    meaning: "The tenant has as many event subscriptions as are allowed.",
};

/// Another consumer has the exclusive subscription: what is found when events are handed out.
pub const TAKEN: Code = Code {
    code: "event_subscription_taken",
    kind: Kind::Conflict,
    meaning: "Another consumer has the exclusive event subscription; `data` says who, and until when unless it comes again.",
};

/// The subscription was reset meanwhile: what is found when something is acknowledged by its position.
pub const RESET: Code = Code {
    code: "event_subscription_reset",
    kind: Kind::Conflict,
    meaning: "The event subscription was reset after what is acknowledged had been handed out.",
};

/// Where a subscription is to begin, or to be reset to, does not exist.
pub const POSITION_AHEAD: Code = Code {
    code: "event_subscription_position_ahead",
    kind: Kind::Invalid,
    meaning: "The position is ahead of the tenant's log.",
};

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code {
        code: "event_subscription_not_found",
        kind: Kind::NotFound,
        meaning: "There is no such event subscription.",
    },
    Code {
        code: "event_subscription_already_created",
        kind: Kind::Conflict,
        meaning: "An event subscription with this id exists already.",
    },
    Code {
        code: "event_subscription_deleted",
        kind: Kind::Conflict,
        meaning: "The event subscription is deleted; it accepts nothing and hands out nothing.",
    },
    Code {
        code: "event_subscription_paused",
        kind: Kind::Conflict,
        meaning: "The event subscription is paused and hands out nothing until it is resumed.",
    },
    Code {
        code: "event_subscription_name_taken",
        kind: Kind::Conflict,
        meaning: "Another event subscription of the tenant has this name.",
    },
    Code {
        code: "event_subscription_lease_out_of_bounds",
        kind: Kind::Invalid,
        meaning: "A lease has 5 to 3600 seconds.",
    },
    Code {
        code: "event_subscription_deliveries_out_of_bounds",
        kind: Kind::Invalid,
        meaning: "An event is handed out 1 to 100 times.",
    },
    Code {
        code: "event_subscription_retry_out_of_bounds",
        kind: Kind::Invalid,
        meaning: "The first retry comes after 1 to 3600 seconds, and none later than after the maximum of at most 86400.",
    },
    TAKEN,
    RESET,
    POSITION_AHEAD,
    LIMIT_REACHED,
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "event_subscription_not_found",
            Self::AlreadyCreated => "event_subscription_already_created",
            Self::Deleted => "event_subscription_deleted",
            Self::Paused => "event_subscription_paused",
            Self::LeaseOutOfBounds => "event_subscription_lease_out_of_bounds",
            Self::DeliveriesOutOfBounds => "event_subscription_deliveries_out_of_bounds",
            Self::RetryOutOfBounds => "event_subscription_retry_out_of_bounds",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::AlreadyCreated | Self::Deleted | Self::Paused => Kind::Conflict,
            Self::LeaseOutOfBounds | Self::DeliveriesOutOfBounds | Self::RetryOutOfBounds => Kind::Invalid,
        }
    }
}

/// A subscription at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum EventSubscription {
    /// Not created.
    #[default]
    Absent,
    /// Events are handed out.
    Active(Definition),
    /// Created, but nothing is handed out.
    Paused(Definition),
    /// Deleted for ever.
    Deleted,
}

/// What a subscription is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    pub name: Key,
    pub filter: Filter,
    /// Events after this position of the tenant's log are handed out.
    pub start_position: i64,
    pub handling: Handling,
}

impl Aggregate for EventSubscription {
    const TYPE: &'static str = "event_subscription";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        *self = match (mem::take(self), event) {
            (_, Event::Created { name, filter, start_position, handling }) => {
                Self::Active(Definition { name, filter, start_position, handling })
            }
            (_, Event::Deleted {}) => Self::Deleted,
            (Self::Active(definition) | Self::Paused(definition), Event::Paused {}) => Self::Paused(definition),
            (Self::Active(definition) | Self::Paused(definition), Event::Resumed {}) => Self::Active(definition),
            (Self::Active(definition), event) => Self::Active(definition.after(event)),
            (Self::Paused(definition), event) => Self::Paused(definition.after(event)),
            (state @ (Self::Absent | Self::Deleted), _) => state, // No such history is ever written.
        };
    }
}

impl Definition {
    fn after(self, event: Event) -> Self {
        match event {
            Event::FilterChanged { filter } => Self { filter, ..self },
            Event::HandlingChanged { handling } => Self { handling, ..self },
            // Applied to the subscription as a whole.
            Event::Created { .. } | Event::Paused {} | Event::Resumed {} | Event::Deleted {} => self,
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", EventSubscription::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
