//! One event, and its forms: structured JSON, and binary as headers and data.

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, Utc};
use hub_event_store::event::{Metadata, Recorded};
use hub_filter::{Attributes, Value};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;
use sqlx::{FromRow, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{DATA, SPEC_VERSION, secret::without_secrets};

/// What [`Event`] reads from the table `events`, for the text of a statement.
#[macro_export]
macro_rules! columns {
    () => {
        "tenant_id, tenant_position, event_id, event_type, event_version, aggregate_type, aggregate_id, sequence, occurred_at, \
         payload::text AS payload, metadata::text AS metadata"
    };
}

/// The names of all attributes, in the order in which they are written.
const ATTRIBUTES: [&str; 16] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "sequence",
    "partitionkey",
    "streamsequence",
    "tenantid",
    "actor",
    "correlationid",
    "causationid",
    "traceparent",
];

/// What a header's value cannot hold as it is: besides control characters those that the HTTP binding of CloudEvents names.
const HEADER: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// An event of a tenant's log. Serialises as a CloudEvent in JSON.
#[derive(Debug, Clone)]
pub struct Event {
    /// Whose log.
    pub tenant_id: Uuid,
    /// Place in the tenant's log: from 1, without gaps.
    pub position: i64,
    /// Identifies the event.
    pub event_id: Uuid,
    /// What happened, such as `tenant.suspended`.
    pub event_type: String,
    /// The version of the data's shape, from 1.
    pub event_version: i32,
    /// What it happened to, such as `tenant`.
    pub aggregate_type: String,
    /// The id of what it happened to.
    pub aggregate_id: Uuid,
    /// Place among the events of the same aggregate, from 1.
    pub sequence: i64,
    /// When it happened; informational.
    pub occurred_at: DateTime<Utc>,
    /// What else is to be known, without secrets.
    pub data: Box<RawValue>,
    /// Who caused it; `None` when that cannot be read.
    pub metadata: Option<Metadata>,
}

impl FromRow<'_, PgRow> for Event {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let aggregate_type: String = row.try_get("aggregate_type")?;
        let payload: String = row.try_get("payload")?;
        let payload = RawValue::from_string(payload).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        Ok(Self {
            tenant_id: row.try_get("tenant_id")?,
            position: row.try_get("tenant_position")?,
            event_id: row.try_get("event_id")?,
            event_type: row.try_get("event_type")?,
            event_version: row.try_get("event_version")?,
            data: without_secrets(&aggregate_type, payload),
            aggregate_type,
            aggregate_id: row.try_get("aggregate_id")?,
            sequence: row.try_get("sequence")?,
            occurred_at: row.try_get("occurred_at")?,
            metadata: serde_json::from_str(row.try_get("metadata")?).ok(),
        })
    }
}

impl From<&Recorded> for Event {
    fn from(event: &Recorded) -> Self {
        Self {
            tenant_id: event.tenant_id,
            position: event.tenant_position,
            event_id: event.event_id,
            event_type: event.event_type.clone(),
            event_version: event.event_version,
            aggregate_type: event.aggregate_type.clone(),
            aggregate_id: event.aggregate_id,
            sequence: event.sequence,
            occurred_at: event.occurred_at,
            data: without_secrets(&event.aggregate_type, event.payload.clone()),
            metadata: event.metadata().ok(),
        }
    }
}

