//! Webhooks: one row each until they are deleted, for lists and details. Secrets are left out, sealed or not.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use hub_domain::{
    text::Remark,
    webhook::{Delivery, DisabledReason, EndpointUrl, Event, KeyPair, Webhook},
};
use hub_event_store::event::Recorded;
use hub_filter::{Filter, TypePatterns};
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
    pub filters: TypePatterns,
    /// What an event must fit besides.
    pub filter: Filter,
    pub delivery: Delivery,
    pub description: Remark,
    pub status: WebhookStatus,
    /// Names the secret that signs deliveries; not the secret itself.
    pub secret_id: Uuid,
    /// Verifies signatures of the scheme `v1a`; null for a secret that was made before there were such.
    pub public_key: Option<String>,
    /// When the endpoint answered a challenge; null if it has not, or not since its address changed.
    pub verified_at: Option<DateTime<Utc>>,
    /// Why nothing is delivered any more; null unless it is disabled.
    pub disabled_reason: Option<DisabledReason>,
    pub disabled_at: Option<DateTime<Utc>>,
    /// The first failure after the last success before it was disabled.
    pub failing_since: Option<DateTime<Utc>>,
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
    /// By its owner; what happens meanwhile waits.
    Paused,
    /// Because the endpoint did not take deliveries; what happens meanwhile is missed.
    Disabled,
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
            (
                None,
                Event::Registered {
                    url,
                    filters,
                    description,
                    secret_id,
                    sealed_secret: _,
                    filter,
                    delivery,
                    key_pair,
                },
            ) => Ok(Some(WebhookRow {
                tenant_id: key.tenant_id,
                id: key.id,
                url,
                filters,
                filter,
                delivery,
                description,
                status: WebhookStatus::Active,
                secret_id,
                public_key: public_key_of(key_pair),
                verified_at: None,
                disabled_reason: None,
                disabled_at: None,
                failing_since: None,
                secret_rotated_at: None,
                created_at: event.occurred_at,
                updated_at: event.occurred_at,
                sequence: event.sequence,
            })),
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
            Event::UrlChanged { to, .. } => {
                self.url = to;
                self.verified_at = None;
            }
            Event::FiltersChanged { filters } => self.filters = filters,
            Event::FilterChanged { filter } => self.filter = filter,
            Event::DescriptionChanged { description } => self.description = description,
            Event::DeliveryChanged { delivery } => self.delivery = delivery,
            Event::SecretRotated { secret_id, sealed_secret: _, rotated_at, previous_until: _, key_pair } => {
                self.secret_id = secret_id;
                self.secret_rotated_at = Some(to_micros(rotated_at));
                self.public_key = public_key_of(key_pair);
            }
            Event::Verified { .. } => self.verified_at = Some(event.occurred_at),
            Event::Disabled(disablement) => {
                self.status = WebhookStatus::Disabled;
                self.disabled_reason = Some(disablement.reason);
                self.disabled_at = Some(event.occurred_at);
                self.failing_since = Some(to_micros(disablement.failing_since));
            }
            Event::Enabled { .. } => {
                self.status = WebhookStatus::Active;
                (self.disabled_reason, self.disabled_at, self.failing_since) = (None, None, None);
            }
            Event::ReplayRequested(_) | Event::Tested {} | Event::Pinged { .. } => {}
            Event::Paused {} => self.status = WebhookStatus::Paused,
            Event::Resumed {} => self.status = WebhookStatus::Active,
            Event::Deleted {} => return Ok(None),
        }
        Ok(Some(self))
    }
}

fn public_key_of(key_pair: Option<KeyPair>) -> Option<String> {
    key_pair.map(|pair| pair.public_key)
}

#[cfg(test)]
mod tests {
    use hub_domain::webhook::{Delivery, DisabledReason, Disablement, Event, KeyPair};
    use hub_filter::{Filter, TypePattern, TypePatterns};
    use uuid::Uuid;

    use super::{WebhookRow, WebhookStatus, Webhooks};
    use crate::testing::{History, rows, start};

    fn filters(text: &str) -> TypePatterns {
        vec![text.parse::<TypePattern>().unwrap()].try_into().unwrap()
    }

    fn registered() -> Event {
        Event::Registered {
            url: "https://hooks.acme.example/hub".parse().unwrap(),
            filters: filters("*"),
            description: "".parse().unwrap(),
            secret_id: Uuid::from_u128(1),
            sealed_secret: "c2VhbGVk".parse().unwrap(),
            filter: Filter::everything(),
            delivery: Delivery::default(),
            key_pair: key_pair("whpk_1"),
        }
    }

    fn key_pair(public_key: &str) -> Option<KeyPair> {
        Some(KeyPair { public_key: public_key.to_owned(), sealed_signing_key: "c2VhbGVkS2V5".parse().unwrap() })
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
            previous_until: None,
            key_pair: key_pair("whpk_2"),
        };
        let row = after(vec![rotated]).remove(0);
        assert_eq!((row.secret_id, row.secret_rotated_at), (Uuid::from_u128(2), Some(start())));
        assert_eq!(row.public_key.as_deref(), Some("whpk_2"));
        assert!(!serde_json::to_string(&row).unwrap().contains("c2VhbGVk"));
    }

    #[test]
    fn a_pause_ends_with_the_resumption() {
        assert_eq!(after(vec![Event::Paused {}])[0].status, WebhookStatus::Paused);
        assert_eq!(after(vec![Event::Paused {}, Event::Resumed {}])[0].status, WebhookStatus::Active);
    }

    #[test]
    fn a_disabled_webhook_says_why_until_it_is_enabled() {
        let disabled =
            || Event::Disabled(Disablement { reason: DisabledReason::Gone, failing_since: start(), missed_from: 1 });
        let row = after(vec![disabled()]).remove(0);
        assert_eq!((row.status, row.disabled_reason), (WebhookStatus::Disabled, Some(DisabledReason::Gone)));
        assert_eq!(row.failing_since, Some(start()));
        let row = after(vec![disabled(), Event::Enabled { replay_from: None }]).remove(0);
        assert_eq!((row.status, row.disabled_reason, row.failing_since), (WebhookStatus::Active, None, None));
    }

    #[test]
    fn an_address_that_changed_is_no_longer_verified() {
        let verified = || Event::Verified { challenge: "c".to_owned() };
        assert!(after(vec![verified()])[0].verified_at.is_some());
        let moved = Event::UrlChanged {
            from: "https://hooks.acme.example/hub".parse().unwrap(),
            to: "https://hooks.acme.example/v2".parse().unwrap(),
        };
        assert_eq!(after(vec![verified(), moved])[0].verified_at, None);
    }

    #[test]
    fn a_deleted_webhook_has_no_row() {
        assert!(after(vec![Event::Deleted {}]).is_empty());
    }
}
