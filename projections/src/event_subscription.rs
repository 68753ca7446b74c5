//! Event subscriptions: one row each until they are deleted, for lists and details. How far their consumers are is not in it.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use hub_domain::{
    event_subscription::{Event, EventSubscription, Handling, Mode, OnExhausted, Retry},
    text::Key,
};
use hub_event_store::event::Recorded;
use hub_filter::Filter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{AggregateKey, FoldError, ReadModel, of_aggregate};

/// The read model.
#[derive(Debug)]
pub struct EventSubscriptions;

/// One event subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EventSubscription")]
pub struct EventSubscriptionRow {
    pub tenant_id: Uuid,
    pub id: Uuid,
    pub name: Key,
    /// Which events are wanted.
    pub filter: Filter,
    pub status: EventSubscriptionStatus,
    /// Events after this position of the tenant's log were handed out, until it was reset.
    pub start_position: i64,
    pub mode: Mode,
    /// How long a consumer has an event for itself.
    pub lease_seconds: u32,
    /// So often an event is handed out at most.
    pub deliveries_max: u32,
    pub retry: Retry,
    pub on_exhausted: OnExhausted,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The sequence of the subscription's stream.
    pub sequence: i64,
}

/// Whether events are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventSubscriptionStatus {
    Active,
    Paused,
}

impl ReadModel for EventSubscriptions {
    type Row = EventSubscriptionRow;
    type Key = AggregateKey;

    const NAME: &'static str = "event_subscriptions";
    const TABLE: &'static str = "event_subscriptions";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, EventSubscription::TYPE)
    }

    fn key_of(row: &EventSubscriptionRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(
        row: Option<EventSubscriptionRow>,
        key: &AggregateKey,
        event: &Recorded,
    ) -> Result<Option<EventSubscriptionRow>, FoldError> {
        match (row, event.decode()?) {
            (None, Event::Created { name, filter, start_position, handling }) => {
                let Handling { mode, lease_seconds, deliveries_max, retry, on_exhausted } = handling;
                Ok(Some(EventSubscriptionRow {
                    tenant_id: key.tenant_id,
                    id: key.id,
                    name,
                    filter,
                    status: EventSubscriptionStatus::Active,
                    start_position,
                    mode,
                    lease_seconds,
                    deliveries_max,
                    retry,
                    on_exhausted,
                    created_at: event.occurred_at,
                    updated_at: event.occurred_at,
                    sequence: event.sequence,
                }))
            }
            (None, _) => Err(FoldError::row_missing(event)),
            (Some(row), change) => row.after(change, event),
        }
    }
}

impl EventSubscriptionRow {
    fn after(mut self, change: Event, event: &Recorded) -> Result<Option<Self>, FoldError> {
        self.updated_at = event.occurred_at;
        self.sequence = event.sequence;
        match change {
            Event::Created { .. } => return Err(FoldError::row_exists(event)),
            Event::FilterChanged { filter } => self.filter = filter,
            Event::HandlingChanged { handling } => {
                let Handling { mode, lease_seconds, deliveries_max, retry, on_exhausted } = handling;
                self = Self { mode, lease_seconds, deliveries_max, retry, on_exhausted, ..self };
            }
            Event::Paused {} => self.status = EventSubscriptionStatus::Paused,
            Event::Resumed {} => self.status = EventSubscriptionStatus::Active,
            Event::Deleted {} => return Ok(None),
        }
        Ok(Some(self))
    }
}

#[cfg(test)]
mod tests {
    use hub_domain::event_subscription::{Event, EventSubscription, Handling, Mode, OnExhausted, Retry};
    use serde_json::json;

    use super::{EventSubscriptionRow, EventSubscriptionStatus, EventSubscriptions};
    use crate::testing::{AGGREGATE, History, TENANT, rows};

    fn handling(mode: Mode) -> Handling {
        Handling {
            mode,
            lease_seconds: 60,
            deliveries_max: 10,
            retry: Retry::default(),
            on_exhausted: OnExhausted::Park,
        }
    }

    fn after(events: Vec<Event>) -> Vec<EventSubscriptionRow> {
        let created = Event::Created {
            name: "billing".parse().unwrap(),
            filter: serde_json::from_value(json!({ "types": ["tenant.*"] })).unwrap(),
            start_position: 7,
            handling: handling(Mode::Competing),
        };
        let mut history = History::default();
        for event in [created].into_iter().chain(events) {
            history.push::<EventSubscription>(TENANT, AGGREGATE, &event);
        }
        rows::<EventSubscriptions>(&history).unwrap()
    }

    #[test]
    fn a_subscription_shows_what_it_is_now() {
        let row = after(vec![]).remove(0);
        assert_eq!((row.name.as_str(), row.start_position, row.mode), ("billing", 7, Mode::Competing));
        let filter = serde_json::from_value(json!({ "types": ["role.*"] })).unwrap();
        let changes = vec![
            Event::FilterChanged { filter },
            Event::HandlingChanged { handling: handling(Mode::Exclusive) },
            Event::Paused {},
        ];
        let row = after(changes).remove(0);
        assert_eq!((row.mode, row.status, row.sequence), (Mode::Exclusive, EventSubscriptionStatus::Paused, 4));
        assert_eq!(json!(row.filter), json!({ "types": ["role.*"] }));
        let row = after(vec![Event::Paused {}, Event::Resumed {}]).remove(0);
        assert_eq!(row.status, EventSubscriptionStatus::Active);
    }

    #[test]
    fn a_deleted_subscription_has_no_row() {
        assert!(after(vec![Event::Deleted {}]).is_empty());
    }
}
