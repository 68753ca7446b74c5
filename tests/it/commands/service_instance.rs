//! Service instances.

use futures::future::join;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Api, Tenant, assert_one_wins};

fn order() -> Value {
    json!({ "service": "mail", "plan": "business", "parameters": { "mailboxes": 25 } })
}

async fn subscription(tenant: &Tenant<'_>) -> (Uuid, String) {
    let price = json!({ "minor": 500, "currency": "EUR" });
    let plan = json!({ "code": "mail", "name": "Mail", "tier": "basic", "price": price, "interval": "month" });
    tenant.make("subscriptions", json!({ "plan": plan, "seats": 1 })).await
}

async fn set_quota(tenant: &Tenant<'_>, limit: u64) {
    tenant.api.done(&tenant.path("set-quota"), json!({ "resource": "instances", "limit": limit })).await;
}

#[tokio::test]
async fn an_instance_goes_through_every_operation() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let answer = api.done(&acme.path("service-instances"), order()).await;
    let id: Uuid = answer["id"].as_str().unwrap().parse().unwrap();
    let path = |verb: &str| acme.path(&format!("service-instances/{id}/{verb}"));
    let failed =
        |answer: &Value| json!({ "operation_id": answer["operation_id"], "reason": "no room", "retryable": true });
    let succeeded = |answer: &Value| json!({ "operation_id": answer["operation_id"] });

    api.refused(&path("suspend"), Value::Null, "service_instance_operation_in_flight").await;
    let other = json!({ "operation_id": Uuid::from_u128(5) });
    api.refused(&path("report-success"), other, "service_instance_operation_mismatch").await;
    api.done(&path("report-failure"), failed(&answer)).await;
    api.nothing(&path("report-failure"), failed(&answer)).await;
    api.refused(&path("report-success"), succeeded(&answer), "service_instance_operation_finished").await;
    let answer = api.done(&path("retry-provision"), Value::Null).await;
    let report = json!({
        "operation_id": answer["operation_id"],
        "endpoint": "https://mail.acme.example",
        "outputs": { "host": "mx1" },
    });
    api.done(&path("report-success"), report).await;
    api.done(&path("report-health"), json!({ "health": "degraded", "detail": "slow" })).await;
    api.done(&path("report-health"), json!({ "health": "healthy" })).await;

    let same = api.nothing(&path("configure"), json!({ "parameters": { "mailboxes": 25 } })).await;
    assert_eq!(same["operation_id"], Value::Null);
    let answer = api.done(&path("configure"), json!({ "parameters": { "mailboxes": 50 } })).await;
    api.done(&path("report-success"), succeeded(&answer)).await;
    assert_eq!(api.nothing(&path("resume"), Value::Null).await["operation_id"], Value::Null);
    let answer = api.done(&path("suspend"), Value::Null).await;
    api.done(&path("report-success"), succeeded(&answer)).await;
    assert_eq!(api.nothing(&path("suspend"), Value::Null).await["operation_id"], Value::Null);
    let answer = api.done(&path("resume"), Value::Null).await;
    api.done(&path("report-success"), succeeded(&answer)).await;
    let answer = api.done(&path("deprovision"), Value::Null).await;
    api.done(&path("report-failure"), failed(&answer)).await;
    let answer = api.done(&path("deprovision"), Value::Null).await;
    api.done(&path("report-success"), succeeded(&answer)).await;
    api.refused(&path("deprovision"), Value::Null, "service_instance_deprovisioned").await;
    assert_eq!(api.events(id).await.last().map(String::as_str), Some("service_instance.deprovisioned"));
}

#[tokio::test]
async fn a_provision_that_failed_for_good_is_only_deprovisioned() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    set_quota(&acme, 1).await;
    let answer = api.done(&acme.path("service-instances"), order()).await;
    let path = |verb: &str| acme.path(&format!("service-instances/{}/{verb}", answer["id"].as_str().unwrap()));
    let report = json!({ "operation_id": answer["operation_id"], "reason": "blocked", "retryable": false });
    api.done(&path("report-failure"), report).await;
    api.refused(&path("retry-provision"), Value::Null, "service_instance_provision_not_retryable").await;
    // It counts until its end.
    api.refused(&acme.path("service-instances"), order(), "service_instance_quota_reached").await;
    api.done(&path("deprovision"), Value::Null).await;
    api.done(&acme.path("service-instances"), order()).await;
}

