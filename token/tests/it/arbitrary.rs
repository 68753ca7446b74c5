//! Bytes that nobody made with care: nothing panics, and nothing verifies that was not signed as it stands.
//!
//! The fuzz target of tokens and key sets. `HUB_FUZZ_CASES` says how many of each kind are tried (2,000 without it),
//! `HUB_FUZZ_SEED` plays a run again; each run prints its own.

use hub_token::Refused;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::kit::{Signer, World, base64, claims, key_set};

const CASES_DEFAULT: usize = 2_000;

fn cases() -> usize {
    std::env::var("HUB_FUZZ_CASES").map_or(CASES_DEFAULT, |text| text.parse().expect("the number of cases is a number"))
}

fn random() -> StdRng {
    let seed = std::env::var("HUB_FUZZ_SEED")
        .map_or_else(|_| rand::random(), |text| text.parse().expect("the seed is a number"));
    println!("HUB_FUZZ_SEED={seed} plays this again");
    StdRng::seed_from_u64(seed)
}

/// What tends to matter to a reader of tokens, and now and then any character.
fn character(random: &mut StdRng) -> char {
    const TELLING: &[char] =
        &['.', '=', '-', '_', '+', '/', '{', '}', '"', '\\', 'A', 'e', 'y', '0', '\0', '\n', ' ', 'é', '🦀'];
    if random.random_bool(0.8) { TELLING[random.random_range(0..TELLING.len())] } else { random.random() }
}

fn text(random: &mut StdRng, length_max: usize) -> String {
    let length = random.random_range(0..=length_max);
    (0..length).map(|_| character(random)).collect()
}

/// One to four edits of a text: a character put in, taken away or changed, a piece doubled, or the rest cut off.
fn mutated(random: &mut StdRng, original: &str) -> String {
    let mut characters: Vec<char> = original.chars().collect();
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..=characters.len());
        match random.random_range(0..5) {
            0 => characters.insert(at, character(random)),
            1 if at < characters.len() => drop(characters.remove(at)),
            2 if at < characters.len() => characters[at] = character(random),
            3 if at < characters.len() => {
                let end = random.random_range(at..characters.len()).min(at + 40);
                let piece = characters[at..end].to_vec();
                let to = random.random_range(0..=characters.len());
                characters.splice(to..to, piece);
            }
            _ => characters.truncate(at.max(1)),
        }
    }
    characters.into_iter().collect()
}

/// Any JSON value, small.
fn value(random: &mut StdRng, depth: usize) -> Value {
    match random.random_range(0..if depth == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => json!(random.random::<bool>()),
        2 => json!(random.random::<i64>()),
        3 => json!(f64::from_bits(random.random())),
        4 => json!(text(random, 12)),
        5 => json!(
            ["https://idp.example", "https://hub.example", "at+jwt", "EdDSA", "none", "key"][random.random_range(0..6)]
        ),
        6 => (0..random.random_range(0..4)).map(|_| value(random, depth - 1)).collect(),
        _ => {
            Value::Object((0..random.random_range(0..4)).map(|_| (text(random, 6), value(random, depth - 1))).collect())
        }
    }
}

/// An object with some of its members changed, added or removed.
fn mutated_object(random: &mut StdRng, mut object: Value, names: &[&str]) -> Value {
    let members = object.as_object_mut().unwrap();
    for _ in 0..random.random_range(1..=3) {
        let name = names[random.random_range(0..names.len())];
        if random.random_bool(0.3) {
            members.remove(name);
        } else {
            members.insert(name.to_owned(), value(random, 3));
        }
    }
    object
}

#[tokio::test]
async fn arbitrary_text_never_verifies() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    let mut random = random();
    for _ in 0..cases() {
        let token = match random.random_range(0..3) {
            0 => text(&mut random, 300),
            1 => format!("{}.{}.{}", text(&mut random, 60), text(&mut random, 60), text(&mut random, 60)),
            _ => {
                let mut part = || base64(text(&mut random, 80).as_bytes());
                format!("{}.{}.{}", part(), part(), part())
            }
        };
        assert!(world.verify(&token).await.is_err(), "{token}");
    }
}

