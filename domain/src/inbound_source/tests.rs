use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use serde_json::json;
use strum::VariantNames;
use uuid::Uuid;

use super::{
    CODES, Command, Content, Error, Event, InboundSource, LIMIT_REACHED, Scheme, SignatureHeader, SignaturePrefix,
    decide::SOURCES,
};
use crate::{aggregate::Decide, effect::Effect, golden, refusal::Refusal};

fn given(events: Vec<Event>) -> AggregateTestExecutor<InboundSource> {
    TestFramework::with(()).given(events)
}

fn state(events: Vec<Event>) -> InboundSource {
    let mut source = InboundSource::default();
    for event in events {
        source.apply(event);
    }
    source
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn scheme() -> Scheme {
    Scheme::HmacSha256 { header: "X-Signature".parse().unwrap(), prefix: "sha256=".parse().unwrap() }
}

fn register() -> Command {
    Command::Register {
        name: "Payments".parse().unwrap(),
        scheme: scheme(),
        secret_id: Uuid::from_u128(1),
        sealed_secret: "c2VhbGVk".parse().unwrap(),
    }
}

fn registered() -> Event {
    Event::Registered {
        name: "Payments".parse().unwrap(),
        scheme: scheme(),
        secret_id: Uuid::from_u128(1),
        sealed_secret: "c2VhbGVk".parse().unwrap(),
    }
}

fn rotate() -> Command {
    Command::RotateSecret {
        secret_id: Uuid::from_u128(2),
        sealed_secret: "b3RoZXI=".parse().unwrap(),
        previous_until: at("2026-06-01T00:00:00Z"),
    }
}

fn rotated() -> Event {
    Event::SecretRotated {
        secret_id: Uuid::from_u128(2),
        sealed_secret: "b3RoZXI=".parse().unwrap(),
        previous_until: at("2026-06-01T00:00:00Z"),
    }
}

fn headers() -> BTreeMap<String, String> {
    BTreeMap::from([("x-github-event".to_owned(), "push".to_owned())])
}

fn receive() -> Command {
    receive_by(1, "2026-05-01T00:00:00Z")
}

fn receive_by(secret: u128, now: &str) -> Command {
    Command::Receive {
        secret_id: Uuid::from_u128(secret),
        now: at(now),
        delivery_id: "msg_1".to_owned(),
        content_type: "application/json".to_owned(),
        body: Content::Json(json!({ "a": 1 })),
        headers: headers(),
    }
}

fn received() -> Event {
    Event::Received {
        delivery_id: "msg_1".to_owned(),
        content_type: "application/json".to_owned(),
        body: Content::Json(json!({ "a": 1 })),
        headers: headers(),
    }
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(InboundSource::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("absent", state(vec![])),
        ("enabled", state(vec![registered(), received()])),
        ("disabled", state(vec![registered(), rotated(), Event::Disabled {}])),
        ("removed", state(vec![registered(), Event::Removed {}])),
    ]);
}

#[test]
fn every_refusal_has_a_listed_code_of_its_kind() {
    for error in [Error::NotFound, Error::AlreadyRegistered, Error::Disabled, Error::Removed] {
        let listed = CODES.iter().find(|code| code.code == error.code());
        assert_eq!(listed.map(|code| code.kind), Some(error.kind()), "{}", error.code());
    }
    assert!(CODES.contains(&LIMIT_REACHED));
}

#[test]
fn a_source_is_registered_once() {
    given(vec![]).when(register()).then_expect_events(vec![registered()]);
    given(vec![registered()]).when(register()).then_expect_error(Error::AlreadyRegistered);
}

#[test]
fn what_an_enabled_source_sends_is_taken() {
    given(vec![registered()]).when(receive()).then_expect_events(vec![received()]);
    given(vec![registered(), Event::Disabled {}, Event::Enabled {}])
        .when(receive())
        .then_expect_events(vec![received()]);
}

