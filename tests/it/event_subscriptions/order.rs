//! The order per aggregate: what waits for what, and what does not.

use serde_json::json;

use super::{Process, ids, numbers, positions};

#[tokio::test]
async fn later_events_of_an_aggregate_wait_for_the_earlier_ones() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    letters.letters(&[1, 1, 2, 1]).await;
    let first = letters.pull("a", 1).await;
    // The second letter of box 1 waits; the one of box 2 does not.
    let second = letters.pull("b", 10).await;
    assert_eq!((numbers(&first), numbers(&second)), (vec![1], vec![2]));
    assert_eq!(letters.pull("c", 10).await, []);
    letters.acknowledge(&first).await;
    let rest = letters.pull("c", 10).await;
    assert_eq!(numbers(&rest), [1, 1]);
    assert!(positions(&rest).is_sorted());
}

#[tokio::test]
async fn a_rejected_event_rests_and_holds_up_its_aggregate_only() {
    let process = Process::start().await;
    let retry = json!({ "initial_seconds": 10, "max_seconds": 25 });
    let letters = process.subscription("acme", json!({ "retry": retry })).await;
    letters.letters(&[1, 1, 2]).await;
    let handed = letters.pull("a", 10).await;
    let answer = letters.done("reject", json!({ "ack_ids": [handed[0].ack_id], "reason": "full" })).await;
    assert_eq!(answer, json!({ "retried": 1, "parked": 0, "skipped": 0, "taken_back": 1, "refused": [] }));
    // What came after it in the same answer was taken back.
    let late = letters.acknowledge(&handed[1..]).await;
    assert_eq!((&late["acknowledged"], &late["refused"][0]["reason"]), (&json!(1), &json!("lease_over")));
    assert_eq!(letters.pull("b", 10).await, []);
    process.pass(9);
    assert_eq!(letters.pull("b", 10).await, []);
    process.pass(1);
    let again = letters.pull("b", 10).await;
    assert_eq!(positions(&again), [handed[0].position, handed[1].position]);
    assert_eq!((again[0].delivery, again[1].delivery), (2, 1), "what was taken back does not count");
}

#[tokio::test]
async fn each_rest_is_longer_than_the_one_before_unless_the_consumer_says_how_long() {
    let process = Process::start().await;
    let retry = json!({ "initial_seconds": 10, "max_seconds": 25 });
    let letters = process.subscription("acme", json!({ "retry": retry })).await;
    letters.letters(&[1]).await;
    for (seconds, wish) in [(10, None), (20, None), (25, None), (25, None), (3, Some(3)), (400, Some(400))] {
        let handed = letters.pull("a", 1).await;
        assert_eq!(numbers(&handed), [1], "{seconds}");
        let mut body = json!({ "ack_ids": ids(&handed) });
        if let Some(wish) = wish {
            body["retry_after_seconds"] = json!(wish);
        }
        letters.done("reject", body).await;
        process.pass(seconds - 1);
        assert_eq!(letters.pull("a", 1).await, [], "{seconds}");
        process.pass(1);
    }
    let handed = letters.pull("a", 1).await;
    letters.done("reject", json!({ "ack_ids": ids(&handed), "retry_after_seconds": 0 })).await;
    assert_eq!(numbers(&letters.pull("a", 1).await), [1]);
}

#[tokio::test]
async fn an_event_whose_lease_was_extended_holds_up_what_follows() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({ "lease_seconds": 10 })).await;
    letters.letters(&[1, 1]).await;
    let handed = letters.pull("a", 10).await;
    letters.done("extend", json!({ "ack_ids": ids(&handed[..1]), "seconds": 60 })).await;
    process.pass(30);
    assert_eq!(letters.pull("b", 10).await, []);
    letters.acknowledge(&handed[..1]).await;
    assert_eq!(positions(&letters.pull("b", 10).await), [handed[1].position]);
}

#[tokio::test]
async fn things_of_different_kinds_with_the_same_id_do_not_wait_for_each_other() {
    let process = Process::start().await;
    let filter = json!({ "types": ["letter.*", "parcel.*"] });
    let both = process.subscription("acme", json!({ "filter": filter })).await;
    process.append(both.tenant_id, "letter", 1, json!({})).await;
    process.append(both.tenant_id, "parcel", 1, json!({})).await;
    assert_eq!(both.pull("a", 1).await.len(), 1);
    assert_eq!(both.pull("b", 1).await.len(), 1);
}
