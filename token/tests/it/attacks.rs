//! Tokens made to be believed by somebody less careful.

use ring::hmac;
use serde_json::json;

use crate::kit::{Signer, World, base64, claims, with};

#[tokio::test]
async fn an_unsigned_token_is_refused() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    for name in ["none", "None", "NONE", "nOnE", ""] {
        let header = with(signer.header(), "alg", json!(name)).to_string();
        let message = format!("{}.{}", base64(header.as_bytes()), base64(claims().to_string().as_bytes()));
        assert_eq!(world.reason(&format!("{message}.")).await, "malformed", "{name}");
        assert_eq!(world.reason(&format!("{message}.AA")).await, "algorithm_not_accepted", "{name}");
        assert_eq!(world.reason(&message).await, "malformed", "{name}");
    }
    let genuine = signer.token();
    let unsigned = genuine.rsplit_once('.').unwrap().0;
    assert_eq!(world.reason(&format!("{unsigned}.")).await, "malformed");
    assert_eq!(world.reason(&format!("{unsigned}.{}", base64(&[0; 64]))).await, "bad_signature");
}

#[tokio::test]
async fn a_public_key_is_no_secret_to_sign_with() {
    let signers = Signer::all();
    let world = World::publishing(&signers.each_ref()).await;
    for signer in &signers {
        for name in ["HS256", "HS384", "HS512"] {
            let header = with(signer.header(), "alg", json!(name)).to_string();
            let message = format!("{}.{}", base64(header.as_bytes()), base64(claims().to_string().as_bytes()));
            for secret in [signer.jwk().to_string(), signer.jwk()["x"].to_string(), signer.jwk()["n"].to_string()] {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
                let token = format!("{message}.{}", base64(hmac::sign(&key, message.as_bytes()).as_ref()));
                assert_eq!(world.reason(&token).await, "algorithm_not_accepted", "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_header_may_not_name_another_algorithm_than_its_keys() {
    let signers = Signer::all();
    let world = World::publishing(&signers.each_ref()).await;
    for signer in &signers {
        for name in ["EdDSA", "ES256", "RS256"] {
            let token = signer.token_with_header(&with(signer.header(), "alg", json!(name)));
            let expected = if name == signer.algorithm() { "verified" } else { "algorithm_mismatch" };
            assert_eq!(world.reason(&token).await, expected, "{} as {name}", signer.algorithm());
        }
    }
}

#[tokio::test]
async fn algorithms_that_the_key_could_do_and_nobody_accepts_are_refused() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    for name in [
        "RS384", "RS512", "PS256", "PS384", "PS512", "ES384", "ES512", "ES256K", "Ed25519", "Ed448", "eddsa", "es256",
        "RSA-OAEP", "dir",
    ] {
        let token = signer.token_with_header(&with(signer.header(), "alg", json!(name)));
        assert_eq!(world.reason(&token).await, "algorithm_not_accepted", "{name}");
    }
    for value in [json!(1), json!(["EdDSA"]), json!(null)] {
        let mut header = signer.header();
        header["alg"] = value;
        assert_eq!(world.reason(&signer.token_with_header(&header)).await, "algorithm_not_accepted");
    }
}

#[tokio::test]
async fn another_key_under_the_same_name_signs_nothing() {
    for (genuine, forger) in Signer::all().iter().zip(Signer::all()) {
        let world = World::publishing(&[genuine]).await;
        assert_eq!(world.reason(&forger.token()).await, "bad_signature", "{}", genuine.algorithm());
    }
}

#[tokio::test]
async fn a_signature_moved_to_other_claims_is_refused() {
    for signer in Signer::all() {
        let world = World::publishing(&[&signer]).await;
        let genuine = signer.token();
        let signature = genuine.rsplit('.').next().unwrap();
        let other = signer.token_with_claims(&with(claims(), "sub", json!("admin")));
        let message = other.rsplit_once('.').unwrap().0;
        assert_eq!(world.reason(&format!("{message}.{signature}")).await, "bad_signature");
    }
}

#[tokio::test]
async fn an_ecdsa_signature_of_zeros_or_in_der_is_refused() {
    let signer = Signer::p256("key");
    let world = World::publishing(&[&signer]).await;
    let token = signer.token();
    let message = token.rsplit_once('.').unwrap().0;
    let fixed = signer.signature(message.as_bytes());
    let mut der = vec![0x30, 70, 0x02, 33, 0];
    der.extend_from_slice(&fixed[..32]);
    der.extend_from_slice(&[0x02, 33, 0]);
    der.extend_from_slice(&fixed[32..]);
    for signature in [vec![0; 64], vec![0; 1], der, fixed[..63].to_vec(), [fixed.as_slice(), &[0]].concat()] {
        assert_eq!(world.reason(&format!("{message}.{}", base64(&signature))).await, "bad_signature");
    }
}

#[tokio::test]
async fn a_key_name_is_a_name_and_nothing_else() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    for key_id in [
        "../../../../dev/null",
        "/etc/passwd",
        "file:///proc/self/environ",
        "http://169.254.169.254/latest/meta-data",
        "key' OR '1'='1",
        "key'; DROP TABLE events; --",
        "key\0",
        "key ",
        "KEY",
        "k\u{0435}y",
        "*",
        "{{key}}",
        "$(key)",
    ] {
        let token = signer.token_with_header(&with(signer.header(), "kid", json!(key_id)));
        assert_eq!(world.reason(&token).await, "unknown_key", "{key_id}");
    }
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn a_key_name_must_be_there_and_short() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    for key_id in [json!(null), json!(""), json!(1), json!(["key"]), json!({}), json!("k".repeat(257))] {
        let token = signer.token_with_header(&with(signer.header(), "kid", key_id.clone()));
        assert_eq!(world.reason(&token).await, "no_key_named", "{key_id}");
    }
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn a_token_may_not_bring_its_key_along() {
    let (signer, forger) = (Signer::ed25519("key"), Signer::ed25519("key"));
    let world = World::publishing(&[&signer]).await;
    for (name, value) in [
        ("jwk", forger.jwk()),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/certificate")),
        ("x5c", json!(["MIIB"])),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("enc", json!("A128GCM")),
        ("zip", json!("DEF")),
    ] {
        for signed in [&signer, &forger] {
            let token = signed.token_with_header(&with(signed.header(), name, value.clone()));
            assert_eq!(world.reason(&token).await, "forbidden_header", "{name}");
        }
        let mut header = signer.header();
        header[name] = json!(null);
        assert_eq!(world.reason(&signer.token_with_header(&header)).await, "forbidden_header", "{name} null");
    }
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn a_header_that_is_critical_is_not_understood() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    for critical in
        [json!(["exp"]), json!(["b64"]), json!([]), json!("exp"), json!(["http://example.invalid/UNDEFINED"])]
    {
        let header = with(with(signer.header(), "crit", critical.clone()), "b64", json!(false));
        assert_eq!(world.reason(&signer.token_with_header(&header)).await, "critical_header", "{critical}");
    }
}

#[tokio::test]
async fn a_token_of_another_type_is_refused() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    for typed in [
        json!(null),
        json!("JWT"),
        json!("id+jwt"),
        json!("at+jwt "),
        json!("text/at+jwt"),
        json!("application/application/at+jwt"),
        json!("logout+jwt"),
        json!(""),
        json!(1),
        json!(["at+jwt"]),
    ] {
        let token = signer.token_with_header(&with(signer.header(), "typ", typed.clone()));
        assert_eq!(world.reason(&token).await, "wrong_type", "{typed}");
    }
}

#[tokio::test]
async fn a_header_twice_is_refused() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    let header = signer.header().to_string();
    let rest = header.strip_prefix('{').unwrap();
    for first in [r#""alg":"none""#, r#""alg":"EdDSA""#, r#""kid":"other""#, r#""\u0061lg":"none""#] {
        let token = signer.sign(&format!("{{{first},{rest}"), &claims().to_string());
        assert_eq!(world.reason(&token).await, "duplicate_member", "{first}");
    }
}

#[tokio::test]
async fn what_is_no_json_object_is_malformed_however_well_it_is_signed() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    let (header, claims) = (signer.header().to_string(), claims().to_string());
    for (header, claims) in [
        ("[]", claims.as_str()),
        ("null", &claims),
        ("{", &claims),
        (&format!("{header}x"), &claims),
        (&format!("\u{feff}{header}"), &claims),
        (&header, "[]"),
        (&header, "\"\""),
        (&header, &format!("{claims}{claims}")),
        (&header, &format!("/* */{claims}")),
        (&header, &claims.replace("3600", "NaN").replacen('{', "{'a':1,", 1)),
    ] {
        assert_eq!(world.reason(&signer.sign(header, claims)).await, "malformed", "{header} {claims}");
    }
}

