//! A row of a postgres-es table as an event of the log; pure.
//!
//! | postgres-es | the log |
//! |---|---|
//! | `aggregate_type` `BankAccount` | `bank_account`, or what the map of types says |
//! | `aggregate_id` | itself if it is a UUID in lower case with hyphens, else the UUIDv5 of [`NAMESPACE`] and the text |
//! | `sequence` | itself; each stream begins with 1 and has no gap |
//! | `payload` `{"MoneyDeposited": {..}}` | event type `bank_account.money_deposited`, payload `{..}` byte for byte |
//! | `payload` `"Closed"` | `bank_account.closed`, payload `{}` |
//! | `payload` `{"type": "closed", "data": {..}}` | `bank_account.closed`, payload `{..}` byte for byte |
//! | `event_version` `1.0`, `1` | 1; what is no whole number needs an entry in the map of versions |
//! | `event_type`, `event_version`, `metadata` | kept as they are in the event's metadata below `source` |

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound as _, Utc};
use hub_event_store::import::{ImportEvent, Origin, name_is_plain};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use sqlx::FromRow;
use uuid::{Uuid, uuid};

/// In this namespace the text of an aggregate id that is no UUID becomes one.
pub const NAMESPACE: Uuid = uuid!("6f0d1c52-93a4-5b7e-8d21-4a6be0c7f913");

/// A row as postgres-es keeps it.
#[derive(Debug, Clone, FromRow)]
pub struct SourceRow {
    /// The aggregate's type.
    pub aggregate_type: String,
    /// The aggregate's id, any text.
    pub aggregate_id: String,
    /// Place in its stream.
    pub sequence: i64,
    /// What the event's `event_type()` said.
    pub event_type: String,
    /// What the event's `event_version()` said.
    pub event_version: String,
    /// The event as serde wrote it.
    pub payload: String,
    /// A map of texts.
    pub metadata: String,
}

/// How the tenant of a row is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantOf {
    /// All rows belong to this one.
    All(Uuid),
    /// Each row's metadata names it under this key.
    Key(String),
}

/// How rows become events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Whose the events are.
    pub tenant: TenantOf,
    /// The metadata key of the time (RFC 3339) at which an event happened; without one it is the time of the import.
    pub time_key: Option<String>,
    /// Aggregate types that get another name than their own in snake case.
    pub aggregate_types: BTreeMap<String, String>,
    /// Event versions that are no whole number.
    pub event_versions: BTreeMap<String, i32>,
}

/// Why a row cannot become an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {aggregate_type} {aggregate_id} sequence {sequence}: {reason}")]
pub struct RowError {
    /// The row's aggregate type.
    pub aggregate_type: String,
    /// The row's aggregate id.
    pub aggregate_id: String,
    /// The row's sequence.
    pub sequence: i64,
    /// What is wrong with it.
    pub reason: String,
}

impl RowError {
    pub(super) fn of(row: &SourceRow, reason: impl Into<String>) -> Self {
        Self {
            aggregate_type: row.aggregate_type.clone(),
            aggregate_id: row.aggregate_id.clone(),
            sequence: row.sequence,
            reason: reason.into(),
        }
    }
}

/// What is kept of the row beside the event itself, so that the row can be written again as it was.
#[derive(Serialize)]
struct Kept<'a> {
    event_type: &'a str,
    event_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unit: bool,
    metadata: &'a RawValue,
}

impl Mapping {
    /// The event of a row; `imported_at` is its time when the rows have none.
    ///
    /// # Errors
    /// When the row cannot be mapped, with the reason.
    pub fn map(&self, row: &SourceRow, imported_at: DateTime<Utc>) -> Result<ImportEvent, RowError> {
        self.try_map(row, imported_at).map_err(|reason| RowError::of(row, reason))
    }

