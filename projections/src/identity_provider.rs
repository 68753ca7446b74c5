//! Identity providers: one row each until they are removed, for lists and details.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use hub_domain::identity_provider::{Event, IdentityProvider, Issuer, KeysAddress};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{AggregateKey, FoldError, ReadModel, of_aggregate};

/// The read model.
#[derive(Debug)]
pub struct IdentityProviders;

/// One identity provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "IdentityProvider")]
pub struct IdentityProviderRow {
    pub tenant_id: Uuid,
    pub id: Uuid,
    pub issuer: Issuer,
    /// What its tokens must name as their audience.
    pub audience: String,
    pub jwks_uri: KeysAddress,
    pub status: IdentityProviderStatus,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The sequence of the provider's stream.
    pub sequence: i64,
}

/// Whether tokens are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IdentityProviderStatus {
    Enabled,
    Disabled,
}

impl ReadModel for IdentityProviders {
    type Row = IdentityProviderRow;
    type Key = AggregateKey;

    const NAME: &'static str = "identity_providers";
    const TABLE: &'static str = "identity_providers";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, IdentityProvider::TYPE)
    }

    fn key_of(row: &IdentityProviderRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(
        row: Option<IdentityProviderRow>,
        key: &AggregateKey,
        event: &Recorded,
    ) -> Result<Option<IdentityProviderRow>, FoldError> {
        match (row, event.decode()?) {
            (None, Event::Registered { issuer, audience, jwks_uri }) => Ok(Some(IdentityProviderRow {
                tenant_id: key.tenant_id,
                id: key.id,
                issuer,
                audience,
                jwks_uri,
                status: IdentityProviderStatus::Enabled,
                created_at: event.occurred_at,
                updated_at: event.occurred_at,
                sequence: event.sequence,
            })),
            (None, _) => Err(FoldError::row_missing(event)),
            (Some(row), change) => row.after(change, event),
        }
    }
}

impl IdentityProviderRow {
    fn after(mut self, change: Event, event: &Recorded) -> Result<Option<Self>, FoldError> {
        self.updated_at = event.occurred_at;
        self.sequence = event.sequence;
        match change {
            Event::Registered { .. } => return Err(FoldError::row_exists(event)),
            Event::KeysAddressChanged { to, .. } => self.jwks_uri = to,
            Event::Disabled {} => self.status = IdentityProviderStatus::Disabled,
            Event::Enabled {} => self.status = IdentityProviderStatus::Enabled,
            Event::Removed {} => return Ok(None),
        }
        Ok(Some(self))
    }
}

#[cfg(test)]
mod tests {
    use hub_domain::identity_provider::{Event, IdentityProvider};

    use super::{IdentityProviderRow, IdentityProviderStatus, IdentityProviders};
    use crate::testing::{AGGREGATE, History, TENANT, rows};

    fn after(events: Vec<Event>) -> Vec<IdentityProviderRow> {
        let registered = Event::Registered {
            issuer: "https://login.acme.example".parse().unwrap(),
            audience: "urn:service-hub:tenant:7".into(),
            jwks_uri: "https://login.acme.example/keys".parse().unwrap(),
        };
        let mut history = History::default();
        for event in [registered].into_iter().chain(events) {
            history.push::<IdentityProvider>(TENANT, AGGREGATE, &event);
        }
        rows::<IdentityProviders>(&history).unwrap()
    }

    #[test]
    fn a_registered_provider_is_enabled() {
        let row = after(vec![]).remove(0);
        assert_eq!((row.status, row.issuer.as_str()), (IdentityProviderStatus::Enabled, "https://login.acme.example"));
        assert_eq!(row.audience, "urn:service-hub:tenant:7");
    }

    #[test]
    fn the_keys_are_where_they_moved_to_last() {
        let to = "https://keys.acme.example/".parse().unwrap();
        let moved = Event::KeysAddressChanged { from: "https://login.acme.example/keys".parse().unwrap(), to };
        assert_eq!(after(vec![moved])[0].jwks_uri.as_str(), "https://keys.acme.example/");
    }

    #[test]
    fn a_provider_is_disabled_until_it_is_enabled() {
        assert_eq!(after(vec![Event::Disabled {}])[0].status, IdentityProviderStatus::Disabled);
        assert_eq!(after(vec![Event::Disabled {}, Event::Enabled {}])[0].status, IdentityProviderStatus::Enabled);
    }

    #[test]
    fn a_removed_provider_has_no_row() {
        assert!(after(vec![Event::Removed {}]).is_empty());
    }
}
