//! What a webhook had that is disabled or deleted goes in parts, whatever happens in between.

use hub_commands::webhook_delivery::WebhookOrders;
use hub_domain::webhook::{DisabledReason, Disablement};
use hub_tests::kit::eventually;
use serde_json::{Value, json};

use super::{Hook, LIMIT, World, receiver::Receiver};

/// More rows than go at once.
const ROWS: i64 = 12_000;

impl World {
    /// As if so many events had waited for long.
    async fn wait_for_long(&self, hook: &Hook) {
        let rows = "INSERT INTO webhook_queue (webhook_id, position, tenant_id, aggregate_id, created_at, due_at, leased) \
             SELECT $1, -n, $2, $2, $3, $3 + interval '1 day', false FROM generate_series(1, $4) AS n";
        let query = sqlx::query(rows).bind(hook.id).bind(hook.tenant).bind(self.clock.now()).bind(ROWS);
        query.execute(&self.database.pool).await.unwrap();
    }

    async fn disable(&self, hook: &Hook, missed_from: i64) {
        let failing_since = self.clock.now();
        let disablement = Disablement { reason: DisabledReason::Failing, failing_since, missed_from };
        WebhookOrders::new(self.store.clone()).disable(hook.tenant, hook.id, disablement).await.unwrap();
    }

    async fn known_to_deliveries(&self, hook: &Hook) -> bool {
        let known = "SELECT EXISTS (SELECT FROM webhook_endpoints WHERE webhook_id = $1)";
        sqlx::query_scalar(known).bind(hook.id).fetch_one(&self.database.pool).await.unwrap()
    }

    async fn cleared(&self, hook: &Hook) {
        eventually(LIMIT, async || (self.pending(hook).await == 0).then_some(())).await;
    }
}

#[tokio::test]
async fn what_a_webhook_had_goes_when_it_is_disabled_or_deleted() {
    let mut world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::start().await;
    let (disabled, deleted) =
        (world.webhook(acme, &receiver, json!({})).await, world.webhook(acme, &receiver, json!({})).await);
    for hook in [&disabled, &deleted] {
        world.wait_for_long(hook).await;
    }
    world.disable(&disabled, 1).await;
    world.cleared(&disabled).await;
    assert!(world.known_to_deliveries(&disabled).await);
    // Who delivers goes amid it, and the next one knows what is left.
    world.done(&deleted.path("/delete"), Value::Null).await;
    eventually(LIMIT, async || (world.pending(&deleted).await < ROWS).then_some(())).await;
    world.stop_delivering();
    world.deliver();
    world.cleared(&deleted).await;
    eventually(LIMIT, async || (!world.known_to_deliveries(&deleted).await).then_some(())).await;
}

#[tokio::test]
async fn what_is_delivered_again_is_not_taken_away_with_what_was_there_before() {
    let mut world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::start().await;
    let hook = world.webhook(acme, &receiver, json!({})).await;
    world.role(acme, "night").await;
    let first = receiver.accepts(1).await.remove(0).position();
    world.cleared(&hook).await;
    world.stop_delivering();
    world.wait_for_long(&hook).await;
    world.disable(&hook, first).await;
    world.hook_when(&hook, |row| row["status"] == "disabled").await;
    world.done(&hook.path("/update"), json!({ "url": receiver.url() + "/other" })).await;
    world.done(&hook.path("/enable"), json!({ "replay_missed": true })).await;
    world.deliver();
    receiver.accepts(2).await;
    world.cleared(&hook).await;
    world.role(acme, "day").await;
    receiver.accepts(3).await;
}
