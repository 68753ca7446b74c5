//! PostgreSQL crashes and takes the last moments of the read models with it, which are not waited for when they are written.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use hub_event_store::{append::Append, event::NewEvent, store::EventStore, tail::Tail, upcast::Upcasters};
use hub_http::ConsistencyToken;
use hub_projections::{positions::Positions, runner::Runner};
use hub_tests::kit::{OwnPostgres, TestClock, eventually};
use serde_json::{Value, json, value::RawValue};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{ACME, PROMPT, Who, build, metadata, read, read_only, registered, send, tenant};

const LIMIT: Duration = Duration::from_secs(120);

/// Renames in all.
const RENAMES: i64 = 60;

/// PostgreSQL crashes after so many of them, and after twice as many.
const CRASH_EVERY: i64 = 20;

/// An event of the one stream there is, so its position is its sequence.
async fn append(store: &EventStore, sequence: i64, tag: &str, payload: &Value) {
    let append = Append {
        stream: tenant(ACME),
        expected_sequence: Some(sequence - 1),
        metadata: metadata("user:test"),
        fingerprint: [0; 32],
        events: vec![NewEvent {
            event_id: Uuid::now_v7(),
            event_type: format!("tenant.{tag}"),
            event_version: 1,
            payload: RawValue::from_string(payload.to_string()).unwrap(),
        }],
        claims: Vec::new(),
        counters: Vec::new(),
        facts: Vec::new(),
        guards: Vec::new(),
        outcome: None,
    };
    // The same command, until it is in the log.
    eventually(LIMIT, async || store.append(append.clone()).await.ok()).await;
}

#[tokio::test]
async fn no_answer_is_older_than_it_says_however_often_postgresql_crashes() {
    let mut postgres = OwnPostgres::start().await;
    let (tail, positions, end) = (Tail::default(), Positions::default(), CancellationToken::new());
    let _end = end.clone().drop_guard();
    let clock = TestClock::default().clock();
    let store = EventStore::start(postgres.pool.clone(), tail.clone(), Upcasters::default(), clock);
    let (following, pool, ended) = (tail.clone(), postgres.pool.clone(), end.clone());
    tokio::spawn(async move { following.run(pool, ended).await });
    let projections = hub_projections::all();
    let runner = Runner::new(postgres.pool.clone(), None, tail.clone(), Upcasters::default(), projections)
        .with_settings(PROMPT)
        .with_positions(positions.clone());
    tokio::spawn(runner.run(end.clone()));
    let pool = read_only(&postgres.url, Duration::from_secs(2)).await;
    let (router, _) = build(pool, tail, positions, 10, end.clone());
    let uri = format!("/v1/tenants/{ACME}");

    append(&store, 1, "registered", &registered("acme", "starter", "eu-central")).await;
    let done = AtomicBool::new(false);
    let writing = async {
        for number in 1..=RENAMES {
            append(&store, number + 1, "renamed", &json!({"name": number.to_string()})).await;
            let token = ConsistencyToken(number + 1).to_string();
            let headers = [("consistency-token", token.as_str()), ("prefer", "wait=2")];
            let name = eventually(LIMIT, async || {
                let answer = read(send(&router, Who::Acme, &uri, &headers).await).await;
                (answer.status == 200).then(|| answer.body["name"].clone())
            });
            assert_eq!(name.await, number.to_string().as_str(), "who has seen it appended sees it");
            if number % CRASH_EVERY == 0 && number < RENAMES {
                postgres.crash();
                postgres.restart().await;
            }
        }
        done.store(true, Ordering::SeqCst);
    };
    let reading = async {
        let (mut answers, mut refused) = (0, 0);
        while !done.load(Ordering::SeqCst) {
            let answer = read(send(&router, Who::Acme, &uri, &[]).await).await;
            tokio::task::yield_now().await;
            if answer.status != 200 {
                refused += 1;
                continue;
            }
            answers += 1;
            let position: i64 = answer.headers["projection-position"].to_str().unwrap().parse().unwrap();
            let renamed: i64 = answer.body["name"].as_str().unwrap().parse().unwrap_or(0);
            assert!(renamed + 1 >= position, "said to be at {position}: {}", answer.body);
        }
        (answers, refused)
    };
    let ((), (answers, refused)) = tokio::join!(writing, reading);
    assert!(answers > RENAMES, "{answers} answers, {refused} refused");
}
