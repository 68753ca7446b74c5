//! What was handed out as often as allowed: parked or passed over, replayed or discarded.

use serde_json::{Value, json};

use super::{Consuming, Process, ids, numbers, positions};

/// Lets the lease of everything end `count` times.
async fn let_down(letters: Consuming<'_>, count: usize) {
    for _ in 0..count {
        assert!(!letters.pull("a", 10).await.is_empty());
        letters.process.pass(60);
    }
}

async fn parked(letters: Consuming<'_>) -> Vec<Value> {
    letters.get("parked").await["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_event_that_nobody_acknowledges_is_parked_and_holds_up_nobody() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({ "deliveries_max": 2 })).await;
    letters.letters(&[1]).await;
    let_down(letters, 2).await;
    let position = letters.letters(&[1]).await;
    let handed = letters.pull("a", 10).await;
    assert_eq!((positions(&handed), handed[0].delivery), (vec![position], 1));
    let items = parked(letters).await;
    assert_eq!(items.len(), 1);
    assert_eq!(
        (&items[0]["position"], &items[0]["deliveries"], &items[0]["event_type"], &items[0]["consumer"]),
        (&json!(position - 1), &json!(2), &json!("letter.sent"), &json!("a"))
    );
    assert_eq!(items[0]["reason"], "it was handed out as often as allowed and not acknowledged");
    assert_eq!(items[0]["parked_at"], "2026-01-01T12:02:00Z");
    assert_eq!(letters.get("lag").await["parked"], 1);
}

#[tokio::test]
async fn what_is_parked_is_replayed_as_if_for_the_first_time() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    letters.letters(&[1, 2, 3]).await;
    let handed = letters.pull("a", 10).await;
    let body = json!({ "ack_ids": ids(&handed), "park": true, "reason": "the address is unknown" });
    let answer = letters.done("reject", body).await;
    assert_eq!(answer, json!({ "retried": 0, "parked": 3, "skipped": 0, "taken_back": 0, "refused": [] }));
    assert_eq!(letters.pull("a", 10).await, []);
    let late = letters.acknowledge(&handed[..1]).await;
    assert_eq!(late["refused"][0]["reason"], "parked");
    assert_eq!(parked(letters).await[2]["reason"], "the address is unknown");

    let answer = letters.done("parked/replay", json!({ "positions": [handed[1].position, 1] })).await;
    assert_eq!(answer, json!({ "replayed": 1, "parked": 2 }));
    let again = letters.pull("a", 10).await;
    assert_eq!((numbers(&again), again[0].delivery), (vec![2], 1));
    let answer = letters.done("parked/discard", json!({ "positions": [handed[0].position] })).await;
    assert_eq!(answer, json!({ "discarded": 1, "parked": 1 }));
    assert_eq!(letters.done("parked/replay", json!({ "all": true })).await, json!({ "replayed": 1, "parked": 0 }));
    assert_eq!(numbers(&letters.pull("a", 10).await), [3]);
    for wrong in
        [json!({}), json!({ "all": false }), json!({ "all": true, "positions": [1] }), json!({ "positions": [] })]
    {
        letters.post("parked/replay", wrong).await.refused(422, "invalid_body");
    }
}

#[tokio::test]
async fn what_is_parked_is_listed_page_by_page() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({ "deliveries_max": 1 })).await;
    letters.letters(&[1, 2, 3, 4, 5]).await;
    let handed = letters.pull("a", 10).await;
    letters.done("reject", json!({ "ack_ids": ids(&handed) })).await;
    let mut seen = Vec::new();
    let mut query = "parked?limit=2".to_owned();
    loop {
        let page = letters.get(&query).await;
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["position"].as_i64().unwrap()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("parked?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, positions(&handed));
    assert_eq!(letters.done("parked/discard", json!({ "all": true })).await, json!({ "discarded": 5, "parked": 0 }));
}

#[tokio::test]
async fn a_subscription_may_pass_over_what_is_exhausted_and_counts_it() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({ "deliveries_max": 1, "on_exhausted": "skip" })).await;
    letters.letters(&[1, 1, 2]).await;
    let_down(letters, 1).await;
    assert_eq!(letters.pull("a", 10).await, []);
    assert_eq!(letters.get("lag").await["skipped"], 3);
    letters.letters(&[3]).await;
    let handed = letters.pull("a", 10).await;
    let answer = letters.done("reject", json!({ "ack_ids": ids(&handed) })).await;
    assert_eq!((&answer["skipped"], &letters.get("lag").await["skipped"]), (&json!(1), &json!(4)));
    assert_eq!(parked(letters).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_reset_keeps_what_is_parked_before_it_and_hands_out_what_is_after_it() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    letters.letters(&[1, 2]).await;
    let handed = letters.pull("a", 10).await;
    letters.done("reject", json!({ "ack_ids": ids(&handed), "park": true })).await;
    letters.done("reset", json!({ "to": { "position": handed[0].position } })).await;
    assert_eq!(parked(letters).await.len(), 1);
    assert_eq!(numbers(&letters.pull("a", 10).await), [2]);
}
