//! Publishing with many messages on their way, and taking the server's answers.

use std::{collections::VecDeque, fmt, pin::Pin, sync::atomic::Ordering, time::Duration, vec};

use async_nats::{
    Client, Message, Subscriber,
    connection::State,
    jetstream::{self, stream},
};
use futures::{FutureExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::{sync::watch, time::Instant};

use super::{Progress, RelayError, message::Outgoing, source::Source, start::Start};
use crate::{partition::STREAM_NAME, tail::Tail};

/// At most so many messages are published and not yet acknowledged.
const IN_FLIGHT_MAX: usize = 1_024;

/// One of so many messages asks for an answer, which stands for all before it.
const MESSAGES_PER_ANSWER: u64 = 64;

/// When no answer comes for so long, the oldest message counts as lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The connection is looked at this often.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// An idle relay asks after so many checks whether the stream still is what it was.
const CHECKS_PER_LOOK: u32 = 5;

/// Why the messages on their way were given up; what became of them is asked of the stream.
#[derive(Debug)]
pub(super) enum Stop {
    /// The server refused a message, or there is no stream.
    Refused { reason: String },
    /// The server remembers the message at another place in the stream, where it no longer holds it.
    Remembered { sequence: u64 },
    /// No answer came.
    TimedOut,
    /// The connection was gone for a moment; the server may have come back without what it had.
    Reconnected,
    /// The stream does not end where this relay has left it.
    Changed,
}

impl Stop {
    /// For the metrics.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Remembered { .. } => "remembered",
            Self::TimedOut => "timed_out",
            Self::Reconnected => "reconnected",
            Self::Changed => "changed",
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { reason } => write!(formatter, "a message was refused: {reason}"),
            Self::Remembered { sequence } => {
                write!(formatter, "the server remembers a message as its number {sequence}, where it does not belong")
            }
            Self::TimedOut => formatter.write_str("a message was not answered in time"),
            Self::Reconnected => formatter.write_str("the connection was gone"),
            Self::Changed => formatter.write_str("the stream does not end where it should"),
        }
    }
}

/// What the server answers to a message.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default, rename = "seq")]
    sequence: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(default)]
    description: String,
}

/// A question to the server that does not hold up the messages: where the window stood when it was asked, and what the stream is now.
type Look = Pin<Box<dyn Future<Output = (u64, Option<stream::State>)> + Send>>;

/// One run of messages without an interruption.
pub(super) struct Window<'a> {
    client: &'a Client,
    tail: &'a Tail,
    progress: &'a watch::Sender<Progress>,
    acknowledged: Progress,
    /// The sequence of the last acknowledged message, and of the one before the first.
    sequence: u64,
    first_sequence: u64,
    was_empty: bool,
    connects: u64,
    /// All answers come here, each on a subject that ends with the place that its message should have in the stream; those of an earlier
    /// window go nowhere.
    answers: Subscriber,
    inbox: String,
    /// The partitions of the messages on their way.
    in_flight: VecDeque<usize>,
    heard_at: Instant,
    published_count: metrics::Counter,
    in_flight_gauge: metrics::Gauge,
}

impl<'a> Window<'a> {
    /// A window behind `start`; `connects` is how often the client had connected when the start was looked for.
    pub(super) async fn open(
        client: &'a Client,
        tail: &'a Tail,
        start: &Start,
        connects: u64,
        progress: &'a watch::Sender<Progress>,
    ) -> Result<Self, RelayError> {
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await.map_err(|e| RelayError::Nats(e.to_string()))?;
        Ok(Self {
            client,
            tail,
            progress,
            acknowledged: start.progress,
            sequence: start.sequence,
            first_sequence: start.sequence,
            was_empty: start.empty,
            connects,
            answers,
            inbox,
            in_flight: VecDeque::with_capacity(IN_FLIGHT_MAX),
            heard_at: Instant::now(),
            published_count: metrics::counter!("hub_events_published_total"),
            in_flight_gauge: metrics::gauge!("hub_relay_in_flight"),
        })
    }

    /// Publishes what comes from `source` until something goes wrong.
    ///
    /// # Errors
    /// What cannot be helped by looking where the stream ends.
    pub(super) async fn publish(&mut self, mut source: Source) -> Result<Stop, RelayError> {
        let mut page: vec::IntoIter<Outgoing> = Vec::new().into_iter();
        let mut checks = tokio::time::interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut quiet_checks = 0;
        let mut look: Option<Look> = None;
        loop {
            while self.in_flight.len() < IN_FLIGHT_MAX
                && let Some(message) = page.next()
            {
                let last = page.as_slice().is_empty();
                if let Some(stop) = self.send(message, last).await {
                    return Ok(stop);
                }
            }
            tokio::select! {
                biased;
                // First, so that the window does not run empty while answers keep coming.
                next = source.next(), if page.as_slice().is_empty() => page = next?.into_iter(),
                answer = self.answers.next(), if !self.in_flight.is_empty() => {
                    quiet_checks = 0;
                    if let Some(stop) = self.take(answer) {
                        return Ok(stop);
                    }
                }
                _ = checks.tick() => {
                    if let Some(stop) = self.check()? {
                        return Ok(stop);
                    }
                    quiet_checks += 1;
                    if quiet_checks % CHECKS_PER_LOOK == 0 && look.is_none() {
                        look = Some(Box::pin(look_at_stream(self.client.clone(), self.sequence)));
                    }
                }
                (asked_at, state) = async { look.as_mut().expect("there is a question").await }, if look.is_some() => {
                    look = None;
                    let idle = self.in_flight.is_empty() && self.sequence == asked_at;
                    if idle && !state.is_some_and(|state| self.as_left(&state)) {
                        return Ok(Stop::Changed);
                    }
                }
            }
        }
    }

