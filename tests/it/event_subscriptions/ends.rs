//! Subscriptions that are paused or deleted: what they still do, and what they leave behind.

use hub_commands::process;
use hub_tests::kit::eventually;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{LIMIT, Process, numbers};

#[tokio::test]
async fn a_paused_subscription_hands_out_nothing_and_takes_acknowledgements() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    letters.letters(&[1]).await;
    let handed = letters.pull("a", 10).await;
    letters.done("pause", json!({})).await;
    letters.post("pull", json!({ "consumer": "a" })).await.refused(409, "event_subscription_paused");
    assert_eq!(letters.acknowledge(&handed).await["acknowledged"], 1);
    letters.letters(&[2]).await;
    letters.done("resume", json!({})).await;
    assert_eq!(numbers(&letters.pull("a", 10).await), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_subscription_refuses_everything_and_leaves_no_rows() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    letters.letters(&[1, 2]).await;
    letters.pull("a", 1).await;
    let kept = process.subscribe(letters.tenant_id, "kept", json!({})).await;
    kept.pull("a", 1).await;
    letters.done("delete", json!({})).await;
    let end = CancellationToken::new();
    let running = tokio::spawn(process::run(process.commands.clone(), end.clone()));
    eventually(LIMIT, async || (letters.rows().await == 0).then_some(())).await;
    assert!(kept.rows().await > 0, "nobody else's");
    end.cancel();
    running.await.unwrap();
    for verb in ["pull", "acknowledge"] {
        let body = if verb == "pull" { json!({ "consumer": "a" }) } else { json!({ "up_to": 1 }) };
        letters.post(verb, body).await.refused(409, "event_subscription_deleted");
    }
    assert_eq!(letters.rows().await, 0);
    // Its name is free.
    process.subscribe(letters.tenant_id, "letters", json!({})).await;
}

#[tokio::test]
async fn what_a_pull_left_that_was_under_way_goes_with_the_next_request() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    letters.letters(&[1]).await;
    letters.pull("a", 1).await;
    letters.done("delete", json!({})).await;
    assert!(letters.rows().await > 0);
    letters.post("pull", json!({ "consumer": "a" })).await.refused(409, "event_subscription_deleted");
    assert_eq!(letters.rows().await, 0);
}
