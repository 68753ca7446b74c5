//! Exclusive subscriptions: one consumer at a time, all events one after the other.

use serde_json::json;

use super::{Process, ids, numbers, positions};

#[tokio::test]
async fn one_consumer_has_it_until_its_leases_end() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({ "mode": "exclusive", "lease_seconds": 30 })).await;
    letters.letters(&[1, 2, 3]).await;
    let handed = letters.pull("a", 2).await;
    assert_eq!(numbers(&handed), [1, 2]);
    let refused = letters.post("pull", json!({ "consumer": "b" })).await;
    refused.refused(409, "event_subscription_taken");
    assert_eq!(refused.body["data"], json!({ "consumer": "a", "until": "2026-01-01T12:00:30Z" }));
    assert_eq!(letters.get("lag").await["holder"], json!({ "consumer": "a", "until": "2026-01-01T12:00:30Z" }));
    // It keeps what it extends.
    letters.done("extend", json!({ "ack_ids": ids(&handed), "seconds": 50 })).await;
    process.pass(49);
    letters.post("pull", json!({ "consumer": "b" })).await.refused(409, "event_subscription_taken");
    process.pass(1);
    let taken = letters.pull("b", 10).await;
    assert_eq!((numbers(&taken), taken[0].delivery, taken[2].delivery), (vec![1, 2, 3], 2, 1));
    letters.post("pull", json!({ "consumer": "a" })).await.refused(409, "event_subscription_taken");
    assert_eq!(letters.acknowledge(&handed).await["acknowledged"], 0);
    assert_eq!(letters.acknowledge(&taken).await["acknowledged"], 3);
}

#[tokio::test]
async fn no_event_is_handed_out_before_all_earlier_ones_are_done_with() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({ "mode": "exclusive" })).await;
    letters.letters(&[1, 2, 3, 4]).await;
    let handed = letters.pull("a", 3).await;
    assert_eq!(letters.pull("a", 3).await, [], "the first three are still to be acknowledged");
    letters.acknowledge(&handed[..1]).await;
    assert_eq!(letters.pull("a", 3).await, []);
    let answer = letters.done("reject", json!({ "ack_ids": [handed[1].ack_id], "retry_after_seconds": 5 })).await;
    assert_eq!(answer["taken_back"], 1, "what follows it, although it is of another aggregate");
    assert_eq!(letters.pull("a", 3).await, []);
    process.pass(5);
    let again = letters.pull("a", 10).await;
    assert_eq!(numbers(&again), [2, 3, 4]);
    assert!(positions(&again).is_sorted());
}

#[tokio::test]
async fn a_consumer_that_comes_again_keeps_it_and_a_reset_frees_it() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({ "mode": "exclusive", "lease_seconds": 30 })).await;
    for _ in 0..3 {
        assert_eq!(letters.pull("a", 1).await, []);
        process.pass(20);
        letters.post("pull", json!({ "consumer": "b" })).await.refused(409, "event_subscription_taken");
    }
    letters.done("reset", json!({ "to": "latest" })).await;
    assert_eq!(letters.pull("b", 1).await, []);
    letters.post("pull", json!({ "consumer": "a" })).await.refused(409, "event_subscription_taken");
    // Shared from now on.
    letters.done("update", json!({ "mode": "competing" })).await;
    letters.letters(&[1, 2]).await;
    assert_eq!(numbers(&letters.pull("a", 1).await), [1]);
    assert_eq!(numbers(&letters.pull("b", 1).await), [2]);
}

#[tokio::test]
async fn whoever_has_lost_it_keeps_no_event_from_its_order() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({ "mode": "exclusive", "lease_seconds": 30 })).await;
    letters.letters(&[1, 2, 3]).await;
    let lost = letters.pull("a", 3).await;
    process.pass(30);
    // It comes too late, but nobody has taken its place: that is still its work.
    assert_eq!(letters.acknowledge(&lost[..1]).await["acknowledged"], 1);
    let taken = letters.pull("b", 1).await;
    assert_eq!(positions(&taken), positions(&lost[1..2]));
    // The third was handed to nobody else yet, and it is not for the first consumer to say what becomes of it.
    let late = letters.done("extend", json!({ "ack_ids": ids(&lost[2..]), "seconds": 600 })).await;
    assert_eq!((&late["extended"], &late["refused"][0]["reason"]), (&json!(0), &json!("lease_over")));
    let late = letters.acknowledge(&lost[2..]).await;
    assert_eq!((&late["acknowledged"], &late["refused"][0]["reason"]), (&json!(0), &json!("lease_over")));
    letters.acknowledge(&taken).await;
    assert_eq!(positions(&letters.pull("b", 1).await), positions(&lost[2..]));
}