    /// Sends a message; one of some, and the last before a pause, asks for an answer. So does the first, because only its answer tells that
    /// the server remembers it: those behind it are refused by newer servers, whatever is remembered.
    async fn send(&mut self, message: Outgoing, last: bool) -> Option<Stop> {
        let Outgoing { subject, headers, payload, partition } = message;
        if self.in_flight.is_empty() {
            self.heard_at = Instant::now();
        }
        self.in_flight.push_back(partition);
        let place = self.sequence + self.in_flight.len() as u64;
        let sending = async {
            if last || place == self.first_sequence + 1 || place.is_multiple_of(MESSAGES_PER_ANSWER) {
                let reply = format!("{}.{place}", self.inbox);
                self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await
            } else {
                self.client.publish_with_headers(subject, headers, payload).await
            }
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, sending).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Stop::Refused { reason: error.to_string() }),
            Err(_) => Some(Stop::TimedOut),
        }
    }

    /// Takes an answer and all that have come with it.
    fn take(&mut self, first: Option<Message>) -> Option<Stop> {
        let before = self.sequence;
        let mut answer = Some(first);
        let stop = loop {
            match answer {
                Some(Some(message)) => {
                    if let Err(stop) = self.acknowledge(&message) {
                        break Some(stop);
                    }
                }
                Some(None) => break Some(Stop::Reconnected),
                None => break None,
            }
            answer = self.answers.next().now_or_never();
        };
        if self.sequence > before {
            self.heard_at = Instant::now();
            self.published_count.increment(self.sequence - before);
            self.in_flight_gauge.set(f64::from(u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX)));
            self.progress.send_replace(self.acknowledged);
            show_lag(self.tail, self.acknowledged.position);
        }
        stop
    }

    /// A message is in its place in the stream, and with it all before it: the server took it because the one before it was there. So
    /// not every message needs an answer, one that was lost or overtaken is no loss, and one that comes again says nothing new.
    fn acknowledge(&mut self, message: &Message) -> Result<(), Stop> {
        let refused = |reason: String| Stop::Refused { reason };
        let place: u64 = message.subject.rsplit('.').next().and_then(|token| token.parse().ok()).unwrap_or(0);
        if place <= self.sequence {
            return Ok(());
        }
        if let Some(status) = message.status {
            return Err(refused(format!("status {status}")));
        }
        let answer: Answer = serde_json::from_slice(&message.payload).map_err(|e| refused(e.to_string()))?;
        if let Some(refusal) = answer.error {
            return Err(refused(refusal.description));
        }
        if answer.sequence != place {
            return Err(match answer.duplicate {
                true => Stop::Remembered { sequence: answer.sequence },
                false => refused(format!("it was put at {} instead of {place}", answer.sequence)),
            });
        }
        while self.sequence < place
            && let Some(partition) = self.in_flight.pop_front()
        {
            self.sequence += 1;
            self.acknowledged.position += 1;
            self.acknowledged.partitions[partition] = self.acknowledged.position;
        }
        Ok(())
    }

    fn check(&self) -> Result<Option<Stop>, RelayError> {
        if !connected(self.client) {
            // Another relay may have a better connection.
            return Err(RelayError::Nats("not connected".to_owned()));
        }
        if self.client.statistics().connects.load(Ordering::Relaxed) != self.connects {
            return Ok(Some(Stop::Reconnected));
        }
        let late = !self.in_flight.is_empty() && self.heard_at.elapsed() > ANSWER_TIMEOUT;
        Ok(late.then_some(Stop::TimedOut))
    }

    /// Whether the stream is as this window has left it, or has only grown old.
    fn as_left(&self, state: &stream::State) -> bool {
        let emptied = state.messages == 0 && (self.sequence > self.first_sequence || !self.was_empty);
        state.last_sequence == self.sequence && !emptied
    }
}

/// How the stream is; nothing if it is not there or nobody answers, which is found out on looking again.
async fn look_at_stream(client: Client, asked_at: u64) -> (u64, Option<stream::State>) {
    let stream = jetstream::new(client).get_stream(STREAM_NAME).await.ok();
    (asked_at, stream.map(|stream| stream.cached_info().state.clone()))
}

pub(super) fn connected(client: &Client) -> bool {
    client.connection_state() == State::Connected
}

pub(super) fn show_lag(tail: &Tail, position: i64) {
    let lag = tail.head().saturating_sub(position).max(0);
    metrics::gauge!("hub_relay_lag_events").set(f64::from(i32::try_from(lag).unwrap_or(i32::MAX)));
}
