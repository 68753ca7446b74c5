use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, test::TestFramework};
use strum::VariantNames;
use uuid::Uuid;

use super::{
    ApiKey, CODES, Command, Error, Event, GRACE_SECONDS_MAX, KeyScope, KeyScopes, LIMIT_REACHED, Network, Networks,
    ROLE_COUNT_MAX,
};
use crate::{
    aggregate::Decide,
    effect::Effect,
    fact::{Fact, GrantSource},
    golden,
    id::RoleId,
    refusal::Refusal,
};

fn given(events: Vec<Event>) -> cqrs_es::test::AggregateTestExecutor<ApiKey> {
    TestFramework::with(()).given(events)
}

fn state(events: Vec<Event>) -> ApiKey {
    let mut key = ApiKey::default();
    for event in events {
        key.apply(event);
    }
    key
}

/// Noon of a day in January 2026.
fn day(day: u32) -> DateTime<Utc> {
    format!("2026-01-{day:02}T12:00:00Z").parse().unwrap()
}

fn secret_id(n: u8) -> super::SecretId {
    format!("{n:016x}").parse().unwrap()
}

fn sha256(n: u8) -> super::SecretHash {
    format!("{n:064x}").parse().unwrap()
}

fn role(n: u128) -> RoleId {
    RoleId(Uuid::from_u128(n))
}

fn issue(expires_at: Option<u32>) -> Command {
    Command::Issue {
        name: "Deploys".parse().unwrap(),
        secret_id: secret_id(1),
        sha256: sha256(1),
        roles: [role(7)].into(),
        scopes: KeyScopes::new(["service_instance:*".parse().unwrap()]).unwrap(),
        networks: Networks::new(["10.1.2.3/16".parse().unwrap()]).unwrap(),
        expires_at: expires_at.map(day),
        now: day(1),
    }
}

fn issued(expires_at: Option<u32>) -> Event {
    Event::Issued {
        name: "Deploys".parse().unwrap(),
        secret_id: secret_id(1),
        sha256: sha256(1),
        roles: [role(7)].into(),
        scopes: KeyScopes::new(["service_instance:*".parse().unwrap()]).unwrap(),
        networks: Networks::new(["10.1.0.0/16".parse().unwrap()]).unwrap(),
        issued_at: day(1),
        expires_at: expires_at.map(day),
    }
}

fn rotate(n: u8, grace_seconds: u32, now: u32) -> Command {
    Command::Rotate { secret_id: secret_id(n), sha256: sha256(n), grace_seconds, now: day(now) }
}

fn rotated(n: u8, previous_until: u32) -> Event {
    Event::Rotated { secret_id: secret_id(n), sha256: sha256(n), previous_until: day(previous_until) }
}

fn revoke() -> Command {
    Command::Revoke { reason: "leaked".parse().unwrap() }
}

fn revoked() -> Event {
    Event::Revoked { reason: "leaked".parse().unwrap() }
}

const DAY: u32 = 24 * 3_600;

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(ApiKey::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("absent", state(vec![])),
        ("valid", state(vec![issued(Some(9))])),
        ("rotated", state(vec![issued(None), rotated(2, 3)])),
        ("revoked", state(vec![issued(None), revoked()])),
    ]);
}

#[test]
fn every_refusal_has_a_listed_code_of_its_kind() {
    for error in [
        Error::NotFound,
        Error::AlreadyIssued,
        Error::Revoked,
        Error::Expired,
        Error::ExpiryInThePast,
        Error::RolesOutOfRange,
        Error::GraceOutOfRange,
    ] {
        let listed = CODES.iter().find(|code| code.code == error.code());
        assert_eq!(listed.map(|code| code.kind), Some(error.kind()), "{}", error.code());
    }
    assert!(CODES.iter().any(|code| code.code == LIMIT_REACHED.code));
}

#[test]
fn a_key_is_issued_once() {
    given(vec![]).when(issue(Some(9))).then_expect_events(vec![issued(Some(9))]);
    given(vec![issued(None)]).when(issue(None)).then_expect_error(Error::AlreadyIssued);
}

#[test]
fn a_key_ends_in_the_future_and_has_roles() {
    given(vec![]).when(issue(Some(1))).then_expect_error(Error::ExpiryInThePast);
    for count in [0, ROLE_COUNT_MAX + 1] {
        let Command::Issue { name, secret_id, sha256, scopes, networks, expires_at, now, .. } = issue(None) else {
            unreachable!("a key is issued");
        };
        let roles = (0..count).map(|n| role(n as u128)).collect();
        let command = Command::Issue { name, secret_id, sha256, roles, scopes, networks, expires_at, now };
        given(vec![]).when(command).then_expect_error(Error::RolesOutOfRange);
    }
}

