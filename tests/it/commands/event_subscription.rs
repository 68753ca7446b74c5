//! Event subscriptions.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{Api, Tenant};

fn named(name: &str) -> Value {
    json!({ "name": name, "filter": { "types": ["tenant.*"] } })
}

async fn create(tenant: Tenant<'_>, name: &str) -> super::Answer {
    tenant.api.post(&tenant.path("event-subscriptions"), named(name)).await
}

#[tokio::test]
async fn an_event_subscription_is_created_changed_and_deleted() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let (id, path) = acme.make("event-subscriptions", named("billing")).await;
    let path = |verb: &str| format!("{path}/{verb}");
    let changes = json!({ "filter": { "subjects": ["role/*"] }, "mode": "exclusive", "on_exhausted": "skip" });
    assert_eq!(api.done(&path("update"), changes.clone()).await["event_count"], 2);
    api.nothing(&path("update"), changes).await;
    api.nothing(&path("update"), json!({})).await;
    api.done(&path("pause"), Value::Null).await;
    api.nothing(&path("pause"), Value::Null).await;
    api.done(&path("resume"), Value::Null).await;
    api.done(&path("delete"), Value::Null).await;
    api.refused(&path("resume"), Value::Null, "event_subscription_deleted").await;
    let types = api.events(id).await;
    let tags: Vec<_> = types.iter().map(|name| name.trim_start_matches("event_subscription.")).collect();
    assert_eq!(tags, ["created", "filter_changed", "handling_changed", "paused", "resumed", "deleted"]);
}

#[tokio::test]
async fn what_is_out_of_bounds_or_no_filter_is_refused() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let path = acme.path("event-subscriptions");
    for (field, value, code) in [
        ("lease_seconds", json!(4), "event_subscription_lease_out_of_bounds"),
        ("deliveries_max", json!(101), "event_subscription_deliveries_out_of_bounds"),
        ("retry", json!({ "initial_seconds": 9, "max_seconds": 8 }), "event_subscription_retry_out_of_bounds"),
        ("start", json!({ "position": 1_000 }), "event_subscription_position_ahead"),
        ("start", json!("first"), "invalid_body"),
        ("filter", json!({ "types": ["nonsense"] }), "invalid_body"),
        ("filter", json!({ "filters": [{ "sql": "type LIKE" }] }), "invalid_body"),
        ("name", json!("Not A Key"), "invalid_body"),
        ("mode", json!("shared"), "invalid_body"),
    ] {
        let mut body = named("billing");
        body[field] = value;
        api.refused(&path, body, code).await;
    }
}

#[tokio::test]
async fn a_name_is_held_by_one_living_subscription_of_a_tenant() {
    let api = Api::start().await;
    let (acme, other) = (api.tenant("acme").await, api.tenant("other").await);
    let first = create(acme, "billing").await;
    create(acme, "billing").await.assert_code("event_subscription_name_taken");
    assert_eq!(create(other, "billing").await.status, 201);
    api.done(&acme.path(&format!("event-subscriptions/{}/delete", first.id())), Value::Null).await;
    assert_eq!(create(acme, "billing").await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_fifty_event_subscriptions_at_most() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let names: Vec<String> = (0..50).map(|number| format!("s{number}")).collect();
    let made = join_all(names.iter().map(|name| create(acme, name))).await;
    assert!(made.iter().all(|answer| answer.status == 201));
    create(acme, "one-more").await.assert_code("event_subscription_limit_reached");
    api.done(&acme.path(&format!("event-subscriptions/{}/delete", made[7].id())), Value::Null).await;
    assert_eq!(create(acme, "one-more").await.status, 201);
}
