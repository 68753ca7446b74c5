//! The way from NATS: one ordered consumer for the whole process, whose messages are handed to every worker.
//!
//! It may lose, repeat or reorder; each worker finds that out by comparing positions.

use std::time::Duration;

use async_nats::{
    connection::State,
    jetstream::{
        self,
        consumer::{
            DeliverPolicy,
            pull::{Ordered, OrderedConfig},
        },
    },
};
use futures::StreamExt;
use hub_event_store::{
    event::Recorded,
    partition::{STREAM_NAME, SUBJECT_ROOT},
    upcast::Upcasters,
};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::incoming::Incoming;

/// Between two attempts to consume.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// While no message comes, the connection is looked at this often.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Making the consumer may take so long.
const SETUP_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub(super) struct Feed {
    nats: Option<async_nats::Client>,
    upcasters: Upcasters,
    events: broadcast::Sender<Incoming>,
    connected: watch::Sender<bool>,
}

/// One worker's end of the feed.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) events: broadcast::Receiver<Incoming>,
    pub(super) connected: watch::Receiver<bool>,
}

impl Feed {
    pub(super) fn new(
        nats: Option<async_nats::Client>,
        upcasters: Upcasters,
        events: broadcast::Sender<Incoming>,
    ) -> Self {
        Self { nats, upcasters, events, connected: watch::Sender::new(false) }
    }

    pub(super) fn subscribe(&self) -> Subscription {
        Subscription { events: self.events.subscribe(), connected: self.connected.subscribe() }
    }

    pub(super) async fn run(self, shutdown: CancellationToken) {
        let Some(nats) = self.nats.clone() else { return };
        let mut reported = false;
        while !shutdown.is_cancelled() {
            let error = tokio::select! {
                () = shutdown.cancelled() => return,
                error = self.consume(&nats) => error,
            };
            // Once for each time that it is gone, however long that lasts.
            let was_connected = self.connected.send_replace(false);
            if was_connected {
                tracing::warn!(error, "no events come from NATS, projections read from PostgreSQL");
            } else if !reported {
                tracing::info!(error, "no events come from NATS yet, projections read from PostgreSQL");
            }
            reported = true;
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(RETRY_DELAY) => {}
            }
        }
    }

    /// Hands on what comes, until nothing can come any more; answers why.
    async fn consume(&self, nats: &async_nats::Client) -> String {
        let mut messages = match tokio::time::timeout(SETUP_TIMEOUT, subscribe(nats)).await {
            Ok(Ok(messages)) => messages,
            Ok(Err(error)) => return error,
            Err(_) => return "NATS does not answer".to_owned(),
        };
        self.connected.send_replace(true);
        tracing::debug!("events come from NATS");
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(Ok(message)) => self.hand_on(&message.payload),
                    Some(Err(error)) => return error.to_string(),
                    None => return "the consumer has ended".to_owned(),
                },
                // The consumer waits patiently for a server that is gone; the workers should not.
                () = tokio::time::sleep(CHECK_INTERVAL) => {
                    if nats.connection_state() != State::Connected {
                        return "the connection is gone".to_owned();
                    }
                }
            }
        }
    }

    fn hand_on(&self, payload: &[u8]) {
        match serde_json::from_slice::<Recorded>(payload) {
            // Without a worker there is nobody to send to, and that is all right.
            Ok(mut event) => {
                // By this the workers ask PostgreSQL whether the event is its own: anybody may publish.
                event.leaf_hash = event.computed_leaf_hash().to_vec();
                drop(self.events.send(Incoming::new(&self.upcasters, event)));
            }
            // The workers miss its position and read it from PostgreSQL.
            Err(error) => tracing::warn!(%error, "a message on NATS is no event"),
        }
    }
}

async fn subscribe(nats: &async_nats::Client) -> Result<Ordered, String> {
    let filter_subject = format!("{SUBJECT_ROOT}.>");
    let config = OrderedConfig {
        filter_subject: filter_subject.clone(),
        deliver_policy: DeliverPolicy::New,
        description: Some("read models of one process".to_owned()),
        ..OrderedConfig::default()
    };
    let stream = jetstream::new(nats.clone()).get_stream(STREAM_NAME).await.map_err(|e| e.to_string())?;
    let consumer = stream.create_consumer(config).await.map_err(|e| e.to_string())?;
    // Old servers ignore silently what they do not know.
    let made = &consumer.cached_info().config;
    if made.filter_subject != filter_subject || made.deliver_policy != DeliverPolicy::New {
        return Err(format!("the consumer has another configuration than asked for: {made:?}"));
    }
    consumer.messages().await.map_err(|e| e.to_string())
}
