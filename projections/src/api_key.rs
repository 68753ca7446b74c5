//! API keys: one row each, revoked ones included, for lists and details. Secrets are left out, and so are their hashes.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use hub_domain::{
    api_key::{ApiKey, Event, KeyScopes, Networks, SecretId},
    id::RoleId,
    text::{Name, Remark},
};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{AggregateKey, FoldError, ReadModel, of_aggregate, to_micros};

/// The read model.
#[derive(Debug)]
pub struct ApiKeys;

/// One API key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ApiKey")]
pub struct ApiKeyRow {
    pub tenant_id: Uuid,
    /// The key's id, which is not the id in its text.
    pub id: Uuid,
    pub name: Name,
    pub status: ApiKeyStatus,
    /// The first part of the key's text, by which it can be recognised; not secret.
    pub secret_id: SecretId,
    /// The same of the text before the last rotation; null if there was none.
    pub previous_secret_id: Option<SecretId>,
    /// Until when the text before the last rotation is accepted.
    pub previous_secret_until: Option<DateTime<Utc>>,
    /// The roles that the key holds.
    pub roles: BTreeSet<RoleId>,
    pub scopes: KeyScopes,
    pub networks: Networks,
    pub issued_at: DateTime<Utc>,
    /// From then on the key is not accepted, though its status stays; null for a key without end.
    pub expires_at: Option<DateTime<Utc>>,
    /// When the key got another secret last; null if never.
    pub rotated_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub revocation_reason: Option<Remark>,
    pub updated_at: DateTime<Utc>,
    /// The sequence of the key's stream.
    pub sequence: i64,
}

/// Whether the key was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApiKeyStatus {
    Valid,
    Revoked,
}

impl ReadModel for ApiKeys {
    type Row = ApiKeyRow;
    type Key = AggregateKey;

    const NAME: &'static str = "api_keys";
    const TABLE: &'static str = "api_keys";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, ApiKey::TYPE)
    }

    fn key_of(row: &ApiKeyRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(row: Option<ApiKeyRow>, key: &AggregateKey, event: &Recorded) -> Result<Option<ApiKeyRow>, FoldError> {
        match (row, event.decode()?) {
            (None, Event::Issued { name, secret_id, sha256: _, roles, scopes, networks, issued_at, expires_at }) => {
                Ok(Some(ApiKeyRow {
                    tenant_id: key.tenant_id,
                    id: key.id,
                    name,
                    status: ApiKeyStatus::Valid,
                    secret_id,
                    previous_secret_id: None,
                    previous_secret_until: None,
                    roles,
                    scopes,
                    networks,
                    issued_at: to_micros(issued_at),
                    expires_at: expires_at.map(to_micros),
                    rotated_at: None,
                    revoked_at: None,
                    revocation_reason: None,
                    updated_at: event.occurred_at,
                    sequence: event.sequence,
                }))
            }
            (None, _) => Err(FoldError::row_missing(event)),
            (Some(row), change) => row.after(change, event),
        }
    }
}

impl ApiKeyRow {
    fn after(mut self, change: Event, event: &Recorded) -> Result<Option<Self>, FoldError> {
        self.updated_at = event.occurred_at;
        self.sequence = event.sequence;
        match change {
            Event::Issued { .. } => return Err(FoldError::row_exists(event)),
            Event::Rotated { secret_id, sha256: _, previous_until } => {
                self.previous_secret_id = Some(std::mem::replace(&mut self.secret_id, secret_id));
                self.previous_secret_until = Some(to_micros(previous_until));
                self.rotated_at = Some(event.occurred_at);
            }
            Event::Revoked { reason } => {
                self.status = ApiKeyStatus::Revoked;
                self.revoked_at = Some(event.occurred_at);
                self.revocation_reason = Some(reason);
            }
        }
        Ok(Some(self))
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use hub_domain::{
        api_key::{ApiKey, Event, KeyScopes, Networks},
        id::RoleId,
    };
    use uuid::Uuid;

    use super::{ApiKeyRow, ApiKeyStatus, ApiKeys};
    use crate::testing::{AGGREGATE, History, TENANT, rows, start};

    fn issued() -> Event {
        Event::Issued {
            name: "Deploys".parse().unwrap(),
            secret_id: format!("{:016x}", 1).parse().unwrap(),
            sha256: "5a".repeat(32).parse().unwrap(),
            roles: [RoleId(Uuid::from_u128(7))].into(),
            scopes: KeyScopes::new(["service_instance:*".parse().unwrap()]).unwrap(),
            networks: Networks::new(["10.1.0.0/16".parse().unwrap()]).unwrap(),
            issued_at: start(),
            expires_at: Some(start() + TimeDelta::days(90)),
        }
    }

    fn rotated(n: u64) -> Event {
        Event::Rotated {
            secret_id: format!("{n:016x}").parse().unwrap(),
            sha256: "5a".repeat(32).parse().unwrap(),
            previous_until: start() + TimeDelta::days(n.cast_signed()),
        }
    }

    fn after(events: Vec<Event>) -> Vec<ApiKeyRow> {
        let mut history = History::default();
        for event in [issued()].into_iter().chain(events) {
            history.push::<ApiKey>(TENANT, AGGREGATE, &event);
        }
        rows::<ApiKeys>(&history).unwrap()
    }

    #[test]
    fn an_issued_key_is_valid_and_shows_neither_secret_nor_hash() {
        let row = after(vec![]).remove(0);
        assert_eq!((row.status, row.name.as_str()), (ApiKeyStatus::Valid, "Deploys"));
        assert_eq!((row.issued_at, row.expires_at), (start(), Some(start() + TimeDelta::days(90))));
        assert_eq!((row.secret_id.as_str(), row.previous_secret_id), ("0000000000000001", None));
        let text = serde_json::to_string(&after(vec![rotated(2)])).unwrap();
        assert!(!text.contains("5a5a") && !text.contains("sha256"), "{text}");
    }

    #[test]
    fn a_rotation_names_the_new_secret_and_the_end_of_the_one_before() {
        let row = after(vec![rotated(2), rotated(3)]).remove(0);
        assert_eq!(row.secret_id.as_str(), "0000000000000003");
        assert_eq!(row.previous_secret_id.unwrap().as_str(), "0000000000000002");
        assert_eq!(row.previous_secret_until, Some(start() + TimeDelta::days(3)));
        assert_eq!(row.rotated_at, Some(start() + TimeDelta::hours(2)));
    }

    #[test]
    fn a_revoked_key_keeps_its_row_with_the_reason() {
        let row = after(vec![Event::Revoked { reason: "leaked".parse().unwrap() }]).remove(0);
        assert_eq!((row.status, row.revoked_at), (ApiKeyStatus::Revoked, Some(start() + TimeDelta::hours(1))));
        assert_eq!(row.revocation_reason.unwrap().as_str(), "leaked");
    }
}
