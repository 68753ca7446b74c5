//! The way from NATS: one ordered consumer for the whole process, whose messages are compared with the log and handed to every worker.
//!
//! NATS may lose, repeat or reorder; each worker finds that out by comparing positions. Anybody may publish there, so nothing is handed
//! on that the log does not have with the same leaf hash: one read for all that has come meanwhile, whatever the number of projections.

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
use futures::{FutureExt, StreamExt};
use hub_event_store::{
    event::Recorded,
    log::Log,
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

/// At most so many messages are compared with the log at once.
const BATCH_SIZE_MAX: usize = 256;

#[derive(Debug, Clone)]
pub(super) struct Feed {
    nats: Option<async_nats::Client>,
    log: Log,
    upcasters: Upcasters,
    news: broadcast::Sender<News>,
    connected: watch::Sender<bool>,
}

/// What the feed tells every worker.
#[derive(Debug, Clone)]
pub(super) enum News {
    /// An event that is in the log as it is here.
    Event(Incoming),
    /// Something came that is not in the log; what is there only the log knows.
    Doubt,
}

/// One worker's end of the feed.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) news: broadcast::Receiver<News>,
    pub(super) connected: watch::Receiver<bool>,
}

impl Feed {
    pub(super) fn new(
        nats: Option<async_nats::Client>,
        log: Log,
        upcasters: Upcasters,
        news: broadcast::Sender<News>,
    ) -> Self {
        Self { nats, log, upcasters, news, connected: watch::Sender::new(false) }
    }

    pub(super) fn subscribe(&self) -> Subscription {
        Subscription { news: self.news.subscribe(), connected: self.connected.subscribe() }
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
        let mut passed = 0;
        loop {
            let first = tokio::select! {
                message = messages.next() => message,
                // The consumer waits patiently for a server that is gone; the workers should not.
                () = tokio::time::sleep(CHECK_INTERVAL) => {
                    if nats.connection_state() != State::Connected {
                        return "the connection is gone".to_owned();
                    }
                    continue;
                }
            };
            let mut events = Vec::new();
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Some(Ok(message)) => events.extend(event_of(&message.payload)),
                    // What came before it is not lost: it is in the log.
                    Some(Err(error)) => return error.to_string(),
                    None => return "the consumer has ended".to_owned(),
                }
                next = if events.len() < BATCH_SIZE_MAX { messages.next().now_or_never() } else { None };
            }
            // A stream that is filled again repeats what every worker has, or has read from the log.
            events.retain(|event| event.position > passed);
            passed = self.hand_on(events, passed).await;
        }
    }

    /// Compares with the log and hands on; answers up to where the log has confirmed by now.
    async fn hand_on(&self, events: Vec<Recorded>, mut passed: i64) -> i64 {
        for run in runs(events) {
            let borrowed: Vec<_> = run.iter().collect();
            // Without a worker there is nobody to send to, and that is all right.
            match self.log.confirms(&borrowed).await {
                Ok(true) => {
                    passed = run.last().map_or(passed, |event| passed.max(event.position));
                    for event in run {
                        drop(self.news.send(News::Event(Incoming::new(&self.upcasters, event))));
                    }
                }
                Ok(false) => {
                    tracing::warn!("messages on NATS are not what the log says");
                    drop(self.news.send(News::Doubt));
                }
                Err(error) => {
                    tracing::debug!(%error, "messages cannot be compared with the log");
                    drop(self.news.send(News::Doubt));
                    // Another PostgreSQL may answer next time, with a shorter log.
                    passed = 0;
                }
            }
        }
        passed
    }
}

fn event_of(payload: &[u8]) -> Option<Recorded> {
    match serde_json::from_slice::<Recorded>(payload) {
        Ok(mut event) => {
            event.leaf_hash = event.computed_leaf_hash().to_vec();
            Some(event)
        }
        // The workers miss its position and read it from PostgreSQL.
        Err(error) => {
            tracing::warn!(%error, "a message on NATS is no event");
            None
        }
    }
}

/// The events in the order in which they came, cut wherever one does not continue the one before.
fn runs(events: Vec<Recorded>) -> Vec<Vec<Recorded>> {
    let mut runs: Vec<Vec<Recorded>> = Vec::new();
    for event in events {
        match runs.last_mut() {
            Some(run) if run.last().is_some_and(|last| last.position + 1 == event.position) => run.push(event),
            Some(_) | None => runs.push(vec![event]),
        }
    }
    runs
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
