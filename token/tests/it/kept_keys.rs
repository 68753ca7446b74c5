//! When a provider is asked for its keys, and what is used meanwhile.

use std::sync::Arc;

use axum::http::StatusCode;
use futures::future::join_all;
use hub_token::{
    Keys, Refused, Settings, Verifier,
    outbound::{Outbound, Reach},
};

use crate::kit::{Server, Signer, World, after, claims, eventually, key_set, now, provider, verify_at, with};

/// Genuine and good for ten days, longer than anything here is kept.
fn lasting(signer: &Signer) -> String {
    signer.token_with_claims(&with(claims(), "exp", after(864_000).timestamp().into()))
}

fn reason<T>(outcome: Result<T, Refused>) -> &'static str {
    outcome.map_or_else(Refused::reason, |_| "verified")
}

#[tokio::test]
async fn keys_are_fetched_once_for_many_requests_at_once() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    let token = signer.token();
    let outcomes = join_all((0..50).map(|_| world.verify(&token))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn a_new_key_is_found_by_one_question() {
    let (old, new) = (Signer::ed25519("old"), Signer::p256("new"));
    let world = World::publishing(&[&old]).await;
    world.verify(&old.token()).await.unwrap();
    world.publish(&[&old, &new]);
    let token = new.token();
    let outcomes = join_all((0..20).map(|_| world.verify_at(&token, after(61)))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn an_unknown_key_asks_once_a_minute_at_most() {
    let (known, unknown) = (Signer::ed25519("known"), Signer::ed25519("unknown"));
    let world = World::publishing(&[&known]).await;
    let token = unknown.token();
    for (seconds, asked) in [(0, 1), (1, 1), (30, 1), (59, 1), (60, 2), (61, 2), (119, 2), (120, 3), (121, 3)] {
        assert_eq!(reason(world.verify_at(&token, after(seconds)).await), "unknown_key");
        assert_eq!(world.asked(), asked, "after {seconds} s");
    }
    assert_eq!(reason(world.verify_at(&known.token(), after(122)).await), "verified");
    assert_eq!(world.asked(), 3);
}

#[tokio::test]
async fn many_unknown_keys_ask_no_more_than_one() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    for name in 0..100 {
        let header = with(signer.header(), "kid", format!("key-{name}").into());
        assert_eq!(world.reason(&signer.token_with_header(&header)).await, "unknown_key");
    }
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn old_keys_are_used_while_new_ones_are_fetched_behind_the_request() {
    let (old, new) = (Signer::ed25519("old"), Signer::ed25519("new"));
    let world = World::publishing(&[&old]).await;
    let token = lasting(&old);
    world.verify(&token).await.unwrap();
    world.publish(&[&new]);
    world.close();
    // A quarter of an hour later the request that finds the keys old does not wait for the answer.
    for seconds in [899, 900, 901, 902] {
        assert_eq!(reason(world.verify_at(&token, after(seconds)).await), "verified");
    }
    eventually(|| world.asked() == 2).await;
    world.open();
    // Those who need the answer wait for it; the withdrawn key is gone with it.
    assert_eq!(reason(world.verify_at(&lasting(&new), after(903)).await), "verified");
    assert_eq!(reason(world.verify_at(&token, after(904)).await), "unknown_key");
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn max_age_says_how_long_keys_are_fresh() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    world.set(|answer| drop(answer.headers.insert("cache-control", "public, max-age=7200".to_owned())));
    let token = lasting(&signer);
    for (seconds, asked) in [(0, 1), (901, 1), (7199, 1), (7200, 2)] {
        assert_eq!(reason(world.verify_at(&token, after(seconds)).await), "verified");
        eventually(|| world.asked() == asked).await;
    }
}

#[tokio::test]
async fn keys_outlive_their_provider_by_a_day() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    let token = lasting(&signer);
    world.verify(&token).await.unwrap();
    world.set(|answer| answer.status = StatusCode::SERVICE_UNAVAILABLE);
    let day = 24 * 3600;
    for seconds in [900, 3600, day, day + 899] {
        assert_eq!(reason(world.verify_at(&token, after(seconds)).await), "verified", "after {seconds} s");
    }
    assert_eq!(reason(world.verify_at(&token, after(day + 960)).await), "keys_unavailable");
    world.set(|answer| answer.status = StatusCode::OK);
    assert_eq!(reason(world.verify_at(&token, after(day + 1020)).await), "verified");
}

#[tokio::test]
async fn a_provider_that_is_away_is_not_asked_by_each_request() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    world.set(|answer| answer.status = StatusCode::INTERNAL_SERVER_ERROR);
    let token = signer.token();
    for seconds in 0..60 {
        let refused = world.verify_at(&token, after(seconds)).await.unwrap_err();
        assert_eq!((refused.reason(), refused.undecided()), ("keys_unavailable", true));
    }
    assert_eq!(world.asked(), 1);
    world.set(|answer| answer.status = StatusCode::OK);
    assert_eq!(reason(world.verify_at(&token, after(60)).await), "verified");
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn a_provider_that_nobody_listens_for_is_unavailable() {
    let signer = Signer::ed25519("key");
    let mut world = World::publishing(&[&signer]).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.provider.jwks_uri = format!("http://{}/keys", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    assert_eq!(world.reason(&signer.token()).await, "keys_unavailable");
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_waste_the_minute() {
    let signer = Signer::ed25519("key");
    let world = Arc::new(World::publishing(&[&signer]).await);
    world.close();
    let (impatient, token) = (world.clone(), signer.token());
    let request = tokio::spawn(async move { impatient.verify(&token).await });
    eventually(|| world.asked() == 1).await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    world.open();
    assert_eq!(world.reason(&signer.token()).await, "verified");
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn a_provider_that_moves_starts_anew() {
    let (old, new) = (Signer::ed25519("key"), Signer::ed25519("key"));
    let mut world = World::publishing(&[&old]).await;
    assert_eq!(world.reason(&old.token()).await, "verified");
    let moved = Server::start(key_set(&[&new])).await;
    world.provider.jwks_uri = moved.url.clone();
    assert_eq!(world.reason(&old.token()).await, "bad_signature");
    assert_eq!(world.reason(&new.token()).await, "verified");
    assert_eq!((world.asked(), moved.asked()), (1, 1));
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_stop_the_asking() {
    let (known, new) = (Signer::ed25519("known"), Signer::ed25519("new"));
    let world = World::publishing(&[&known]).await;
    world.verify_at(&lasting(&known), after(86_400)).await.unwrap();
    world.publish(&[&new]);
    assert_eq!(world.reason(&new.token()).await, "verified");
}

#[tokio::test]
async fn only_so_many_providers_are_kept_and_the_idle_one_goes() {
    let signer = Signer::ed25519("key");
    let server = Server::start(key_set(&[&signer])).await;
    let keys = Keys::new(Outbound::new(Reach::PublicAndLoopback), Settings { providers_max: 2 });
    let verifier = Verifier::new(keys);
    let [first, second, third] = [0, 1, 2].map(|_| provider(server.url.clone()));
    let token = signer.token();
    for (provider, seconds, asked) in [
        (&first, 0, 1),
        (&second, 1, 2),
        (&first, 2, 2),
        (&third, 3, 3),
        (&first, 4, 3),
        (&third, 5, 3),
        (&second, 6, 4),
    ] {
        verify_at(&verifier, provider, &token, after(seconds)).await.unwrap();
        assert_eq!(server.asked(), asked, "after {seconds} s");
    }
    assert_eq!(reason(verify_at(&verifier, &third, &token, now()).await), "verified");
}
