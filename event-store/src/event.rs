//! An event before and after it is recorded, and the bytes that its leaf hash covers.

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use schemars::JsonSchema;
use serde::{
    Deserialize, Serialize,
    de::{
        DeserializeOwned, DeserializeSeed, MapAccess,
        value::{BorrowedStrDeserializer, MapAccessDeserializer, MapDeserializer},
    },
};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use sqlx::{FromRow, Row, postgres::PgRow};
use uuid::Uuid;

/// Names one stream of events: one aggregate of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// The tenant that owns the stream.
    pub tenant_id: Uuid,
    /// The aggregate's type, such as `subscription`.
    pub aggregate_type: &'static str,
    /// The aggregate's own id.
    pub aggregate_id: Uuid,
}

impl StreamId {
    /// The stream of the aggregate `A` with this id.
    #[must_use]
    pub fn of<A: cqrs_es::Aggregate>(tenant_id: Uuid, aggregate_id: Uuid) -> Self {
        Self { tenant_id, aggregate_type: A::TYPE, aggregate_id }
    }
}

/// Who caused an event and in which conversation; stored beside the payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// The principal that sent the command, such as `key:administrator` or `process:scheduler`.
    pub actor: String,
    /// The command that led to the event.
    pub command_id: Uuid,
    /// What ties everything together that one request set in motion.
    pub correlation_id: Uuid,
    /// The event or command that caused the command, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<Uuid>,
    /// W3C trace context of the request, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// An event that is not yet in the log.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// UUIDv7.
    pub event_id: Uuid,
    /// `<aggregate type>.<event>`, such as `tenant.suspended`.
    pub event_type: String,
    /// The version of the payload's shape, from 1.
    pub event_version: i32,
    /// The payload, byte for byte as it will be stored.
    pub payload: Box<RawValue>,
}

/// An event as it stands in the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recorded {
    /// Place in the whole log: contiguous from 1, in commit order.
    pub position: i64,
    /// Place among the tenant's events: contiguous from 1, in the same order.
    pub tenant_position: i64,
    /// UUIDv7.
    pub event_id: Uuid,
    /// The tenant that owns the event.
    pub tenant_id: Uuid,
    /// The aggregate's type.
    pub aggregate_type: String,
    /// The aggregate's id.
    pub aggregate_id: Uuid,
    /// Place in its stream, from 1.
    pub sequence: i64,
    /// `<aggregate type>.<event>`.
    pub event_type: String,
    /// The version of the payload's shape.
    pub event_version: i32,
    /// From the injected clock; informational, never an order.
    pub occurred_at: DateTime<Utc>,
    /// The payload, byte for byte as stored.
    pub payload: Box<RawValue>,
    /// The metadata, byte for byte as stored.
    pub metadata: Box<RawValue>,
    /// SHA-256 as `leaf_hash` computes it.
    #[serde(skip)]
    pub leaf_hash: Vec<u8>,
}

/// Why a recorded event cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("event {event_type} version {event_version} at position {position} cannot be read: {source}")]
pub struct DecodeError {
    /// Where the event stands.
    pub position: i64,
    /// Its type.
    pub event_type: String,
    /// Its version.
    pub event_version: i32,
    /// What serde found.
    #[source]
    pub source: serde_json::Error,
}

/// The columns of `events`, in the order that `Recorded` reads them; a macro because SQL constants are concatenated at compile time.
macro_rules! event_columns {
    () => {
        "position, tenant_position, event_id, tenant_id, aggregate_type, aggregate_id, sequence, event_type, event_version, \
         occurred_at, payload::text AS payload, metadata::text AS metadata, leaf_hash"
    };
}
pub(crate) use event_columns;

impl Recorded {
    /// The event as its aggregate's own type; call `upcast::Upcasters::apply` first where old versions may appear.
    ///
    /// # Errors
    /// When the payload does not fit the type.
    pub fn decode<E: DeserializeOwned>(&self) -> Result<E, DecodeError> {
        decode(&self.aggregate_type, &self.event_type, &self.payload).map_err(|source| DecodeError {
            position: self.position,
            event_type: self.event_type.clone(),
            event_version: self.event_version,
            source,
        })
    }

