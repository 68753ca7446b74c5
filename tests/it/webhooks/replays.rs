//! Replays take turns, one of what failed goes from one failure to the next, and deliveries go on beside them.

use hub_tests::kit::eventually;
use serde_json::{Value, json};

use super::{Hook, LIMIT, World, receiver::Receiver};

/// So many replays have a piece at once.
const AT_ONCE: usize = 8;

/// More positions than any test looks at.
const FAR: i64 = 1_000_000_000;

impl World {
    /// As if a replay had been asked for that ends far behind the last event.
    async fn replay_far(&self, hook: &Hook, only_failed: bool) {
        let replay = "INSERT INTO webhook_replays (tenant_id, webhook_id, sequence, next, until, only_failed) \
             VALUES ($1, $2, 100, 1, $3, $4)";
        let query = sqlx::query(replay).bind(hook.tenant).bind(hook.id).bind(FAR).bind(only_failed);
        query.execute(&self.database.pool).await.unwrap();
    }

    async fn open_replays(&self, hook: &Hook) -> i64 {
        let count = "SELECT count(*) FROM webhook_replays WHERE webhook_id = $1";
        sqlx::query_scalar(count).bind(hook.id).fetch_one(&self.database.pool).await.unwrap()
    }

    async fn replayed_up_to(&self, hook: &Hook) -> i64 {
        let next = "SELECT next FROM webhook_replays WHERE webhook_id = $1";
        sqlx::query_scalar(next).bind(hook.id).fetch_one(&self.database.pool).await.unwrap()
    }
}

#[tokio::test]
async fn each_replay_moves_on_however_many_there_are_and_deliveries_go_on() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::start().await;
    let mut hooks = Vec::new();
    for _ in 0..AT_ONCE + 2 {
        hooks.push(world.webhook(acme, &receiver, json!({})).await);
    }
    for hook in &hooks {
        world.done(&hook.path("/pause"), Value::Null).await;
        world.replay_far(hook, false).await;
    }
    // Has it look whether there are any.
    let last = world.webhook(acme, &receiver, json!({})).await;
    world.done(&last.path("/replay"), json!({ "from": 1 })).await;
    for hook in &hooks {
        eventually(LIMIT, async || (world.replayed_up_to(hook).await > 1_000).then_some(())).await;
    }
    world.role(acme, "night").await;
    receiver.accepts(1).await;
}

#[tokio::test]
async fn a_replay_of_what_failed_goes_from_one_failure_to_the_next() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::start().await;
    let hook = world.webhook(acme, &receiver, json!({})).await;
    let mut wanted = Vec::new();
    for number in 0..4 {
        world.role(acme, &format!("shift-{number}")).await;
        wanted = receiver.accepts(number + 1).await.iter().map(super::receiver::Taken::position).collect();
    }
    eventually(LIMIT, async || (world.attempts(&hook).await.len() == 4).then_some(())).await;
    // As if the first and the last one had been given up, one of them twice, and the log went on for long.
    let given_up = "UPDATE webhook_attempts SET outcome = 'given_up' WHERE position = ANY($1)";
    sqlx::query(given_up).bind([wanted[0], wanted[3]]).execute(&world.database.pool).await.unwrap();
    let twice = "INSERT INTO webhook_attempts SELECT (jsonb_populate_record(a, jsonb_build_object('id', gen_random_uuid()))).* \
         FROM webhook_attempts a WHERE position = $1";
    sqlx::query(twice).bind(wanted[0]).execute(&world.database.pool).await.unwrap();
    world.replay_far(&hook, true).await;
    // Has it look whether there are any.
    world.done(&hook.path("/replay"), json!({ "from": i64::MAX })).await;
    let again = receiver.accepts(6).await;
    let again: Vec<i64> = again[4..].iter().map(super::receiver::Taken::position).collect();
    assert!(again.contains(&wanted[0]) && again.contains(&wanted[3]), "{again:?} of {wanted:?}");
    eventually(LIMIT, async || (world.open_replays(&hook).await == 0).then_some(())).await;
    assert_eq!(receiver.count(), 6);
}