#[tokio::test]
async fn of_two_provisions_at_the_same_instant_the_quota_lets_one_through() {
    let api = Api::start().await;
    let other = api.beside();
    for (slug, second) in [("acme", &api), ("globex", &other)] {
        let tenant = api.tenant(slug).await;
        set_quota(&tenant, 1).await;
        let path = tenant.path("service-instances");
        let (one, two) = join(api.post(&path, order()), second.post(&path, order())).await;
        assert_one_wins([one, two], "service_instance_quota_reached");
    }
}

#[tokio::test]
async fn a_quota_of_ten_lets_ten_of_thirty_through() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    set_quota(&acme, 10).await;
    let other = api.beside();
    let path = acme.path("service-instances");
    let orders = (0..30).map(|n| if n % 2 == 0 { &api } else { &other }).map(|api| api.post(&path, order()));
    let answers = futures::future::join_all(orders).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    let refused = answers.iter().filter(|answer| answer.code() == "service_instance_quota_reached").count();
    assert_eq!((made, refused), (10, 20), "{answers:?}");
}

#[tokio::test]
async fn a_quota_is_the_latest_one_whatever_a_process_knows() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    set_quota(&acme, 1).await;
    let path = acme.path("service-instances");
    api.done(&path, order()).await;
    let other = api.beside();
    other.done(&acme.path("set-quota"), json!({ "resource": "instances", "limit": 2 })).await;
    // This process still knows the old quota.
    api.done(&path, order()).await;
    api.refused(&path, order(), "service_instance_quota_reached").await;
}

#[tokio::test]
async fn a_suspended_or_pending_tenant_gets_no_services() {
    let api = Api::start().await;
    let pending = api.post("/v1/tenants", super::registration("pending")).await.id();
    let path = format!("/v1/tenants/{pending}/service-instances");
    api.refused(&path, order(), "service_instance_tenant_not_active").await;

    let acme = api.tenant("acme").await;
    let answer = api.done(&acme.path("service-instances"), order()).await;
    let instance = |verb: &str| acme.path(&format!("service-instances/{}/{verb}", answer["id"].as_str().unwrap()));
    api.done(&instance("report-success"), json!({ "operation_id": answer["operation_id"] })).await;
    let suspended = api.done(&instance("suspend"), Value::Null).await;
    api.done(&instance("report-success"), json!({ "operation_id": suspended["operation_id"] })).await;
    // Another process suspends the tenant that this one knows as active.
    api.beside().done(&acme.path("suspend"), json!({ "reason": "security" })).await;
    api.refused(&acme.path("service-instances"), order(), "service_instance_tenant_not_active").await;
    api.refused(&instance("resume"), Value::Null, "service_instance_tenant_not_active").await;
    api.beside().done(&acme.path("resume"), json!({ "reason": "security" })).await;
    api.done(&instance("resume"), Value::Null).await;
}

#[tokio::test]
async fn an_instance_is_ordered_under_a_subscription_that_lives() {
    let api = Api::start().await;
    let (acme, globex) = (api.tenant("acme").await, api.tenant("globex").await);
    let under = |id: Uuid| {
        let mut order = order();
        order["subscription_id"] = json!(id);
        order
    };
    let (id, path) = subscription(&acme).await;
    api.done(&acme.path("service-instances"), under(id)).await;
    let code = "service_instance_subscription_not_usable";
    api.refused(&acme.path("service-instances"), under(Uuid::from_u128(5)), code).await;
    api.refused(&acme.path("service-instances"), under(subscription(&globex).await.0), code).await;
    // Another process pauses and cancels what this one knows as active.
    let other = api.beside();
    other.done(&format!("{path}/pause"), Value::Null).await;
    api.refused(&acme.path("service-instances"), under(id), code).await;
    other.done(&format!("{path}/resume"), Value::Null).await;
    other.done(&format!("{path}/mark-past-due"), Value::Null).await;
    api.done(&acme.path("service-instances"), under(id)).await;
    other.done(&format!("{path}/cancel"), json!({ "timing": "immediate", "reason": "" })).await;
    api.refused(&acme.path("service-instances"), under(id), code).await;
}

#[tokio::test]
async fn parameters_are_a_bounded_object() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    for parameters in [json!([]), json!(1), json!({ "a": "\0" }), json!({ "a": "x".repeat(17_000) })] {
        let body = json!({ "service": "mail", "plan": "business", "parameters": parameters });
        let answer = api.post(&acme.path("service-instances"), body).await;
        answer.assert_code("invalid_body");
        assert_eq!(answer.body["errors"][0]["pointer"], "/parameters");
    }
}
