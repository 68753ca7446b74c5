//! Audit: one row an event, with who, when, what and in which conversation, searchable by the words in it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::model::{FoldError, ReadModel};

/// At most so many characters of an event can be searched.
const SEARCH_LENGTH_MAX: usize = 4_000;

/// Values under a name with one of these in it are not searchable: whoever guesses a secret should not be told that it is one.
const HIDDEN: &[&str] = &["secret", "token", "password", "sha256", "sealed"];

/// The read model.
#[derive(Debug)]
pub struct AuditEntries;

/// One event as an auditor sees it; the payload stays in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AuditEntry")]
pub struct AuditEntryRow {
    /// Place in the whole log.
    pub position: i64,
    pub tenant_id: Uuid,
    /// Place among the tenant's events.
    pub tenant_position: i64,
    pub event_id: Uuid,
    pub occurred_at: DateTime<Utc>,
    pub event_type: String,
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    /// Place in the aggregate's stream.
    pub sequence: i64,
    /// The principal that sent the command.
    pub actor: String,
    pub command_id: Uuid,
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
    /// The words that the entry is found by.
    pub search: String,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AuditEntryKey {
    pub tenant_id: Uuid,
    pub position: i64,
}

impl ReadModel for AuditEntries {
    type Row = AuditEntryRow;
    type Key = AuditEntryKey;

    const NAME: &'static str = "audit_entries";
    const TABLE: &'static str = "audit_entries";
    const KEY: &'static [&'static str] = &["tenant_id", "position"];
    const APPENDS_ONLY: bool = true;
    const LINGER: Duration = Duration::from_millis(25);

    fn concerns(_event_type: &str) -> bool {
        true
    }

    fn key_of(row: &AuditEntryRow) -> AuditEntryKey {
        AuditEntryKey { tenant_id: row.tenant_id, position: row.position }
    }

    fn keys(event: &Recorded) -> Result<Vec<AuditEntryKey>, FoldError> {
        Ok(vec![AuditEntryKey { tenant_id: event.tenant_id, position: event.position }])
    }

    fn fold(
        _row: Option<AuditEntryRow>,
        key: &AuditEntryKey,
        event: &Recorded,
    ) -> Result<Option<AuditEntryRow>, FoldError> {
        let metadata = event.metadata()?;
        Ok(Some(AuditEntryRow {
            position: key.position,
            tenant_id: key.tenant_id,
            tenant_position: event.tenant_position,
            event_id: event.event_id,
            occurred_at: event.occurred_at,
            event_type: event.event_type.clone(),
            aggregate_type: event.aggregate_type.clone(),
            aggregate_id: event.aggregate_id,
            sequence: event.sequence,
            search: words(event, &metadata.actor),
            actor: metadata.actor,
            command_id: metadata.command_id,
            correlation_id: metadata.correlation_id,
            causation_id: metadata.causation_id,
        }))
    }
}

/// Type, actor and the texts of the payload, a space between each.
fn words(event: &Recorded, actor: &str) -> String {
    let mut text = Text { text: String::new(), room: SEARCH_LENGTH_MAX };
    // The type as it is, and its words by themselves.
    text.push(&event.event_type);
    text.push(&event.event_type.replace(['.', '_'], " "));
    text.push(actor);
    // A payload that is no JSON is the business of the projections that read it.
    if let Ok(payload) = serde_json::from_str::<Value>(event.payload.get()) {
        text.collect(&payload);
    }
    text.text
}

struct Text {
    text: String,
    /// So many characters more.
    room: usize,
}

impl Text {
    fn collect(&mut self, value: &Value) {
        match value {
            Value::String(word) => self.push(word),
            Value::Array(items) => items.iter().for_each(|item| self.collect(item)),
            Value::Object(fields) => {
                let shown = fields.iter().filter(|(name, _)| !HIDDEN.iter().any(|hidden| name.contains(hidden)));
                shown.for_each(|(_, field)| self.collect(field));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn push(&mut self, word: &str) {
        // PostgreSQL's texts have no NUL, and nobody searches for control characters.
        let plain = word.chars().map(|c| if c.is_control() { ' ' } else { c });
        let separator = (!self.text.is_empty()).then_some(' ');
        for character in separator.into_iter().chain(plain).take(self.room) {
            self.text.push(character);
            self.room -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use hub_domain::{
        api_key::{self, ApiKey},
        tenant, webhook,
    };
    use serde_json::{json, value::to_raw_value};
    use uuid::Uuid;

    use super::{AuditEntries, SEARCH_LENGTH_MAX};
    use crate::testing::{AGGREGATE, History, TENANT, rows};

    #[test]
    fn every_event_is_one_entry_with_who_and_what() {
        let mut history = History::default();
        history.tenant(tenant::Event::Renamed { name: "Acme SE".parse().unwrap() });
        history.tenant(tenant::Event::Archived {});
        let rows = rows::<AuditEntries>(&history).unwrap();
        assert_eq!(rows.len(), 2);
        let first = &rows[0];
        assert_eq!((first.position, first.tenant_position, first.sequence), (1, 1, 1));
        assert_eq!((first.event_type.as_str(), first.actor.as_str()), ("tenant.renamed", "user:ada"));
        assert_eq!((first.command_id, first.causation_id), (Uuid::from_u128(0xc0), None));
        assert_eq!(first.search, "tenant.renamed tenant renamed user:ada Acme SE");
    }

    #[test]
    fn secrets_and_tokens_are_not_searchable() {
        let mut history = History::default();
        history.webhook(webhook::Event::SecretRotated {
            secret_id: Uuid::from_u128(1),
            sealed_secret: "c2VhbGVk".parse().unwrap(),
            rotated_at: crate::testing::start(),
            previous_until: None,
            key_pair: None,
        });
        let added = tenant::Event::DomainAdded { domain: "acme.example".parse().unwrap(), token: "t0ken".into() };
        history.tenant(added);
        let rotated = api_key::Event::Rotated {
            secret_id: "00000000000000ff".parse().unwrap(),
            sha256: "5a".repeat(32).parse().unwrap(),
            previous_until: crate::testing::start(),
        };
        history.push::<ApiKey>(TENANT, AGGREGATE, &rotated);
        let rows = rows::<AuditEntries>(&history).unwrap();
        assert!(!rows[0].search.contains("c2VhbGVk"), "{}", rows[0].search);
        assert!(rows[1].search.contains("acme.example") && !rows[1].search.contains("t0ken"), "{}", rows[1].search);
        assert!(!rows[2].search.contains("5a5a"), "{}", rows[2].search);
    }

    #[test]
    fn the_searchable_text_is_bounded_and_plain() {
        let mut history = History::default();
        let payload =
            to_raw_value(&json!({ "nested": [{ "note": "a\u{0}b\nc" }], "long": "ü".repeat(9_000) })).unwrap();
        history.push_raw(TENANT, "letter", AGGREGATE, "letter.sent", payload);
        let search = rows::<AuditEntries>(&history).unwrap().remove(0).search;
        assert!(search.chars().count() <= SEARCH_LENGTH_MAX);
        assert!(!search.contains(char::is_control));
    }
}
