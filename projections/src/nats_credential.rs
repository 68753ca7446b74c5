//! NATS credentials that were issued: one row each, also of those that have expired. None is the credential itself.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use hub_domain::{
    nats_credential::{Event, NatsCredential},
    text::Name,
};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{AggregateKey, FoldError, ReadModel, of_aggregate, to_micros};

/// The read model.
#[derive(Debug)]
pub struct NatsCredentials;

/// One credential.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "NatsCredential")]
pub struct NatsCredentialRow {
    pub tenant_id: Uuid,
    pub id: Uuid,
    /// Whom it is for.
    pub name: Name,
    /// Names the user of NATS; not secret.
    pub public_key: String,
    /// What may be subscribed to with it.
    pub subjects: Vec<String>,
    /// From then on the server lets nobody in with it.
    pub expires_at: DateTime<Utc>,
    /// The principal that issued it.
    pub issued_by: String,
    pub issued_at: DateTime<Utc>,
    /// The sequence of the credential's stream.
    pub sequence: i64,
}

impl ReadModel for NatsCredentials {
    type Row = NatsCredentialRow;
    type Key = AggregateKey;

    const NAME: &'static str = "nats_credentials";
    const TABLE: &'static str = "nats_credentials";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, NatsCredential::TYPE)
    }

    fn key_of(row: &NatsCredentialRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(
        row: Option<NatsCredentialRow>,
        key: &AggregateKey,
        event: &Recorded,
    ) -> Result<Option<NatsCredentialRow>, FoldError> {
        match (row, event.decode()?) {
            (None, Event::Issued { name, public_key, subjects, expires_at }) => Ok(Some(NatsCredentialRow {
                tenant_id: key.tenant_id,
                id: key.id,
                name,
                public_key,
                subjects,
                expires_at: to_micros(expires_at),
                issued_by: event.metadata()?.actor,
                issued_at: event.occurred_at,
                sequence: event.sequence,
            })),
            (Some(_), Event::Issued { .. }) => Err(FoldError::row_exists(event)),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use hub_domain::nats_credential::{Event, NatsCredential};

    use super::NatsCredentials;
    use crate::testing::{AGGREGATE, History, TENANT, rows, start};

    #[test]
    fn a_credential_shows_who_issued_it_to_whom_and_until_when() {
        let mut history = History::default();
        let issued = Event::Issued {
            name: "Ledger".parse().unwrap(),
            public_key: "UABC".to_owned(),
            subjects: vec!["hub.events.*.a.>".to_owned()],
            expires_at: start() + TimeDelta::days(7),
        };
        history.push::<NatsCredential>(TENANT, AGGREGATE, &issued);
        let row = rows::<NatsCredentials>(&history).unwrap().remove(0);
        assert_eq!((row.name.as_str(), &*row.issued_by, row.issued_at), ("Ledger", "user:ada", start()));
        assert_eq!((row.expires_at, &*row.public_key, row.subjects.len()), (start() + TimeDelta::days(7), "UABC", 1));
    }
}
