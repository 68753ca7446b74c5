//! A tenant's log, page by page.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    ACME, Api, OTHER, Who, api_key, api_key_issued, api_key_rotated, created, subscription, tenant, webhook,
    webhook_registered,
};

fn positions(page: &Value) -> Vec<i64> {
    page["items"].as_array().unwrap().iter().map(|event| event["position"].as_i64().unwrap()).collect()
}

/// Two tenants whose events take turns.
async fn two_tenants() -> Api {
    let api = Api::without_projections(10).await;
    api.register(OTHER, "other").await;
    api.register(ACME, "acme").await;
    for id in 1..=4 {
        api.append(subscription(OTHER, id), &[created("mail", "EUR")]).await;
        api.append(subscription(ACME, id), &[created("mail", "EUR")]).await;
    }
    api.append(tenant(ACME), &[("activated", json!({}))]).await;
    api
}

#[tokio::test]
async fn pages_count_only_the_tenants_own_events() {
    let api = two_tenants().await;
    let uri = format!("/v1/tenants/{ACME}/events");
    let first = api.get(Who::Acme, &format!("{uri}?limit=4")).await;
    assert_eq!(positions(first.ok()), [1, 2, 3, 4]);
    assert_eq!((&first.body["next_after"], &first.body["complete"]), (&json!(4), &json!(false)));
    let second = api.get(Who::Acme, &format!("{uri}?limit=4&after=4")).await;
    assert_eq!(positions(second.ok()), [5, 6]);
    assert_eq!((&second.body["next_after"], &second.body["complete"]), (&json!(6), &json!(true)));
    let end = api.get(Who::Acme, &format!("{uri}?after=6")).await;
    assert_eq!((positions(end.ok()), &end.body["complete"]), (vec![], &json!(true)));
    // Exactly full, and complete all the same.
    assert_eq!(api.get(Who::Acme, &format!("{uri}?limit=6")).await.ok()["complete"], true);
    assert_eq!(first.headers["projection-position"], "6", "the tenant's own position");
}

#[tokio::test]
async fn an_event_is_told_as_it_was_recorded() {
    let api = two_tenants().await;
    let page = api.get(Who::Acme, &format!("/v1/tenants/{ACME}/events?limit=1")).await;
    let event = &page.ok()["items"][0];
    let mut members: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    let expected = [
        "aggregate_id",
        "aggregate_type",
        "event_id",
        "event_type",
        "event_version",
        "metadata",
        "occurred_at",
        "payload",
        "position",
        "sequence",
    ];
    assert_eq!(members, expected);
    assert_eq!((&event["event_type"], &event["sequence"]), (&json!("tenant.registered"), &json!(1)));
    assert_eq!((&event["payload"]["slug"], &event["metadata"]["actor"]), (&json!("acme"), &json!("user:test")));
}

#[tokio::test]
async fn filters_go_by_type_and_aggregate() {
    let api = two_tenants().await;
    let uri = format!("/v1/tenants/{ACME}/events");
    let find = async |query: &str| positions(api.get(Who::Acme, &format!("{uri}?{query}")).await.ok());
    assert_eq!(find("event_type=subscription.created").await, [2, 3, 4, 5]);
    assert_eq!(find("event_type=tenant.*").await, [1, 6]);
    assert_eq!(find(&format!("aggregate_id={}", Uuid::from_u128(3))).await, [4]);
    assert_eq!(find("event_type=tenant.*&after=1").await, [6]);
    let page = api.get(Who::Acme, &format!("{uri}?event_type=role.created&limit=1")).await;
    assert_eq!((&page.ok()["next_after"], &page.body["complete"]), (&json!(6), &json!(true)), "what was looked at");
}

#[tokio::test]
async fn a_bad_position_limit_or_filter_is_refused() {
    let api = two_tenants().await;
    let uri = format!("/v1/tenants/{ACME}/events");
    for (query, code) in [
        ("after=7", "invalid_query"),
        ("after=-1", "invalid_query"),
        ("after=99999999999999999999", "invalid_query"),
        ("limit=0", "invalid_page_limit"),
        ("limit=501", "invalid_page_limit"),
        ("event_type=TENANT", "invalid_query"),
        ("aggregate_id=x", "invalid_query"),
        ("cursor=x", "invalid_query"),
    ] {
        api.get(Who::Acme, &format!("{uri}?{query}")).await.refused(400, code);
    }
}

#[tokio::test]
async fn the_secret_of_a_webhook_is_left_out() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    let rotated =
        json!({"secret_id": Uuid::from_u128(6), "sealed_secret": "c2VhbGVk", "rotated_at": "2026-01-01T00:00:00Z"});
    api.append(webhook(ACME, 1), &[webhook_registered(), ("secret_rotated", rotated)]).await;
    let page = api.get(Who::Platform, &format!("/v1/tenants/{ACME}/events?event_type=webhook.*")).await;
    assert_eq!(positions(page.ok()), [2, 3]);
    let text = page.body.to_string();
    assert!(!text.contains("sealed_secret") && !text.contains("c2VhbGVk"), "{text}");
    assert_eq!(page.body["items"][1]["payload"]["secret_id"], json!(Uuid::from_u128(6)));
}

#[tokio::test]
async fn the_hash_of_an_api_key_is_left_out() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    api.append(api_key(ACME, 1), &[api_key_issued(1), api_key_rotated(2)]).await;
    let page = api.get(Who::Platform, &format!("/v1/tenants/{ACME}/events?event_type=api_key.*")).await;
    assert_eq!(positions(page.ok()), [2, 3]);
    assert!(!page.body.to_string().contains("sha256"), "{}", page.body);
    assert_eq!(page.body["items"][1]["payload"]["secret_id"], json!(format!("{:016x}", 2)));
}