#[test]
fn a_disabled_source_takes_nothing_and_may_get_another_secret() {
    given(vec![registered(), Event::Disabled {}]).when(receive()).then_expect_error(Error::Disabled);
    given(vec![registered(), Event::Disabled {}]).when(rotate()).then_expect_events(vec![rotated()]);
}

#[test]
fn doing_it_twice_changes_nothing() {
    given(vec![registered(), Event::Disabled {}]).when(Command::Disable).then_expect_events(vec![]);
    given(vec![registered()]).when(Command::Enable).then_expect_events(vec![]);
    given(vec![registered()]).when(Command::Disable).then_expect_events(vec![Event::Disabled {}]);
}

#[test]
fn a_removed_source_accepts_nothing() {
    let removed = || vec![registered(), Event::Removed {}];
    for command in [rotate(), Command::Disable, Command::Enable, Command::Remove, register()] {
        given(removed()).when(command).then_expect_error(Error::Removed);
    }
    given(removed()).when(receive()).then_expect_error(Error::NotFound);
    given(vec![]).when(receive()).then_expect_error(Error::NotFound);
    given(vec![]).when(Command::Enable).then_expect_error(Error::NotFound);
}

#[test]
fn after_a_rotation_the_old_secret_is_good_until_its_time() {
    let source = state(vec![registered(), rotated()]);
    let ids = |text: &str| -> Vec<u128> {
        source.provider().unwrap().secrets(at(text)).map(|secret| secret.secret_id.as_u128()).collect()
    };
    assert_eq!(ids("2026-05-31T23:59:59Z"), [2, 1]);
    assert_eq!(ids("2026-06-01T00:00:00Z"), [2]);
}

#[test]
fn what_was_verified_by_a_secret_that_is_good_no_longer_is_refused() {
    let (before, after) = ("2026-05-31T23:59:59Z", "2026-06-01T00:00:00Z");
    let history = || vec![registered(), rotated()];
    given(history()).when(receive_by(1, before)).then_expect_events(vec![received()]);
    given(history()).when(receive_by(2, after)).then_expect_events(vec![received()]);
    for (secret, now) in [(1, after), (3, before)] {
        given(history()).when(receive_by(secret, now)).then_expect_error(Error::SecretReplaced);
    }
    let disabled = vec![registered(), rotated(), Event::Disabled {}];
    given(disabled).when(receive_by(1, after)).then_expect_error(Error::SecretReplaced);
}

#[test]
fn sources_are_counted_until_they_are_removed() {
    let count = |delta| vec![Effect::Count { counter: SOURCES, delta }];
    let source = state(vec![registered()]);
    assert_eq!(InboundSource::Absent.effects(Uuid::nil(), &registered()), count(1));
    assert_eq!(source.effects(Uuid::nil(), &Event::Removed {}), count(-1));
    assert_eq!(source.effects(Uuid::nil(), &received()), vec![]);
}

#[test]
fn headers_and_prefixes_have_a_shape() {
    assert_eq!("X-Acme-Signature".parse::<SignatureHeader>().unwrap().as_str(), "x-acme-signature");
    for bad in ["", "a b", "x_y", "Authorization", "cookie", "ä", &"x".repeat(65)] {
        assert!(bad.parse::<SignatureHeader>().is_err(), "{bad}");
    }
    assert!("sha256=".parse::<SignaturePrefix>().is_ok() && "".parse::<SignaturePrefix>().is_ok());
    for bad in ["a b", "é", &"x".repeat(33)] {
        assert!(bad.parse::<SignaturePrefix>().is_err(), "{bad}");
    }
    let parsed: Scheme = serde_json::from_value(json!({ "kind": "hmac_sha256", "header": "x-a" })).unwrap();
    assert_eq!(json!(parsed), json!({ "kind": "hmac_sha256", "header": "x-a", "prefix": "" }));
    assert!(serde_json::from_value::<Scheme>(json!({ "kind": "github", "header": "x-a" })).is_err());
}
