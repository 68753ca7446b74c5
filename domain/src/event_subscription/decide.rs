//! What a subscription allows, and what its events take and count in the tenant.

use hub_filter::Filter;
use uuid::Uuid;

use crate::{
    aggregate::Decide,
    effect::{Effect, Reach},
    text::Key,
};

use super::{Command, Definition, Error, Event, EventSubscription, Handling};

/// The scope in which names are unique within their tenant.
pub const NAME: &str = "event_subscription_name";
/// Counts the subscriptions of a tenant, from creation to deletion; its maximum is
/// [`EVENT_SUBSCRIPTION_COUNT_MAX`](super::EVENT_SUBSCRIPTION_COUNT_MAX).
pub const EVENT_SUBSCRIPTIONS: &str = "event_subscriptions";

impl Decide for EventSubscription {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (self, command) {
            (Self::Absent, Command::Create { name, filter, start_position, handling }) => {
                Ok(vec![Event::Created { name, filter, start_position, handling: handling.checked()? }])
            }
            (Self::Absent, _) => Err(Error::NotFound),
            (Self::Deleted, _) => Err(Error::Deleted),
            (Self::Active(_) | Self::Paused(_), Command::Create { .. }) => Err(Error::AlreadyCreated),
            (
                Self::Active(definition) | Self::Paused(definition),
                Command::Update { filter, mode, lease_seconds, deliveries_max, retry, on_exhausted },
            ) => {
                let old = definition.handling;
                let handling = Handling {
                    mode: mode.unwrap_or(old.mode),
                    lease_seconds: lease_seconds.unwrap_or(old.lease_seconds),
                    deliveries_max: deliveries_max.unwrap_or(old.deliveries_max),
                    retry: retry.unwrap_or(old.retry),
                    on_exhausted: on_exhausted.unwrap_or(old.on_exhausted),
                };
                Ok(definition.update(filter, handling.checked()?))
            }
            (Self::Active(_), Command::Pause) => Ok(vec![Event::Paused {}]),
            (Self::Paused(_), Command::Resume) => Ok(vec![Event::Resumed {}]),
            (Self::Paused(_), Command::Pause) | (Self::Active(_), Command::Resume) => Ok(vec![]),
            (Self::Active(_) | Self::Paused(_), Command::Delete) => Ok(vec![Event::Deleted {}]),
        }
    }

    fn effects(&self, _id: Uuid, event: &Event) -> Vec<Effect> {
        let name_of = |name: &Key| (Reach::Tenant, NAME, name.to_string());
        match (self, event) {
            (_, Event::Created { name, .. }) => {
                let (reach, scope, key) = name_of(name);
                vec![Effect::Take { reach, scope, key }, Effect::Count { counter: EVENT_SUBSCRIPTIONS, delta: 1 }]
            }
            (Self::Active(Definition { name, .. }) | Self::Paused(Definition { name, .. }), Event::Deleted {}) => {
                let (reach, scope, key) = name_of(name);
                vec![Effect::Release { reach, scope, key }, Effect::Count { counter: EVENT_SUBSCRIPTIONS, delta: -1 }]
            }
            // No such history is ever written.
            (Self::Absent | Self::Deleted, Event::Deleted {})
            | (_, Event::FilterChanged { .. } | Event::HandlingChanged { .. } | Event::Paused {} | Event::Resumed {}) => {
                Vec::new()
            }
        }
    }
}

impl Definition {
    /// One event for each part that becomes another one.
    fn update(&self, filter: Option<Filter>, handling: Handling) -> Vec<Event> {
        let filter = filter.filter(|filter| *filter != self.filter).map(|filter| Event::FilterChanged { filter });
        let handling = (handling != self.handling).then_some(Event::HandlingChanged { handling });
        [filter, handling].into_iter().flatten().collect()
    }
}
