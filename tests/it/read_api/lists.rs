//! Lists and details of aggregates.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    ACME, Api, NOBODY, OTHER, Who, activated, created, instance, registered, role, subscription, tenant, webhook,
    webhook_registered,
};

fn ids(items: &[Value]) -> Vec<Uuid> {
    items.iter().map(|item| item["id"].as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn a_list_is_walked_to_its_end_without_gaps_or_doubles() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    api.register(OTHER, "other").await;
    for id in 1..=23 {
        let (owner, plan) = if id % 5 == 0 { (OTHER, "backup") } else { (ACME, "mail") };
        api.append(subscription(owner, id), &[created(plan, "EUR"), activated(3_000, "EUR")]).await;
    }
    let uri = format!("/v1/tenants/{ACME}/subscriptions");
    let expected: Vec<Uuid> = (1..=23).filter(|id| id % 5 != 0).map(Uuid::from_u128).collect();
    for limit in [1, 7, 19, 500] {
        assert_eq!(ids(&api.walk(Who::Acme, &uri, limit).await), expected, "limit {limit}");
    }
    assert_eq!(api.walk(Who::Acme, &format!("{uri}?stage=active&plan=mail"), 5).await.len(), 19);
    assert_eq!(api.walk(Who::Acme, &format!("{uri}?plan=backup"), 5).await.len(), 0);
    assert_eq!(api.walk(Who::Acme, &format!("{uri}?stage=past_due"), 5).await.len(), 0);
}

#[tokio::test]
async fn a_cursor_serves_only_the_list_tenant_filter_and_caller_it_was_given_for() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    api.register(OTHER, "other").await;
    for id in 1..=3 {
        api.append(subscription(ACME, id), &[created("mail", "EUR")]).await;
        api.append(webhook(ACME, id), &[webhook_registered()]).await;
    }
    let uri = format!("/v1/tenants/{ACME}/subscriptions");
    let page = api.get(Who::Acme, &format!("{uri}?limit=1")).await;
    let cursor = page.ok()["next_cursor"].as_str().unwrap();
    api.get(Who::Acme, &format!("{uri}?limit=2&cursor={cursor}")).await.ok();
    for (who, uri) in [
        (Who::Acme, format!("{uri}?plan=mail&cursor={cursor}")),
        (Who::Platform, format!("{uri}?cursor={cursor}")),
        (Who::Acme, format!("/v1/tenants/{ACME}/webhooks?cursor={cursor}")),
        (Who::Other, format!("/v1/tenants/{OTHER}/subscriptions?cursor={cursor}")),
        (Who::Acme, format!("{uri}?cursor={cursor}x")),
    ] {
        api.get(who, &uri).await.refused(400, "invalid_cursor");
    }
}

#[tokio::test]
async fn tenants_are_found_by_status_tier_region_and_slug() {
    let api = Api::start().await;
    let mut expected = Vec::new();
    for (id, tier, region, active) in [
        (1_u128, "starter", "eu-central", true),
        (2, "enterprise", "eu-central", true),
        (3, "enterprise", "us-east", false),
        (4, "enterprise", "eu-central", false),
    ] {
        let id = Uuid::from_u128(id);
        let slug = format!("slug-{}", expected.len());
        let mut events = vec![("registered", registered(&slug, tier, region))];
        events.extend(active.then(|| ("activated", json!({}))));
        api.append(tenant(id), &events).await;
        expected.push(id);
    }
    let find = async |query: &str| ids(&api.walk(Who::Platform, &format!("/v1/tenants?{query}"), 3).await);
    let of = |places: &[usize]| places.iter().map(|place| expected[*place]).collect::<Vec<_>>();
    assert_eq!(find("").await, expected);
    assert_eq!(find("status=active").await, of(&[0, 1]));
    assert_eq!(find("status=pending&tier=enterprise").await, of(&[2, 3]));
    assert_eq!(find("region=eu-central&tier=enterprise").await, of(&[1, 3]));
    assert_eq!(find("slug=slug-2").await, of(&[2]));
    assert_eq!(find("slug=slug-9").await, of(&[]));
    for bad in ["status=gone", "tier=gold", "color=red", "slug=%00", "slug=a&slug=b"] {
        api.get(Who::Platform, &format!("/v1/tenants?{bad}")).await.refused(400, "invalid_query");
    }
    api.get(Who::Platform, "/v1/tenants?limit=501").await.refused(400, "invalid_page_limit");
}

