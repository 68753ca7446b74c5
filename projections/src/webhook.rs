//! Webhooks: one row each until they are deleted, for lists and details. Secrets are left out, sealed or not.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use hub_domain::{
    text::Remark,
    webhook::{EndpointUrl, Event, EventFilters, Webhook},
};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{AggregateKey, FoldError, ReadModel, of_aggregate, to_micros};

/// The read model.
#[derive(Debug)]
pub struct Webhooks;

/// One webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Webhook")]
pub struct WebhookRow {
    pub tenant_id: Uuid,
    pub id: Uuid,
    pub url: EndpointUrl,
    pub filters: EventFilters,
    pub description: Remark,
    pub status: WebhookStatus,
    /// Names the secret that signs deliveries; not the secret itself.
    pub secret_id: Uuid,
    /// When the secret was last replaced; null if never.
    pub secret_rotated_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The sequence of the webhook's stream.
    pub sequence: i64,
}

/// Whether events are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookStatus {
    Active,
    Paused,
}

impl ReadModel for Webhooks {
    type Row = WebhookRow;
    type Key = AggregateKey;

    const NAME: &'static str = "webhooks";
    const TABLE: &'static str = "webhooks";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, Webhook::TYPE)
    }

    fn key_of(row: &WebhookRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(row: Option<WebhookRow>, key: &AggregateKey, event: &Recorded) -> Result<Option<WebhookRow>, FoldError> {
        match (row, event.decode()?) {
            (None, Event::Registered { url, filters, description, secret_id, sealed_secret: _ }) => {
                Ok(Some(WebhookRow {
                    tenant_id: key.tenant_id,
                    id: key.id,
                    url,
                    filters,
                    description,
                    status: WebhookStatus::Active,
                    secret_id,
                    secret_rotated_at: None,
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

impl WebhookRow {
    fn after(mut self, change: Event, event: &Recorded) -> Result<Option<Self>, FoldError> {
        self.updated_at = event.occurred_at;
        self.sequence = event.sequence;
        match change {
            Event::Registered { .. } => return Err(FoldError::row_exists(event)),
            Event::UrlChanged { to, .. } => self.url = to,
            Event::FiltersChanged { filters } => self.filters = filters,
            Event::DescriptionChanged { description } => self.description = description,
            Event::SecretRotated { secret_id, sealed_secret: _, rotated_at } => {
                self.secret_id = secret_id;
                self.secret_rotated_at = Some(to_micros(rotated_at));
            }
            Event::Paused {} => self.status = WebhookStatus::Paused,
            Event::Resumed {} => self.status = WebhookStatus::Active,
            Event::Deleted {} => return Ok(None),
        }
        Ok(Some(self))
    }
}

#[cfg(test)]
mod tests {
    use hub_domain::webhook::{Event, EventFilter, EventFilters};
    use uuid::Uuid;

    use super::{WebhookRow, WebhookStatus, Webhooks};
    use crate::testing::{History, rows, start};

    fn filters(text: &str) -> EventFilters {
        vec![text.parse::<EventFilter>().unwrap()].try_into().unwrap()
    }

    fn registered() -> Event {
        Event::Registered {
            url: "https://hooks.acme.example/hub".parse().unwrap(),
            filters: filters("*"),
            description: "".parse().unwrap(),
            secret_id: Uuid::from_u128(1),
            sealed_secret: "c2VhbGVk".parse().unwrap(),
        }
    }

    fn after(events: Vec<Event>) -> Vec<WebhookRow> {
        let mut history = History::default();
        for event in [registered()].into_iter().chain(events) {
            history.webhook(event);
        }
        rows::<Webhooks>(&history).unwrap()
    }

    #[test]
    fn a_registered_webhook_is_active_and_shows_no_secret() {
        let row = after(vec![]).remove(0);
        assert_eq!((row.status, row.url.as_str()), (WebhookStatus::Active, "https://hooks.acme.example/hub"));
        assert!(!serde_json::to_string(&row).unwrap().contains("c2VhbGVk"));
    }

    #[test]
    fn address_filters_and_description_are_the_last_ones() {
        let to = "https://hooks.acme.example/v2".parse().unwrap();
        let row = after(vec![
            Event::UrlChanged { from: "https://hooks.acme.example/hub".parse().unwrap(), to },
            Event::FiltersChanged { filters: filters("tenant.*") },
            Event::DescriptionChanged { description: "new".parse().unwrap() },
        ])
        .remove(0);
        assert_eq!((row.url.as_str(), row.description.as_str()), ("https://hooks.acme.example/v2", "new"));
        assert_eq!(row.filters, filters("tenant.*"));
    }

    #[test]
    fn a_rotation_names_the_new_secret_only() {
        let rotated = Event::SecretRotated {
            secret_id: Uuid::from_u128(2),
            sealed_secret: "c2VhbGVkIGFnYWlu".parse().unwrap(),
            rotated_at: start(),
        };
        let row = after(vec![rotated]).remove(0);
        assert_eq!((row.secret_id, row.secret_rotated_at), (Uuid::from_u128(2), Some(start())));
        assert!(!serde_json::to_string(&row).unwrap().contains("c2VhbGVk"));
    }

    #[test]
    fn a_pause_ends_with_the_resumption() {
        assert_eq!(after(vec![Event::Paused {}])[0].status, WebhookStatus::Paused);
        assert_eq!(after(vec![Event::Paused {}, Event::Resumed {}])[0].status, WebhookStatus::Active);
    }

    #[test]
    fn a_deleted_webhook_has_no_row() {
        assert!(after(vec![Event::Deleted {}]).is_empty());
    }
}
