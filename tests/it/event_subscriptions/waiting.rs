//! Pulls that wait: for an event, for others to be done, and for no longer than they said.

use std::time::{Duration, Instant};

use hub_tests::kit::eventually;
use serde_json::json;

use super::{LIMIT, Process, ids, numbers};

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_waits_is_answered_when_an_event_comes_from_another_process() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    let other = process.beside();
    let waits = letters.handed(json!({ "consumer": "a", "wait_seconds": 30 }));
    let comes = async {
        // Once it has been looked for in vain.
        eventually(LIMIT, async || (letters.rows().await > 0).then_some(())).await;
        letters.at(&other).letters(&[1]).await;
    };
    let started = Instant::now();
    let (handed, ()) = tokio::join!(waits, comes);
    assert_eq!(numbers(&handed), [1]);
    assert!(started.elapsed() < Duration::from_secs(25), "it did not wait to its end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_waits_is_answered_when_the_earlier_event_is_acknowledged() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    letters.letters(&[1, 1]).await;
    let first = letters.pull("a", 1).await;
    let waits = letters.handed(json!({ "consumer": "b", "wait_seconds": 30 }));
    let acknowledges = async {
        eventually(LIMIT, async || (letters.get("lag").await["waiting"] == 1).then_some(())).await;
        letters.acknowledge(&first).await;
    };
    let (handed, ()) = tokio::join!(waits, acknowledges);
    assert_eq!(numbers(&handed), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_waits_is_answered_when_a_rest_is_over() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    letters.letters(&[1]).await;
    let first = letters.pull("a", 1).await;
    letters.done("reject", json!({ "ack_ids": ids(&first), "retry_after_seconds": 600 })).await;
    let waits = letters.handed(json!({ "consumer": "b", "wait_seconds": 30 }));
    let passes = async { process.pass(600) };
    let (handed, ()) = tokio::join!(waits, passes);
    assert_eq!((numbers(&handed), handed[0].delivery), (vec![1], 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_answered_when_the_wait_is_over() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    let started = Instant::now();
    assert_eq!(letters.handed(json!({ "consumer": "a", "wait_seconds": 1 })).await, []);
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_waits_hears_that_the_subscription_is_paused() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    let waits = letters.post("pull", json!({ "consumer": "a", "wait_seconds": 30 }));
    let pauses = async {
        eventually(LIMIT, async || (letters.rows().await > 0).then_some(())).await;
        letters.done("pause", json!({})).await;
    };
    let (answer, ()) = tokio::join!(waits, pauses);
    answer.refused(409, "event_subscription_paused");
}

#[tokio::test]
async fn what_is_asked_for_is_bounded() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    for wrong in [
        json!({}),
        json!({ "consumer": "" }),
        json!({ "consumer": "a", "max": 0 }),
        json!({ "consumer": "a", "max": 501 }),
        json!({ "consumer": "a", "wait_seconds": 31 }),
        json!({ "consumer": "a", "unknown": 1 }),
    ] {
        letters.post("pull", wrong).await.refused(422, "invalid_body");
    }
    let many: Vec<String> = (1..=1_001).map(|position| format!("1.{position:x}.1")).collect();
    for (verb, wrong) in [
        ("acknowledge", json!({ "ack_ids": [] })),
        ("acknowledge", json!({ "ack_ids": many })),
        ("acknowledge", json!({ "ack_ids": ["nonsense"] })),
        ("reject", json!({ "ack_ids": ["1.1.1"], "retry_after_seconds": 86_401 })),
        ("extend", json!({ "ack_ids": ["1.1.1"], "seconds": 0 })),
        ("extend", json!({ "ack_ids": ["1.1.1"], "seconds": 3_601 })),
        ("reset", json!({ "to": "nowhere" })),
    ] {
        letters.post(verb, wrong).await.refused(422, "invalid_body");
    }
}