#[tokio::test]
async fn a_genuine_token_that_was_touched_never_verifies() {
    let signers = Signer::all();
    let world = World::publishing(&signers.each_ref()).await;
    let mut random = random();
    for signer in &signers {
        let genuine = signer.token();
        assert!(world.verify(&genuine).await.is_ok());
        for _ in 0..cases() {
            let token = mutated(&mut random, &genuine);
            let outcome = world.verify(&token).await;
            assert!(token == genuine || outcome.is_err(), "{token}");
        }
    }
}

#[tokio::test]
async fn a_part_that_was_touched_inside_its_encoding_never_verifies_with_the_old_signature() {
    let signer = Signer::p256("key");
    let world = World::publishing(&[&signer]).await;
    let mut random = random();
    let (header, claims) = (signer.header().to_string(), claims().to_string());
    let genuine = signer.sign(&header, &claims);
    let signature = genuine.rsplit('.').next().unwrap();
    for _ in 0..cases() {
        let (touched_header, touched_claims) = match random.random_range(0..2) {
            0 => (mutated(&mut random, &header), claims.clone()),
            _ => (header.clone(), mutated(&mut random, &claims)),
        };
        let token = format!("{}.{}.{signature}", base64(touched_header.as_bytes()), base64(touched_claims.as_bytes()));
        assert!(token == genuine || world.verify(&token).await.is_err(), "{touched_header} {touched_claims}");
    }
}

/// Signed by the provider itself, and odd: what verifies must hold what `Verified` promises.
#[tokio::test]
async fn odd_tokens_of_the_provider_verify_only_if_they_say_what_they_must() {
    const HEADERS: &[&str] =
        &["alg", "typ", "kid", "crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "cty", "nonce", "x5t"];
    const CLAIMS: &[&str] = &["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "scope", "other"];
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    let mut random = random();
    let mut verified = 0;
    for _ in 0..cases() {
        let header = match random.random_bool(0.3) {
            true => mutated_object(&mut random, signer.header(), HEADERS),
            false => signer.header(),
        };
        let claims = mutated_object(&mut random, claims(), CLAIMS);
        match world.verify(&signer.sign(&header.to_string(), &claims.to_string())).await {
            Ok(known) => {
                verified += 1;
                assert_eq!((&header["alg"], &header["kid"]), (&json!("EdDSA"), &json!("key")), "{header}");
                assert_eq!((&claims["iss"], &claims["sub"]), (&json!(known.issuer), &json!(known.subject)), "{claims}");
                assert!(claims["exp"].is_number() && !known.subject.is_empty(), "{claims}");
                assert!(header.get("crit").is_none() && header.get("jwk").is_none(), "{header}");
            }
            Err(refused) => assert!(!matches!(refused, Refused::BadSignature), "{header} {claims}"),
        }
    }
    assert!(verified > 0, "some odd tokens are good ones");
}

#[tokio::test]
async fn arbitrary_key_sets_give_no_key_that_verifies_a_forgery() {
    let (signer, forger) = (Signer::ed25519("key"), Signer::ed25519("other"));
    let genuine = key_set(&[&signer]);
    let mut random = random();
    // Each case is a fetch of its own, which takes longer than reading a token.
    let world = World::publishing(&[&signer]).await;
    for case in 0..cases() / 10 {
        let document = match random.random_range(0..3) {
            0 => mutated(&mut random, &genuine),
            1 => json!({"keys": [mutated_object(&mut random, signer.jwk(), &["kty", "crv", "x", "kid", "use", "alg", "key_ops"])]})
                .to_string(),
            _ => json!({"keys": value(&mut random, 4)}).to_string(),
        };
        world.set(|answer| answer.body = document.clone());
        let time = crate::kit::now() + chrono::TimeDelta::minutes(case as i64 * 2);
        let claims = crate::kit::with(claims(), "exp", json!(time.timestamp() + 3600));
        let outcome = world.verify_at(&forger.token_with_claims(&claims), time).await;
        assert!(outcome.is_err(), "{document}");
    }
    assert!(world.asked() >= cases() / 10);
}
