//! Identity providers.

use serde_json::{Value, json};

use super::{Answer, Api};

fn registration(name: &str) -> Value {
    json!({ "issuer": format!("https://{name}.acme.example"), "jwks_uri": format!("https://{name}.acme.example/keys") })
}

async fn shown(api: &Api) -> Vec<Value> {
    sqlx::query_scalar("SELECT fact::jsonb FROM facts WHERE aggregate_type = 'identity_provider' ORDER BY position")
        .fetch_all(&api.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_provider_is_registered_moved_disabled_enabled_and_removed() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let (id, path) = acme.make("identity-providers", registration("login")).await;
    let audience = format!("urn:service-hub:tenant:{}", acme.id);
    assert_eq!(shown(&api).await[0]["audience"], audience);
    let verb = |verb: &str| format!("{path}/{verb}");
    let moved = json!({ "jwks_uri": "https://keys.acme.example" });
    api.done(&verb("change-keys-address"), moved.clone()).await;
    api.nothing(&verb("change-keys-address"), moved).await;
    assert_eq!(shown(&api).await[0]["jwks_uri"], "https://keys.acme.example/");
    api.done(&verb("disable"), Value::Null).await;
    api.nothing(&verb("disable"), Value::Null).await;
    assert!(shown(&api).await.is_empty());
    api.done(&verb("enable"), Value::Null).await;
    assert_eq!(shown(&api).await.len(), 1);
    api.done(&verb("remove"), Value::Null).await;
    assert!(shown(&api).await.is_empty());
    api.refused(&verb("enable"), Value::Null, "identity_provider_removed").await;
    assert_eq!(api.events(id).await.len(), 5);
}

#[tokio::test]
async fn an_issuer_is_registered_once_in_a_tenant() {
    let api = Api::start().await;
    let (acme, other) = (api.tenant("acme").await, api.tenant("other").await);
    let (_, path) = acme.make("identity-providers", registration("login")).await;
    api.refused(&acme.path("identity-providers"), registration("login"), "identity_provider_issuer_taken").await;
    other.make("identity-providers", registration("login")).await;
    api.done(&format!("{path}/remove"), Value::Null).await;
    acme.make("identity-providers", registration("login")).await;
}

#[tokio::test]
async fn a_tenant_has_five_providers_and_no_more() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let path = acme.path("identity-providers");
    let mut answers: Vec<Answer> = Vec::new();
    for n in 0..6 {
        answers.push(api.post(&path, registration(&format!("login{n}"))).await);
    }
    assert!(answers[..5].iter().all(|answer| answer.status == 201), "{answers:?}");
    answers[5].assert_code("identity_provider_limit_reached");
}

#[tokio::test]
async fn a_provider_without_tls_is_refused() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let path = acme.path("identity-providers");
    let loopback = json!({ "issuer": "http://localhost:8080", "jwks_uri": "http://localhost:8080/keys" });
    api.refused(&path, loopback, "identity_provider_insecure").await;
    for (field, value) in
        [("issuer", "http://login.acme.example"), ("issuer", "https://a.example/?b"), ("jwks_uri", "x")]
    {
        let mut body = registration("login");
        body[field] = json!(value);
        let answer = api.post(&path, body).await;
        answer.assert_code("invalid_body");
        assert_eq!(answer.body["errors"][0]["pointer"], format!("/{field}"));
    }
}
