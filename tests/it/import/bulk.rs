//! Bulk append: whole batches or nothing, with a cursor.

use hub_event_store::{
    append::Append,
    event::{Metadata, NewEvent, StreamId},
    import::{BATCH_SIZE_MAX, Identity, Import, ImportError, ImportEvent},
    store::EventStore,
    tail::Tail,
    upcast::Upcasters,
};
use hub_tests::kit::{Database, TestClock};
use serde_json::value::RawValue;
use sqlx::PgPool;
use uuid::Uuid;

use super::{TENANT, assert_log_is_right, whole_log};

fn identity() -> Identity {
    Identity { import_id: Uuid::from_u128(99), actor: "import:test".to_owned() }
}

async fn open(pool: &PgPool) -> Import {
    Import::open(pool, identity(), "a test", TestClock::default().now()).await.unwrap()
}

fn event(tenant: u128, stream: u128, sequence: i64) -> ImportEvent {
    ImportEvent {
        tenant_id: Uuid::from_u128(tenant),
        aggregate_type: "letter".to_owned(),
        aggregate_id: Uuid::from_u128(stream),
        sequence,
        event_type: "letter.sent".to_owned(),
        event_version: 1,
        occurred_at: TestClock::at("2020-02-02T02:02:02.000123Z").now(),
        payload: RawValue::from_string("{\"to\":  \"Ada\"}".to_owned()).unwrap(),
        source: None,
        origin: None,
    }
}

#[tokio::test]
async fn events_of_many_streams_and_tenants_are_appended_in_the_order_given() {
    let database = Database::new().await;
    let mut import = open(&database.pool).await;
    let now = TestClock::default().now();
    let first: Vec<_> = (0..600).map(|n| event(1 + n % 3, n % 50, 1 + i64::try_from(n / 150).unwrap())).collect();
    // Three tenants, fifty streams each: every stream has its events in order.
    let first: Vec<_> = {
        let mut streams = std::collections::HashMap::new();
        first
            .into_iter()
            .map(|mut event| {
                let sequence = streams.entry((event.tenant_id, event.aggregate_id)).or_insert(0);
                *sequence += 1;
                event.sequence = *sequence;
                event
            })
            .collect()
    };
    assert_eq!(import.append(&first, now).await.unwrap(), 600);
    assert_eq!(import.append(&[event(1, 999, 1), event(2, 999, 1)], now).await.unwrap(), 602);
    assert_eq!((import.event_count(), open(&database.pool).await.event_count()), (602, 602));
    let events = whole_log(&database.pool).await;
    for (given, recorded) in first.iter().zip(&events) {
        assert_eq!(
            (given.tenant_id, given.aggregate_id, given.sequence),
            (recorded.tenant_id, recorded.aggregate_id, recorded.sequence)
        );
        assert_eq!((given.occurred_at, given.payload.get()), (recorded.occurred_at, recorded.payload.get()));
        assert_eq!(recorded.event_id.get_version_num(), 7);
    }
    assert_log_is_right(&database.pool, 602).await;
}

#[tokio::test]
async fn a_batch_with_one_wrong_sequence_leaves_no_trace() {
    let database = Database::new().await;
    let mut import = open(&database.pool).await;
    let now = TestClock::default().now();
    import.append(&[event(1, 1, 1), event(1, 1, 2)], now).await.unwrap();
    let refused = import.append(&[event(1, 2, 1), event(1, 1, 2), event(1, 3, 1)], now).await.unwrap_err();
    assert!(matches!(refused, ImportError::Conflict { expected: 1, actual: 2, .. }), "{refused}");
    let refused = import.append(&[event(1, 2, 1), event(1, 2, 3)], now).await.unwrap_err();
    assert!(matches!(refused, ImportError::Invalid(_)), "{refused}");
    let refused = import
        .append(&[ImportEvent { aggregate_type: "Le tter".to_owned(), ..event(1, 2, 1) }], now)
        .await
        .unwrap_err();
    assert!(matches!(refused, ImportError::Invalid(_)), "{refused}");
    let refused = import.append(&vec![event(1, 2, 1); BATCH_SIZE_MAX + 1], now).await.unwrap_err();
    assert!(matches!(refused, ImportError::Invalid(_)), "{refused}");
    assert_eq!(import.append(&[event(1, 1, 3)], now).await.unwrap(), 3);
    assert_log_is_right(&database.pool, 3).await;
}

#[tokio::test]
async fn of_two_runs_of_one_import_one_goes_on() {
    let database = Database::new().await;
    let now = TestClock::default().now();
    let (mut one, mut two) = (open(&database.pool).await, open(&database.pool).await);
    let (batch, other) = ([event(1, 1, 1)], [event(1, 2, 1)]);
    let (first, second) = tokio::join!(one.append(&batch, now), two.append(&other, now));
    assert_eq!([&first, &second].iter().filter(|answer| answer.is_ok()).count(), 1);
    let lost = first.err().or(second.err()).unwrap();
    assert!(matches!(lost, ImportError::CursorMoved { expected: 0, actual: 1 }), "{lost}");
    assert_log_is_right(&database.pool, 1).await;
}

#[tokio::test]
async fn an_id_that_was_used_for_another_source_is_refused() {
    let database = Database::new().await;
    open(&database.pool).await;
    let other = Import::open(&database.pool, identity(), "something else", TestClock::default().now()).await;
    assert!(matches!(other.unwrap_err(), ImportError::OtherSource { .. }));
}

#[tokio::test]
async fn commands_and_imports_append_to_one_log() {
    let database = Database::new().await;
    let now = TestClock::default().now();
    let store =
        EventStore::start(database.pool.clone(), Tail::default(), Upcasters::default(), TestClock::default().clock());
    let mut import = open(&database.pool).await;
    let command = |sequence| {
        let command_id = Uuid::now_v7();
        Append {
            stream: StreamId { tenant_id: TENANT, aggregate_type: "letter", aggregate_id: Uuid::from_u128(5) },
            expected_sequence: Some(sequence),
            metadata: Metadata {
                actor: "user:test".to_owned(),
                command_id,
                correlation_id: command_id,
                causation_id: None,
                traceparent: None,
            },
            fingerprint: [1; 32],
            events: vec![NewEvent {
                event_id: Uuid::now_v7(),
                event_type: "letter.sent".to_owned(),
                event_version: 1,
                payload: RawValue::from_string("{}".to_owned()).unwrap(),
            }],
            claims: Vec::new(),
            counters: Vec::new(),
            facts: Vec::new(),
            guards: Vec::new(),
            outcome: None,
        }
    };
    let commands = async {
        for turn in 0..50 {
            store.append(command(turn)).await.unwrap();
        }
    };
    let imports = async {
        for turn in 0..50 {
            let batch: Vec<_> = (1..=20).map(|n| event(7, 1_000 + turn, n)).collect();
            import.append(&batch, now).await.unwrap();
        }
    };
    tokio::join!(commands, imports);
    assert_log_is_right(&database.pool, 1_050).await;
    // A stream that was imported is gone on with by commands.
    let on = Append { stream: StreamId { aggregate_id: Uuid::from_u128(1_003), ..command(20).stream }, ..command(20) };
    assert_eq!(store.append(on).await.unwrap().sequence, 21);
}
