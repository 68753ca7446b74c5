//! The audit trail.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ACME, Api, OTHER, Who, created, metadata, registered, subscription, tenant, webhook, webhook_registered};

#[tokio::test]
async fn a_report_that_nobody_writes_down_is_not_answered() {
    let (api, _) = trail().await;
    let uri = format!("/v1/tenants/{ACME}/audit/reports/access");
    api.get(Who::Acme, &uri).await.refused(503, "store_unavailable");
}

/// An hour between all events, two tenants, two actors, one conversation over two commands.
async fn trail() -> (Api, Uuid) {
    let api = Api::start().await;
    let start: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    let conversation = Uuid::from_u128(0xc0);
    let spoken = |actor: &str| {
        let mut metadata = metadata(actor);
        metadata.correlation_id = conversation;
        metadata
    };
    let later = |hours: i64| api.clock.set(start + TimeDelta::hours(hours));
    later(0);
    let acme = [("registered", registered("acme", "starter", "eu-central"))];
    api.append_with(tenant(ACME), &acme, spoken("user:ada")).await;
    later(1);
    api.append_with(tenant(OTHER), &[("registered", registered("other", "starter", "us-east"))], spoken("user:eve"))
        .await;
    later(2);
    api.append_with(tenant(ACME), &[("activated", json!({}))], spoken("process:onboarding")).await;
    later(3);
    api.append_with(subscription(ACME, 1), &[created("mail", "EUR")], metadata("user:bob")).await;
    later(4);
    api.append_with(tenant(ACME), &[("renamed", json!({"name": "Acme Widgets SE"}))], metadata("user:ada")).await;
    later(5);
    api.append_with(webhook(ACME, 2), &[webhook_registered()], metadata("user:bob")).await;
    (api, conversation)
}

/// The tenant's own positions.
fn positions(items: &[Value]) -> Vec<i64> {
    items.iter().map(|item| item["position"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_tenants_trail_is_searched_by_everything_that_an_entry_says() {
    let (api, conversation) = trail().await;
    let find = async |query: &str| {
        let query = query.replace(':', "%3A").replace(' ', "%20").replace('"', "%22");
        positions(&api.walk(Who::Acme, &format!("/v1/tenants/{ACME}/audit?{query}"), 2).await)
    };
    assert_eq!(find("").await, [5, 4, 3, 2, 1]);
    assert_eq!(find("actor=user:ada").await, [4, 1]);
    assert_eq!(find("event_type=tenant.activated").await, [2]);
    assert_eq!(find("event_type=tenant.*").await, [4, 2, 1]);
    assert_eq!(find("aggregate_type=subscription").await, [3]);
    assert_eq!(find(&format!("aggregate_type=tenant&aggregate_id={ACME}")).await, [4, 2, 1]);
    assert_eq!(find(&format!("correlation_id={conversation}")).await, [2, 1]);
    assert_eq!(find("from=2026-01-01T02:00:00Z&to=2026-01-01T04:00:00Z").await, [3, 2]);
    assert_eq!(find("q=widgets").await, [4]);
    assert_eq!(find("q=\"acme widgets\"").await, [4]);
    assert_eq!(find("q=widgets or activated").await, [4, 2]);
    assert_eq!(find("q=other").await, [0; 0]);
    assert_eq!(find("q=c2VhbGVkIG9uY2U").await, [0; 0], "secrets cannot be searched for");
    assert_eq!(find("q=tenant&actor=process:onboarding&event_type=tenant.*").await, [2]);
}

#[tokio::test]
async fn an_entry_tells_who_when_what_and_why_and_not_where_in_the_whole_log() {
    let (api, conversation) = trail().await;
    let answer = api.get(Who::Acme, &format!("/v1/tenants/{ACME}/audit?event_type=tenant.activated")).await;
    let entry = &answer.ok()["items"][0];
    assert_eq!(
        (&entry["actor"], &entry["occurred_at"]),
        (&json!("process:onboarding"), &json!("2026-01-01T02:00:00Z"))
    );
    assert_eq!((&entry["correlation_id"], &entry["sequence"]), (&json!(conversation), &json!(2)));
    let members = entry.as_object().unwrap();
    assert!(!members.contains_key("log_position") && !members.contains_key("search"), "{entry}");
}

#[tokio::test]
async fn the_platform_sees_every_tenants_trail_in_the_order_of_the_log() {
    let (api, conversation) = trail().await;
    let find = async |query: &str| -> Vec<i64> {
        let items = api.walk(Who::Platform, &format!("/v1/audit?{query}"), 2).await;
        items.iter().map(|item| item["log_position"].as_i64().unwrap()).collect()
    };
    assert_eq!(find("").await, [6, 5, 4, 3, 2, 1]);
    assert_eq!(find(&format!("correlation_id={conversation}")).await, [3, 2, 1]);
    assert_eq!(find(&format!("tenant_id={OTHER}")).await, [2]);
    assert_eq!(find("q=registered&event_type=tenant.*").await, [2, 1]);
}

#[tokio::test]
async fn a_search_that_makes_no_sense_is_refused() {
    let (api, _) = trail().await;
    for bad in ["q=", "q=%20", "event_type=x*", "from=now", "correlation_id=1", "actor=%00", "sort=asc"] {
        api.get(Who::Acme, &format!("/v1/tenants/{ACME}/audit?{bad}")).await.refused(400, "invalid_query");
    }
}
