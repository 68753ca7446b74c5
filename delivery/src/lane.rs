//! One endpoint in memory: what waits for it, what is under way, and what may go next.

use std::{
    collections::{HashSet, VecDeque},
    mem,
    sync::Arc,
};

use chrono::{DateTime, Utc};
use hub_domain::webhook::{Delivery, delivery::Ordering};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use crate::{endpoint::Endpoint, health::Health, message::Message, queue::BATCH_MAX, rate::Bucket, send::Connections};

/// So many events of one endpoint wait in memory; others wait in the queue of the database.
pub(crate) const WAITING_MAX: usize = 500;

/// With so many bytes of payloads in memory an endpoint gets no more events than one at a time.
pub(crate) const BYTES_MAX: usize = 2 * 1024 * 1024;

/// So many bytes of payloads go into one delivery, unless a single event has more.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// With so few waiting more are taken from the database.
pub(crate) const LOW: usize = 25;

/// An event on its way to an endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) event: Arc<Message>,
    /// Attempts that have been made.
    pub(crate) attempts: u32,
    /// Since when it is to be delivered.
    pub(crate) created_at: DateTime<Utc>,
    /// Together with what it was sent before.
    pub(crate) batch_id: Option<Uuid>,
    /// Until when nobody else takes it.
    pub(crate) leased_until: DateTime<Utc>,
}

/// What goes out as one delivery.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) events: Vec<Waiting>,
    pub(crate) batch_id: Option<Uuid>,
    /// How often the circuit breaker had opened when it was begun.
    pub(crate) openings: u64,
    /// Where it goes; says nothing of the endpoint when that has another address by then.
    pub(crate) url: Url,
}

/// Why nothing goes out now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Something has to happen first: an answer, or a new event.
    UntilSomethingHappens,
    /// The endpoint gets nothing for a while, as its circuit breaker says.
    Closed,
    /// The rate allows it then.
    Token(Instant),
}

/// One endpoint.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) endpoint: Endpoint,
    pub(crate) health: Health,
    pub(crate) connections: Connections,
    waiting: VecDeque<Waiting>,
    /// Events that wait as soon as their rows are written.
    expected: Vec<Waiting>,
    /// The bytes of the payloads of all that is in memory.
    bytes: usize,
    /// Whether what waits was given back since somebody asked to be told.
    released: bool,
    /// Deliveries under way, and the events in them.
    pub(crate) under_way: usize,
    pub(crate) events_under_way: usize,
    busy_aggregates: HashSet<Uuid>,
    /// Whether events wait in the database that come before new ones.
    pub(crate) behind: bool,
    /// While the webhook is paused: up to which position nothing waits that is too old, as far as was looked in this round.
    pub(crate) young_up_to: i64,
    /// Whether the lane is in the engine's list of those that may have something to send.
    pub(crate) listed: bool,
    bucket: Option<Bucket>,
}

impl Lane {
    pub(crate) fn new(endpoint: Endpoint, health: Health) -> Self {
        let mut lane = Self {
            endpoint,
            health,
            connections: Connections::default(),
            waiting: VecDeque::new(),
            expected: Vec::new(),
            bytes: 0,
            released: false,
            under_way: 0,
            events_under_way: 0,
            busy_aggregates: HashSet::new(),
            behind: true,
            young_up_to: i64::MIN,
            listed: false,
            bucket: None,
        };
        lane.renew_bucket();
        lane
    }

    /// The webhook has changed: another address gets other connections, another rate another bucket.
    pub(crate) fn change(&mut self, endpoint: Endpoint) {
        if endpoint.url() != self.endpoint.url() {
            self.connections = Connections::default();
        }
        let rate = self.delivery().rate_per_second;
        self.endpoint = endpoint;
        if self.delivery().rate_per_second != rate {
            self.renew_bucket();
        }
    }

    fn renew_bucket(&mut self) {
        self.bucket = self.delivery().rate_per_second.map(|rate| Bucket::new(rate, Instant::now()));
    }

    pub(crate) fn delivery(&self) -> &Delivery {
        self.endpoint.delivery()
    }

    /// The order that is kept; a batch has events of several aggregates, so batches go one after the other.
    pub(crate) fn ordering(&self) -> Ordering {
        let delivery = self.delivery();
        match delivery.ordering {
            Ordering::PerAggregate if delivery.batch_max > 1 => Ordering::Strict,
            ordering => ordering,
        }
    }

    /// Whether a new event may wait in memory, and need not go through the database.
    pub(crate) fn takes(&self, now: DateTime<Utc>) -> bool {
        let room = self.waiting.len() + self.expected.len() < WAITING_MAX && self.bytes < BYTES_MAX;
        self.endpoint.active() && !self.behind && room && self.health.closed_at(now).is_ok()
    }

    /// So many more events an endpoint that keeps up takes at once; `None` for one that does not.
    pub(crate) fn demand(&self) -> Option<usize> {
        let keeps_up = self.endpoint.active() && !self.behind && self.health.consecutive_failures == 0;
        keeps_up.then(|| WAITING_MAX.saturating_sub(self.waiting.len()))
    }

