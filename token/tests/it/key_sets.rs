//! Documents that providers publish, good and bad.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::kit::{Server, Signer, World, base64, key_set, with};

async fn reason(document: &Value, token: &str) -> &'static str {
    World::answering(document.to_string()).await.reason(token).await
}

#[tokio::test]
async fn a_document_that_is_no_key_set_gives_no_keys() {
    let signer = Signer::ed25519("key");
    let jwk = signer.jwk().to_string();
    for document in [
        String::new(),
        "<html>".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        r#"{"keys":{}}"#.to_owned(),
        r#"{"keys":null}"#.to_owned(),
        r#"{"keys":["key"]}"#.to_owned(),
        format!(r#"{{"keys":[{jwk}"#),
        format!(r#"{{"keys":[],"keys":[{jwk}]}}"#),
        jwk,
    ] {
        let world = World::answering(document.clone()).await;
        assert_eq!(world.reason(&signer.token()).await, "keys_unavailable", "{document}");
    }
}

#[tokio::test]
async fn an_answer_of_more_than_64_kibibytes_is_not_read() {
    let signer = Signer::ed25519("key");
    let world = World::answering(format!("{}{}", key_set(&[&signer]), " ".repeat(64 * 1024))).await;
    assert_eq!(world.reason(&signer.token()).await, "keys_unavailable");
    let world = World::answering(format!("{}{}", key_set(&[&signer]), " ".repeat(60 * 1024))).await;
    assert_eq!(world.reason(&signer.token()).await, "verified");
}

#[tokio::test]
async fn more_than_32_keys_are_none() {
    let signer = Signer::ed25519("key");
    for (others, expected) in [(31, "verified"), (32, "keys_unavailable")] {
        let mut keys = vec![json!({"kty": "other"}); others];
        keys.push(signer.jwk());
        assert_eq!(reason(&json!({ "keys": keys }), &signer.token()).await, expected, "{others} others");
    }
}

#[tokio::test]
async fn keys_of_other_kinds_and_purposes_beside_it_do_no_harm() {
    let signer = Signer::p256("key");
    let document = json!({"keys": [
        {"kty": "oct", "kid": "key", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": "key", "use": "enc", "n": "AQAB", "e": "AQAB"},
        {"kty": "EC", "crv": "P-384", "kid": "384", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "X25519", "kid": "key", "x": base64(&[1; 32])},
        {"kid": "nothing"},
        {},
        signer.jwk(),
    ]});
    assert_eq!(reason(&document, &signer.token()).await, "verified");
}

#[tokio::test]
async fn what_a_key_is_for_is_respected() {
    let signer = Signer::ed25519("key");
    for (name, value, usable) in [
        ("use", json!("sig"), true),
        ("use", json!("enc"), false),
        ("use", json!("SIG"), false),
        ("use", json!(1), false),
        ("key_ops", json!(["verify"]), true),
        ("key_ops", json!(["sign", "verify"]), true),
        ("key_ops", json!(["sign"]), false),
        ("key_ops", json!([]), false),
        ("key_ops", json!("verify"), false),
        ("alg", json!("EdDSA"), true),
        ("alg", json!("ES256"), false),
        ("alg", json!("RS256"), false),
        ("alg", json!("HS256"), false),
        ("alg", json!("none"), false),
        ("alg", json!(1), false),
        ("crv", json!("Ed448"), false),
        ("crv", json!("P-256"), false),
        ("kty", json!("EC"), false),
        ("kty", json!("oct"), false),
        ("kid", json!(1), false),
        ("x", json!(base64(&[0; 31])), false),
        ("x", json!(base64(&[0; 33])), false),
        ("x", json!("?"), false),
        ("d", json!(base64(&[0; 32])), false),
    ] {
        let document = json!({"keys": [with(signer.jwk(), name, value.clone())]});
        let expected = if usable { "verified" } else { "unknown_key" };
        assert_eq!(reason(&document, &signer.token()).await, expected, "{name} {value}");
    }
}

#[tokio::test]
async fn rsa_keys_have_2048_to_8192_bits_and_a_sane_exponent() {
    let signer = Signer::rsa("key");
    let modulus = |bytes: usize| {
        let mut modulus = vec![0xff; bytes];
        modulus[0] = 0x80;
        json!(base64(&modulus))
    };
    let mut short = vec![0xff; 256];
    short[0] = 0x7f;
    for (name, value, expected) in [
        ("n", modulus(64), "unknown_key"),
        ("n", modulus(128), "unknown_key"),
        ("n", modulus(255), "unknown_key"),
        ("n", json!(base64(&short)), "unknown_key"),
        ("n", modulus(256), "bad_signature"),
        ("n", modulus(1024), "bad_signature"),
        ("n", modulus(1025), "unknown_key"),
        ("n", json!(base64(&[0; 256])), "unknown_key"),
        ("n", json!(""), "unknown_key"),
        ("e", json!("AQ"), "unknown_key"),
        ("e", json!("Ag"), "unknown_key"),
        ("e", json!("AAEAAQ"), "unknown_key"),
        ("e", json!(""), "unknown_key"),
        ("e", json!(base64(&[1; 5])), "unknown_key"),
        ("e", json!("AQAB"), "verified"),
        ("alg", json!("RS256"), "verified"),
        ("alg", json!("RS512"), "unknown_key"),
        ("alg", json!("PS256"), "unknown_key"),
        ("alg", json!("RSA-OAEP"), "unknown_key"),
    ] {
        let document = json!({"keys": [with(signer.jwk(), name, value.clone())]});
        assert_eq!(reason(&document, &signer.token()).await, expected, "{name} {value}");
    }
}

#[tokio::test]
async fn a_point_that_is_not_on_the_curve_verifies_nothing() {
    let signer = Signer::p256("key");
    let document = json!({"keys": [with(signer.jwk(), "y", json!(base64(&[1; 32])))]});
    assert_eq!(reason(&document, &signer.token()).await, "bad_signature");
}

#[tokio::test]
async fn a_name_that_two_keys_have_names_neither() {
    let (one, other) = (Signer::ed25519("key"), Signer::p256("key"));
    let third = Signer::ed25519("third");
    let world = World::publishing(&[&one, &other, &third]).await;
    assert_eq!(world.reason(&one.token()).await, "unknown_key");
    assert_eq!(world.reason(&other.token()).await, "unknown_key");
    assert_eq!(world.reason(&third.token()).await, "verified");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let signer = Signer::ed25519("key");
    let elsewhere = Server::start(key_set(&[&signer])).await;
    for status in [301, 302, 303, 307, 308] {
        let world = World::publishing(&[&signer]).await;
        world.set(|answer| {
            answer.status = StatusCode::from_u16(status).unwrap();
            answer.headers.insert("location", elsewhere.url.to_string());
        });
        assert_eq!(world.reason(&signer.token()).await, "keys_unavailable", "{status}");
    }
    assert_eq!(elsewhere.asked(), 0);
}

#[tokio::test]
async fn a_bad_document_does_not_take_good_keys_away() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    assert_eq!(world.reason(&signer.token()).await, "verified");
    world.set(|answer| answer.body = "gone".to_owned());
    let unknown = signer.token_with_header(&with(signer.header(), "kid", json!("other")));
    assert_eq!(world.verify_at(&unknown, crate::kit::after(60)).await.unwrap_err().reason(), "unknown_key");
    assert_eq!(world.asked(), 2);
    assert!(world.verify_at(&signer.token(), crate::kit::after(61)).await.is_ok());
}
