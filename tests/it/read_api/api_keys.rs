//! API keys as people see them: what they are, when they were used, and nothing that helps to use them.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::{ACME, Api, OTHER, Who, api_key, api_key_issued, api_key_rotated};

async fn used(pool: &PgPool, tenant_id: Uuid, secret: u64, at: &str) {
    sqlx::query("INSERT INTO api_key_uses VALUES ($1, $2, $3)")
        .bind(tenant_id)
        .bind(format!("{secret:016x}"))
        .bind(at.parse::<DateTime<Utc>>().unwrap())
        .execute(pool)
        .await
        .unwrap();
}

fn ids(items: &[Value]) -> Vec<Uuid> {
    items.iter().map(|item| item["id"].as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn keys_are_listed_with_their_bounds_and_without_secret_or_hash() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    api.append(api_key(ACME, 1), &[api_key_issued(1), api_key_rotated(11)]).await;
    api.append(api_key(ACME, 2), &[api_key_issued(2), ("revoked", json!({ "reason": "leaked" }))]).await;
    api.append(api_key(ACME, 3), &[api_key_issued(3)]).await;
    let uri = format!("/v1/tenants/{ACME}/api-keys");
    let all = api.walk(Who::Acme, &uri, 2).await;
    assert_eq!(ids(&all), [1, 2, 3].map(Uuid::from_u128));
    assert_eq!(ids(&api.walk(Who::Acme, &format!("{uri}?status=revoked"), 5).await), [Uuid::from_u128(2)]);
    assert_eq!(ids(&api.walk(Who::Acme, &format!("{uri}?status=valid"), 1).await), [1, 3].map(Uuid::from_u128));
    assert_eq!(all[1]["revocation_reason"], "leaked");
    let text = json!(all).to_string();
    assert!(!text.contains("sha256") && !text.contains("5a5a"), "{text}");
    let one = api.get(Who::Acme, &format!("{uri}/{}", Uuid::from_u128(1))).await;
    assert_eq!((one.ok(), one.headers["etag"].to_str().unwrap()), (&all[0], "\"2\""));
    let secrets = ["secret_id", "previous_secret_id", "last_used_at"].map(|name| one.body[name].clone());
    assert_eq!(secrets, [json!(format!("{:016x}", 11)), json!(format!("{:016x}", 1)), Value::Null]);
    assert_eq!((&one.body["networks"], &one.body["scopes"]), (&json!(["10.1.0.0/16"]), &json!(["service_instance:*"])));
    api.get(Who::Acme, &format!("{uri}/{}", Uuid::from_u128(9))).await.refused(404, "not_found");
    api.get(Who::Other, &format!("{uri}/{}", Uuid::from_u128(1))).await.refused(404, "not_found");
}

#[tokio::test]
async fn the_last_use_of_a_key_is_that_of_either_secret() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    api.append(api_key(ACME, 1), &[api_key_issued(1), api_key_rotated(2)]).await;
    api.append(api_key(ACME, 2), &[api_key_issued(3)]).await;
    let pool = &api.database.pool;
    used(pool, ACME, 1, "2026-01-03T10:00:00Z").await;
    used(pool, ACME, 2, "2026-01-02T10:00:00Z").await;
    // A stranger's row under the same id is nobody's use.
    used(pool, OTHER, 3, "2026-01-02T10:00:00Z").await;
    let uri = format!("/v1/tenants/{ACME}/api-keys");
    let all = api.walk(Who::Acme, &uri, 5).await;
    let time = |item: &Value, name: &str| item[name].as_str().map(|text| text.parse::<DateTime<Utc>>().unwrap());
    let third: DateTime<Utc> = "2026-01-03T10:00:00Z".parse().unwrap();
    assert_eq!(time(&all[0], "last_used_at"), Some(third));
    assert_eq!(time(&all[0], "previous_secret_last_used_at"), Some(third));
    assert_eq!((time(&all[1], "last_used_at"), time(&all[1], "previous_secret_last_used_at")), (None, None));
    let one = api.get(Who::Acme, &format!("{uri}/{}", Uuid::from_u128(1))).await;
    assert_eq!(one.ok(), &all[0]);
}
