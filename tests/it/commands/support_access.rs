//! Support access.

use chrono::TimeDelta;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ADA, Api, Tenant};

/// An API that knows people of a tenant, the path, and what is granted until so many days from now.
async fn office() -> (Api, String, impl Fn(&Api, i64) -> Value) {
    let first = Api::start().await;
    let acme = first.tenant("acme").await;
    let (role_id, _) = acme.make("roles", json!({ "key": "operator", "name": "Operator" })).await;
    let api = first.with_people(acme.id);
    let path = Tenant { api: &api, id: acme.id }.path("support-access");
    let grant = move |api: &Api, days| {
        let until = (api.clock.now() + TimeDelta::days(days)).to_rfc3339();
        json!({ "staff": "user:sam", "role_id": role_id, "reason": "a slow restore", "until": until })
    };
    (api, path, grant)
}

#[tokio::test]
async fn a_tenant_lets_staff_of_the_platform_in_and_out() {
    let (api, path, grant) = office().await;
    let granted = api.post_as(ADA, &path, grant(&api, 2)).await;
    assert_eq!(granted.status, 201, "{granted:?}");
    let id = granted.id();
    assert_eq!(api.granted(id).await, ["user:sam"]);
    let home: String = sqlx::query_scalar("SELECT fact->>'home' FROM facts WHERE aggregate_id = $1")
        .bind(id)
        .fetch_one(&api.pool)
        .await
        .unwrap();
    assert_eq!(home, "platform");
    let revoke = format!("{path}/{id}/revoke");
    assert_eq!(api.post_as(ADA, &revoke, Value::Null).await.body["event_count"], 1);
    assert_eq!(api.post_as(ADA, &revoke, Value::Null).await.body["event_count"], 0);
    assert!(api.granted(id).await.is_empty());
    assert_eq!(api.events(id).await, ["support_access.granted", "support_access.revoked"]);
}

#[tokio::test]
async fn the_platform_lets_nobody_in() {
    let (api, path, grant) = office().await;
    let answer = api.post(&path, grant(&api, 2)).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (403, "forbidden"), "{answer:?}");
}

#[tokio::test]
async fn what_is_granted_is_within_its_bounds() {
    let (api, path, grant) = office().await;
    api.post_as(ADA, &path, grant(&api, 0)).await.assert_code("support_access_end_in_the_past");
    api.post_as(ADA, &path, grant(&api, 31)).await.assert_code("support_access_too_long");
    for (field, value, code) in [
        ("reason", json!(""), "support_access_reason_missing"),
        ("staff", json!("sam"), "invalid_body"),
        ("role_id", json!(Uuid::from_u128(5)), "support_access_role_unknown"),
    ] {
        let mut body = grant(&api, 2);
        body[field] = value;
        api.post_as(ADA, &path, body).await.assert_code(code);
    }
}

#[tokio::test]
async fn a_stranger_finds_nothing() {
    let (api, path, grant) = office().await;
    let id = api.post_as(ADA, &path, grant(&api, 2)).await.id();
    api.post_as(2, &format!("{path}/{id}/revoke"), Value::Null).await.assert_code("not_found");
    let unknown = format!("{path}/{}/revoke", Uuid::from_u128(9));
    api.post_as(ADA, &unknown, Value::Null).await.assert_code("support_access_not_found");
}
