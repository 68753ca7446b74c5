//! Inbound sources, and what providers send to them.

use chrono::TimeDelta;
use hmac::{Hmac, Mac};
use hub_signature::{ID_HEADER, Key, SIGNATURE_HEADER, SigningKey, SymmetricSecret, TIMESTAMP_HEADER, sign};
use serde_json::{Value, json};
use sha2::Sha256;
use uuid::Uuid;

use super::{Answer, Api, Tenant};

const BODY: &str = r#"{"id":"evt_1","type":"invoice.paid","amount":1}"#;

fn registration(scheme: &str) -> Value {
    json!({ "name": "Payments", "scheme": { "kind": scheme } })
}

/// HMAC-SHA256 in hex.
fn hex(secret: &str, content: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(content.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A registered source, and where its provider sends to.
struct Source<'a> {
    api: &'a Api,
    id: Uuid,
    /// Of the source itself.
    path: String,
    /// Where the provider sends to.
    inbound: String,
    secret: Option<String>,
}

impl<'a> Source<'a> {
    async fn register(tenant: Tenant<'a>, body: Value) -> Self {
        let answer = tenant.api.done(&tenant.path("inbound-sources"), body).await;
        let id = answer["id"].as_str().unwrap().parse().unwrap();
        Self {
            api: tenant.api,
            id,
            path: tenant.path(&format!("inbound-sources/{id}")),
            inbound: answer["path"].as_str().unwrap().to_owned(),
            secret: answer["secret"].as_str().map(str::to_owned),
        }
    }

    fn now(&self) -> i64 {
        (self.api.clock.clock())().timestamp()
    }

    async fn send(&self, headers: &[(&str, &str)], body: &str) -> Answer {
        self.api.send(None, &self.inbound, headers, body).await
    }

    /// Signed as Standard Webhooks has it, at this time.
    async fn send_signed_at(&self, at: i64, id: &str, keys: &[Key], body: &str) -> Answer {
        let signature = sign(keys, id, at, body.as_bytes());
        let at = at.to_string();
        self.send(&[(ID_HEADER, id), (TIMESTAMP_HEADER, &at), (SIGNATURE_HEADER, &signature)], body).await
    }

    async fn send_signed(&self, id: &str, key: &str) -> Answer {
        self.send_signed_at(self.now(), id, &[Key::parse(key).unwrap()], BODY).await
    }

    /// The payloads of what was received.
    async fn received(&self) -> Vec<Value> {
        let sql = "SELECT payload FROM events WHERE aggregate_id = $1 AND event_type = 'inbound_source.received' ORDER BY sequence";
        sqlx::query_scalar(sql).bind(self.id).fetch_all(&self.api.pool).await.unwrap()
    }

    async fn received_count(&self) -> usize {
        self.received().await.len()
    }
}

fn taken(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), answer.replayed()), (204, false), "{answer:?}");
}

fn taken_before(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), answer.replayed()), (204, true), "{answer:?}");
}

fn refused(answer: &Answer, status: u16, code: &str) {
    answer.assert_code(code);
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
}

#[tokio::test]
async fn a_source_is_registered_changed_and_removed() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let source = Source::register(acme, registration("standard_webhooks")).await;
    let path = |verb: &str| format!("{}/{verb}", source.path);
    api.done(&path("rotate-secret"), json!({})).await;
    api.done(&path("disable"), Value::Null).await;
    api.nothing(&path("disable"), Value::Null).await;
    api.done(&path("enable"), Value::Null).await;
    api.done(&path("remove"), Value::Null).await;
    api.refused(&path("enable"), Value::Null, "inbound_source_removed").await;
    api.refused(&path("rotate-secret"), json!({}), "inbound_source_removed").await;
    assert_eq!(api.events(source.id).await.len(), 5);
}

#[tokio::test]
async fn a_secret_that_is_made_here_is_answered_once_and_kept_nowhere() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let headers = [("idempotency-key", "source-1")];
    for scheme in ["standard_webhooks", "github"] {
        let headers = [("idempotency-key", &*format!("{}-{scheme}", headers[0].1))];
        let path = acme.path("inbound-sources");
        let once = api.post_with(&path, &headers, &registration(scheme)).await;
        let again = api.post_with(&path, &headers, &registration(scheme)).await;
        assert_eq!((again.replayed(), &again.body["secret"]), (true, &Value::Null));
        assert_eq!(once.body["secret_id"], again.body["secret_id"]);
        let secret = once.body["secret"].as_str().unwrap();
        assert_eq!(secret.starts_with("whsec_"), scheme == "standard_webhooks", "{secret}");
        let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE strpos(payload::text, $1) > 0")
            .bind(secret.trim_start_matches("whsec_"))
            .fetch_one(&api.pool)
            .await
            .unwrap();
        assert_eq!(kept, 0);
    }
    let given = json!({ "name": "G", "scheme": { "kind": "github" }, "secret": "chosen by the provider" });
    assert_eq!(api.done(&acme.path("inbound-sources"), given).await["secret"], Value::Null, "whoever gave it knows it");
}

