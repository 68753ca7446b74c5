//! Published vectors, then everything that must not be believed.

use super::*;
use crate::{Key, SigningKey, sign};

/// Facts from the tests of the reference libraries (github.com/standard-webhooks/standard-webhooks, libraries/*).
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const AT: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

/// Facts from the tests of the server that the ed25519 scheme comes from (github.com/svix/svix-webhooks).
const SIGNING_KEY: &str =
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const PUBLIC_KEY: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
const ED25519_SIGNATURE: &str =
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";

const RECEIVED: Received<'static> = Received { id: ID, timestamp: "1614265330", signature: SIGNATURE, body: BODY };

fn secret() -> Key {
    Key::parse(SECRET).unwrap()
}

fn other_secret() -> Key {
    SymmetricSecret::from_random([9; 32]).into()
}

fn signing_key() -> Key {
    Key::parse(SIGNING_KEY).unwrap()
}

fn verified(received: Received<'_>, keys: &[Key]) -> Result<(), Refused> {
    let keys: Vec<_> = keys.iter().map(Key::verifying).collect();
    verify(received, &keys, AT, TOLERANCE)
}

#[test]
fn the_published_hmac_vector_is_made_and_verified() {
    assert_eq!(sign(&[secret()], ID, AT, BODY), SIGNATURE);
    assert_eq!(verified(RECEIVED, &[secret()]), Ok(()));
}

#[test]
fn the_published_ed25519_vector_is_made_and_verified() {
    assert_eq!(sign(&[signing_key()], ID, AT, BODY), ED25519_SIGNATURE);
    let received = Received { signature: ED25519_SIGNATURE, ..RECEIVED };
    let public = VerifyingKey::Public(PublicKey::parse(PUBLIC_KEY).unwrap());
    assert_eq!(verify(received, &[public], AT, TOLERANCE), Ok(()));
    assert_eq!(SigningKey::parse(SIGNING_KEY).unwrap().public().to_string(), PUBLIC_KEY);
    assert_eq!(*SigningKey::parse(SIGNING_KEY).unwrap().reveal(), SIGNING_KEY);
}

#[test]
fn during_a_rotation_the_old_secret_and_the_new_one_verify() {
    let signature = sign(&[other_secret(), secret(), signing_key()], ID, AT, BODY);
    assert_eq!(signature.split(' ').count(), 3);
    let received = Received { signature: &signature, ..RECEIVED };
    for key in [secret(), other_secret(), signing_key()] {
        assert_eq!(verified(received, &[key]), Ok(()));
    }
    assert_eq!(verified(RECEIVED, &[other_secret(), secret()]), Ok(()), "a receiver that knows two");
    let third = SymmetricSecret::from_random([8; 32]).into();
    assert_eq!(verified(received, &[third]), Err(Refused::Signature));
}

#[test]
fn another_id_timestamp_body_or_key_is_refused() {
    let refused = Err(Refused::Signature);
    for (signature, key) in [(SIGNATURE, secret()), (ED25519_SIGNATURE, signing_key())] {
        let received = Received { signature, ..RECEIVED };
        let key = [key];
        assert_eq!(verified(received, &key), Ok(()));
        assert_eq!(verified(Received { id: "msg_other", ..received }, &key), refused);
        assert_eq!(verified(Received { timestamp: "1614265331", ..received }, &key), refused);
        assert_eq!(verified(Received { timestamp: "01614265330", ..received }, &key), refused);
        assert_eq!(verified(Received { body: br#"{"test":2432232314}"#, ..received }, &key), refused);
        assert_eq!(verified(received, &[other_secret()]), refused);
        assert_eq!(verified(received, &[SigningKey::from_seed([1; 32]).into()]), refused);
        assert_eq!(verified(received, &[]), refused);
    }
}

#[test]
fn a_signature_counts_for_its_own_version_only() {
    for (from, to) in [("v1,", "v1a,"), ("v1,", "v2,"), ("v1,", "V1,"), ("v1,", ",")] {
        let signature = SIGNATURE.replace(from, to);
        assert_eq!(verified(Received { signature: &signature, ..RECEIVED }, &[secret()]), Err(Refused::Signature));
    }
    let signature = format!("v2,AAAA v1a,AAAA {SIGNATURE}");
    assert_eq!(verified(Received { signature: &signature, ..RECEIVED }, &[secret()]), Ok(()));
}

#[test]
fn a_message_from_too_long_ago_or_from_the_future_is_refused() {
    let keys = [secret().verifying()];
    let at = |now| verify(RECEIVED, &keys, now, TOLERANCE);
    assert_eq!(at(AT + 300), Ok(()));
    assert_eq!(at(AT + 301), Err(Refused::TooOld));
    assert_eq!(at(AT - 300), Ok(()));
    assert_eq!(at(AT - 301), Err(Refused::TooNew));
    assert_eq!(verify(RECEIVED, &keys, i64::MAX, Duration::MAX), Ok(()));
}

#[test]
fn garbage_is_refused_without_a_panic() {
    let keys = [secret(), signing_key()];
    for signature in ["", " ", ",", "v1", "v1,", "v1,AAAA", "v1,!!", "v1a,", "v1a,AAAA", "\u{1f600},\u{1f600}"] {
        assert_eq!(verified(Received { signature, ..RECEIVED }, &keys), Err(Refused::Signature), "{signature}");
    }
    let long = format!("v1,{}", "A".repeat(100_000));
    assert_eq!(verified(Received { signature: &long, ..RECEIVED }, &keys), Err(Refused::Signature));
    for timestamp in ["", "now", "-1", "+1614265330", "1614265330.0", " 1614265330", "99999999999999999999", "١"] {
        assert_eq!(verified(Received { timestamp, ..RECEIVED }, &keys), Err(Refused::Timestamp), "{timestamp}");
    }
    assert_eq!(verified(Received { id: "", ..RECEIVED }, &keys), Err(Refused::Id));
}

#[test]
fn so_many_signatures_are_looked_at_and_no_more() {
    let after = |others: usize| format!("{}{SIGNATURE}", "v1,AAAA ".repeat(others));
    let last = after(SIGNATURES_MAX - 1);
    assert_eq!(verified(Received { signature: &last, ..RECEIVED }, &[secret()]), Ok(()));
    let behind = after(SIGNATURES_MAX);
    assert_eq!(verified(Received { signature: &behind, ..RECEIVED }, &[secret()]), Err(Refused::Signature));
}

#[test]
fn a_key_is_told_by_its_prefix() {
    assert!(matches!(signing_key(), Key::Asymmetric(_)));
    assert!(matches!(Key::parse(SECRET.trim_start_matches("whsec_")), Ok(Key::Symmetric(_))));
    assert!(matches!(VerifyingKey::parse(PUBLIC_KEY), Ok(VerifyingKey::Public(_))));
    assert!(matches!(VerifyingKey::parse(SECRET), Ok(VerifyingKey::Symmetric(_))));
    assert!(matches!(Key::parse(PUBLIC_KEY), Err(KeyError::Base64)), "a public key signs nothing");
}
