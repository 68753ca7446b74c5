//! Inbound sources: one row each until they are removed, for lists and details. Secrets are left out, sealed or not.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use hub_domain::{
    inbound_source::{Event, InboundSource, Scheme},
    text::Name,
};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{AggregateKey, FoldError, ReadModel, of_aggregate, to_micros};

/// The read model.
#[derive(Debug)]
pub struct InboundSources;

/// One inbound source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "InboundSource")]
pub struct InboundSourceRow {
    pub tenant_id: Uuid,
    pub id: Uuid,
    pub name: Name,
    /// How the provider signs.
    pub scheme: Scheme,
    pub status: InboundSourceStatus,
    /// Names the secret; not the secret itself.
    pub secret_id: Uuid,
    /// Until when the secret before it is good, too; null if there never was one.
    pub secret_previous_until: Option<DateTime<Utc>>,
    /// So many deliveries became events.
    pub received_count: i64,
    /// When the last one did; null if none has.
    pub last_received_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The sequence of the source's stream.
    pub sequence: i64,
}

/// Whether anything is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InboundSourceStatus {
    Enabled,
    Disabled,
}

impl ReadModel for InboundSources {
    type Row = InboundSourceRow;
    type Key = AggregateKey;

    const NAME: &'static str = "inbound_sources";
    const TABLE: &'static str = "inbound_sources";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, InboundSource::TYPE)
    }

    fn key_of(row: &InboundSourceRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(
        row: Option<InboundSourceRow>,
        key: &AggregateKey,
        event: &Recorded,
    ) -> Result<Option<InboundSourceRow>, FoldError> {
        match (row, event.decode()?) {
            (None, Event::Registered { name, scheme, secret_id, sealed_secret: _ }) => Ok(Some(InboundSourceRow {
                tenant_id: key.tenant_id,
                id: key.id,
                name,
                scheme,
                status: InboundSourceStatus::Enabled,
                secret_id,
                secret_previous_until: None,
                received_count: 0,
                last_received_at: None,
                created_at: event.occurred_at,
                updated_at: event.occurred_at,
                sequence: event.sequence,
            })),
            (None, _) => Err(FoldError::row_missing(event)),
            (Some(row), change) => row.after(change, event),
        }
    }
}

impl InboundSourceRow {
    fn after(mut self, change: Event, event: &Recorded) -> Result<Option<Self>, FoldError> {
        self.updated_at = event.occurred_at;
        self.sequence = event.sequence;
        match change {
            Event::Registered { .. } => return Err(FoldError::row_exists(event)),
            Event::SecretRotated { secret_id, sealed_secret: _, previous_until } => {
                self.secret_id = secret_id;
                self.secret_previous_until = Some(to_micros(previous_until));
            }
            Event::Disabled {} => self.status = InboundSourceStatus::Disabled,
            Event::Enabled {} => self.status = InboundSourceStatus::Enabled,
            Event::Received { .. } => {
                self.received_count += 1;
                self.last_received_at = Some(event.occurred_at);
            }
            Event::Removed {} => return Ok(None),
        }
        Ok(Some(self))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hub_domain::inbound_source::{Content, Event, InboundSource, Scheme};
    use uuid::Uuid;

    use super::{InboundSourceRow, InboundSourceStatus, InboundSources};
    use crate::testing::{AGGREGATE, History, TENANT, rows, start};

    fn after(events: Vec<Event>) -> Vec<InboundSourceRow> {
        let registered = Event::Registered {
            name: "Payments".parse().unwrap(),
            scheme: Scheme::Github {},
            secret_id: Uuid::from_u128(1),
            sealed_secret: "c2VhbGVk".parse().unwrap(),
        };
        let mut history = History::default();
        for event in [registered].into_iter().chain(events) {
            history.push::<InboundSource>(TENANT, AGGREGATE, &event);
        }
        rows::<InboundSources>(&history).unwrap()
    }

    fn received() -> Event {
        Event::Received {
            delivery_id: "1".into(),
            content_type: "text/plain".into(),
            body: Content::Base64("YQ==".into()),
            headers: BTreeMap::new(),
        }
    }

    #[test]
    fn a_source_shows_what_it_is_now() {
        let row = after(vec![]).remove(0);
        assert_eq!((row.name.as_str(), row.status, row.received_count), ("Payments", InboundSourceStatus::Enabled, 0));
        assert_eq!((row.last_received_at, row.secret_previous_until), (None, None));
        let row = after(vec![received(), received(), Event::Disabled {}]).remove(0);
        assert_eq!((row.status, row.received_count, row.sequence), (InboundSourceStatus::Disabled, 2, 4));
        assert!(row.last_received_at.is_some());
        assert_eq!(after(vec![Event::Disabled {}, Event::Enabled {}])[0].status, InboundSourceStatus::Enabled);
    }

    #[test]
    fn a_rotation_shows_until_when_the_old_secret_is_good() {
        let rotated = Event::SecretRotated {
            secret_id: Uuid::from_u128(2),
            sealed_secret: "b3RoZXI=".parse().unwrap(),
            previous_until: start(),
        };
        let row = after(vec![rotated]).remove(0);
        assert_eq!((row.secret_id, row.secret_previous_until), (Uuid::from_u128(2), Some(start())));
        assert!(!serde_json::to_string(&row).unwrap().contains("b3RoZXI"));
    }

    #[test]
    fn a_removed_source_has_no_row() {
        assert!(after(vec![Event::Removed {}]).is_empty());
    }
}
