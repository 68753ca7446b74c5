//! The relay on a real NATS: everything once and in order, across stops, elections and streams that somebody else has made.

mod mended;

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream::{self, stream::Config};
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use hub::clock::{Clock, system_clock};
use hub_event_store::{
    append::Append,
    event::{Metadata, NewEvent, Recorded, StreamId},
    log::Log,
    partition::{PARTITION_COUNT, partition_of},
    relay::{Relay, RelayError},
    store::EventStore,
    tail::Tail,
    upcast::Upcasters,
};
use hub_tests::kit::{Database, Nats, TestClock, eventually};
use serde_json::value::RawValue;
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(30);

/// A message as it lies in the stream.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) subject: String,
    pub(crate) position: i64,
    pub(crate) previous: i64,
    message_id: String,
    event: Recorded,
    stored_at: DateTime<Utc>,
}

/// Everything that the stream holds, in its order; nothing while there is no stream.
pub(crate) async fn published(client: &async_nats::Client) -> Vec<Published> {
    let Ok(mut stream) = jetstream::new(client.clone()).get_stream("HUB_EVENTS").await else { return Vec::new() };
    let state = stream.info().await.unwrap().state.clone();
    let sequences = state.first_sequence.max(1)..=state.last_sequence;
    let stream = &stream;
    let mut messages =
        futures::stream::iter(sequences).map(async |sequence| stream.get_raw_message(sequence).await).buffered(64);
    let mut published = Vec::new();
    while let Some(message) = messages.next().await {
        // Deleted ones and those of somebody else's are left out.
        let Ok(message) = message else { continue };
        if message.headers.get("Hub-Position").is_none() {
            continue;
        }
        let header = |name: &str| message.headers.get(name).unwrap().as_str().to_owned();
        published.push(Published {
            subject: message.subject.to_string(),
            position: header("Hub-Position").parse().unwrap(),
            previous: header("Hub-Previous-Position").parse().unwrap(),
            message_id: header("Nats-Msg-Id"),
            event: serde_json::from_slice(&message.payload).unwrap(),
            stored_at: DateTime::from_timestamp_nanos(message.time.unix_timestamp_nanos().try_into().unwrap()),
        });
    }
    published
}

/// Waits until the stream ends with the event at `head`, and answers everything that it holds.
pub(crate) async fn published_up_to(client: &async_nats::Client, head: i64) -> Vec<Published> {
    let jetstream = jetstream::new(client.clone());
    eventually(LIMIT, async || {
        let stream = jetstream.get_stream("HUB_EVENTS").await.ok()?;
        let last = stream.get_raw_message(stream.cached_info().state.last_sequence).await.ok()?;
        let position: i64 = last.headers.get("Hub-Position")?.as_str().parse().ok()?;
        (position >= head).then_some(())
    })
    .await;
    published(client).await
}

/// Asserts that the stream holds each event of `places` once and in order, each tied to the one before it in its partition.
fn assert_whole(published: &[Published], places: std::ops::RangeInclusive<i64>) {
    assert_eq!(positions(published), places.collect::<Vec<_>>());
    let mut previous: HashMap<usize, i64> = HashMap::new();
    for message in published {
        let partition = partition_of(message.event.tenant_id);
        if let Some(before) = previous.insert(partition, message.position) {
            assert_eq!(message.previous, before, "at {}", message.position);
        }
    }
}

fn positions(published: &[Published]) -> Vec<i64> {
    published.iter().map(|message| message.position).collect()
}

/// A log, and what is needed to publish it.
struct Office {
    database: Database,
    tail: Tail,
    store: EventStore,
    nats: Nats,
}

/// A relay at work in a task.
struct Working {
    end: CancellationToken,
    task: JoinHandle<()>,
}

impl Working {
    async fn stop(self) {
        self.end.cancel();
        tokio::time::timeout(LIMIT, self.task).await.unwrap().unwrap();
    }
}

impl Office {
    /// An office whose events are too old for a stream to be filled with again.
    async fn open() -> Self {
        Self::open_at(TestClock::default().clock()).await
    }

    /// An office of today.
    async fn open_now() -> Self {
        Self::open_at(system_clock()).await
    }

    async fn open_at(clock: Clock) -> Self {
        let database = Database::new().await;
        let tail = Tail::default();
        let store = EventStore::start(database.pool.clone(), tail.clone(), Upcasters::default(), clock);
        Self { database, tail, store, nats: Nats::start().await }
    }

    fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    async fn relay(&self) -> Relay {
        Relay::new(self.pool().clone(), self.nats.client().await, self.tail.clone())
    }

    async fn work(&self) -> Working {
        let (relay, end) = (self.relay().await, CancellationToken::new());
        let token = end.clone();
        Working { end, task: tokio::spawn(async move { relay.run(token).await }) }
    }

    /// Appends `commands` commands of three events, each for the next of seven tenants; answers the head.
    async fn post(&self, commands: usize) -> i64 {
        self.post_each(commands, r#"{ "to":  "Ada" }"#).await
    }

    async fn post_each(&self, commands: usize, payload: &str) -> i64 {
        let before = self.head().await;
        let appends = (0..commands).map(|number| {
            let command_id = Uuid::now_v7();
            let stream = StreamId {
                tenant_id: Uuid::from_u128(number as u128 % 7),
                aggregate_type: "letter",
                aggregate_id: Uuid::now_v7(),
            };
            let event = |tag: &str| NewEvent {
                event_id: Uuid::now_v7(),
                event_type: format!("letter.{tag}"),
                event_version: 1,
                payload: RawValue::from_string(payload.to_owned()).unwrap(),
            };
            let metadata = Metadata {
                actor: "user:test".to_owned(),
                command_id,
                correlation_id: command_id,
                causation_id: None,
                traceparent: None,
            };
            self.store.append(Append {
                stream,
                expected_sequence: Some(0),
                metadata,
                fingerprint: [1; 32],
                events: ["written", "sent", "read_aloud"].map(event).into(),
                claims: Vec::new(),
                counters: Vec::new(),
                facts: Vec::new(),
                guards: Vec::new(),
                outcome: None,
            })
        });
        let accepted = tokio::time::timeout(LIMIT, futures::future::try_join_all(appends)).await.unwrap().unwrap();
        assert_eq!(accepted.len(), commands);
        before + 3 * i64::try_from(commands).unwrap()
    }

    async fn head(&self) -> i64 {
        Log::new(self.pool().clone()).head().await.unwrap()
    }

    async fn cursor(&self) -> i64 {
        sqlx::query_scalar("SELECT position FROM relay_cursor").fetch_one(self.pool()).await.unwrap()
    }

    async fn cursor_reaches(&self, position: i64) {
        eventually(LIMIT, async || (self.cursor().await == position).then_some(())).await;
    }

    async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.nats.client().await)
    }

    /// Waits until the stream has given out `sequence`.
    async fn stream_reaches(&self, sequence: u64) {
        let jetstream = self.jetstream().await;
        eventually(LIMIT, async || {
            let stream = jetstream.get_stream("HUB_EVENTS").await.ok()?;
            (stream.cached_info().state.last_sequence >= sequence).then_some(())
        })
        .await;
    }

    /// The server process that holds the relay's lock, if one does.
    async fn leader(&self) -> Option<i32> {
        sqlx::query_scalar(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND (classid::bigint << 32) + objid::bigint = 7236831002 \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .fetch_optional(self.pool())
        .await
        .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_published_once_and_in_order_with_its_place() {
    let office = Office::open().await;
    // More than one page, and more than may be in flight; some before the relay starts, some after.
    office.post(400).await;
    let working = office.work().await;
    let head = office.post(50).await;
    let client = office.nats.client().await;
    let published = published_up_to(&client, head).await;
    assert_eq!(positions(&published), (1..=head).collect::<Vec<_>>());
    let log = office.store.log().page(0, head).await.unwrap();
    let mut previous: HashMap<String, i64> = HashMap::new();
    for (message, event) in published.iter().zip(&log) {
        let partition = message.subject.split('.').nth(2).unwrap().to_owned();
        assert_eq!(partition, partition_of(event.tenant_id).to_string());
        let tag = event.event_type.strip_prefix("letter.").unwrap();
        assert_eq!(message.subject, format!("hub.events.{partition}.{}.letter.{tag}", event.tenant_id.simple()));
        assert_eq!(message.previous, previous.insert(partition, message.position).unwrap_or(0));
        assert_eq!(message.message_id, event.event_id.to_string());
        // The message carries the very bytes that were hashed when the event was recorded.
        assert_eq!(message.event.computed_leaf_hash().as_slice(), event.leaf_hash);
        assert_eq!(
            (message.event.position, message.event.tenant_position, message.event.payload.get()),
            (event.position, event.tenant_position, event.payload.get())
        );
    }
    office.cursor_reaches(head).await;
    working.stop().await;
}

/// Subjects and cursors depend on it, so it may never change.
#[test]
fn a_tenant_stays_in_its_partition() {
    assert_eq!(PARTITION_COUNT, 16);
    let partitions: Vec<usize> = (0..8).map(|id| partition_of(Uuid::from_u128(id))).collect();
    assert_eq!(partitions, [5, 2, 15, 12, 9, 6, 3, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_stream_would_not_keep_is_not_published_again() {
    let office = Office::open().await;
    let working = office.work().await;
    let first = office.post(5).await;
    office.cursor_reaches(first).await;
    working.stop().await;
    // The events are older than what the stream keeps: it forgets them, and does not get them back.
    let client = office.nats.client().await;
    jetstream::new(client.clone()).get_stream("HUB_EVENTS").await.unwrap().purge().await.unwrap();
    let second = office.post(5).await;
    let working = office.work().await;
    let published = published_up_to(&client, second).await;
    assert_eq!(positions(&published), (first + 1..=second).collect::<Vec<_>>());
    // The chain of each partition goes on over the stop.
    let log = office.store.log().page(0, second).await.unwrap();
    for message in &published {
        let partition = partition_of(message.event.tenant_id);
        let before = log.iter().take_while(|event| event.position < message.position);
        let expected = before.filter(|event| partition_of(event.tenant_id) == partition).last();
        assert_eq!(message.previous, expected.map_or(0, |event| event.position));
    }
    working.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_but_not_noted_is_recognised_by_the_stream() {
    let office = Office::open().await;
    let working = office.work().await;
    let head = office.post(20).await;
    office.cursor_reaches(head).await;
    working.stop().await;
    // As after a crash between the acknowledgements and the cursor.
    sqlx::query("UPDATE relay_cursor SET position = 0, partition_positions = array_fill(0::bigint, ARRAY[16])")
        .execute(office.pool())
        .await
        .unwrap();
    let working = office.work().await;
    let head = office.post(1).await;
    office.cursor_reaches(head).await;
    let published = published(&office.nats.client().await).await;
    assert_eq!(positions(&published), (1..=head).collect::<Vec<_>>());
    working.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_relays_one_leads_and_the_other_takes_over() {
    let office = Office::open().await;
    let first = office.work().await;
    eventually(LIMIT, async || office.leader().await).await;
    let second = office.work().await;
    // A third, asked once, says that another leads.
    tokio::time::timeout(LIMIT, office.relay().await.lead()).await.unwrap().unwrap();
    let head = office.post(100).await;
    office.cursor_reaches(head).await;
    first.stop().await;
    let head = office.post(100).await;
    office.cursor_reaches(head).await;
    // A leader whose lock is lost with its connection does not go on as if nothing had happened.
    let leader = eventually(LIMIT, async || office.leader().await).await;
    sqlx::query("SELECT pg_terminate_backend($1)").bind(leader).execute(office.pool()).await.unwrap();
    let head = office.post(100).await;
    office.cursor_reaches(head).await;
    assert_ne!(eventually(LIMIT, async || office.leader().await).await, leader);
    let published = published(&office.nats.client().await).await;
    assert_eq!(positions(&published), (1..=head).collect::<Vec<_>>());
    assert!(published.is_sorted_by_key(|message| message.stored_at));
    second.stop().await;
    eventually(LIMIT, async || office.leader().await.is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_another_configuration_is_refused_by_name_and_left_alone() {
    let office = Office::open().await;
    let jetstream = jetstream::new(office.nats.client().await);
    let other = Config {
        name: "HUB_EVENTS".to_owned(),
        subjects: vec!["hub.events.>".to_owned()],
        max_age: Duration::from_secs(3_600),
        duplicate_window: Duration::from_secs(5),
        ..Config::default()
    };
    jetstream.create_stream(other).await.unwrap();
    office.post(1).await;
    let refused = tokio::time::timeout(LIMIT, office.relay().await.lead()).await.unwrap().unwrap_err();
    let RelayError::Configuration(differing) = &refused else { panic!("{refused:?}") };
    assert_eq!(differing, "max_age, max_bytes, duplicate_window");
    assert_eq!(
        refused.to_string(),
        "the stream HUB_EVENTS has another configuration than asked for: max_age, max_bytes, duplicate_window"
    );
    let mut stream = jetstream.get_stream("HUB_EVENTS").await.unwrap();
    let info = stream.info().await.unwrap();
    assert_eq!((info.config.max_age, info.state.messages), (Duration::from_secs(3_600), 0));
    assert_eq!(office.cursor().await, 0);
    // Once it is out of the way, everything is there.
    jetstream.delete_stream("HUB_EVENTS").await.unwrap();
    let working = office.work().await;
    office.cursor_reaches(3).await;
    working.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nats_it_says_so_and_leaves_the_lock_to_others() {
    let mut office = Office::open().await;
    let relay = office.relay().await;
    office.nats.stop().await;
    office.post(1).await;
    let refused = eventually(LIMIT, async || relay.lead().await.err()).await;
    assert!(matches!(refused, RelayError::Nats(_)), "{refused:?}");
    eventually(LIMIT, async || office.leader().await.is_none().then_some(())).await;
    assert_eq!(office.cursor().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_holds_what_the_log_does_not_is_refused_and_left_alone() {
    let (mine, theirs) = (Office::open_now().await, Office::open_now().await);
    let working = mine.work().await;
    let head = mine.post(5).await;
    mine.cursor_reaches(head).await;
    working.stop().await;
    let client = mine.nats.client().await;
    let relay = Relay::new(theirs.pool().clone(), client.clone(), theirs.tail.clone());
    // As after a failover to a server that has not got everything, then as another installation's.
    for commands in [1, 20] {
        let their_head = theirs.post(commands).await;
        let refused = tokio::time::timeout(LIMIT, relay.lead()).await.unwrap().unwrap_err();
        let RelayError::Diverged { event_id, position, head: told } = &refused else { panic!("{refused:?}") };
        assert_eq!((*position, *told), (head, their_head));
        let last = mine.store.log().page(head - 1, 1).await.unwrap();
        assert_eq!(*event_id, last[0].event_id);
        assert_whole(&published(&client).await, 1..=head);
        assert_eq!(theirs.cursor().await, 0);
    }
    // Once somebody has decided, everything is there.
    mine.jetstream().await.delete_stream("HUB_EVENTS").await.unwrap();
    let leading = async {
        relay.lead().await.unwrap();
        unreachable!("it leads for ever");
    };
    let published = tokio::select! {
        () = leading => unreachable!("it leads for ever"),
        published = published_up_to(&client, theirs.head().await) => published,
    };
    assert_whole(&published, 1..=theirs.head().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_too_large_for_nats_goes_without_its_payload() {
    let office = Office::open().await;
    let working = office.work().await;
    office.post(1).await;
    // The server takes a megabyte, headers included.
    let large = format!(r#"{{ "text": "{}" }}"#, "x".repeat(1_024 * 1_024));
    office.post_each(1, &large).await;
    let fitting = format!(r#"{{ "text": "{}" }}"#, "x".repeat(1_020 * 1_024));
    office.post_each(1, &fitting).await;
    let head = office.post(1).await;
    let client = office.nats.client().await;
    let published = published_up_to(&client, head).await;
    assert_whole(&published, 1..=head);
    let log = office.store.log().page(0, head).await.unwrap();
    for (message, event) in published.iter().zip(&log) {
        let omitted = (4..=6).contains(&event.position);
        assert_eq!(message.event.event_id, event.event_id);
        assert_eq!(message.event.payload.get() == "null", omitted);
        // Nobody who compares takes it for the event.
        assert_eq!(message.event.computed_leaf_hash().as_slice() == event.leaf_hash, !omitted);
    }
    let stream = office.jetstream().await.get_stream("HUB_EVENTS").await.unwrap();
    let headers = stream.get_raw_message(4).await.unwrap().headers;
    let bytes: usize = headers.get("Hub-Payload-Omitted").unwrap().as_str().parse().unwrap();
    assert!(bytes > large.len());
    assert!(stream.get_raw_message(7).await.unwrap().headers.get("Hub-Payload-Omitted").is_none());
    working.stop().await;
}
