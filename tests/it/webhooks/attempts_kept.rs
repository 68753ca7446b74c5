//! Attempts are kept for so many days; everything else of a webhook stays.

use chrono::TimeDelta;
use hub_tests::kit::eventually;
use serde_json::{Value, json};

use super::{LIMIT, World, receiver::Receiver};

/// The days that the log of attempts has parts for.
const PARTS: &str = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
     WHERE i.inhparent = 'webhook_attempts'::regclass ORDER BY 1";

impl World {
    async fn days(&self) -> Vec<String> {
        let names: Vec<String> = sqlx::query_scalar(PARTS).fetch_all(&self.database.pool).await.unwrap();
        names.iter().map(|name| name.strip_prefix("webhook_attempts_").unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn attempts_go_with_their_day_after_thirty_days_and_nothing_else_goes() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let (receiver, late) = (Receiver::start().await, Receiver::start().await);
    let hook = world.webhook(acme, &receiver, json!({})).await;
    let paused = world.webhook(acme, &late, json!({})).await;
    world.done(&paused.path("/pause"), Value::Null).await;
    let attempted = async |count: usize| {
        eventually(LIMIT, async || {
            let attempts = world.attempts(&hook).await;
            (attempts.len() == count && world.pending(&hook).await == 0).then_some(attempts)
        })
        .await
    };
    for key in ["day", "night"] {
        world.role(acme, key).await;
    }
    let old = attempted(2).await;
    eventually(LIMIT, async || (world.pending(&paused).await == 2).then_some(())).await;
    assert_eq!(world.days().await, ["20260101", "20260102", "20260103"]);

    // A day whose end is not thirty days ago stays, whole.
    world.clock.advance(TimeDelta::days(30));
    world.role(acme, "weekend").await;
    attempted(3).await;
    assert_eq!(world.days().await.first().unwrap(), "20260101");

    world.clock.advance(TimeDelta::days(1));
    world.role(acme, "holiday").await;
    let kept = attempted(2).await;
    let days = ["20260102", "20260103", "20260131", "20260201", "20260202", "20260203"];
    assert_eq!(world.days().await, days);
    let ids = |attempts: &[Value]| attempts.iter().map(|attempt| attempt["id"].clone()).collect::<Vec<_>>();
    assert!(ids(&kept).iter().all(|id| !ids(&old).contains(id)), "{kept:?}");
    assert_eq!(receiver.count(), 4, "nothing is sent again");

    // What waits and is not too old is still there, and is delivered.
    eventually(LIMIT, async || (world.pending(&paused).await == 2).then_some(())).await;
    world.done(&paused.path("/resume"), Value::Null).await;
    late.accepts(2).await;
    eventually(LIMIT, async || (world.pending(&paused).await == 0).then_some(())).await;
    assert_eq!(world.attempts(&paused).await.len(), 4);
}