#[tokio::test]
async fn a_token_has_three_parts_and_one_spelling() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    let token = signer.token();
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    for spelled in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        header.to_owned(),
        format!("{header}.{claims}"),
        format!(".{claims}.{signature}"),
        format!("{header}..{signature}"),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{signature}"),
        format!("{header}.{claims}.{signature}=="),
        format!("{header}=.{claims}.{signature}"),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{header}. {claims}.{signature}"),
        format!("{header}.{claims}.{signature}+/"),
        format!("Bearer {token}"),
        // The last of 86 characters carries four bits that belong to no byte.
        format!("{header}.{claims}.{}{}", &signature[..85], if signature.ends_with('A') { 'B' } else { 'D' }),
    ] {
        let reason = world.reason(&spelled).await;
        assert!(matches!(reason, "malformed"), "{spelled}: {reason}");
    }
}

#[tokio::test]
async fn a_token_of_more_than_eight_kibibytes_is_not_looked_at() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    let fitting = signer.token_with_claims(&with(claims(), "note", json!("x".repeat(5000))));
    assert_eq!(world.reason(&fitting).await, "verified");
    let long = signer.token_with_claims(&with(claims(), "note", json!("x".repeat(6500))));
    assert!(long.len() > hub_token::TOKEN_BYTES_MAX);
    assert_eq!(world.reason(&long).await, "too_large");
    assert_eq!(world.reason(&"é".repeat(10_000)).await, "too_large");
}

#[tokio::test]
async fn the_key_of_one_provider_signs_nothing_for_another() {
    let (one, other) = (Signer::ed25519("key"), Signer::ed25519("key"));
    let (first, second) = (World::publishing(&[&one]).await, World::publishing(&[&other]).await);
    for (provider, signer, expected) in [
        (&first.provider, &one, None),
        (&second.provider, &one, Some("bad_signature")),
        (&second.provider, &other, None),
        (&first.provider, &other, Some("bad_signature")),
    ] {
        // One verifier for both, as in the program, and both registrations with the same issuer.
        let outcome = crate::kit::verify_at(&first.verifier, provider, &signer.token(), crate::kit::now()).await;
        assert_eq!(outcome.err().map(|refused| refused.reason()), expected);
    }
}
