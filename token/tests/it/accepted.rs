//! Tokens that are believed, and what is known of whoever sent them.

use std::collections::BTreeSet;

use hub_token::{Refused, Verified};
use serde_json::json;

use crate::kit::{AUDIENCE, ISSUER, Signer, World, after, claims, now, with};

#[tokio::test]
async fn each_accepted_algorithm_verifies() {
    let signers = Signer::all();
    let world = World::publishing(&signers.each_ref()).await;
    for signer in &signers {
        assert_eq!(world.verify(&signer.token()).await.unwrap().subject, "user-1", "{}", signer.algorithm());
    }
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn what_a_token_says_is_what_is_known() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    let mut all = claims();
    for (name, value) in [
        ("aud", json!(["https://other.example", AUDIENCE])),
        ("nbf", json!(now().timestamp())),
        ("iat", json!(1_767_225_540.5)),
        ("jti", json!("token-1")),
        ("scope", json!("roles:read  tenants:write")),
        ("client_id", json!("spa")),
        ("address", json!({"country": "SE"})),
    ] {
        all = with(all, name, value);
    }
    assert_eq!(
        world.verify(&signer.token_with_claims(&all)).await.unwrap(),
        Verified {
            provider_id: world.provider.id,
            issuer: ISSUER.to_owned(),
            subject: "user-1".to_owned(),
            audience: AUDIENCE.to_owned(),
            expires_at: after(3600),
            issued_at: Some(after(-60) + chrono::TimeDelta::milliseconds(500)),
            token_id: Some("token-1".to_owned()),
            scope: Some(BTreeSet::from(["roles:read".to_owned(), "tenants:write".to_owned()])),
        }
    );
}

#[tokio::test]
async fn an_empty_scope_is_not_the_absence_of_one() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    assert_eq!(world.verify(&signer.token()).await.unwrap().scope, None);
    let token = signer.token_with_claims(&with(claims(), "scope", json!("")));
    assert_eq!(world.verify(&token).await.unwrap().scope, Some(BTreeSet::new()));
}

#[tokio::test]
async fn the_type_is_compared_without_case_and_with_or_without_application() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    for typed in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        let token = signer.token_with_header(&with(signer.header(), "typ", json!(typed)));
        assert_eq!(world.reason(&token).await, "verified", "{typed}");
    }
}

#[tokio::test]
async fn headers_that_say_nothing_about_keys_are_let_be() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    let header = with(with(signer.header(), "x5t", json!("dGh1bWI")), "nonce", json!("n"));
    assert_eq!(world.reason(&signer.token_with_header(&header)).await, "verified");
}

#[tokio::test]
async fn verifying_can_move_between_threads() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    let (verifier, provider, token) = (world.verifier.clone(), world.provider.clone(), signer.token());
    let verified = tokio::spawn(async move {
        verifier.verify(&token, now(), |_, _| async move { Ok::<_, Refused>(Some(provider)) }).await
    });
    assert_eq!(verified.await.unwrap().unwrap().subject, "user-1");
}

#[tokio::test]
async fn a_find_that_cannot_tell_is_no_verdict_on_the_token() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    let find = |_, _| async { Err(Refused::ProvidersUnavailable) };
    let refused = world.verifier.verify(&signer.token(), now(), find).await.unwrap_err();
    assert_eq!((refused.reason(), refused.undecided()), ("providers_unavailable", true));
}