    /// Who caused the event.
    ///
    /// # Errors
    /// When the metadata has another shape.
    pub fn metadata(&self) -> Result<Metadata, DecodeError> {
        serde_json::from_str(self.metadata.get()).map_err(|source| DecodeError {
            position: self.position,
            event_type: self.event_type.clone(),
            event_version: self.event_version,
            source,
        })
    }

    /// The leaf hash computed anew from the event's own bytes.
    #[must_use]
    pub fn computed_leaf_hash(&self) -> [u8; 32] {
        leaf_hash(&Leaf {
            event_id: self.event_id,
            tenant_id: self.tenant_id,
            aggregate_type: &self.aggregate_type,
            aggregate_id: self.aggregate_id,
            sequence: self.sequence,
            event_type: &self.event_type,
            event_version: self.event_version,
            occurred_at: self.occurred_at,
            payload: self.payload.get(),
            metadata: self.metadata.get(),
        })
    }
}

impl FromRow<'_, PgRow> for Recorded {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            position: row.try_get("position")?,
            tenant_position: row.try_get("tenant_position")?,
            event_id: row.try_get("event_id")?,
            tenant_id: row.try_get("tenant_id")?,
            aggregate_type: row.try_get("aggregate_type")?,
            aggregate_id: row.try_get("aggregate_id")?,
            sequence: row.try_get("sequence")?,
            event_type: row.try_get("event_type")?,
            event_version: row.try_get("event_version")?,
            occurred_at: row.try_get("occurred_at")?,
            payload: raw_json(row, "payload")?,
            metadata: raw_json(row, "metadata")?,
            leaf_hash: row.try_get("leaf_hash")?,
        })
    }
}

pub(crate) fn raw_json(row: &PgRow, column: &str) -> Result<Box<RawValue>, sqlx::Error> {
    optional_json(row, column)?.ok_or_else(|| sqlx::Error::ColumnNotFound(column.to_owned()))
}

pub(crate) fn optional_json(row: &PgRow, column: &str) -> Result<Option<Box<RawValue>>, sqlx::Error> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(stored_json).transpose()
}

/// The name under which serde_json hands a raw value through serde; a test holds it to that.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// A text of a `json` column. PostgreSQL has checked that it is JSON, which is not done again: it would cost as much as the decoding.
pub(crate) fn stored_json(text: &str) -> Result<Box<RawValue>, sqlx::Error> {
    let handed_on = MapDeserializer::<_, serde::de::value::Error>::new(std::iter::once((RAW_VALUE, text)));
    match Box::<RawValue>::deserialize(handed_on) {
        Ok(value) => Ok(value),
        Err(_) => RawValue::from_string(text.to_owned()).map_err(|e| sqlx::Error::Decode(Box::new(e))),
    }
}

/// What serde writes for an aggregate's event: the variant's tag and its data.
#[derive(Deserialize)]
struct Tagged {
    r#type: String,
    data: Box<RawValue>,
}

/// An aggregate's event as type and payload, ready to be appended.
///
/// # Errors
/// When the event's `Serialize` does not write `{"type": .., "data": ..}`.
pub(crate) fn encode<E: DomainEvent>(
    aggregate_type: &str,
    event_id: Uuid,
    event: &E,
) -> Result<NewEvent, serde_json::Error> {
    let text = serde_json::to_string(event)?;
    let tagged: Tagged = serde_json::from_str(&text)?;
    Ok(NewEvent {
        event_id,
        event_type: format!("{aggregate_type}.{}", tagged.r#type),
        event_version: event.event_version().parse().map_err(|_| {
            serde::ser::Error::custom(format!("event version `{}` is not a whole number", event.event_version()))
        })?,
        payload: tagged.data,
    })
}

pub(crate) fn decode<E: DeserializeOwned>(
    aggregate_type: &str,
    event_type: &str,
    payload: &RawValue,
) -> Result<E, serde_json::Error> {
    let tag = event_type.strip_prefix(aggregate_type).and_then(|rest| rest.strip_prefix('.')).unwrap_or(event_type);
    E::deserialize(MapAccessDeserializer::new(TagThenData { tag: Some(tag), payload: Some(payload.get()) }))
}

/// `{"type": tag, "data": payload}` without that text being made; the tag comes first, so serde keeps no copy of the data either.
struct TagThenData<'a> {
    tag: Option<&'a str>,
    payload: Option<&'a str>,
}