#[tokio::test]
async fn what_is_no_secret_and_no_scheme_is_pointed_at() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    for (scheme, secret, pointer) in [
        (json!({ "kind": "standard_webhooks" }), "no base64", "/secret"),
        (json!({ "kind": "standard_webhooks" }), "whsec_c2hvcnQ=", "/secret"),
        (json!({ "kind": "github" }), "short", "/secret"),
        (json!({ "kind": "hmac_sha256", "header": "Authorization" }), "long enough", "/scheme"),
        (json!({ "kind": "unknown" }), "long enough", "/scheme"),
    ] {
        let body = json!({ "name": "N", "scheme": scheme, "secret": secret });
        let answer = api.post(&acme.path("inbound-sources"), body).await;
        answer.assert_code("invalid_body");
        let found = answer.body["errors"][0]["pointer"].as_str().unwrap();
        assert!(found.starts_with(pointer), "{answer:?}");
    }
    let source = Source::register(acme, registration("github")).await;
    let long = json!({ "grace_seconds": 604_801 });
    api.post(&format!("{}/rotate-secret", source.path), long).await.assert_code("invalid_body");
}

#[tokio::test]
async fn a_signed_delivery_becomes_an_event_once() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let source = Source::register(acme, registration("standard_webhooks")).await;
    let secret = source.secret.clone().unwrap();
    taken(&source.send_signed("msg_1", &secret).await);
    taken_before(&source.send_signed("msg_1", &secret).await);
    api.clock.advance(TimeDelta::hours(1));
    taken_before(&source.send_signed("msg_1", &secret).await);
    taken_before(
        &Source {
            api: &api.beside(),
            path: source.path.clone(),
            inbound: source.inbound.clone(),
            secret: None,
            id: source.id,
        }
        .send_signed("msg_1", &secret)
        .await,
    );
    taken(&source.send_signed("msg_2", &secret).await);
    let received = source.received().await;
    assert_eq!(received.len(), 2);
    let at = received[0]["headers"]["webhook-timestamp"].clone();
    assert_eq!(
        received[0],
        json!({
            "delivery_id": "msg_1",
            "content_type": "application/json",
            "body": { "json": { "id": "evt_1", "type": "invoice.paid", "amount": 1 } },
            "headers": { "webhook-id": "msg_1", "webhook-timestamp": at },
        })
    );
    let actor: String = sqlx::query_scalar(
        "SELECT metadata->>'actor' FROM events WHERE event_type = 'inbound_source.received' LIMIT 1",
    )
    .fetch_one(&api.pool)
    .await
    .unwrap();
    assert_eq!(actor, "process:inbound");
}

#[tokio::test]
async fn what_is_not_signed_by_the_secret_just_now_is_refused() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let source = Source::register(acme, registration("standard_webhooks")).await;
    let key = [Key::parse(source.secret.as_deref().unwrap()).unwrap()];
    let stranger = [SymmetricSecret::from_random([99; 32]).into()];
    let now = source.now();
    let code = "invalid_signature";
    refused(&source.send(&[], BODY).await, 401, code);
    refused(&source.send_signed_at(now, "a", &stranger, BODY).await, 401, code);
    refused(&source.send_signed_at(now - 301, "a", &key, BODY).await, 401, code);
    refused(&source.send_signed_at(now + 301, "a", &key, BODY).await, 401, code);
    let (at, signature) = (now.to_string(), sign(&key, "a", now, BODY.as_bytes()));
    let headers = [(ID_HEADER, "a"), (TIMESTAMP_HEADER, &*at), (SIGNATURE_HEADER, &*signature)];
    refused(&source.send(&headers, &BODY.replace('1', "2")).await, 401, code);
    refused(&source.send(&[headers[0], headers[1]], BODY).await, 401, code);
    refused(&source.send(&[(ID_HEADER, "b"), headers[1], headers[2]], BODY).await, 401, code);
    // Two values of a header could be read differently by whoever is in between.
    refused(&source.send(&[headers[0], headers[0], headers[1], headers[2]], BODY).await, 401, code);
    let answer = source.send(&[], BODY).await;
    assert_eq!(answer.headers["www-authenticate"], "Signature");
    assert_eq!(source.received_count().await, 0);
    taken(&source.send(&headers, BODY).await);
}