    /// From when on something may be sent: now, unless the circuit breaker is open.
    pub(crate) fn opens_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.health.closed_at(now).err().unwrap_or(now)
    }

    /// So many more events may be taken from the database.
    pub(crate) fn room(&self) -> usize {
        // A probe is one delivery; the rest would only wait for what comes of it.
        let probe = if self.delivery().batch_max > 1 { BATCH_MAX } else { 1 };
        let room = if self.health.consecutive_failures > 0 { probe } else { WAITING_MAX / 2 };
        room.saturating_sub(self.waiting.len())
    }

    /// So many more bytes of payloads may be taken from the database.
    pub(crate) fn bytes_room(&self) -> usize {
        BYTES_MAX.saturating_sub(self.bytes)
    }

    pub(crate) fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.event.bytes();
        self.waiting.push_back(waiting);
    }

    /// A new event, whose row is not written yet.
    pub(crate) fn expect(&mut self, waiting: Waiting) {
        if self.expected.is_empty() {
            self.note_releases();
        }
        self.bytes += waiting.event.bytes();
        self.expected.push(waiting);
    }

    /// The rows of what was expected are written. It waits from now on; but when what came before was given back meanwhile, it
    /// must not pass that, and is answered to be given back as well.
    pub(crate) fn arrive(&mut self) -> Vec<i64> {
        let arrived = std::mem::take(&mut self.expected);
        if self.released {
            self.bytes -= bytes_of(&arrived);
            return arrived.into_iter().map(|waiting| waiting.event.position).collect();
        }
        self.waiting.extend(arrived);
        Vec::new()
    }

    /// From now on it is noted when what waits is given back.
    pub(crate) fn note_releases(&mut self) {
        self.released = false;
    }

    /// Whether it was.
    pub(crate) fn was_released(&self) -> bool {
        self.released
    }

    /// Events that are leased by this process.
    pub(crate) fn in_memory(&self) -> usize {
        self.waiting.len() + self.expected.len() + self.events_under_way
    }

    /// The bytes of their payloads.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        self.bytes
    }

    /// Whether it is time to take more from the database.
    pub(crate) fn runs_low(&self) -> bool {
        self.behind && self.endpoint.active() && self.waiting.len() <= LOW
    }

    /// Gives back what waits; whoever takes it up again does so from the database.
    pub(crate) fn release(&mut self) -> Vec<i64> {
        (self.behind, self.released) = (true, true);
        self.bytes -= bytes_of(&self.waiting);
        self.waiting.drain(..).map(|waiting| waiting.event.position).collect()
    }

    /// What goes out next, if anything may now.
    pub(crate) fn next(&mut self, now: DateTime<Utc>) -> Result<Unit, Rest> {
        if !self.endpoint.active() || self.waiting.is_empty() {
            return Err(Rest::UntilSomethingHappens);
        }
        self.health.closed_at(now).map_err(|_| Rest::Closed)?;
        let ordering = self.ordering();
        let at_once =
            if ordering == Ordering::Strict { 1 } else { self.health.concurrency(self.delivery().concurrency) };
        if self.under_way >= at_once {
            return Err(Rest::UntilSomethingHappens);
        }
        let index = match ordering {
            Ordering::PerAggregate => self.first_free().ok_or(Rest::UntilSomethingHappens)?,
            Ordering::Parallel | Ordering::Strict => 0,
        };
        if let Some(bucket) = &mut self.bucket {
            bucket.take(Instant::now()).map_err(Rest::Token)?;
        }
        let unit = self.unit(index);
        self.under_way += 1;
        self.events_under_way += unit.events.len();
        self.busy_aggregates.extend(unit.events.iter().map(|waiting| waiting.event.aggregate_id));
        Ok(unit)
    }

    /// The first event before which none of the same aggregate waits or is under way.
    fn first_free(&self) -> Option<usize> {
        let mut held = HashSet::new();
        self.waiting.iter().position(|waiting| {
            let aggregate_id = waiting.event.aggregate_id;
            !self.busy_aggregates.contains(&aggregate_id) && held.insert(aggregate_id)
        })
    }

    fn unit(&mut self, index: usize) -> Unit {
        let (openings, url) = (self.health.openings(), self.endpoint.url().clone());
        let first = self.waiting.remove(index).expect("an event waits there");
        let most = usize::from(self.delivery().batch_max);
        if most == 1 && first.batch_id.is_none() {
            return Unit { events: vec![first], batch_id: None, openings, url };
        }
        let mut events = vec![first];
        let batch_id = match events[0].batch_id {
            Some(batch_id) => {
                // What was sent together once stays together, whatever the endpoint wants by now.
                let waiting = mem::take(&mut self.waiting).into_iter();
                let (together, others): (VecDeque<_>, _) = waiting.partition(|next| next.batch_id == Some(batch_id));
                self.waiting = others;
                events.extend(together);
                batch_id
            }
            None => {
                // Once it is sent, its events stay together, so that it is as long at the next attempt.
                let mut bytes = bytes_of(&events);
                while let Some(next) = self.waiting.front().filter(|next| next.batch_id.is_none()) {
                    bytes += next.event.bytes();
                    if events.len() >= most || bytes > BATCH_BYTES_MAX {
                        break;
                    }
                    events.extend(self.waiting.pop_front());
                }
                Uuid::now_v7()
            }
        };
        // In the order in which they come from the database, too: the message id is made of it.
        events.sort_by_key(|waiting| waiting.event.position);
        Unit { events, batch_id: Some(batch_id), openings, url }
    }

    /// A delivery has ended, however.
    pub(crate) fn ended(&mut self, events: &[Waiting]) {
        self.under_way -= 1;
        self.events_under_way -= events.len();
        self.bytes -= bytes_of(events);
        for waiting in events {
            self.busy_aggregates.remove(&waiting.event.aggregate_id);
        }
    }
}

