//! What a webhook did not get before it was disabled is delivered when it is enabled, whatever went wrong in between.

use std::sync::atomic::Ordering::Relaxed;

use chrono::TimeDelta;
use hub_commands::webhook_delivery::WebhookOrders;
use hub_domain::webhook::{DisabledReason, Disablement};
use hub_tests::kit::eventually;
use serde_json::{Value, json};

use super::{
    Hook, LIMIT, World,
    receiver::{Receiver, Reply},
};

impl World {
    /// Enables a webhook and has it get what it missed.
    async fn enable(&self, hook: &Hook) {
        self.done(&hook.path("/enable"), json!({ "replay_missed": true })).await;
    }

    async fn held(&self, hook: &Hook) -> Vec<i64> {
        let held = "SELECT next FROM webhook_replays WHERE webhook_id = $1 AND held";
        sqlx::query_scalar(held).bind(hook.id).fetch_all(&self.database.pool).await.unwrap()
    }
}

#[tokio::test]
async fn what_an_endpoint_that_is_gone_did_not_take_waits_until_the_webhook_is_disabled() {
    let mut world = World::start().await;
    world.orders_fail.store(true, Relaxed);
    let acme = world.tenant("acme").await;
    let receiver = Receiver::answering(|_, _| Reply::status(410)).await;
    let hook = world.webhook(acme, &receiver, json!({ "retry": { "schedule_seconds": [600] } })).await;
    world.role(acme, "night").await;
    let attempt = eventually(LIMIT, async || world.attempts(&hook).await.into_iter().next()).await;
    assert_eq!((&attempt["outcome"], &attempt["status"]), (&json!("retrying"), &json!(410)), "{attempt}");
    // The webhook was not told, and who delivered is gone.
    world.stop_delivering();
    assert_eq!(world.pending(&hook).await, 1);
    world.orders_fail.store(false, Relaxed);
    world.clock.advance(TimeDelta::minutes(15));
    world.deliver();
    let row = world.hook_when(&hook, |row| row["status"] == "disabled").await;
    assert_eq!(row["disabled_reason"], "gone");
    eventually(LIMIT, async || (world.pending(&hook).await == 0).then_some(())).await;
    receiver.answer(|_, _| Reply::status(204));
    world.enable(&hook).await;
    let taken = receiver.accepts(1).await.remove(0);
    assert_eq!(taken.json()["data"]["payload"]["key"], "night");
}

#[tokio::test]
async fn a_webhook_is_not_disabled_while_nobody_can_say_what_it_misses() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::start().await;
    let hook = world.webhook(acme, &receiver, json!({})).await;
    world.role(acme, "day").await;
    receiver.accepts(1).await;
    receiver.answer(|_, _| Reply::status(410));
    let away = "ALTER TABLE webhook_replays RENAME COLUMN next TO elsewhere";
    sqlx::raw_sql(away).execute(&world.database.pool).await.unwrap();
    world.role(acme, "night").await;
    eventually(LIMIT, async || (receiver.count() == 2).then_some(())).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(world.get(&hook.path("")).await.1["status"], "active");
    let back = "ALTER TABLE webhook_replays RENAME COLUMN elsewhere TO next";
    sqlx::raw_sql(back).execute(&world.database.pool).await.unwrap();
    world
        .pass_until(async || {
            let (_, row) = world.get(&hook.path("")).await;
            (row["status"] == "disabled").then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_replay_that_was_under_way_when_the_webhook_was_disabled_is_part_of_what_it_missed() {
    let mut world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::start().await;
    let hook = world.webhook(acme, &receiver, json!({})).await;
    for number in 0..3 {
        world.role(acme, &format!("shift-{number}")).await;
    }
    let taken = receiver.accepts(3).await;
    let first = taken[0].position();
    world.stop_delivering();
    // As if it had got so far when the endpoint failed for the last time.
    let replay = "INSERT INTO webhook_replays (tenant_id, webhook_id, sequence, next, until, only_failed, held) \
         VALUES ($1, $2, 100, $3, $3 + 2, false, true)";
    sqlx::query(replay).bind(acme).bind(hook.id).bind(first).execute(&world.database.pool).await.unwrap();
    let disablement = Disablement {
        reason: DisabledReason::Failing,
        failing_since: world.clock.now(),
        missed_from: taken[2].position() + 1,
    };
    WebhookOrders::new(world.store.clone()).disable(acme, hook.id, disablement).await.unwrap();
    world.deliver();
    eventually(LIMIT, async || (world.held(&hook).await == [first]).then_some(())).await;
    world.hook_when(&hook, |row| row["status"] == "disabled").await;
    world.enable(&hook).await;
    receiver.accepts(6).await;
    eventually(LIMIT, async || world.held(&hook).await.is_empty().then_some(())).await;
    world.done(&hook.path("/test"), Value::Null).await;
    receiver.accepts(7).await;
    assert_eq!(receiver.count(), 7);
}