#[tokio::test]
async fn roles_are_found_by_status_key_and_principal() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    let made = |key: &str, system: bool| {
        ("created", json!({"key": key, "name": key, "description": "", "system": system, "permissions": []}))
    };
    let assigned = |principal: &str| {
        ("assigned", json!({"assignment_id": Uuid::now_v7(), "principal": principal, "from": "2026-01-01T00:00:00Z"}))
    };
    api.append(role(ACME, 1), &[made("owner", true), assigned("user:ada"), assigned("user:bob")]).await;
    api.append(role(ACME, 2), &[made("support", false), assigned("user:ada")]).await;
    api.append(role(ACME, 3), &[made("old", false), ("archived", json!({}))]).await;
    let find = async |query: &str| {
        let items = api.walk(Who::Acme, &format!("/v1/tenants/{ACME}/roles?{query}"), 2).await;
        ids(&items).into_iter().map(|id| id.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(find("").await, [1, 2, 3]);
    assert_eq!(find("principal=user%3Aada").await, [1, 2]);
    assert_eq!(find("principal=user%3Aada&system=false").await, [2]);
    assert_eq!(find("principal=user%3Abob").await, [1]);
    assert_eq!(find("principal=user%3A").await, [0; 0]);
    assert_eq!(find("status=archived").await, [3]);
    assert_eq!(find("status=live&key=support").await, [2]);
}

#[tokio::test]
async fn service_instances_are_found_by_service_status_health_and_subscription() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    let operation_id = Uuid::from_u128(9);
    let requested = |service: &str, subscription: Option<u128>| {
        let requested = json!({
            "operation_id": operation_id, "service": service, "plan": "small", "parameters": {},
            "subscription_id": subscription.map(Uuid::from_u128),
        });
        ("provision_requested", requested)
    };
    let ready = ("provisioned", json!({"operation_id": operation_id, "endpoint": null, "outputs": {}}));
    let down = ("health_changed", json!({"from": null, "to": "down", "detail": "no answer"}));
    api.append(instance(ACME, 1), &[requested("mail", Some(7)), ready.clone(), down]).await;
    api.append(instance(ACME, 2), &[requested("mail", None), ready]).await;
    api.append(instance(ACME, 3), &[requested("backup", Some(7))]).await;
    let find = async |query: &str| {
        let items = api.walk(Who::Acme, &format!("/v1/tenants/{ACME}/service-instances?{query}"), 2).await;
        ids(&items).into_iter().map(|id| id.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(find("service=mail").await, [1, 2]);
    assert_eq!(find("status=ready&health=down").await, [1]);
    assert_eq!(find("status=provisioning").await, [3]);
    assert_eq!(find(&format!("subscription_id={}", Uuid::from_u128(7))).await, [1, 3]);
}

#[tokio::test]
async fn a_deleted_webhook_is_gone_and_a_secret_is_never_told() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    api.append(webhook(ACME, 1), &[webhook_registered(), ("paused", json!({}))]).await;
    api.append(webhook(ACME, 2), &[webhook_registered(), ("deleted", json!({}))]).await;
    let uri = format!("/v1/tenants/{ACME}/webhooks");
    assert_eq!(ids(&api.walk(Who::Acme, &uri, 5).await), [Uuid::from_u128(1)]);
    assert!(api.walk(Who::Acme, &format!("{uri}?status=active"), 5).await.is_empty());
    let one = api.get(Who::Acme, &format!("{uri}/{}", Uuid::from_u128(1))).await;
    assert_eq!(one.ok()["status"], "paused");
    assert!(!one.body.to_string().contains("sealed"), "{}", one.body);
    api.get(Who::Acme, &format!("{uri}/{}", Uuid::from_u128(2))).await.refused(404, "not_found");
}

#[tokio::test]
async fn an_unchanged_detail_is_answered_with_304() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    let uri = format!("/v1/tenants/{ACME}");
    let first = api.get(Who::Acme, &uri).await;
    assert_eq!((first.ok()["slug"].clone(), first.headers["etag"].to_str().unwrap()), (json!("acme"), "\"1\""));
    assert_eq!(first.headers["projection-position"], "1");
    let unchanged = api.ask(Who::Acme, &uri, &[("if-none-match", "\"1\"")]).await;
    assert_eq!((unchanged.status, unchanged.body), (304, Value::Null));
    api.append(tenant(ACME), &[("activated", json!({}))]).await;
    let changed = api.get(Who::Acme, &uri).await;
    assert_eq!(changed.headers["etag"], "\"2\"");
    assert_eq!(api.ask(Who::Acme, &uri, &[("if-none-match", "\"1\"")]).await.status, 200);
}

#[tokio::test]
async fn a_list_below_an_unknown_tenant_is_not_an_empty_list() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    let lists = ["subscriptions", "roles", "service-instances", "webhooks", "api-keys", "audit", "statement", "events"];
    let range = "from=2026-01-01&to=2026-01-31";
    let sums = [
        "analytics/service-instances".to_owned(),
        format!("analytics/events?{range}"),
        format!("analytics/revenue?{range}"),
    ];
    let mut statuses = BTreeSet::new();
    for list in lists.map(str::to_owned).into_iter().chain(sums) {
        api.get(Who::Platform, &format!("/v1/tenants/{ACME}/{list}")).await.ok();
        let unknown = api.get(Who::Platform, &format!("/v1/tenants/{NOBODY}/{list}")).await;
        unknown.refused(404, "not_found");
        statuses.insert(unknown.body.to_string());
    }
    assert_eq!(statuses.len(), 1, "{statuses:?}");
}