#[tokio::test]
async fn an_unknown_source_a_removed_one_and_one_of_another_tenant_are_answered_alike() {
    let api = Api::start().await;
    let (acme, other) = (api.tenant("acme").await, api.tenant("other").await);
    let source = Source::register(acme, registration("standard_webhooks")).await;
    let secret = source.secret.clone().unwrap();
    let headers =
        |path: String| Source { api: &api, id: source.id, path: source.path.clone(), inbound: path, secret: None };
    let nobody = Uuid::from_u128(0xdead);
    let mut answers = Vec::new();
    for path in [
        other.path(&format!("inbound/{}", source.id)),
        acme.path(&format!("inbound/{nobody}")),
        format!("/v1/tenants/{nobody}/inbound/{}", source.id),
        format!("/v1/tenants/{nobody}/inbound/{nobody}"),
    ] {
        answers.push(headers(path).send_signed("msg_1", &secret).await);
    }
    api.done(&format!("{}/remove", source.path), Value::Null).await;
    answers.push(source.send_signed("msg_1", &secret).await);
    for answer in &mut answers {
        answer.headers.remove("x-request-id");
        refused(answer, 404, "not_found");
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    assert_eq!(source.received_count().await, 0);
    refused(&api.send(None, &acme.path("inbound/nonsense"), &[], "").await, 400, "invalid_uuid");
}

#[tokio::test]
async fn after_a_rotation_the_old_secret_is_good_for_its_grace_period_in_every_process() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let source = Source::register(acme, registration("standard_webhooks")).await;
    let old = source.secret.clone().unwrap();
    // Another process knows the source as it was.
    let beside = api.beside();
    let there = Source {
        api: &beside,
        id: source.id,
        path: source.path.clone(),
        inbound: source.inbound.clone(),
        secret: None,
    };
    taken(&there.send_signed("msg_0", &old).await);
    let rotated = api.done(&format!("{}/rotate-secret", source.path), json!({ "grace_seconds": 600 })).await;
    let new = rotated["secret"].as_str().unwrap();
    assert_ne!(new, old);
    taken(&there.send_signed("msg_1", new).await);
    taken(&source.send_signed("msg_2", &old).await);
    api.clock.advance(TimeDelta::seconds(600));
    refused(&source.send_signed("msg_3", &old).await, 401, "invalid_signature");
    refused(&there.send_signed("msg_3", &old).await, 401, "invalid_signature");
    taken(&source.send_signed("msg_4", new).await);
}

#[tokio::test]
async fn a_secret_that_was_replaced_at_once_is_good_in_no_process_that_has_not_heard_of_it() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let source = Source::register(acme, registration("standard_webhooks")).await;
    let old = source.secret.clone().unwrap();
    let rotate = format!("{}/rotate-secret", source.path);
    // Two other processes know the source as it was, and one as it was after the first rotation.
    let processes = [api.beside(), api.beside(), api.beside()];
    let [one, two, three] = processes.each_ref().map(|api| Source {
        api,
        id: source.id,
        path: source.path.clone(),
        inbound: source.inbound.clone(),
        secret: None,
    });
    taken(&one.send_signed("msg_1", &old).await);
    taken(&two.send_signed("msg_2", &old).await);
    let rotated = api.done(&rotate, json!({ "grace_seconds": 0 })).await;
    let new = rotated["secret"].as_str().unwrap().to_owned();
    let answer = one.send_signed("msg_3", &old).await;
    refused(&answer, 401, "invalid_signature");
    assert_eq!(answer.headers["www-authenticate"], "Signature");
    // A provider that signs with both is heard wherever it asks.
    let both = [&old, &new].map(|key| Key::parse(key).unwrap());
    taken(&two.send_signed_at(two.now(), "msg_4", &both, BODY).await);
    taken(&three.send_signed("msg_5", &new).await);
    api.done(&format!("{}/disable", source.path), Value::Null).await;
    api.done(&rotate, json!({ "grace_seconds": 0 })).await;
    refused(&three.send_signed("msg_6", &new).await, 401, "invalid_signature");
    assert_eq!(source.received_count().await, 4);
}

