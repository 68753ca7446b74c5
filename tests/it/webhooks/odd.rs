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
