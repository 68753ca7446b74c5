//! Claims that are missing, of another type, somebody else's, or out of their time.

use serde_json::{Value, json};

use crate::kit::{AUDIENCE, Signer, World, after, claims, now, with};

#[tokio::test]
async fn each_required_claim_is_required() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    for name in ["iss", "aud", "exp", "sub"] {
        let token = signer.token_with_claims(&with(claims(), name, Value::Null));
        assert_eq!(world.reason(&token).await, "missing_claim", "{name}");
    }
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn a_claim_of_another_type_is_refused_and_not_ignored() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    let long = "x".repeat(256);
    for (name, value) in [
        ("iss", json!(["https://idp.example"])),
        ("iss", json!(1)),
        ("iss", json!("")),
        ("aud", json!(1)),
        ("aud", json!({})),
        ("aud", json!([])),
        ("aud", json!("")),
        ("aud", json!([AUDIENCE, 1])),
        ("aud", json!([AUDIENCE, ""])),
        ("aud", json!([[AUDIENCE]])),
        ("exp", json!("1767229200")),
        ("exp", json!(true)),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("exp", json!([1_767_229_200])),
        ("nbf", json!("0")),
        ("nbf", json!(-1.5)),
        ("iat", json!("0")),
        ("iat", json!({})),
        ("sub", json!(1)),
        ("sub", json!("")),
        ("sub", json!(["user-1"])),
        ("sub", json!("user\n1")),
        ("sub", json!(long)),
        ("jti", json!(1)),
        ("jti", json!("")),
        ("jti", json!(long)),
        ("scope", json!(["roles:read"])),
        ("scope", json!("roles\"read")),
        ("scope", json!("roles\nread")),
    ] {
        let token = signer.token_with_claims(&with(claims(), name, value.clone()));
        assert_eq!(world.reason(&token).await, "wrong_claim", "{name} {value}");
    }
}

#[tokio::test]
async fn null_is_no_value_of_any_claim() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    for name in ["iss", "aud", "exp", "sub", "nbf", "iat", "jti", "scope"] {
        let mut claims = claims();
        claims[name] = Value::Null;
        assert_eq!(world.reason(&signer.token_with_claims(&claims)).await, "wrong_claim", "{name}");
    }
}

#[tokio::test]
async fn an_unknown_issuer_is_refused_and_nobody_is_asked() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    for issuer in ["https://evil.example", "https://idp.example/", "HTTPS://idp.example", "https://idp.example "] {
        let token = signer.token_with_claims(&with(claims(), "iss", json!(issuer)));
        assert_eq!(world.reason(&token).await, "unknown_issuer", "{issuer}");
    }
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn a_provider_of_another_issuer_is_not_taken_from_a_find_that_mixes_them_up() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    let token = signer.token_with_claims(&with(claims(), "iss", json!("https://evil.example")));
    let mixed_up = world.provider.clone();
    let refused = world.verifier.verify(&token, now(), |_, _| async { Ok(Some(mixed_up)) }).await.unwrap_err();
    assert_eq!(refused.reason(), "unknown_issuer");
}

#[tokio::test]
async fn a_token_for_another_audience_is_refused() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    for audience in [
        json!("https://other.example"),
        json!(["https://other.example", "https://hub.example/"]),
        json!("https://hub.example.evil.example"),
        json!("https://HUB.example"),
    ] {
        let token = signer.token_with_claims(&with(claims(), "aud", audience.clone()));
        assert_eq!(world.reason(&token).await, "wrong_audience", "{audience}");
    }
}

#[tokio::test]
async fn a_token_ends_at_exp_and_sixty_seconds() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    let token = signer.token();
    for (time, verified) in [(3599, true), (3600, true), (3659, true), (3660, false), (3661, false), (86_400, false)] {
        let outcome = world.verify_at(&token, after(time)).await;
        assert_eq!(outcome.map_err(|refused| refused.reason()).err(), (!verified).then_some("expired"), "{time}");
    }
}

#[tokio::test]
async fn a_token_begins_sixty_seconds_before_nbf() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    for name in ["nbf", "iat"] {
        for (seconds, reason) in [(0, "verified"), (60, "verified"), (61, "not_yet_valid"), (1800, "not_yet_valid")] {
            let token = signer.token_with_claims(&with(claims(), name, json!(after(seconds).timestamp())));
            assert_eq!(world.reason(&token).await, reason, "{name} {seconds}");
        }
    }
}

#[tokio::test]
async fn a_forged_token_is_called_forged_and_not_expired() {
    let (signer, forger) = (Signer::ed25519("key"), Signer::ed25519("key"));
    let world = World::publishing(&[&signer]).await;
    let token = forger.token_with_claims(&with(claims(), "exp", json!(1)));
    assert_eq!(world.reason(&token).await, "bad_signature");
}

#[tokio::test]
async fn a_claim_twice_is_refused_at_every_depth() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    let claims = claims().to_string();
    let rest = claims.strip_prefix('{').unwrap();
    for twice in [
        format!(r#"{{"sub":"admin",{rest}"#),
        format!(r#"{{"aud":"{AUDIENCE}",{rest}"#),
        format!(r#"{{"iss":"https://evil.example",{rest}"#),
        format!(r#"{{"s\u0075b":"admin",{rest}"#),
        format!(r#"{{"realm":{{"a":1,"a":2}},{rest}"#),
    ] {
        let token = signer.sign(&signer.header().to_string(), &twice);
        assert_eq!(world.reason(&token).await, "duplicate_member", "{twice}");
    }
}
