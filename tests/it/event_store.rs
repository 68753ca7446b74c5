//! The guarantees of the event store, each with a test that tries to break it.

mod chain;
mod diary;
mod snapshot;

use std::{collections::HashSet, sync::Arc, time::Duration};

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use futures::{TryStreamExt, future::join_all};
use hub_event_store::{
    append::{Append, AppendError, Claim, CounterChange, Direction, Guard, Rejection},
    event::{Metadata, NewEvent, Recorded, StreamId},
    log::Log,
    repository::{Effects, ExecuteError, Order, Prepared, Repository},
    store::EventStore,
    tail::Tail,
    upcast::Upcasters,
};
use hub_tests::kit::{Database, TestClock};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::PgPool;
use uuid::Uuid;

const TENANT: Uuid = Uuid::from_u128(7);

fn store(pool: &PgPool) -> EventStore {
    EventStore::start(pool.clone(), Tail::default(), Upcasters::default(), TestClock::default().clock())
}

fn stream(id: u128) -> StreamId {
    StreamId { tenant_id: TENANT, aggregate_type: "letter", aggregate_id: Uuid::from_u128(id) }
}

fn metadata(command_id: Uuid) -> Metadata {
    Metadata {
        actor: "user:test".to_owned(),
        command_id,
        correlation_id: command_id,
        causation_id: None,
        traceparent: None,
    }
}

