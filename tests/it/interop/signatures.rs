//! Signatures: ours verified by the reference libraries of Standard Webhooks, theirs by ours.
//!
//! The libraries know `v1` only. `v1a` is held against two other implementations of ed25519: Python's `cryptography` (OpenSSL)
//! and node's own.

use std::time::{SystemTime, UNIX_EPOCH};

use hub_signature::{Key, PublicKey, Received, Refused, SigningKey, SymmetricSecret, TOLERANCE, sign, verify};
use serde_json::{Value, json};

use super::Language;

const ID: &str = "0197f2f0-0000-7000-8000-000000000001";

/// With letters outside ASCII, an escaped one and spaces that parsing would lose.
const BODY: &str = r#"{"type": "tenant.registered",  "data": {"name": "Bäckerei Žižek 🥐", "note": "a\u00e9b"}}"#;

/// The libraries ask the system for the time, so a message must be signed at the real one.
#[expect(clippy::disallowed_methods, reason = "other people's programs verify against the real time")]
fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// The secret key's text, and the text of what verifies it.
fn texts(key: &Key) -> (String, String) {
    match key {
        Key::Symmetric(secret) => (secret.reveal().to_string(), secret.reveal().to_string()),
        Key::Asymmetric(key) => (key.reveal().to_string(), key.public().to_string()),
    }
}

fn keys() -> [Key; 4] {
    [
        SymmetricSecret::from_bytes(&[1; 24]).unwrap().into(),
        SymmetricSecret::from_random(std::array::from_fn(|at| at as u8 ^ 0xa5)).into(),
        SymmetricSecret::from_bytes(&[255; 64]).unwrap().into(),
        SigningKey::from_seed([7; 32]).into(),
    ]
}

fn message(key: &str, timestamp: i64, signature: &str, body: &str) -> Value {
    json!({ "verify": { "key": key, "id": ID, "timestamp": timestamp, "signature": signature, "body": body } })
}

async fn they_verify_ours(language: Language) {
    let at = now();
    let [first, second, third, ed25519] = keys();
    let mut asked = Vec::new();
    let mut expected = Vec::new();
    let mut ask = |key: &Key, timestamp: i64, signature: &str, body: &str, wanted: bool, why: &'static str| {
        asked.push(message(&texts(key).1, timestamp, signature, body));
        expected.push((wanted, why));
    };
    for key in [&first, &second, &third, &ed25519] {
        let signature = sign([key], ID, at, BODY.as_bytes());
        ask(key, at, &signature, BODY, true, "as it was sent");
        ask(key, at, &signature, &BODY.replace('B', "b"), false, "another body");
        ask(key, at + 1, &signature, BODY, false, "another time");
        ask(key, at, &sign([key], "other", at, BODY.as_bytes()), BODY, false, "another id");
    }
    let rotated = sign([&second, &first], ID, at, BODY.as_bytes());
    ask(&first, at, &rotated, BODY, true, "the secret before the rotation");
    ask(&second, at, &rotated, BODY, true, "the secret after the rotation");
    ask(&third, at, &rotated, BODY, false, "a secret of somebody else");
    let both = sign([&ed25519, &first], ID, at, BODY.as_bytes());
    ask(&first, at, &both, BODY, true, "an ed25519 signature beside it");
    ask(&ed25519, at, &both, BODY, true, "an hmac beside it");
    let old = at - 360;
    ask(&first, old, &sign([&first], ID, old, BODY.as_bytes()), BODY, false, "six minutes old");

    let Some(answers) = language.ask("standard_webhooks", &asked).await else { return };
    for ((answer, (wanted, why)), asked) in answers.iter().zip(expected).zip(&asked) {
        assert_eq!(*answer, wanted, "{language:?}: {why}: {asked}");
    }
}

async fn we_verify_theirs(language: Language) {
    let at = now();
    let keys = keys();
    let order = |key: &Key| json!({ "sign": { "key": texts(key).0, "id": ID, "timestamp": at, "body": BODY } });
    let asked: Vec<Value> = keys.iter().map(order).collect();
    let Some(answers) = language.ask("standard_webhooks", &asked).await else { return };
    for (key, answer) in keys.iter().zip(&answers) {
        let signature = answer.as_str().unwrap();
        assert_eq!(signature, sign([key], ID, at, BODY.as_bytes()), "{language:?}: both schemes are deterministic");
        let timestamp = at.to_string();
        let received = Received { id: ID, timestamp: &timestamp, signature, body: BODY.as_bytes() };
        let verified = |received, key: &Key| verify(received, &[key.verifying()], at, TOLERANCE);
        assert_eq!(verified(received, key), Ok(()), "{language:?}");
        assert_eq!(verified(Received { body: b"{}", ..received }, key), Err(Refused::Signature), "{language:?}");
    }
    // Several of theirs in one header, as during a rotation.
    let all = answers.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
    let timestamp = at.to_string();
    let received = Received { id: ID, timestamp: &timestamp, signature: &all, body: BODY.as_bytes() };
    for key in &keys {
        assert_eq!(verify(received, &[key.verifying()], at, TOLERANCE), Ok(()), "{language:?}");
    }
}

#[tokio::test]
async fn the_python_library_verifies_our_signatures() {
    they_verify_ours(Language::Python).await;
}

#[tokio::test]
async fn the_javascript_library_verifies_our_signatures() {
    they_verify_ours(Language::Node).await;
}

#[tokio::test]
async fn we_verify_the_signatures_of_the_python_library() {
    we_verify_theirs(Language::Python).await;
}

#[tokio::test]
async fn we_verify_the_signatures_of_the_javascript_library() {
    we_verify_theirs(Language::Node).await;
}

#[test]
fn a_public_key_is_written_as_others_read_it() {
    let key = SigningKey::from_seed([7; 32]).public();
    assert_eq!(PublicKey::parse(&key.to_string()), Ok(key));
}
