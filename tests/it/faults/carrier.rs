//! What the stream on NATS holds: each position once, in order, without a hole, up to the end of the log.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    consumer::{DeliverPolicy, pull::OrderedConfig},
};
use futures::StreamExt as _;
use hub_event_store::partition::{POSITION_HEADER, STREAM_NAME};

/// Reading what is new in the stream may take so long.
const READ_LIMIT: Duration = Duration::from_secs(120);

/// How far the stream has been looked at.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// When the stream was made; another time is another stream.
    created_at: i128,
    sequence: u64,
    position: i64,
}

impl Carried {
    /// Looks at what the stream has got since; the relay has come to the `head` of the log. Answers what is wrong.
    pub(crate) async fn look(&mut self, nats_url: &str, head: i64) -> Vec<String> {
        tokio::time::timeout(READ_LIMIT, self.read(nats_url, head)).await.expect("the stream can be read")
    }

    async fn read(&mut self, nats_url: &str, head: i64) -> Vec<String> {
        let client = async_nats::connect(nats_url).await.unwrap();
        let Ok(mut stream) = jetstream::new(client).get_stream(STREAM_NAME).await else {
            // Wiped, and nothing was published since.
            return Vec::new();
        };
        let info = stream.info().await.unwrap();
        let (created_at, last) = (info.created.unix_timestamp_nanos(), info.state.last_sequence);
        if created_at != self.created_at || last < self.sequence {
            *self = Self { created_at, ..Self::default() };
        }
        if info.state.messages == 0 || last == self.sequence {
            return Vec::new();
        }
        let start_sequence = (self.sequence + 1).max(info.state.first_sequence);
        let config = OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
            headers_only: true,
            ..OrderedConfig::default()
        };
        let mut messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
        let mut wrong = Vec::new();
        while self.sequence < last {
            let message = messages.next().await.expect("the consumer goes on").unwrap();
            let position = message.headers.as_ref().and_then(|headers| headers.get(POSITION_HEADER));
            let position: i64 = position.expect("every event has its position").as_str().parse().unwrap();
            if self.position > 0 && position != self.position + 1 && wrong.len() < 20 {
                wrong.push(format!("on NATS position {position} follows {}", self.position));
            }
            self.sequence = message.info().unwrap().stream_sequence;
            self.position = position;
        }
        if self.position != head {
            wrong.push(format!("on NATS the last position is {}, the log ends at {head}", self.position));
        }
        wrong
    }
}
