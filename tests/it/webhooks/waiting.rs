//! Events that wait in the database are found again, whatever waits beside them, and as they were sent before.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use hub_tests::kit::eventually;
use serde_json::{Value, json};

use super::{
    LIMIT, World,
    receiver::{Receiver, Reply},
};

#[tokio::test]
async fn what_is_due_is_found_behind_a_thousand_that_are_not() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::start().await;
    let hook = world.webhook(acme, &receiver, json!({ "ordering": "parallel" })).await;
    world.done(&hook.path("/pause"), Value::Null).await;
    for number in 0..250 {
        world.rename(acme, &format!("Acme {number}")).await;
    }
    eventually(LIMIT, async || (world.pending(&hook).await == 250).then_some(())).await;
    // As if a thousand deliveries of before had failed, and were tried again tomorrow.
    let failed = "INSERT INTO webhook_queue (webhook_id, position, tenant_id, aggregate_id, created_at, due_at, leased) \
         SELECT $1, -n, $2, $2, $3, $3 + interval '1 day', false FROM generate_series(1, 1000) AS n";
    let now = (world.clock.clock())();
    sqlx::query(failed).bind(hook.id).bind(acme).bind(now).execute(&world.database.pool).await.unwrap();
    world.done(&hook.path("/resume"), Value::Null).await;
    receiver.accepts(250).await;
}

#[tokio::test]
async fn behind_one_that_is_given_up_the_next_goes_at_once() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::answering(|_, count| Reply::status(if count < 2 { 500 } else { 204 })).await;
    let retry = json!({ "schedule_seconds": [1_800], "age_max_hours": 1 });
    let hook = world.webhook(acme, &receiver, json!({ "ordering": "strict", "retry": retry })).await;
    world.role(acme, "early").await;
    world.role(acme, "late").await;
    eventually(LIMIT, async || (world.attempts(&hook).await.len() == 1).then_some(())).await;
    eventually(LIMIT, async || (world.pending(&hook).await == 2).then_some(())).await;
    // Its second attempt is due, and a third one would come too late.
    world.clock.advance(TimeDelta::minutes(40));
    receiver.accepts(1).await;
    let outcomes: Vec<Value> = world.attempts(&hook).await.iter().map(|attempt| attempt["outcome"].clone()).collect();
    assert!(outcomes.contains(&json!("given_up")), "{outcomes:?}");
}

#[tokio::test]
async fn what_was_sent_together_keeps_its_id_over_all_attempts() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::answering(|_, count| Reply::status(if count % 2 == 0 { 500 } else { 204 })).await;
    let hook = world.webhook(acme, &receiver, json!({ "batch_max": 40, "concurrency": 10 })).await;
    world.done(&hook.path("/pause"), Value::Null).await;
    for number in 0..300 {
        world.rename(acme, &format!("Acme {number}")).await;
    }
    world.done(&hook.path("/resume"), Value::Null).await;
    world.pass_until(async || (world.pending(&hook).await == 0).then_some(())).await;
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for taken in receiver.taken() {
        for event in taken.json().as_array().unwrap() {
            let event_id = event["data"]["event_id"].as_str().unwrap().to_owned();
            ids.entry(event_id).or_default().insert(taken.header("webhook-id").to_owned());
        }
    }
    assert_eq!(ids.len(), 300);
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
}

#[tokio::test]
async fn who_follows_the_log_again_sends_what_waits_once() {
    let mut world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::start().await;
    let hook = world.webhook(acme, &receiver, json!({ "ordering": "per_aggregate" })).await;
    world.done(&hook.path("/pause"), Value::Null).await;
    for number in 0..3 {
        world.rename(acme, &format!("Acme {number}")).await;
    }
    eventually(LIMIT, async || (world.pending(&hook).await == 3).then_some(())).await;
    world.stop_delivering();
    // As somebody may do who restores a table by hand.
    let back = "UPDATE process_cursors SET position = (SELECT position FROM events WHERE event_type = 'webhook.registered') \
         WHERE process = 'webhooks'";
    sqlx::query(back).execute(&world.database.pool).await.unwrap();
    world.deliver();
    world.done(&hook.path("/resume"), Value::Null).await;
    world.rename(acme, "Acme at last").await;
    receiver.accepts(4).await;
    let ids: BTreeSet<_> = receiver.taken().iter().map(|taken| taken.header("webhook-id").to_owned()).collect();
    assert_eq!((ids.len(), receiver.taken().len()), (4, 4));
}