    /// What this mapping is, in words: an import goes on only with the mapping it was begun with.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = match &self.tenant {
            TenantOf::All(tenant) => format!("tenant {tenant}"),
            TenantOf::Key(key) => format!("tenant key {key}"),
        };
        if let Some(key) = &self.time_key {
            text += &format!(", time key {key}");
        }
        for (from, to) in &self.aggregate_types {
            text += &format!(", type {from}={to}");
        }
        for (from, to) in &self.event_versions {
            text += &format!(", version {from}={to}");
        }
        text
    }

    fn try_map(&self, row: &SourceRow, imported_at: DateTime<Utc>) -> Result<ImportEvent, String> {
        let aggregate_type = self.aggregate_types.get(&row.aggregate_type).cloned();
        let aggregate_type = aggregate_type.unwrap_or_else(|| snake_case(&row.aggregate_type));
        if !name_is_plain(&aggregate_type) {
            return Err(format!("aggregate type `{}` needs another name in the log", row.aggregate_type));
        }
        if row.sequence < 1 {
            return Err("a sequence begins with 1".to_owned());
        }
        let (tag, variant, payload) = untagged(&row.payload)?;
        if !name_is_plain(&tag) {
            return Err(format!("`{tag}` cannot be the name of an event"));
        }
        let metadata: &RawValue =
            serde_json::from_str(&row.metadata).map_err(|error| format!("the metadata is not JSON: {error}"))?;
        let kept = Kept {
            event_type: &row.event_type,
            event_version: &row.event_version,
            variant: variant.as_deref(),
            unit: payload.is_none(),
            metadata,
        };
        let texts = if self.time_key.is_some() || matches!(self.tenant, TenantOf::Key(_)) {
            serde_json::from_str(metadata.get()).map_err(|error| format!("the metadata is no map: {error}"))?
        } else {
            BTreeMap::new()
        };
        Ok(ImportEvent {
            tenant_id: self.tenant_of(&texts)?,
            event_type: format!("{aggregate_type}.{tag}"),
            aggregate_type,
            aggregate_id: aggregate_id(&row.aggregate_id),
            sequence: row.sequence,
            event_version: self.version_of(&row.event_version)?,
            occurred_at: self.time_of(&texts)?.unwrap_or(imported_at),
            payload: payload.map_or_else(empty, ToOwned::to_owned),
            source: Some(to_raw_value(&kept).map_err(|error| error.to_string())?),
            origin: Some(Origin { aggregate_type: row.aggregate_type.clone(), aggregate_id: row.aggregate_id.clone() }),
        })
    }

    fn tenant_of(&self, metadata: &BTreeMap<String, &RawValue>) -> Result<Uuid, String> {
        match &self.tenant {
            TenantOf::All(tenant) => Ok(*tenant),
            TenantOf::Key(key) => {
                let value = text_at(metadata, key)?;
                value.parse().map_err(|_| format!("`{value}` in the metadata under `{key}` is no UUID of a tenant"))
            }
        }
    }

    fn time_of(&self, metadata: &BTreeMap<String, &RawValue>) -> Result<Option<DateTime<Utc>>, String> {
        let Some(key) = &self.time_key else { return Ok(None) };
        let value = text_at(metadata, key)?;
        let time = DateTime::parse_from_rfc3339(&value)
            .map_err(|error| format!("`{value}` in the metadata under `{key}` is no time in RFC 3339: {error}"))?;
        Ok(Some(time.to_utc().trunc_subsecs(6)))
    }

    fn version_of(&self, version: &str) -> Result<i32, String> {
        if let Some(mapped) = self.event_versions.get(version) {
            return Ok(*mapped);
        }
        let whole = version
            .split_once('.')
            .map_or(version, |(whole, rest)| if rest.split('.').all(|part| part == "0") { whole } else { version });
        let number = whole.parse().ok().filter(|number| *number > 0 && !whole.starts_with(['0', '+']));
        number.ok_or_else(|| format!("event version `{version}` is no whole number; say which one it is"))
    }
}

/// The UUID of an aggregate id.
#[must_use]
pub fn aggregate_id(text: &str) -> Uuid {
    match Uuid::try_parse(text) {
        Ok(id) if id.to_string() == text => id,
        _ => Uuid::new_v5(&NAMESPACE, text.as_bytes()),
    }
}

/// `BankAccount`, `bankAccount` and `bank_account` are all `bank_account`; `HTTPCheck` is `http_check`. The SQL function
/// `cqrs_snake_case` does the same.
#[must_use]
pub fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::with_capacity(name.len() + 4);
    for (place, letter) in letters.iter().enumerate() {
        if letter.is_ascii_uppercase() && place > 0 {
            let before = letters[place - 1];
            let next_is_lower = letters.get(place + 1).is_some_and(char::is_ascii_lowercase);
            let word_begins = before.is_ascii_lowercase()
                || before.is_ascii_digit()
                || (before.is_ascii_uppercase() && next_is_lower);
            if word_begins {
                snake.push('_');
            }
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// The event's tag, the variant it was made of unless it was tagged adjacently, and its data unless it has none.
fn untagged(payload: &str) -> Result<(String, Option<String>, Option<&RawValue>), String> {
    let unknown = || "the payload is no enum that serde has tagged, as {\"Opened\": {..}}".to_owned();
    if let Ok(variant) = serde_json::from_str::<String>(payload) {
        return Ok((snake_case(&variant), Some(variant), None));
    }
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(payload).map_err(|_| unknown())?;
    if fields.len() == 2
        && let (Some(tag), Some(data)) = (fields.get("type"), fields.get("data"))
        && let Ok(tag) = serde_json::from_str::<String>(tag.get())
    {
        return Ok((tag, None, Some(*data)));
    }
    match fields.pop_first() {
        Some((variant, data)) if fields.is_empty() && variant != "type" && variant != "data" => {
            Ok((snake_case(&variant), Some(variant), Some(data)))
        }
        _ => Err(unknown()),
    }
}

fn text_at(metadata: &BTreeMap<String, &RawValue>, key: &str) -> Result<String, String> {
    let value = metadata.get(key).ok_or_else(|| format!("the metadata has no `{key}`"))?;
    serde_json::from_str(value.get()).map_err(|_| format!("the metadata has no text under `{key}`"))
}

fn empty() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).expect("an empty object is JSON")
}