impl Event {
    /// The event as JSON, in structured mode.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an event is plain JSON")
    }

    /// The headers of the event in binary mode; its data is the body, of the type [`DATA`].
    #[must_use]
    pub fn to_headers(&self) -> Vec<(String, String)> {
        let header = |(name, value): (&str, Cow<'_, str>)| {
            (name != "datacontenttype").then(|| (format!("ce-{name}"), utf8_percent_encode(&value, HEADER).to_string()))
        };
        self.attributes().filter_map(header).collect()
    }

    /// An attribute by its name, as text; what filters look at.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        let metadata = self.metadata.as_ref();
        let text = match name {
            "specversion" => SPEC_VERSION.into(),
            "id" => self.event_id.to_string().into(),
            "source" => format!("urn:service-hub:tenant:{}", self.tenant_id).into(),
            "type" => Cow::Borrowed(self.event_type.as_str()),
            "subject" => self.subject().into(),
            "time" => self.occurred_at.to_rfc3339_opts(SecondsFormat::Micros, true).into(),
            "datacontenttype" => DATA.into(),
            "dataschema" => format!("urn:service-hub:event-type:{}:{}", self.event_type, self.event_version).into(),
            // A text that sorts like the number it is, as the extension asks for.
            "sequence" => format!("{:020}", self.position).into(),
            "partitionkey" => self.aggregate_id.to_string().into(),
            "streamsequence" => self.sequence.to_string().into(),
            "tenantid" => self.tenant_id.to_string().into(),
            "actor" => Cow::Borrowed(metadata?.actor.as_str()),
            "correlationid" => metadata?.correlation_id.to_string().into(),
            "causationid" => metadata?.causation_id?.to_string().into(),
            "traceparent" => Cow::Borrowed(metadata?.traceparent.as_deref()?),
            _ => return None,
        };
        Some(text)
    }

    /// What it happened to: `<aggregate type>/<aggregate id>`.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("{}/{}", self.aggregate_type, self.aggregate_id)
    }

    /// Every attribute that the event has, in the order in which they are written.
    fn attributes(&self) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
        ATTRIBUTES.iter().filter_map(|name| Some((*name, self.attribute(name)?)))
    }
}

impl Attributes for Event {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        self.attribute(name).map(Value::Text)
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.attributes() {
            map.serialize_entry(name, &value)?;
        }
        map.serialize_entry("data", &self.data)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use hub_event_store::event::Metadata;
    use serde_json::{Value, json, value::RawValue};
    use uuid::Uuid;

    use super::{ATTRIBUTES, Event};

    fn event() -> Event {
        Event {
            tenant_id: Uuid::from_u128(1),
            position: 42,
            event_id: Uuid::from_u128(2),
            event_type: "tenant.suspended".to_owned(),
            event_version: 1,
            aggregate_type: "tenant".to_owned(),
            aggregate_id: Uuid::from_u128(3),
            sequence: 7,
            occurred_at: DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap(),
            data: RawValue::from_string(r#"{"reason":"late"}"#.to_owned()).unwrap(),
            metadata: Some(Metadata {
                actor: "user:größe \"x\" 100%".to_owned(),
                command_id: Uuid::from_u128(4),
                correlation_id: Uuid::from_u128(5),
                causation_id: None,
                traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            }),
        }
    }

    #[test]
    fn an_event_is_a_cloud_event_in_json() {
        let shown: Value = serde_json::from_slice(&event().to_json()).unwrap();
        assert_eq!(
            shown,
            json!({
                "specversion": "1.0",
                "id": "00000000-0000-0000-0000-000000000002",
                "source": "urn:service-hub:tenant:00000000-0000-0000-0000-000000000001",
                "type": "tenant.suspended",
                "subject": "tenant/00000000-0000-0000-0000-000000000003",
                "time": "2023-11-14T22:13:20.000001Z",
                "datacontenttype": "application/json",
                "dataschema": "urn:service-hub:event-type:tenant.suspended:1",
                "sequence": "00000000000000000042",
                "partitionkey": "00000000-0000-0000-0000-000000000003",
                "streamsequence": "7",
                "tenantid": "00000000-0000-0000-0000-000000000001",
                "actor": "user:größe \"x\" 100%",
                "correlationid": "00000000-0000-0000-0000-000000000005",
                "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                "data": { "reason": "late" },
            })
        );
    }

    #[test]
    fn names_of_attributes_are_what_the_specification_allows() {
        for (name, _) in event().attributes() {
            assert!(name.len() <= 20 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{name}");
        }
    }

    #[test]
    fn headers_hold_what_headers_can_hold() {
        let headers = event().to_headers();
        let header = |name: &str| headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        assert_eq!(header("ce-type"), Some("tenant.suspended"));
        assert_eq!(header("ce-actor"), Some("user:gr%C3%B6%C3%9Fe%20%22x%22%20100%25"));
        assert_eq!(header("ce-datacontenttype"), None);
        assert!(headers.iter().all(|(_, value)| value.bytes().all(|b| b.is_ascii_graphic())));
    }

    #[test]
    fn attributes_are_found_by_their_names() {
        let mut event = event();
        assert_eq!(event.attribute("causationid"), None);
        event.metadata.as_mut().unwrap().causation_id = Some(Uuid::from_u128(9));
        assert_eq!(event.attributes().map(|(name, _)| name).collect::<Vec<_>>(), ATTRIBUTES);
        assert_eq!(event.attribute("data"), None);
    }
}
