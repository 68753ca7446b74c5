//! What every route refuses alike; the routes are those of the API's own document.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Api, platform_key, stranger_key};

/// Every path of a command, with placeholders.
fn paths(api: &Api) -> Vec<String> {
    let paths = api.openapi["paths"].as_object().unwrap().keys();
    // That of providers needs no key; its tests are those of inbound sources.
    let paths: Vec<String> = paths.filter(|path| !path.contains("/inbound/")).cloned().collect();
    // A document that has lost its routes should not pass unseen.
    assert!(paths.len() >= 80, "{paths:#?}");
    paths
}

/// The path with an id in each place, `bad` in that of the parameter named.
fn filled(path: &str, bad: Option<(&str, &str)>) -> String {
    let segments = path.split('/').map(|segment| {
        let name = segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}'));
        match (name, bad) {
            (None, _) => segment.to_owned(),
            (Some(name), Some((parameter, value))) if name == parameter => value.to_owned(),
            (Some("principal"), _) => "user:ada".to_owned(),
            (Some(_), _) => Uuid::from_u128(5).to_string(),
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

fn parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

#[tokio::test]
async fn every_route_refuses_what_is_not_asked_rightly() {
    let api = Api::start().await;
    let big = format!("{{\"name\": \"{}\"}}", "x".repeat(70_000));
    let platform = platform_key();
    for path in paths(&api) {
        let good = filled(&path, None);
        let no_key = api.send(None, &good, &[], "{}").await;
        no_key.assert_code("unauthenticated");
        for (body, code) in [("{", "malformed_json"), ("\"text\"", "invalid_body"), (big.as_str(), "body_too_large")] {
            let answer = api.send(Some(&platform), &good, &[], body).await;
            assert_eq!(answer.code(), code, "{path}");
        }
        let unknown = api.post(&good, json!({ "nonsense": 1 })).await;
        assert_eq!(
            (unknown.code(), &unknown.body["errors"][0]["pointer"]),
            ("invalid_body", &json!("/nonsense")),
            "{path}"
        );
        for (header, value) in [("if-match", "7"), ("idempotency-key", "a b"), ("correlation-id", "x")] {
            assert_eq!(api.post_with(&good, &[(header, value)], &Value::Null).await.code(), "invalid_header", "{path}");
        }
        for parameter in parameters(&path) {
            let answer = api.post(&filled(&path, Some((parameter, "nonsense"))), Value::Null).await;
            let code = if parameter == "principal" { "invalid_path" } else { "invalid_uuid" };
            assert_eq!((answer.code(), &answer.body["parameter"]), (code, &json!(parameter)), "{path}");
        }
        let stranger = api.send(Some(&stranger_key()), &good, &[], "{}").await;
        let expected = if !path.contains("{tenant_id}") { "forbidden" } else { "not_found" };
        assert_eq!(stranger.code(), expected, "{path}");
    }
    assert_eq!(api.head().await, 0);
}

#[tokio::test]
async fn every_command_without_fields_on_nothing_is_not_found() {
    let api = Api::start().await;
    let mut count = 0;
    for path in paths(&api) {
        if api.openapi["paths"][&path]["post"]["requestBody"]["required"] == json!(true) {
            continue;
        }
        count += 1;
        let answer = api.post(&filled(&path, None), Value::Null).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert!(answer.code().ends_with("_not_found"), "{path}: {answer:?}");
        let seen = api.post_with(&filled(&path, None), &[("if-match", "*")], &Value::Null).await;
        assert_eq!(seen.code(), "version_conflict", "{path}");
    }
    assert!(count > 15, "{count}");
    assert_eq!(api.head().await, 0);
}

#[tokio::test]
async fn a_stale_if_match_is_told_the_current_sequence() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let path = acme.path("rename");
    let body = json!({ "name": "Acme Group" });
    let stale = api.post_with(&path, &[("if-match", "\"1\"")], &body).await;
    stale.assert_code("version_conflict");
    assert_eq!((stale.status.as_u16(), &stale.headers["etag"]), (412, &"\"2\"".parse().unwrap()));
    assert_eq!(stale.body["current_sequence"], 2);
    assert_eq!(api.post_with(&path, &[("if-match", "\"2\"")], &body).await.status, 200);
    assert_eq!(api.post_with(&path, &[("if-match", "*")], &body).await.status, 200);
}

#[tokio::test]
async fn a_process_that_knows_an_old_sequence_does_not_refuse_the_current_one() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    api.beside().done(&acme.path("rename"), json!({ "name": "Acme Group" })).await;
    let path = acme.path("change-tier");
    let answer = api.post_with(&path, &[("if-match", "\"3\"")], &json!({ "tier": "enterprise" })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn a_refusal_is_answered_again_even_when_it_would_not_be_refused_any_more() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let headers = [("idempotency-key", "resume-1")];
    let path = acme.path("resume");
    let body = json!({ "reason": "payment" });
    let first = api.post_with(&path, &headers, &body).await;
    first.assert_code("tenant_not_suspended_for_reason");
    assert!(!first.replayed());
    api.done(&acme.path("suspend"), body.clone()).await;
    let again = api.post_with(&path, &headers, &body).await;
    assert!(again.replayed());
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(api.post_with(&path, &[("idempotency-key", "resume-2")], &body).await.status, 200);
}

#[tokio::test]
async fn a_key_is_known_to_its_tenant_only() {
    let api = Api::start().await;
    let headers = [("idempotency-key", "rename-1")];
    let body = json!({ "name": "Renamed" });
    for slug in ["acme", "globex"] {
        let tenant = api.tenant(slug).await;
        let answer = api.post_with(&tenant.path("rename"), &headers, &body).await;
        assert_eq!((answer.status.as_u16(), answer.replayed()), (200, false), "{slug}");
    }
}