fn append(stream: StreamId, expected: i64, events: usize) -> Append {
    let event = || NewEvent {
        event_id: Uuid::now_v7(),
        event_type: "letter.sent".to_owned(),
        event_version: 1,
        payload: RawValue::from_string(r#"{ "to":  "Ada" }"#.to_owned()).unwrap(),
    };
    Append {
        stream,
        expected_sequence: Some(expected),
        metadata: metadata(Uuid::now_v7()),
        fingerprint: [1; 32],
        events: std::iter::repeat_with(event).take(events).collect(),
        claims: Vec::new(),
        counters: Vec::new(),
        facts: Vec::new(),
        guards: Vec::new(),
        outcome: None,
    }
}

fn claim(key: &str, direction: Direction) -> Claim {
    Claim { realm_id: TENANT, scope: "name", key: key.to_owned(), direction }
}

fn counter(delta: i64, maximum: Option<i64>, expected: Option<i64>) -> CounterChange {
    CounterChange { tenant_id: TENANT, name: "letters", delta, maximum, expected }
}

async fn whole_log(pool: &PgPool) -> Vec<Recorded> {
    Log::new(pool.clone()).read(0, i64::MAX).try_collect().await.unwrap()
}

fn assert_contiguous(events: &[Recorded]) {
    for (expected, event) in (1..).zip(events) {
        assert_eq!(event.position, expected);
        assert_eq!(event.leaf_hash, event.computed_leaf_hash());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_are_contiguous_and_a_reader_never_skips() {
    let database = Database::new().await;
    let (one, two) = (store(&database.pool), store(&database.pool));
    let reader = tokio::spawn({
        let log = Log::new(database.pool.clone());
        async move {
            let mut seen = Vec::new();
            while seen.len() < 2_000 {
                let after = seen.last().copied().unwrap_or(0);
                seen.extend(log.page(after, 100).await.unwrap().iter().map(|event| event.position));
                tokio::task::yield_now().await;
            }
            seen
        }
    });
    let writers = (0..40).map(|writer: u128| {
        let store = if writer.is_multiple_of(2) { one.clone() } else { two.clone() };
        async move {
            for turn in 0..25 {
                store.append(append(stream(writer), turn * 2, 2)).await.unwrap();
            }
        }
    });
    tokio::time::timeout(Duration::from_secs(60), join_all(writers)).await.unwrap();
    let seen = tokio::time::timeout(Duration::from_secs(60), reader).await.unwrap().unwrap();
    assert_eq!(seen, (1..=2_000).collect::<Vec<i64>>());
    let events = whole_log(&database.pool).await;
    assert_contiguous(&events);
    assert!(events.iter().all(|event| event.tenant_position == event.position), "one tenant has the whole log");
}

#[tokio::test]
async fn tenants_are_counted_apart() {
    let database = Database::new().await;
    let store = store(&database.pool);
    for (turn, tenant) in [1_u128, 2, 1, 1, 2].into_iter().enumerate() {
        let id = StreamId { tenant_id: Uuid::from_u128(tenant), ..stream(turn as u128) };
        store.append(append(id, 0, 1)).await.unwrap();
    }
    let places: Vec<_> = whole_log(&database.pool).await.iter().map(|event| event.tenant_position).collect();
    assert_eq!(places, [1, 1, 2, 3, 2]);
}

#[tokio::test]
async fn what_is_stored_is_what_was_given_byte_for_byte() {
    let database = Database::new().await;
    store(&database.pool).append(append(stream(1), 0, 1)).await.unwrap();
    assert_eq!(whole_log(&database.pool).await[0].payload.get(), r#"{ "to":  "Ada" }"#);
}

#[tokio::test]
async fn the_same_command_answers_the_first_outcome_and_appends_nothing() {
    let database = Database::new().await;
    let store = store(&database.pool);
    let mut command = append(stream(1), 0, 2);
    command.outcome = Some(RawValue::from_string("{\"made\":true}".to_owned()).unwrap());
    let first = store.append(command.clone()).await.unwrap();
    let again = store.append(command.clone()).await.unwrap();
    assert!(!first.replayed && again.replayed);
    assert_eq!((again.position, again.sequence, again.event_count), (2, 2, 2));
    assert_eq!(again.outcome.unwrap().get(), "{\"made\":true}");
    let known = store.outcome(command.metadata.command_id, &command.fingerprint).await.unwrap().unwrap();
    assert_eq!((known.position, known.aggregate_id), (2, command.stream.aggregate_id));
    assert_eq!(whole_log(&database.pool).await.len(), 2);
}

#[tokio::test]
async fn the_same_command_sent_many_times_at_once_is_appended_once() {
    let database = Database::new().await;
    let (one, two) = (store(&database.pool), store(&database.pool));
    let command = append(stream(1), 0, 1);
    let sent = (0..20).map(|n| if n % 2 == 0 { one.append(command.clone()) } else { two.append(command.clone()) });
    let first = join_all(sent).await.into_iter().filter(|answer| !answer.as_ref().unwrap().replayed).count();
    assert_eq!((first, whole_log(&database.pool).await.len()), (1, 1));
}

#[tokio::test]
async fn a_command_id_used_for_another_command_is_refused() {
    let database = Database::new().await;
    let store = store(&database.pool);
    let command = append(stream(1), 0, 1);
    store.append(command.clone()).await.unwrap();
    let other = Append { fingerprint: [2; 32], ..command };
    let refused = store.append(other.clone()).await.unwrap_err();
    assert!(matches!(refused, AppendError::Rejected(Rejection::CommandIdReused)));
    assert!(store.outcome(other.metadata.command_id, &other.fingerprint).await.is_err());
}

#[tokio::test]
async fn of_commands_from_one_sequence_one_wins() {
    let database = Database::new().await;
    let (one, two) = (store(&database.pool), store(&database.pool));
    let sent = (0..30).map(|n| {
        let store = if n % 2 == 0 { &one } else { &two };
        store.append(append(stream(1), 0, 1))
    });
    let answers = join_all(sent).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    let lost = Rejection::SequenceConflict { actual: 1 };
    assert!(
        answers
            .iter()
            .flat_map(|answer| answer.as_ref().err())
            .all(|error| matches!(error, AppendError::Rejected(rejection) if *rejection == lost))
    );
    assert_contiguous(&whole_log(&database.pool).await);
}

#[tokio::test]
async fn a_refused_command_leaves_no_gap_and_no_trace() {
    let database = Database::new().await;
    let store = store(&database.pool);
    let commands = [append(stream(1), 0, 1), append(stream(2), 5, 3), append(stream(3), 0, 2)];
    let answers = join_all(commands.map(|command| store.append(command))).await;
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    let events = whole_log(&database.pool).await;
    assert_eq!(events.len(), 3);
    assert_contiguous(&events);
    let streams: i64 = sqlx::query_scalar("SELECT count(*) FROM streams").fetch_one(&database.pool).await.unwrap();
    assert_eq!(streams, 2);
}

#[tokio::test]
async fn a_name_belongs_to_one_stream_until_it_is_given_back() {
    let database = Database::new().await;
    let (one, two) = (store(&database.pool), store(&database.pool));
    let take = |id| Append { claims: vec![claim("ada", Direction::Take)], ..append(stream(id), 0, 1) };
    let (first, second) = tokio::join!(one.append(take(1)), two.append(take(2)));
    assert_ne!(first.is_ok(), second.is_ok(), "exactly one gets the name");
    let (winner, loser) = if first.is_ok() { (1, 2) } else { (2, 1) };
    let taken = Rejection::NameTaken { scope: "name".to_owned(), key: "ada".to_owned() };
    let lost = [first, second].into_iter().find_map(Result::err).unwrap();
    assert!(matches!(lost, AppendError::Rejected(rejection) if rejection == taken));

    // Another stream cannot give back what is not its own.
    let theft = Append { claims: vec![claim("ada", Direction::Release)], ..append(stream(9), 0, 1) };
    one.append(theft).await.unwrap();
    assert!(one.append(take(loser)).await.is_err());
    let release = Append { claims: vec![claim("ada", Direction::Release)], ..append(stream(winner), 1, 1) };
    one.append(release).await.unwrap();
    two.append(take(loser)).await.unwrap();
}

#[tokio::test]
async fn a_counter_never_passes_its_maximum() {
    let database = Database::new().await;
    let (one, two) = (store(&database.pool), store(&database.pool));
    let sent = (0..20).map(|id| {
        let store = if id % 2 == 0 { &one } else { &two };
        store.append(Append { counters: vec![counter(1, Some(3), None)], ..append(stream(id), 0, 1) })
    });
    let accepted = join_all(sent).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(accepted, 3);
    let log = Log::new(database.pool.clone());
    assert_eq!(log.counter(TENANT, "letters").await.unwrap(), 3);
    // Going down is allowed above the maximum too.
    one.append(Append { counters: vec![counter(-1, Some(0), None)], ..append(stream(90), 0, 1) }).await.unwrap();
    assert_eq!(log.counter(TENANT, "letters").await.unwrap(), 2);
}

#[tokio::test]
async fn a_counter_that_has_moved_refuses_the_command() {
    let database = Database::new().await;
    let store = store(&database.pool);
    let expecting = |id, value| Append { counters: vec![counter(1, None, Some(value))], ..append(stream(id), 0, 1) };
    store.append(expecting(1, 0)).await.unwrap();
    let moved = store.append(expecting(2, 0)).await.unwrap_err();
    assert!(matches!(moved, AppendError::Rejected(Rejection::CounterMoved { value: 1, .. })));
    store.append(expecting(2, 1)).await.unwrap();
}

#[tokio::test]
async fn a_guarded_stream_that_has_moved_refuses_the_command() {
    let database = Database::new().await;
    let store = store(&database.pool);
    store.append(append(stream(1), 0, 1)).await.unwrap();
    let guarded = |sequence| Append { guards: vec![Guard { stream: stream(1), sequence }], ..append(stream(2), 0, 1) };
    let moved = store.append(guarded(0)).await.unwrap_err();
    assert!(matches!(moved, AppendError::Rejected(Rejection::GuardMoved { .. })));
    store.append(guarded(1)).await.unwrap();
}

#[tokio::test]
async fn events_are_neither_updated_nor_deleted() {
    let database = Database::new().await;
    store(&database.pool).append(append(stream(1), 0, 1)).await.unwrap();
    for statement in ["UPDATE events SET payload = '{}'", "DELETE FROM events", "TRUNCATE events"] {
        let error = sqlx::query(statement).execute(&database.pool).await.unwrap_err();
        assert!(error.to_string().contains("neither updated nor deleted"), "{statement}: {error}");
    }
}

#[tokio::test]
async fn data_that_postgresql_refuses_does_not_take_others_with_it() {
    let database = Database::new().await;
    let store = store(&database.pool);
    let mut bad = append(stream(2), 0, 1);
    bad.events[0].event_version = 0;
    let commands = [append(stream(1), 0, 1), bad, append(stream(3), 0, 1)];
    let answers = join_all(commands.map(|command| store.append(command))).await;
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert!(matches!(answers[1], Err(AppendError::Invalid(_))));
    assert_contiguous(&whole_log(&database.pool).await);
}

#[tokio::test]
async fn the_writer_survives_the_loss_of_its_connection() {
    let database = Database::new().await;
    let store = store(&database.pool);
    store.append(append(stream(1), 0, 1)).await.unwrap();
    for turn in 1..5 {
        sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hub-writer' AND datname = current_database()")
            .execute(&database.pool)
            .await
            .unwrap();
        store.append(append(stream(1), turn, 1)).await.unwrap();
    }
    assert_eq!(whole_log(&database.pool).await.len(), 5);
}

#[tokio::test]
async fn the_tail_hears_of_what_another_process_appends() {
    let database = Database::new().await;
    let tail = Tail::default();
    let shutdown = tokio_util::sync::CancellationToken::new();
    let following = tokio::spawn({
        let (tail, pool, shutdown) = (tail.clone(), database.pool.clone(), shutdown.clone());
        async move { tail.run(pool, shutdown).await }
    });
    let mut head = tail.follow();
    let store = store(&database.pool);
    for turn in 0..3 {
        store.append(append(stream(1), turn, 1)).await.unwrap();
        let reached = tokio::time::timeout(Duration::from_secs(10), head.wait_for(|head| *head == turn + 1)).await;
        assert!(reached.is_ok(), "the tail is at {}", tail.head());
    }
    shutdown.cancel();
    following.await.unwrap();
}

/// A tally that takes steps up to ten and remembers how many.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Tally {
    steps: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
enum TallyEvent {
    Stepped { to: u32 },
}

#[derive(Debug, thiserror::Error)]
#[error("the tally is full")]
struct Full;

impl DomainEvent for TallyEvent {
    fn event_type(&self) -> String {
        "tally.stepped".to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Aggregate for Tally {
    const TYPE: &'static str = "tally";
    type Command = u32;
    type Event = TallyEvent;
    type Error = Full;
    type Services = ();

    async fn handle(&mut self, maximum: u32, (): &(), sink: &EventSink<Self>) -> Result<(), Full> {
        if self.steps >= maximum {
            return Err(Full);
        }
        sink.write(TallyEvent::Stepped { to: self.steps + 1 }, self).await;
        Ok(())
    }

    fn apply(&mut self, event: TallyEvent) {
        let TallyEvent::Stepped { to } = event;
        self.steps = to;
    }
}

fn tallies(pool: &PgPool) -> Repository<Tally> {
    Repository::new(store(pool), |_, _, _| Effects::default())
}

fn order() -> Order {
    Order { metadata: metadata(Uuid::now_v7()), fingerprint: [0; 32], repeatable: false, expected_sequence: None }
}

async fn step(tallies: &Repository<Tally>, order: &Order, maximum: u32) -> Result<i64, ExecuteError<Full>> {
    let accepted =
        tallies.execute(TENANT, Uuid::from_u128(5), order, |_| async move { Ok(Prepared::new(maximum)) }).await?;
    Ok(accepted.sequence)
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_on_one_stream_all_happen_each_on_the_state_that_the_last_one_left() {
    let database = Database::new().await;
    let repository = tallies(&database.pool);
    let orders: Vec<_> = std::iter::repeat_with(order).take(64).collect();
    let sequences = join_all(orders.iter().map(|order| step(&repository, order, 1_000))).await;
    let sequences: HashSet<_> = sequences.into_iter().map(Result::unwrap).collect();
    assert_eq!(sequences, (1..=64).collect());
    assert_eq!(repository.load_latest(TENANT, Uuid::from_u128(5)).await.unwrap().state.steps, 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_a_stream_without_a_wrong_decision() {
    let database = Database::new().await;
    let (one, two) = (tallies(&database.pool), tallies(&database.pool));
    let orders: Vec<_> = std::iter::repeat_with(order).take(24).collect();
    let sent = orders.iter().enumerate().map(|(n, order)| step(if n % 2 == 0 { &one } else { &two }, order, 10));
    let answers = join_all(sent).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 10);
    assert!(
        answers
            .iter()
            .flat_map(|answer| answer.as_ref().err())
            .all(|error| matches!(error, ExecuteError::Refused(Full)))
    );
}

#[tokio::test]
async fn a_stale_copy_is_looked_at_again_before_a_refusal() {
    let database = Database::new().await;
    let (one, two) = (tallies(&database.pool), tallies(&database.pool));
    step(&one, &order(), 10).await.unwrap();
    step(&two, &order(), 10).await.unwrap();
    // `one` still believes in a single step.
    assert!(matches!(step(&one, &order(), 2).await, Err(ExecuteError::Refused(Full))));
    let expecting = Order { expected_sequence: Some(2), ..order() };
    assert_eq!(step(&one, &expecting, 10).await.unwrap(), 3);
    let late = Order { expected_sequence: Some(2), ..order() };
    assert!(matches!(step(&one, &late, 10).await, Err(ExecuteError::VersionConflict { actual: 3 })));
}

#[tokio::test]
async fn a_repeated_command_answers_the_same_even_when_it_would_now_be_refused() {
    let database = Database::new().await;
    let repository = Arc::new(tallies(&database.pool));
    let first = Order { repeatable: true, ..order() };
    assert_eq!(step(&repository, &first, 1).await.unwrap(), 1);
    assert_eq!(step(&repository, &first, 1).await.unwrap(), 1);
    assert!(step(&repository, &order(), 1).await.is_err());
}
