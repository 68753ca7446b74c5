//! Webhooks.

use futures::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Api;

fn registration() -> Value {
    json!({ "url": "https://acme.example/hooks", "events": ["tenant.*", "subscription.cancelled"], "description": "x" })
}

#[tokio::test]
async fn a_webhook_is_registered_changed_and_deleted() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let (id, path) = acme.make("webhooks", registration()).await;
    let path = |verb: &str| format!("{path}/{verb}");
    let changes = json!({ "url": "https://acme.example/other", "events": ["*"], "description": "y" });
    assert_eq!(api.done(&path("update"), changes.clone()).await["event_count"], 3);
    api.nothing(&path("update"), changes).await;
    api.nothing(&path("update"), json!({})).await;
    api.done(&path("rotate-secret"), json!({})).await;
    api.done(&path("pause"), Value::Null).await;
    api.nothing(&path("pause"), Value::Null).await;
    api.done(&path("resume"), Value::Null).await;
    api.done(&path("delete"), Value::Null).await;
    api.refused(&path("resume"), Value::Null, "webhook_deleted").await;
    assert_eq!(api.events(id).await.len(), 8);
}

#[tokio::test]
async fn a_secret_is_answered_once_and_kept_nowhere() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let headers = [("idempotency-key", "hook-1")];
    let register = acme.path("webhooks");
    let first = api.post_with(&register, &headers, &registration()).await;
    let again = api.post_with(&register, &headers, &registration()).await;
    let rotate = acme.path(&format!("webhooks/{}/rotate-secret", first.id()));
    let rotated = api.post_with(&rotate, &headers, &json!({})).await;
    rotated.assert_code("idempotency_key_reused");
    let headers = [("idempotency-key", "hook-2")];
    let rotated = api.post_with(&rotate, &headers, &json!({})).await;
    let rotated_again = api.post_with(&rotate, &headers, &json!({})).await;

    let mut secrets = Vec::new();
    for (once, again) in [(&first, &again), (&rotated, &rotated_again)] {
        let secret = once.body["secret"].as_str().unwrap_or_else(|| panic!("{once:?}"));
        assert!(secret.starts_with("whsec_") && secret.len() == 50, "{secret}");
        assert_eq!((again.replayed(), &again.body["secret"]), (true, &Value::Null));
        assert_eq!(again.body["secret_id"], once.body["secret_id"]);
        secrets.push(secret.trim_start_matches("whsec_").to_owned());
    }
    assert_ne!(secrets[0], secrets[1]);
    for secret in secrets {
        let kept: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM events WHERE strpos(payload::text || metadata::text, $1) > 0) \
             + (SELECT count(*) FROM command_outcomes WHERE strpos(outcome::text, $1) > 0)",
        )
        .bind(secret)
        .fetch_one(&api.pool)
        .await
        .unwrap();
        assert_eq!(kept, 0);
    }
}

#[tokio::test]
async fn a_repetition_hears_its_first_receipt_although_the_address_is_refused_by_now() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let mut body = registration();
    body["url"] = json!("http://127.0.0.1:9/hooks");
    // What one process may reach and the other may not is as a name whose addresses have changed.
    let before = api.reaching_loopback();
    let path = acme.path("webhooks");
    let headers = [("idempotency-key", "hook-1")];
    let first = before.post_with(&path, &headers, &body).await;
    assert_eq!(first.status, 201, "{first:?}");
    let again = api.post_with(&path, &headers, &body).await;
    assert_eq!((again.status.as_u16(), again.replayed(), again.id()), (201, true, first.id()), "{again:?}");
    api.refused(&path, body, "webhook_address_refused").await;

    let update = acme.path(&format!("webhooks/{}/update", first.id()));
    let headers = [("idempotency-key", "hook-2")];
    let body = json!({ "url": "http://127.0.0.1:9/other" });
    let first = before.post_with(&update, &headers, &body).await;
    let again = api.post_with(&update, &headers, &body).await;
    assert_eq!((again.status.as_u16(), again.replayed(), &again.body), (200, true, &first.body), "{again:?}");
    api.refused(&update, body, "webhook_address_refused").await;
}

#[tokio::test]
async fn a_tenant_has_so_many_webhooks_and_no_more() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let path = acme.path("webhooks");
    let answers = join_all((0..55).map(|_| api.post(&path, registration()))).await;
    let made: Vec<Uuid> = answers.iter().filter(|answer| answer.status == 201).map(super::Answer::id).collect();
    let refused = answers.iter().filter(|answer| answer.code() == "webhook_limit_reached").count();
    assert_eq!((made.len(), refused), (50, 5), "{answers:?}");
    api.done(&acme.path(&format!("webhooks/{}/delete", made[0])), Value::Null).await;
    api.done(&path, registration()).await;
}

#[tokio::test]
async fn what_is_no_address_and_no_filter_is_pointed_at() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    for (field, value) in [("url", json!("ftp://acme.example")), ("events", json!(["tenant"])), ("events", json!([]))] {
        let mut body = registration();
        body[field] = value;
        let answer = api.post(&acme.path("webhooks"), body).await;
        answer.assert_code("invalid_body");
        assert_eq!(answer.body["errors"][0]["pointer"], format!("/{field}"));
    }
}
