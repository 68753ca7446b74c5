use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use strum::VariantNames;
use uuid::Uuid;

use super::{CODES, Command, Error, Event, IdentityProvider, LIMIT_REACHED, audience_of};
use crate::{
    aggregate::Decide,
    effect::{Effect, Reach},
    fact::{Fact, IdentityProviderFact},
    golden,
    id::TenantId,
    refusal::Refusal,
};

const ISSUER: &str = "https://login.acme.example";
const KEYS: &str = "https://login.acme.example/keys";
const OTHER_KEYS: &str = "https://keys.acme.example/";
const AUDIENCE: &str = "urn:service-hub:tenant:00000000-0000-0000-0000-000000000007";

fn given(events: Vec<Event>) -> AggregateTestExecutor<IdentityProvider> {
    TestFramework::with(()).given(events)
}

fn state(events: Vec<Event>) -> IdentityProvider {
    let mut provider = IdentityProvider::default();
    for event in events {
        provider.apply(event);
    }
    provider
}

fn register_as(issuer: &str, keys: &str, loopback_allowed: bool) -> Command {
    Command::Register {
        tenant_id: TenantId(Uuid::from_u128(7)),
        issuer: issuer.parse().unwrap(),
        jwks_uri: keys.parse().unwrap(),
        loopback_allowed,
    }
}

fn register() -> Command {
    register_as(ISSUER, KEYS, false)
}

fn change_keys(keys: &str) -> Command {
    Command::ChangeKeysAddress { jwks_uri: keys.parse().unwrap(), loopback_allowed: false }
}

fn registered() -> Event {
    Event::Registered { issuer: ISSUER.parse().unwrap(), audience: AUDIENCE.into(), jwks_uri: KEYS.parse().unwrap() }
}

fn keys_changed() -> Event {
    Event::KeysAddressChanged { from: KEYS.parse().unwrap(), to: OTHER_KEYS.parse().unwrap() }
}

fn enabled() -> Vec<Event> {
    vec![registered()]
}

fn disabled() -> Vec<Event> {
    vec![registered(), Event::Disabled {}]
}

fn removed() -> Vec<Event> {
    vec![registered(), Event::Removed {}]
}

fn shown(keys: &str) -> Effect {
    let fact = Fact::IdentityProvider(IdentityProviderFact {
        issuer: ISSUER.into(),
        audience: AUDIENCE.into(),
        jwks_uri: keys.into(),
    });
    Effect::Show { part: "provider".into(), fact }
}

fn hidden() -> Effect {
    Effect::Hide { part: "provider".into() }
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(IdentityProvider::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("absent", state(vec![])),
        ("enabled", state(vec![registered(), keys_changed()])),
        ("disabled", state(disabled())),
        ("removed", state(removed())),
    ]);
}

#[test]
fn every_refusal_has_a_listed_code_of_its_kind() {
    for error in [Error::NotFound, Error::AlreadyRegistered, Error::Removed, Error::Insecure] {
        let listed = CODES.iter().find(|code| code.code == error.code());
        assert_eq!(listed.map(|code| code.kind), Some(error.kind()), "{}", error.code());
    }
    assert!(CODES.contains(&LIMIT_REACHED));
}

#[test]
fn a_provider_is_registered_for_the_audience_of_its_tenant() {
    given(vec![]).when(register()).then_expect_events(enabled());
    assert_eq!(audience_of(TenantId(Uuid::from_u128(7))), AUDIENCE);
}

#[test]
fn registering_again_is_refused() {
    for history in [enabled(), disabled()] {
        given(history).when(register()).then_expect_error(Error::AlreadyRegistered);
    }
}

#[test]
fn only_for_development_is_a_provider_without_tls() {
    for (issuer, keys) in [("http://localhost:8080", KEYS), (ISSUER, "http://127.0.0.1:8080/keys")] {
        given(vec![]).when(register_as(issuer, keys, false)).then_expect_error(Error::Insecure);
        assert!(IdentityProvider::Absent.decide(register_as(issuer, keys, true)).is_ok());
    }
    given(enabled()).when(change_keys("http://localhost/keys")).then_expect_error(Error::Insecure);
}

#[test]
fn the_keys_move_once() {
    for history in [enabled(), disabled()] {
        given(history.clone()).when(change_keys(OTHER_KEYS)).then_expect_events(vec![keys_changed()]);
        given(history).and(vec![keys_changed()]).when(change_keys(OTHER_KEYS)).then_expect_events(vec![]);
    }
}

#[test]
fn a_provider_is_disabled_and_enabled() {
    given(enabled()).when(Command::Disable).then_expect_events(vec![Event::Disabled {}]);
    given(disabled()).when(Command::Enable).then_expect_events(vec![Event::Enabled {}]);
    assert_eq!(state([disabled(), vec![Event::Enabled {}]].concat()), state(enabled()));
}

#[test]
fn disabling_or_enabling_twice_changes_nothing() {
    given(disabled()).when(Command::Disable).then_expect_events(vec![]);
    given(enabled()).when(Command::Enable).then_expect_events(vec![]);
}

#[test]
fn a_removed_provider_accepts_nothing() {
    for history in [enabled(), disabled()] {
        given(history).when(Command::Remove).then_expect_events(vec![Event::Removed {}]);
    }
    for command in [register(), change_keys(OTHER_KEYS), Command::Disable, Command::Enable, Command::Remove] {
        given(removed()).when(command).then_expect_error(Error::Removed);
    }
}

#[test]
fn an_absent_provider_knows_no_other_command() {
    for command in [change_keys(OTHER_KEYS), Command::Disable, Command::Enable, Command::Remove] {
        given(vec![]).when(command).then_expect_error(Error::NotFound);
    }
}

#[test]
fn a_provider_takes_its_issuer_and_is_counted_until_it_is_removed() {
    assert_eq!(
        IdentityProvider::Absent.effects(Uuid::nil(), &registered()),
        [
            Effect::Take { reach: Reach::Tenant, scope: "identity_provider_issuer", key: ISSUER.into() },
            Effect::Count { counter: "identity_providers", delta: 1 },
            shown(KEYS),
        ]
    );
    for history in [enabled(), disabled()] {
        assert_eq!(
            state(history).effects(Uuid::nil(), &Event::Removed {}),
            [
                Effect::Release { reach: Reach::Tenant, scope: "identity_provider_issuer", key: ISSUER.into() },
                Effect::Count { counter: "identity_providers", delta: -1 },
                hidden(),
            ]
        );
    }
}

#[test]
fn a_provider_is_read_while_it_is_enabled() {
    assert_eq!(state(enabled()).effects(Uuid::nil(), &keys_changed()), [shown(OTHER_KEYS)]);
    assert_eq!(state(enabled()).effects(Uuid::nil(), &Event::Disabled {}), [hidden()]);
    assert_eq!(state(disabled()).effects(Uuid::nil(), &keys_changed()), []);
    let moved = state([disabled(), vec![keys_changed()]].concat());
    assert_eq!(moved.effects(Uuid::nil(), &Event::Enabled {}), [shown(OTHER_KEYS)]);
}
