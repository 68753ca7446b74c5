//! What one owner of a webhook asks for never stops the deliveries of all others.

use axum::http::StatusCode;
use serde_json::json;

use super::{World, receiver::Receiver};

#[tokio::test]
async fn odd_replays_and_filters_are_refused_or_do_nothing() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::start().await;
    let hook = world.webhook(acme, &receiver, json!({})).await;
    for times in [json!({ "since": "+262000-01-01T00:00:00Z" }), json!({ "until": "-5000-01-01T00:00:00Z" })] {
        assert_eq!(world.post(&hook.path("/replay"), &times).await.0, StatusCode::UNPROCESSABLE_ENTITY, "{times}");
    }
    let nul = json!({ "filter": { "filters": [{ "exact": { "subject": "a\u{0}" } }] } });
    assert_eq!(world.post(&hook.path("/update"), &nul).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    for positions in [
        json!({ "from": i64::MAX }),
        json!({ "from": i64::MIN, "to": i64::MIN }),
        json!({ "from": 9, "to": 3 }),
        json!({ "to": 0 }),
    ] {
        world.done(&hook.path("/replay"), positions).await;
    }
    world.role(acme, "night").await;
    receiver.accepts(1).await;
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn what_the_database_refuses_of_one_webhook_stops_nobody() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::start().await;
    let hook = world.webhook(acme, &receiver, json!({})).await;
    world.role(acme, "day").await;
    receiver.accepts(1).await;
    sqlx::raw_sql("ALTER TABLE webhook_replays ADD CHECK (since IS NULL)").execute(&world.database.pool).await.unwrap();
    world.done(&hook.path("/replay"), json!({ "since": "2026-01-01T00:00:00Z" })).await;
    world.role(acme, "night").await;
    receiver.accepts(2).await;
    world.done(&hook.path("/replay"), json!({})).await;
    receiver.accepts(4).await;
}
