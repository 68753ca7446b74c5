//! NATS credentials: what is answered, what is written, and what is refused.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use hub_tests::kit::{Database, TestClock};
use serde_json::{Value, json};

use super::{Api, STRANGER, Scope, gate, stranger_key};
use crate::nats_credentials::nats_issuing;

/// One whose NATS has an account.
async fn api() -> Api {
    let gate = gate([(1, "key:administrator", Scope::Platform), (2, "key:stranger", Scope::Tenant(STRANGER))]);
    Api::issuing(nats_issuing(), gate, Arc::new(Database::new().await), TestClock::default())
}

#[tokio::test]
async fn the_answer_has_what_an_integrator_needs_and_the_log_has_who_it_is_for() {
    let api = api().await;
    let acme = api.tenant("acme").await;
    let path = acme.path("nats-credentials");
    let answer = api.post(&path, json!({ "name": " Ledger " })).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let body = &answer.body;
    assert_eq!(body["subjects"], json!([format!("hub.events.*.{}.>", acme.id.simple())]));
    assert_eq!(body["urls"], json!(["tls://nats.example.com:4222"]));
    let expires_at: DateTime<Utc> = body["expires_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(expires_at, (api.clock.clock())() + TimeDelta::days(7));
    let text = body["credentials"].as_str().unwrap();
    assert!(text.starts_with("-----BEGIN NATS USER JWT-----\n"), "{text}");
    let payload: Value = sqlx::query_scalar("SELECT payload FROM events WHERE aggregate_id = $1")
        .bind(answer.id())
        .fetch_one(&api.pool)
        .await
        .unwrap();
    let public_key = &body["public_key"];
    assert_eq!(
        payload,
        json!({ "name": "Ledger", "public_key": public_key, "subjects": body["subjects"], "expires_at": body["expires_at"] })
    );
    assert_eq!(api.events(answer.id()).await, ["nats_credential.issued"]);
    let longest = api.done(&path, json!({ "name": "N", "expires_in_days": 30 })).await;
    let expires_at: DateTime<Utc> = longest["expires_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(expires_at, (api.clock.clock())() + TimeDelta::days(30));
    assert_ne!(&longest["public_key"], public_key);
}

#[tokio::test]
async fn a_repetition_answers_the_same_credential_without_its_secret() {
    let api = api().await;
    let acme = api.tenant("acme").await;
    let (path, headers) = (acme.path("nats-credentials"), [("idempotency-key", "ledger-1")]);
    let once = api.post_with(&path, &headers, &json!({ "name": "Ledger" })).await;
    api.clock.advance(TimeDelta::hours(1));
    let again = api.post_with(&path, &headers, &json!({ "name": "Ledger" })).await;
    assert_eq!((again.replayed(), &again.body["credentials"]), (true, &Value::Null));
    for member in ["id", "public_key", "expires_at", "subjects", "urls"] {
        assert_eq!(once.body[member], again.body[member], "{member}");
    }
    let text = once.body["credentials"].as_str().unwrap();
    let seed = text.lines().find(|line| line.starts_with("SU")).unwrap();
    for table in ["events", "command_outcomes"] {
        let kept = format!("SELECT count(*) FROM {table} AS kept WHERE strpos(kept::text, $1) > 0");
        let kept: i64 = sqlx::query_scalar(&kept).bind(seed).fetch_one(&api.pool).await.unwrap();
        assert_eq!(kept, 0, "{table}");
    }
}

#[tokio::test]
async fn days_out_of_bounds_and_nobody_s_name_are_pointed_at() {
    let api = api().await;
    let acme = api.tenant("acme").await;
    for (body, pointer) in [
        (json!({ "name": "Ledger", "expires_in_days": 0 }), "/expires_in_days"),
        (json!({ "name": "Ledger", "expires_in_days": 31 }), "/expires_in_days"),
        (json!({ "name": "Ledger", "expires_in_days": -1 }), "/expires_in_days"),
        (json!({ "name": "  " }), "/name"),
        (json!({ "name": "L".repeat(201) }), "/name"),
    ] {
        let answer = api.post(&acme.path("nats-credentials"), body).await;
        answer.assert_code("invalid_body");
        assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{answer:?}");
    }
    for body in [json!({}), json!({ "name": "Ledger", "subjects": [">"] })] {
        api.refused(&acme.path("nats-credentials"), body, "invalid_body").await;
    }
}

#[tokio::test]
async fn there_are_none_for_a_stranger_and_none_in_a_tenant_that_is_not_there() {
    let api = api().await;
    let acme = api.tenant("acme").await;
    let body = json!({ "name": "Ledger" });
    let answer = api.send(Some(&*stranger_key()), &acme.path("nats-credentials"), &[], &body.to_string()).await;
    assert_eq!(answer.status, 404, "{answer:?}");
    api.refused(&format!("/v1/tenants/{STRANGER}/nats-credentials"), body.clone(), "tenant_not_found").await;
    api.done(&acme.path("archive"), Value::Null).await;
    api.refused(&acme.path("nats-credentials"), body, "tenant_archived").await;
}

#[tokio::test]
async fn without_a_key_that_signs_the_refusal_says_so() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    api.refused(&acme.path("nats-credentials"), json!({ "name": "Ledger" }), "nats_credentials_unavailable").await;
}
