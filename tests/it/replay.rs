//! Verification finds what somebody changed behind the log's back, and the export writes the log as it is.

use hub_event_store::{
    append::Append,
    event::{Metadata, NewEvent, StreamId},
    store::EventStore,
    tail::Tail,
    upcast::Upcasters,
};
use hub_replay_tools::{
    export::{Filter, export},
    read_models::verify_read_models,
    verify::{LogReport, verify_log},
};
use hub_tests::kit::{Database, TestClock};
use serde_json::{Value, value::RawValue};
use sqlx::PgPool;
use uuid::Uuid;

/// Twelve events: two tenants with two streams of three events each.
async fn filled() -> Database {
    let database = Database::new().await;
    let clock = TestClock::default().clock();
    let store = EventStore::start(database.pool.clone(), Tail::default(), Upcasters::default(), clock);
    for turn in 0..3 {
        for (tenant, aggregate) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            store.append(letter(tenant, aggregate, turn)).await.unwrap();
        }
    }
    database
}

fn letter(tenant: u128, aggregate: u128, turn: i64) -> Append {
    let command_id = Uuid::now_v7();
    Append {
        stream: StreamId {
            tenant_id: Uuid::from_u128(tenant),
            aggregate_type: "letter",
            aggregate_id: Uuid::from_u128(aggregate),
        },
        expected_sequence: Some(turn),
        metadata: Metadata {
            actor: "user:test".to_owned(),
            command_id,
            correlation_id: command_id,
            causation_id: None,
            traceparent: None,
        },
        fingerprint: [0; 32],
        events: vec![NewEvent {
            event_id: Uuid::now_v7(),
            event_type: if turn == 0 { "letter.written" } else { "letter.sent" }.to_owned(),
            event_version: 1,
            payload: RawValue::from_string("{\"to\":\"Ada\"}".to_owned()).unwrap(),
        }],
        claims: Vec::new(),
        counters: Vec::new(),
        facts: Vec::new(),
        guards: Vec::new(),
        outcome: None,
    }
}

/// Changes the log as only the owner of the tables can.
async fn tamper(pool: &PgPool, statement: &str) {
    let mut transaction = pool.begin().await.unwrap();
    for statement in ["ALTER TABLE events DISABLE TRIGGER USER", statement, "ALTER TABLE events ENABLE TRIGGER USER"] {
        sqlx::query(statement).execute(&mut *transaction).await.unwrap();
    }
    transaction.commit().await.unwrap();
}

async fn verified(pool: &PgPool) -> LogReport {
    verify_log(pool, |_, _| {}).await.unwrap()
}

#[tokio::test]
async fn a_whole_log_is_right() {
    let database = filled().await;
    let report = verified(&database.pool).await;
    assert!(report.passed(), "{report:?}");
    assert_eq!((report.event_count, report.stream_count, report.tenant_count), (12, 4, 2));
}

#[tokio::test]
async fn each_kind_of_tampering_is_found_where_it_is() {
    for (statement, position, word) in [
        ("UPDATE events SET payload = '{\"to\":\"Eve\"}' WHERE position = 5", 5, "leaf hash"),
        ("UPDATE events SET occurred_at = occurred_at + interval '1 day' WHERE position = 7", 7, "leaf hash"),
        ("UPDATE events SET metadata = '{}' WHERE position = 2", 2, "leaf hash"),
        ("DELETE FROM events WHERE position = 6", 7, "position 7 follows 5"),
        ("DELETE FROM events WHERE position = 12", 0, "ends at position 11"),
        ("UPDATE events SET tenant_position = 99 WHERE position = 12", 12, "tenant position"),
        (
            "UPDATE streams SET sequence = 9 WHERE aggregate_id = '00000000-0000-0000-0000-000000000001'",
            0,
            "head of stream",
        ),
        ("UPDATE tenant_heads SET position = 9", 0, "head of tenant"),
        ("UPDATE command_outcomes SET event_count = 2 WHERE position = 3", 0, "commands claim 13 events"),
        ("UPDATE command_outcomes SET position = 4 WHERE position = 3", 0, "do not stand"),
    ] {
        let database = filled().await;
        tamper(&database.pool, statement).await;
        let report = verified(&database.pool).await;
        assert!(!report.passed(), "{statement}");
        let found = report.findings.iter().any(|finding| finding.position == position && finding.what.contains(word));
        assert!(found, "{statement}: {:?}", report.findings);
    }
}

#[tokio::test]
async fn a_read_model_that_was_never_built_or_has_stopped_is_not_right() {
    let database = filled().await;
    let projections = hub_projections::all();
    let verify =
        async || verify_read_models(&database.pool, &Upcasters::default(), &projections, &|_, _, _| {}).await.unwrap();
    assert!(verify().await.iter().all(|report| !report.passed()), "nothing has run");
    sqlx::query(
        "INSERT INTO projection_checkpoints (projection, version, position, epoch, status, last_error, updated_at) \
         VALUES ('tenants', 1, 12, 1, 'running', NULL, now()), ('charges', 1, 12, 1, 'stopped', 'poison', now())",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let passed: Vec<_> = verify().await.iter().filter(|report| report.passed()).map(|report| report.name).collect();
    assert_eq!(passed, ["tenants"]);
}

#[tokio::test]
async fn an_export_has_what_was_asked_for_in_order() {
    let database = filled().await;
    let lines = async |filter: Filter| -> Vec<Value> {
        let mut output = Vec::new();
        let count = export(&database.pool, &filter, &mut output, |_, _| {}).await.unwrap();
        let text = String::from_utf8(output).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(count, lines.len() as u64);
        lines
    };
    let positions = |lines: &[Value]| lines.iter().map(|line| line["position"].as_i64().unwrap()).collect::<Vec<_>>();
    let whole = lines(Filter::default()).await;
    assert_eq!(positions(&whole), (1..=12).collect::<Vec<_>>());
    assert_eq!(whole[0]["payload"], serde_json::json!({ "to": "Ada" }));
    assert_eq!(whole[0]["leaf_hash"].as_str().unwrap().len(), 64);
    let of_tenant = Filter { tenant_id: Some(Uuid::from_u128(2)), ..Filter::default() };
    assert_eq!(positions(&lines(of_tenant).await), [3, 4, 7, 8, 11, 12]);
    let of_type = Filter { event_type: Some("letter.written".to_owned()), ..Filter::default() };
    assert_eq!(positions(&lines(of_type).await), [1, 2, 3, 4]);
    let of_aggregate = Filter { event_type: Some("letter.*".to_owned()), ..Filter::default() };
    assert_eq!(lines(of_aggregate).await.len(), 12);
    let later = Filter { from: Some(TestClock::default().now() + chrono::TimeDelta::days(1)), ..Filter::default() };
    assert!(lines(later).await.is_empty());
}
