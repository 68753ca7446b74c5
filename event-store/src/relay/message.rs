//! An event as a message: its subject, its headers, and what of it fits.

use async_nats::{
    HeaderMap, HeaderName, Subject,
    header::{NATS_EXPECTED_LAST_MESSAGE_ID, NATS_EXPECTED_LAST_SEQUENCE, NATS_MESSAGE_ID},
};
use bytes::Bytes;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    event::Recorded,
    partition::{OMITTED_HEADER, PARTITION_COUNT, POSITION_HEADER, PREVIOUS_POSITION_HEADER, partition_of, subject_of},
};

/// What an event takes as JSON besides payload and metadata, roughly.
const FRAME_BYTES: usize = 512;

/// What the headers of a message may take of what the server allows for headers and payload together.
const HEADERS_BYTES_MAX: usize = 1_024;

/// A message that is ready to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) subject: Subject,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
    pub(super) partition: usize,
}

/// How messages are named for the server, which recognises a name for two minutes even if it has been made to forget the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// The event's id.
    Plain,
    /// The event's id and its place in the stream, for one that is published again.
    Again,
}

impl Naming {
    fn name(self, event_id: Uuid, sequence: u64) -> String {
        match self {
            Self::Plain => event_id.to_string(),
            Self::Again => format!("{event_id}.{sequence}"),
        }
    }
}

/// The event's id in a message's name.
pub(super) fn event_id_of(name: &str) -> Option<Uuid> {
    name.split('.').next()?.parse().ok()
}

/// Makes one message after another, each tied to the one before it.
#[derive(Debug)]
pub(super) struct Chain {
    naming: Naming,
    partitions: [i64; PARTITION_COUNT],
    /// The sequence in the stream of the message before.
    sequence: u64,
    /// Its name; of the message that the chain begins behind only the sequence is known to the server for sure.
    name: Option<String>,
}

impl Chain {
    pub(super) const fn new(naming: Naming, partitions: [i64; PARTITION_COUNT], sequence: u64) -> Self {
        Self { naming, partitions, sequence, name: None }
    }

    /// The message of the next event of the log, at most `size_max` bytes.
    ///
    /// The sequence alone would not do: a message of somebody else's in the place of one of ours would let the one after it pass.
    pub(super) fn next(&mut self, event: &Recorded, size_max: usize) -> Result<Outgoing, serde_json::Error> {
        let partition = partition_of(event.tenant_id);
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, self.sequence.to_string());
        if let Some(name) = self.name.take() {
            headers.insert(NATS_EXPECTED_LAST_MESSAGE_ID, name);
        }
        self.sequence += 1;
        let name = self.naming.name(event.event_id, self.sequence);
        headers.insert(NATS_MESSAGE_ID, name.as_str());
        self.name = Some(name);
        headers.insert(HeaderName::from_static(POSITION_HEADER), event.position.to_string());
        headers.insert(HeaderName::from_static(PREVIOUS_POSITION_HEADER), self.partitions[partition].to_string());
        self.partitions[partition] = event.position;
        let mut payload = Vec::with_capacity(event.payload.get().len() + event.metadata.get().len() + FRAME_BYTES);
        serde_json::to_writer(&mut payload, event)?;
        if payload.len() + HEADERS_BYTES_MAX > size_max {
            headers.insert(OMITTED_HEADER, payload.len().to_string());
            tracing::warn!(
                position = event.position,
                bytes = payload.len(),
                size_max,
                "an event is too large for NATS and goes without its payload"
            );
            metrics::counter!("hub_relay_payloads_omitted_total").increment(1);
            payload = serde_json::to_vec(&without_payload(event))?;
        }
        Ok(Outgoing { subject: subject_of(event).into(), headers, payload: payload.into(), partition })
    }
}

/// Everything but what can be large. Its leaf hash is no longer that of the log, so nobody who compares takes it for the event.
fn without_payload(event: &Recorded) -> Recorded {
    let null = || RawValue::from_string("null".to_owned()).expect("null is JSON");
    Recorded { payload: null(), metadata: null(), ..event.clone() }
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;
    use chrono::DateTime;
    use serde_json::value::RawValue;
    use uuid::Uuid;

    use super::{Chain, Naming, event_id_of};
    use crate::{event::Recorded, partition::PARTITION_COUNT};

    const SIZE_MAX: usize = 10_000;

    fn event(position: i64, text: &str) -> Recorded {
        Recorded {
            position,
            tenant_position: position,
            event_id: Uuid::from_u128(u128::from(position.unsigned_abs())),
            tenant_id: Uuid::from_u128(u128::from(position.unsigned_abs() % 2)),
            aggregate_type: "letter".to_owned(),
            aggregate_id: Uuid::nil(),
            sequence: position,
            event_type: "letter.sent".to_owned(),
            event_version: 1,
            occurred_at: DateTime::UNIX_EPOCH,
            payload: RawValue::from_string(format!("\"{text}\"")).expect("it is JSON"),
            metadata: RawValue::from_string("{}".to_owned()).expect("it is JSON"),
            leaf_hash: Vec::new(),
        }
    }

    fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        headers.get(name).map(|value| value.as_str())
    }

    #[test]
    fn each_message_is_tied_to_the_one_before_it() {
        let mut chain = Chain::new(Naming::Plain, [7; PARTITION_COUNT], 41);
        let headers: Vec<_> =
            (8..11).map(|position| chain.next(&event(position, "x"), SIZE_MAX).expect("it fits").headers).collect();
        let read = |name| headers.iter().map(|headers| header(headers, name)).collect::<Vec<_>>();
        let names: Vec<_> = (8..11).map(|position| Uuid::from_u128(position).to_string()).collect();
        assert_eq!(read("Nats-Expected-Last-Sequence"), [Some("41"), Some("42"), Some("43")]);
        assert_eq!(read("Nats-Expected-Last-Msg-Id"), [None, Some(names[0].as_str()), Some(names[1].as_str())]);
        assert_eq!(read("Nats-Msg-Id"), [Some(names[0].as_str()), Some(names[1].as_str()), Some(names[2].as_str())]);
        assert_eq!(read("Hub-Position"), [Some("8"), Some("9"), Some("10")]);
        // The third is of the first's tenant.
        assert_eq!(read("Hub-Previous-Position"), [Some("7"), Some("7"), Some("8")]);
    }

    #[test]
    fn a_message_published_again_has_a_new_name_of_the_same_event() {
        let mut chain = Chain::new(Naming::Again, [0; PARTITION_COUNT], 41);
        let message = chain.next(&event(1, "x"), SIZE_MAX).expect("it fits");
        let name = header(&message.headers, "Nats-Msg-Id").expect("it has a name");
        assert_eq!(name, format!("{}.42", Uuid::from_u128(1)));
        assert_eq!(event_id_of(name), Some(Uuid::from_u128(1)));
    }

    #[test]
    fn what_does_not_fit_goes_without_its_payload() {
        let mut chain = Chain::new(Naming::Plain, [0; PARTITION_COUNT], 0);
        let message = chain.next(&event(1, &"x".repeat(SIZE_MAX)), SIZE_MAX).expect("it is JSON");
        let size: usize =
            header(&message.headers, "Hub-Payload-Omitted").and_then(|v| v.parse().ok()).expect("its size");
        assert!(size > SIZE_MAX && message.payload.len() < SIZE_MAX);
        let sent: Recorded = serde_json::from_slice(&message.payload).expect("it is an event");
        assert_eq!((sent.position, sent.payload.get(), sent.metadata.get()), (1, "null", "null"));
    }
}