#[tokio::test]
async fn a_disabled_source_takes_nothing_and_takes_the_same_delivery_later() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let source = Source::register(acme, registration("standard_webhooks")).await;
    let secret = source.secret.clone().unwrap();
    api.done(&format!("{}/disable", source.path), Value::Null).await;
    refused(&source.send_signed("msg_1", &secret).await, 409, "inbound_source_disabled");
    api.done(&format!("{}/enable", source.path), Value::Null).await;
    taken(&source.send_signed("msg_1", &secret).await);
    api.done(&acme.path("archive"), Value::Null).await;
    refused(&source.send_signed("msg_2", &secret).await, 409, "tenant_archived");
    assert_eq!(source.received_count().await, 1);
}

#[tokio::test]
async fn a_provider_with_an_ed25519_key_needs_to_share_no_secret() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let key = SigningKey::from_seed([7; 32]);
    let mut body = registration("standard_webhooks");
    body["secret"] = json!(key.public().to_string());
    let source = Source::register(acme, body).await;
    taken(&source.send_signed("msg_1", &key.reveal()).await);
    let stranger = SigningKey::from_seed([8; 32]);
    refused(&source.send_signed("msg_2", &stranger.reveal()).await, 401, "invalid_signature");
}

#[tokio::test]
async fn the_schemes_of_github_and_others_count_a_body_once() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let secret = "It's a Secret to Everybody";
    let github = json!({ "name": "G", "scheme": { "kind": "github" }, "secret": secret });
    let own = json!({
        "name": "O", "scheme": { "kind": "hmac_sha256", "header": "X-Acme-Signature", "prefix": "v0=" }, "secret": secret,
    });
    for (body, header, prefix) in [(github, "x-hub-signature-256", "sha256="), (own, "x-acme-signature", "v0=")] {
        let source = Source::register(acme, body).await;
        let signature = format!("{prefix}{}", hex(secret, BODY));
        let event = ("x-github-event", "push");
        taken(&source.send(&[(header, &signature), ("x-github-delivery", "d-1"), event], BODY).await);
        // The id of a delivery is not signed, so another one makes no other event.
        taken_before(&source.send(&[(header, &signature), ("x-github-delivery", "d-2"), event], BODY).await);
        refused(&source.send(&[(header, &signature)], "{}").await, 401, "invalid_signature");
        refused(&source.send(&[(header, &hex(secret, BODY))], BODY).await, 401, "invalid_signature");
        let received = source.received().await;
        assert_eq!(received.len(), 1);
        assert_eq!(received[0]["headers"]["x-github-event"], "push");
        let id = received[0]["delivery_id"].as_str().unwrap();
        assert!(if header == "x-hub-signature-256" { id == "d-1" } else { id.len() == 64 }, "{id}");
        assert!(!received[0].to_string().contains(&hex(secret, BODY)), "no signature is kept");
    }
}

#[tokio::test]
async fn the_scheme_of_stripe_counts_an_event_of_theirs_once() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let secret = "whsec_of_stripe";
    let body = json!({ "name": "S", "scheme": { "kind": "stripe" }, "secret": secret });
    let source = Source::register(acme, body).await;
    let signed = |at: i64| format!("t={at},v1={},v0=0", hex(secret, &format!("{at}.{BODY}")));
    let now = source.now();
    taken(&source.send(&[("stripe-signature", &signed(now))], BODY).await);
    taken_before(&source.send(&[("stripe-signature", &signed(now + 60))], BODY).await);
    refused(&source.send(&[("stripe-signature", &signed(now - 301))], BODY).await, 401, "invalid_signature");
    assert_eq!(source.received().await[0]["delivery_id"], "evt_1");
}

#[tokio::test]
async fn a_large_body_is_taken_and_a_larger_one_refused() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let source = Source::register(acme, registration("standard_webhooks")).await;
    let key = [Key::parse(source.secret.as_deref().unwrap()).unwrap()];
    let large = "a".repeat(256 << 10);
    taken(&source.send_signed_at(source.now(), "msg_1", &key, &large).await);
    let body = &source.received().await[0]["body"];
    assert!(body["base64"].as_str().is_some_and(|text| text.len() > large.len()), "it is no JSON");
    refused(&source.send_signed_at(source.now(), "msg_2", &key, &(large + "a")).await, 413, "body_too_large");
}

#[tokio::test]
async fn many_deliveries_at_once_are_all_taken_and_each_once() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let source = Source::register(acme, registration("standard_webhooks")).await;
    let secret = source.secret.clone().unwrap();
    let ids: Vec<String> = (0..40).map(|number| format!("msg_{}", number % 20)).collect();
    let answers = futures::future::join_all(ids.iter().map(|id| source.send_signed(id, &secret))).await;
    assert!(answers.iter().all(|answer| answer.status.as_u16() == 204), "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| !answer.replayed()).count(), 20);
    assert_eq!(source.received_count().await, 20);
}