/// How long the payloads of events are together, in bytes.
fn bytes_of<'a>(events: impl IntoIterator<Item = &'a Waiting>) -> usize {
    events.into_iter().map(|waiting| waiting.event.bytes()).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::{DateTime, Utc};
    use cqrs_es::Aggregate as _;
    use hub_cloudevents::Event;
    use hub_domain::webhook::{self, Webhook};
    use hub_sealing::Sealing;
    use serde_json::{json, value::RawValue};
    use uuid::Uuid;

    use super::{BATCH_BYTES_MAX, BYTES_MAX, Lane, Rest, Waiting};
    use crate::{endpoint::Endpoint, health::Health};

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn lane() -> Lane {
        let registered: webhook::Event = serde_json::from_value(json!({ "type": "registered", "data": {
            "url": "https://acme.example/hook", "filters": ["role.*"], "description": "", "secret_id": Uuid::nil(),
            "sealed_secret": "c2VhbGVk", "delivery": { "batch_max": 10 } } }))
        .unwrap();
        let mut webhook = Webhook::default();
        webhook.apply(registered);
        let endpoint = Endpoint::new(Uuid::nil(), Uuid::nil(), webhook, &Sealing::new(&[7; 32])).unwrap();
        let mut lane = Lane::new(endpoint, Health::default());
        lane.behind = false;
        lane
    }

    /// An event with a payload of so many bytes.
    fn waiting(position: i64, bytes: usize) -> Waiting {
        let event = Event {
            tenant_id: Uuid::nil(),
            position,
            event_id: Uuid::nil(),
            event_type: "role.created".to_owned(),
            event_version: 1,
            aggregate_type: "role".to_owned(),
            aggregate_id: Uuid::nil(),
            sequence: position,
            occurred_at: NOW,
            data: RawValue::from_string(format!("\"{}\"", "a".repeat(bytes - 2))).unwrap(),
            metadata: None,
        };
        Waiting { event: Arc::new(event.into()), attempts: 0, created_at: NOW, batch_id: None, leased_until: NOW }
    }

    fn next(lane: &mut Lane) -> Result<Vec<Waiting>, Rest> {
        lane.next(NOW).map(|unit| unit.events)
    }

    fn positions(events: &[Waiting]) -> Vec<i64> {
        events.iter().map(|waiting| waiting.event.position).collect()
    }

    #[test]
    fn a_batch_has_so_many_bytes_and_one_event_at_least() {
        let mut lane = lane();
        let half = BATCH_BYTES_MAX / 2;
        for (position, bytes) in [(1, 10), (2, half), (3, half), (4, 2 * BATCH_BYTES_MAX), (5, 10)] {
            lane.push(waiting(position, bytes));
        }
        let mut batches = Vec::new();
        while let Ok(events) = next(&mut lane) {
            batches.push(positions(&events));
            lane.ended(&events);
        }
        assert_eq!(batches, [vec![1, 2], vec![3], vec![4], vec![5]]);
        assert_eq!((lane.bytes_in_memory(), lane.in_memory()), (0, 0));
    }

    #[test]
    fn with_many_bytes_in_memory_new_events_wait_in_the_database() {
        let mut lane = lane();
        lane.push(waiting(1, BYTES_MAX / 2));
        assert!(lane.takes(NOW));
        lane.expect(waiting(2, BYTES_MAX));
        assert_eq!((lane.takes(NOW), lane.bytes_room()), (false, 0));
        assert!(lane.arrive().is_empty());
        let events = next(&mut lane).unwrap();
        assert_eq!((positions(&events), lane.release()), (vec![1], vec![2]));
        assert_eq!(lane.bytes_in_memory(), BYTES_MAX / 2, "what is under way counts");
        lane.ended(&events);
        assert_eq!(lane.bytes_room(), BYTES_MAX);
        lane.expect(waiting(3, 10));
        lane.release();
        assert_eq!((lane.arrive(), lane.bytes_in_memory()), (vec![3], 0));
    }
}
