//! What is paused waits no longer than retries go on, and has not failed meanwhile.

use std::time::Duration;

use chrono::TimeDelta;
use hub_tests::kit::eventually;
use serde_json::{Value, json};

use super::{
    LIMIT, World,
    receiver::{Receiver, Reply},
};

#[tokio::test]
async fn what_waits_too_long_while_its_webhook_is_paused_is_given_up() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::start().await;
    let hook = world.webhook(acme, &receiver, json!({ "retry": { "age_max_hours": 1 } })).await;
    world.done(&hook.path("/pause"), Value::Null).await;
    world.role(acme, "night").await;
    eventually(LIMIT, async || (world.pending(&hook).await == 1).then_some(())).await;
    // As if much more had come before it, and later.
    let later = "INSERT INTO webhook_queue (webhook_id, position, tenant_id, aggregate_id, created_at, due_at, leased) \
         SELECT $1, -n, $2, $2, $3, $3, false FROM generate_series(1, 2500) AS n";
    let after = world.clock.now() + TimeDelta::minutes(60);
    sqlx::query(later).bind(hook.id).bind(acme).bind(after).execute(&world.database.pool).await.unwrap();
    world.clock.advance(TimeDelta::minutes(90));
    eventually(LIMIT, async || (world.pending(&hook).await == 2_500).then_some(())).await;
    let attempts = world.attempts(&hook).await;
    assert_eq!(attempts.len(), 1);
    assert_eq!((&attempts[0]["outcome"], &attempts[0]["status"]), (&json!("given_up"), &Value::Null));
    let away = "DELETE FROM webhook_queue WHERE webhook_id = $1";
    sqlx::query(away).bind(hook.id).execute(&world.database.pool).await.unwrap();
    world.done(&hook.path("/resume"), Value::Null).await;
    world.done(&hook.path("/replay"), json!({ "only": "failed" })).await;
    assert_eq!(receiver.accepts(1).await[0].json()["data"]["payload"]["key"], "night");
}

#[tokio::test]
async fn an_endpoint_that_is_resumed_after_days_has_not_failed_all_the_while() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::answering(|_, _| Reply::status(500)).await;
    let hook = world.webhook(acme, &receiver, json!({ "retry": { "age_max_hours": 168 } })).await;
    world.role(acme, "night").await;
    eventually(LIMIT, async || (world.attempts(&hook).await.len() == 1).then_some(())).await;
    world.done(&hook.path("/pause"), Value::Null).await;
    world.hook_when(&hook, |row| row["status"] == "paused").await;
    world.clock.advance(TimeDelta::days(6));
    world.done(&hook.path("/resume"), Value::Null).await;
    eventually(LIMIT, async || (world.attempts(&hook).await.len() == 2).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(world.get(&hook.path("")).await.1["status"], "active");
}
