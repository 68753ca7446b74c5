//! What is sent: the body, and the headers that sign it.

use std::{ops::Deref, sync::OnceLock};

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use hub_cloudevents::{BATCH, DATA, Event, STRUCTURED};
use hub_domain::webhook::delivery::Payload;
use hub_signature::{ID_HEADER, Key, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::lane::Waiting;

const ID: HeaderName = HeaderName::from_static(ID_HEADER);
const TIMESTAMP: HeaderName = HeaderName::from_static(TIMESTAMP_HEADER);
const SIGNATURE: HeaderName = HeaderName::from_static(SIGNATURE_HEADER);

/// Who sends.
const USER_AGENT: &str = concat!("service-hub-webhooks/", env!("CARGO_PKG_VERSION"));

/// An event in the shape that Standard Webhooks recommends.
#[derive(Serialize)]
struct Standard<'a> {
    r#type: &'a str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    event_id: Uuid,
    tenant_id: Uuid,
    position: i64,
    aggregate_type: &'a str,
    aggregate_id: Uuid,
    sequence: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_version: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
}

impl<'a> Standard<'a> {
    fn of(event: &'a Event, thin: bool) -> Self {
        let metadata = event.metadata.as_ref().filter(|_| !thin);
        Self {
            r#type: &event.event_type,
            timestamp: event.occurred_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            data: Data {
                event_id: event.event_id,
                tenant_id: event.tenant_id,
                position: event.position,
                aggregate_type: &event.aggregate_type,
                aggregate_id: event.aggregate_id,
                sequence: event.sequence,
                event_version: (!thin).then_some(event.event_version),
                actor: metadata.map(|metadata| metadata.actor.as_str()),
                correlation_id: metadata.map(|metadata| metadata.correlation_id),
                payload: (!thin).then_some(&*event.data),
            },
        }
    }
}

/// An event that is to be delivered, with its bodies as far as they were made: endpoints that want the same get the same bytes.
#[derive(Debug)]
pub(crate) struct Message {
    event: Event,
    full: OnceLock<Bytes>,
    thin: OnceLock<Bytes>,
    cloudevent: OnceLock<Bytes>,
}

impl From<Event> for Message {
    fn from(event: Event) -> Self {
        Self { event, full: OnceLock::new(), thin: OnceLock::new(), cloudevent: OnceLock::new() }
    }
}

impl Deref for Message {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.event
    }
}

impl Message {
    /// How long its payload is, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.event.data.get().len()
    }

    fn body(&self, payload: Payload) -> Bytes {
        let made = match payload {
            Payload::Full => self.full.get_or_init(|| json(&Standard::of(&self.event, false))),
            Payload::Thin => self.thin.get_or_init(|| json(&Standard::of(&self.event, true))),
            Payload::Cloudevents => self.cloudevent.get_or_init(|| json(&self.event)),
        };
        made.clone()
    }
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("an event is plain JSON").into()
}

/// The body of a delivery, and its type.
fn body(events: &[Waiting], payload: Payload, batched: bool) -> (Bytes, &'static str) {
    let content_type = match payload {
        Payload::Cloudevents if batched => BATCH,
        Payload::Cloudevents => STRUCTURED,
        Payload::Full | Payload::Thin => DATA,
    };
    let bodies: Vec<Bytes> = events.iter().map(|waiting| waiting.event.body(payload)).collect();
    match bodies.as_slice() {
        [body] if !batched => (body.clone(), content_type),
        bodies => ([b"[", &*bodies.join(&b","[..]), b"]"].concat().into(), content_type),
    }
}

/// Namespace of the ids of batches.
const BATCHES: Uuid = Uuid::from_u128(0x8d1e_6f30_57c2_4c0f_9a44_0b7d_93e5_1c6a);

/// Names the delivery, the same at every attempt: by its event, or by exactly the events of its batch.
pub(crate) fn message_id(events: &[Waiting], batched: bool) -> String {
    let id = if batched {
        let ids: Vec<u8> = events.iter().flat_map(|waiting| *waiting.event.event_id.as_bytes()).collect();
        Uuid::new_v5(&BATCHES, &ids)
    } else {
        events.first().map(|first| first.event.event_id).unwrap_or_default()
    };
    id.to_string()
}

/// One attempt to deliver, ready to be sent.
pub(crate) fn message(
    events: &[Waiting],
    batched: bool,
    payload: Payload,
    keys: &[Key],
    now: DateTime<Utc>,
) -> (HeaderMap, Bytes) {
    let (body, content_type) = body(events, payload, batched);
    let id = message_id(events, batched);
    let timestamp = now.timestamp();
    let signature = sign(keys, &id, timestamp, &body);
    let text = |text: &str| HeaderValue::from_str(text).expect("ids, numbers and base64 are fit for headers");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::USER_AGENT, HeaderValue::from_static(USER_AGENT)),
        (ID, text(&id)),
        (TIMESTAMP, timestamp.into()),
        (SIGNATURE, text(&signature)),
    ];
    (headers.into_iter().collect(), body)
}
