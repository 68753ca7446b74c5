//! Large events are taken into memory, and sent together, up to so many bytes.

use std::time::Duration;

use hub_tests::kit::eventually;
use serde_json::{Value, json};

use super::{
    LIMIT, World,
    receiver::{Receiver, Reply},
};

/// So many bytes of an endpoint's events are in memory.
const BYTES_MAX: usize = 2 * 1024 * 1024;

/// So many bytes of payloads go into one delivery.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// About as large as the parameters of a service may be.
const PAYLOAD_BYTES: usize = 15 * 1024;

const EVENTS: i64 = 200;

#[tokio::test]
async fn what_is_taken_up_for_an_endpoint_and_sent_at_once_has_so_many_bytes() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::answering(|_, _| Reply::status(204).after(Duration::from_secs(3))).await;
    let hook = world.webhook(acme, &receiver, json!({ "batch_max": 100, "timeout_seconds": 30 })).await;
    world.done(&hook.path("/update"), json!({ "events": ["service_instance.provision_requested"] })).await;
    world.done(&hook.path("/pause"), Value::Null).await;
    let order = json!({ "service": "mail", "plan": "business", "parameters": { "text": "a".repeat(PAYLOAD_BYTES) } });
    for _ in 0..EVENTS {
        world.done(&format!("/v1/tenants/{acme}/service-instances"), order.clone()).await;
    }
    eventually(LIMIT, async || (world.pending(&hook).await == EVENTS).then_some(())).await;
    world.done(&hook.path("/resume"), Value::Null).await;
    eventually(LIMIT, async || (receiver.count() > 0).then_some(())).await;
    let leased = "SELECT count(*) FROM webhook_queue WHERE webhook_id = $1 AND leased";
    let leased: i64 = sqlx::query_scalar(leased).bind(hook.id).fetch_one(&world.database.pool).await.unwrap();
    let most = i64::try_from(BYTES_MAX / PAYLOAD_BYTES).unwrap() + 1;
    assert!((1..=most).contains(&leased), "{leased} of at most {most}");
    receiver.answer(|_, _| Reply::status(204));
    eventually(LIMIT, async || (world.pending(&hook).await == 0).then_some(())).await;
    let batches: Vec<usize> = receiver.accepted().iter().map(|taken| taken.json().as_array().unwrap().len()).collect();
    assert_eq!(batches.iter().sum::<usize>(), 200, "{batches:?}");
    assert!(batches.iter().all(|events| events * PAYLOAD_BYTES <= BATCH_BYTES_MAX), "{batches:?}");
}