#[test]
fn a_rotation_keeps_the_secret_before_for_a_while() {
    given(vec![issued(None)]).when(rotate(2, 2 * DAY, 3)).then_expect_events(vec![rotated(2, 5)]);
    let ApiKey::Valid(key) = state(vec![issued(None), rotated(2, 5), rotated(3, 6)]) else { panic!("valid") };
    assert_eq!(key.secret.secret_id, secret_id(3));
    assert_eq!(key.previous.map(|(secret, until)| (secret.secret_id, until)), Some((secret_id(2), day(6))));
}

#[test]
fn the_same_rotation_again_changes_nothing() {
    given(vec![issued(None), rotated(2, 5)]).when(rotate(2, DAY, 4)).then_expect_events(vec![]);
}

#[test]
fn a_rotation_that_comes_too_late_or_asks_too_much_is_refused() {
    given(vec![issued(Some(4))]).when(rotate(2, 0, 4)).then_expect_error(Error::Expired);
    given(vec![issued(None)]).when(rotate(2, GRACE_SECONDS_MAX + 1, 4)).then_expect_error(Error::GraceOutOfRange);
}

#[test]
fn a_revoked_key_is_over() {
    given(vec![issued(None)]).when(revoke()).then_expect_events(vec![revoked()]);
    given(vec![issued(None), revoked()]).when(revoke()).then_expect_events(vec![]);
    given(vec![issued(None), revoked()]).when(rotate(2, 0, 2)).then_expect_error(Error::Revoked);
    given(vec![]).when(revoke()).then_expect_error(Error::NotFound);
}

#[test]
fn decisions_read_the_secrets_and_roles_of_a_valid_key_and_nothing_of_a_revoked_one() {
    let id = Uuid::from_u128(5);
    let shown = |effects: Vec<Effect>| {
        let facts = effects.into_iter().filter_map(|effect| match effect {
            Effect::Show { part, fact } => Some((part, Some(fact))),
            Effect::Hide { part } => Some((part, None)),
            Effect::Take { .. } | Effect::Release { .. } | Effect::Count { .. } => None,
        });
        facts.collect::<Vec<_>>()
    };
    let facts = shown(state(vec![issued(Some(9))]).effects(id, &rotated(2, 5)));
    let credential = facts.iter().find_map(|(_, fact)| match fact {
        Some(Fact::Credential(credential)) => Some(credential),
        _ => None,
    });
    let ends: Vec<_> = credential.unwrap().secrets.values().map(|secret| secret.expires_at).collect();
    assert_eq!(ends, [Some(day(5)), None]);
    let grants: Vec<_> = facts
        .iter()
        .filter_map(|(_, fact)| match fact {
            Some(Fact::Grant(grant)) => Some((grant.role_id, grant.until, grant.source)),
            _ => None,
        })
        .collect();
    assert_eq!(grants, [(role(7), Some(day(9)), GrantSource::ApiKey)]);
    let hidden = shown(state(vec![issued(Some(9))]).effects(id, &revoked()));
    let mut named: Vec<_> = facts.into_iter().map(|(part, _)| (part, None)).collect();
    named.sort_by(|left, right| left.0.cmp(&right.0));
    assert_eq!(hidden, named);
}

#[test]
fn scopes_and_networks_are_parsed_into_one_form() {
    for good in ["*:*", "tenant:read", "service_instance:*", "*:read"] {
        assert_eq!(good.parse::<KeyScope>().unwrap().to_string(), good);
    }
    for bad in ["", "tenant", "tenant:", ":read", "a:b:c", "Tenant:read", "tenant:**"] {
        assert!(bad.parse::<KeyScope>().is_err(), "{bad}");
    }
    for (text, network) in
        [("10.1.2.3/8", "10.0.0.0/8"), ("10.1.2.3", "10.1.2.3/32"), ("2001:db8::1", "2001:db8::1/128")]
    {
        assert_eq!(text.parse::<Network>().unwrap().to_string(), network);
    }
    for bad in ["", "10.0.0.0/33", "localhost", "10.0.0", "::/200"] {
        assert!(bad.parse::<Network>().is_err(), "{bad}");
    }
}
