//! What a stream says: events, each made ready once for all who get it, and the few words between them.

use std::{collections::VecDeque, fmt, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use hub_cloudevents::Event;
use serde_json::{Value, json, value::RawValue};
use uuid::Uuid;

/// What an event takes in memory beside its text, in bytes, roughly.
const OVERHEAD_BYTES: usize = 768;

/// What is said at once, in bytes, unless a single event is longer: a client has to take it within the patience of the stream.
const PIECE_BYTES_MAX: usize = 256 << 10;

/// An event with its text: a whole frame of server-sent events, and in it the JSON of the CloudEvent.
pub(crate) struct Rendered {
    event: Event,
    frame: Bytes,
    json: Range<usize>,
}

impl Rendered {
    pub(crate) fn new(mut event: Event) -> Self {
        let mut json = event.to_json();
        // Between its tokens JSON may have line ends, which a frame must not; within its texts it has none.
        for byte in &mut json {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        let mut frame = format!("id: {}\nevent: {}\ndata: ", event.position, event.event_type).into_bytes();
        let begin = frame.len();
        frame.extend_from_slice(&json);
        let json = begin..frame.len();
        frame.extend_from_slice(b"\n\n");
        // It is in the text, and filters do not look at it.
        event.data = RawValue::NULL.to_owned();
        Self { event, frame: frame.into(), json }
    }

    /// The event, without its data.
    pub(crate) fn event(&self) -> &Event {
        &self.event
    }

    pub(crate) fn position(&self) -> i64 {
        self.event.position
    }

    /// As a server-sent event.
    pub(crate) fn frame(&self) -> Bytes {
        self.frame.clone()
    }

    /// As a CloudEvent in JSON.
    pub(crate) fn json(&self) -> Bytes {
        self.frame.slice(self.json.clone())
    }

    /// What it takes in memory, roughly.
    pub(crate) fn size(&self) -> usize {
        self.frame.len() + OVERHEAD_BYTES
    }
}

impl fmt::Debug for Rendered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Rendered").field("position", &self.position()).finish_non_exhaustive()
    }
}

/// One thing that a stream says.
#[derive(Debug)]
pub(crate) enum Message {
    /// The first.
    Hello(Hello),
    /// At least one event, in order.
    Events(Vec<Arc<Rendered>>),
    /// Everything up to here has been looked at, and nothing of it was wanted.
    Checkpoint(i64),
    /// The stream is alive.
    Heartbeat,
}

impl Message {
    /// These events in pieces that even a slow client takes in time, as long as it takes anything.
    pub(crate) fn pieces(events: Vec<Arc<Rendered>>) -> VecDeque<Self> {
        let mut pieces: VecDeque<Self> = VecDeque::new();
        let mut room = 0;
        for event in events {
            let length = event.frame.len();
            match pieces.back_mut() {
                Some(Self::Events(piece)) if length <= room => {
                    room -= length;
                    piece.push(event);
                }
                _ => {
                    room = PIECE_BYTES_MAX.saturating_sub(length);
                    pieces.push_back(Self::Events(vec![event]));
                }
            }
        }
        pieces
    }

    /// The position that a client who has got it can go on from.
    pub(crate) fn position(&self) -> Option<i64> {
        match self {
            Self::Hello(hello) => Some(hello.position),
            Self::Events(events) => events.last().map(|event| event.position()),
            Self::Checkpoint(position) => Some(*position),
            Self::Heartbeat => None,
        }
    }
}

/// Where a stream begins, and what to expect of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hello {
    pub(crate) tenant_id: Uuid,
    pub(crate) position: i64,
    pub(crate) head: i64,
    pub(crate) heartbeat: Duration,
    pub(crate) checkpoint: Duration,
}

impl Hello {
    pub(crate) fn to_json(self) -> Value {
        json!({
            "tenant": self.tenant_id,
            "position": self.position,
            "head": self.head,
            "heartbeat_seconds": self.heartbeat.as_secs(),
            "checkpoint_seconds": self.checkpoint.as_secs(),
        })
    }
}

/// Why a stream is ended by this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The key or token is over or revoked.
    TokenExpired,
    /// The caller may no longer follow.
    Forbidden,
    /// The process stops.
    Shutdown,
    /// The client did not take what was there for it.
    TooSlow,
    /// The stream has lived as long as a stream may.
    TooLong,
    /// The database, or the gate, stays away.
    Unavailable,
    /// The client sent what is not understood.
    Unsupported,
}

impl End {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::TokenExpired => "token_expired",
            Self::Forbidden => "forbidden",
            Self::Shutdown => "shutdown",
            Self::TooSlow => "too_slow",
            Self::TooLong => "too_long",
            Self::Unavailable => "unavailable",
            Self::Unsupported => "unsupported",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::DateTime;
    use hub_cloudevents::Event;
    use serde_json::{Value, value::RawValue};
    use uuid::Uuid;

    use super::{Message, PIECE_BYTES_MAX, Rendered};

    fn event(position: i64, data: String) -> Event {
        Event {
            tenant_id: Uuid::from_u128(1),
            position,
            event_id: Uuid::from_u128(2),
            event_type: "tenant.suspended".to_owned(),
            event_version: 1,
            aggregate_type: "tenant".to_owned(),
            aggregate_id: Uuid::from_u128(3),
            sequence: 1,
            occurred_at: DateTime::from_timestamp_micros(0).unwrap(),
            data: RawValue::from_string(data).unwrap(),
            metadata: None,
        }
    }

    #[test]
    fn a_frame_has_one_line_of_data_whatever_the_payload_looks_like() {
        let event = event(7, "{\n\r\n \"text\": \"a\\nb\"\n}".to_owned());
        let rendered = Rendered::new(event);
        let text = String::from_utf8(rendered.frame().to_vec()).unwrap();
        let lines: Vec<&str> = text.split('\n').collect();
        assert_eq!((lines[0], lines[1]), ("id: 7", "event: tenant.suspended"));
        assert_eq!(lines[3..], ["", ""]);
        let data: Value = serde_json::from_str(lines[2].strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data["data"]["text"], "a\nb");
        assert_eq!(serde_json::from_slice::<Value>(&rendered.json()).unwrap(), data);
    }

    #[test]
    fn events_are_said_in_pieces_and_one_that_is_longer_on_its_own() {
        let event = |(position, bytes): (i64, usize)| {
            Arc::new(Rendered::new(event(position, format!("\"{}\"", "x".repeat(bytes)))))
        };
        let long = PIECE_BYTES_MAX / 3;
        let lengths = [1, 1, long, long, long, 3 * long + 9, 1, 1];
        let pieces = Message::pieces((1..).zip(lengths).map(event).collect());
        let positions = pieces.iter().map(|piece| match piece {
            Message::Events(events) => events.iter().map(|event| event.position()).collect(),
            _ => Vec::new(),
        });
        assert_eq!(positions.collect::<Vec<_>>(), [vec![1, 2, 3, 4], vec![5], vec![6], vec![7, 8]]);
        assert!(Message::pieces(Vec::new()).is_empty());
    }
}