impl<'de> MapAccess<'de> for TagThenData<'de> {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Self::Error> {
        let key = match (self.tag, self.payload) {
            (Some(_), _) => "type",
            (None, Some(_)) => "data",
            (None, None) => return Ok(None),
        };
        seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Self::Error> {
        if let Some(tag) = self.tag.take() {
            return seed.deserialize(BorrowedStrDeserializer::new(tag));
        }
        let mut json = serde_json::Deserializer::from_str(self.payload.take().unwrap_or_default());
        let value = seed.deserialize(&mut json)?;
        json.end()?;
        Ok(value)
    }
}

/// Everything about an event that its leaf hash covers; where it stands in the log is not part of it.
#[derive(Debug)]
pub(crate) struct Leaf<'a> {
    pub(crate) event_id: Uuid,
    pub(crate) tenant_id: Uuid,
    pub(crate) aggregate_type: &'a str,
    pub(crate) aggregate_id: Uuid,
    pub(crate) sequence: i64,
    pub(crate) event_type: &'a str,
    pub(crate) event_version: i32,
    pub(crate) occurred_at: DateTime<Utc>,
    pub(crate) payload: &'a str,
    pub(crate) metadata: &'a str,
}

/// SHA-256 of a zero byte (the leaf prefix of RFC 6962) and the leaf's encoding.
///
/// The encoding is the text `hub.event.v1` and then, in this order: event id, tenant id (16 bytes each), aggregate type, aggregate
/// id (16 bytes), sequence (8), event type, event version (4), time in microseconds since 1970 (8), payload, metadata. Numbers are
/// big-endian; texts are UTF-8 with their length in bytes before them (4).
pub(crate) fn leaf_hash(leaf: &Leaf<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    let text = |hash: &mut Sha256, text: &str| {
        let length = u32::try_from(text.len()).expect("PostgreSQL holds no text of 4 GiB");
        hash.update(length.to_be_bytes());
        hash.update(text.as_bytes());
    };
    hash.update([0]);
    hash.update(b"hub.event.v1");
    hash.update(leaf.event_id.as_bytes());
    hash.update(leaf.tenant_id.as_bytes());
    text(&mut hash, leaf.aggregate_type);
    hash.update(leaf.aggregate_id.as_bytes());
    hash.update(leaf.sequence.to_be_bytes());
    text(&mut hash, leaf.event_type);
    hash.update(leaf.event_version.to_be_bytes());
    hash.update(leaf.occurred_at.timestamp_micros().to_be_bytes());
    text(&mut hash, leaf.payload);
    text(&mut hash, leaf.metadata);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use serde_json::value::RawValue;

    use super::{RAW_VALUE, decode, stored_json};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type", content = "data", rename_all = "snake_case")]
    enum Event {
        Sent { to: String, at: Option<i64> },
        Burnt {},
    }

    fn decoded(event_type: &str, payload: &str) -> Result<Event, serde_json::Error> {
        decode("letter", event_type, &RawValue::from_string(payload.to_owned()).unwrap())
    }

    #[test]
    fn a_payload_is_decoded_under_its_type() {
        let sent = decoded("letter.sent", r#"{"to":"A\u00e4","at":7}"#).unwrap();
        assert_eq!(sent, Event::Sent { to: "Aä".to_owned(), at: Some(7) });
        assert_eq!(decoded("letter.burnt", "{}").unwrap(), Event::Burnt {});
        assert!(decoded("letter.lost", "{}").is_err());
        assert!(decoded("letter.sent", r#"{"at":7}"#).is_err());
    }

    #[test]
    fn stored_json_is_taken_as_it_is() {
        assert_eq!(stored_json("{ \"a\" : 1 }").unwrap().get(), "{ \"a\" : 1 }");
        // Were the name another one in a later serde_json, everything would go on, but slower.
        assert!(stored_json("not looked at").is_ok(), "{RAW_VALUE}");
    }
}
