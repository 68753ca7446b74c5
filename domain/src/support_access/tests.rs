use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use strum::VariantNames;
use uuid::Uuid;

use super::{CODES, Command, DURATION_MAX, Error, Event, LIMIT_REACHED, SupportAccess};
use crate::{
    aggregate::Decide,
    effect::Effect,
    fact::{Fact, GrantFact, GrantSource, Home},
    golden,
    id::RoleId,
    refusal::Refusal,
    role::Principal,
};

fn given(events: Vec<Event>) -> AggregateTestExecutor<SupportAccess> {
    TestFramework::with(()).given(events)
}

fn state(events: Vec<Event>) -> SupportAccess {
    let mut access = SupportAccess::default();
    for event in events {
        access.apply(event);
    }
    access
}

fn principal(text: &str) -> Principal {
    text.parse().unwrap()
}

fn role_id() -> RoleId {
    RoleId(Uuid::from_u128(7))
}

fn hour(hours: i64) -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::hours(hours)
}

fn grant_as(reason: &str, role_live: bool, until: DateTime<Utc>) -> Command {
    Command::Grant {
        by: principal("user:owner"),
        staff: principal("user:staff"),
        role_id: role_id(),
        role_live,
        reason: reason.parse().unwrap(),
        until,
        now: hour(0),
    }
}

fn grant() -> Command {
    grant_as("a slow restore", true, hour(4))
}

fn revoke() -> Command {
    Command::Revoke { by: principal("user:owner") }
}

fn end(now: i64) -> Command {
    Command::End { now: hour(now) }
}

fn granted() -> Event {
    Event::Granted {
        by: principal("user:owner"),
        staff: principal("user:staff"),
        role_id: role_id(),
        reason: "a slow restore".parse().unwrap(),
        from: hour(0),
        until: hour(4),
    }
}

fn revoked() -> Event {
    Event::Revoked { by: principal("user:owner") }
}

fn over() -> [Vec<Event>; 2] {
    [revoked(), Event::Ended {}].map(|last| vec![granted(), last])
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(SupportAccess::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("absent", state(vec![])),
        ("granted", state(vec![granted()])),
        ("over", state(vec![granted(), revoked()])),
    ]);
}

#[test]
fn every_refusal_has_a_listed_code_of_its_kind() {
    for error in [
        Error::NotFound,
        Error::AlreadyGranted,
        Error::RoleUnknown,
        Error::ReasonMissing,
        Error::EndInThePast,
        Error::TooLong,
        Error::NotDue,
    ] {
        let listed = CODES.iter().find(|code| code.code == error.code());
        assert_eq!(listed.map(|code| code.kind), Some(error.kind()), "{}", error.code());
    }
    assert!(CODES.contains(&LIMIT_REACHED));
}

#[test]
fn staff_of_the_platform_get_a_role_for_a_time() {
    given(vec![]).when(grant()).then_expect_events(vec![granted()]);
}

#[test]
fn granting_again_is_refused() {
    for history in [vec![vec![granted()]], over().to_vec()].concat() {
        given(history).when(grant()).then_expect_error(Error::AlreadyGranted);
    }
}

#[test]
fn what_was_not_granted_knows_no_other_command() {
    for command in [revoke(), end(99)] {
        given(vec![]).when(command).then_expect_error(Error::NotFound);
    }
}

#[test]
fn the_end_is_in_the_future_and_not_far() {
    for until in [hour(-1), hour(0)] {
        given(vec![]).when(grant_as("a slow restore", true, until)).then_expect_error(Error::EndInThePast);
    }
    let last = hour(0) + DURATION_MAX;
    assert!(SupportAccess::Absent.decide(grant_as("a slow restore", true, last)).is_ok());
    let later = last + TimeDelta::seconds(1);
    given(vec![]).when(grant_as("a slow restore", true, later)).then_expect_error(Error::TooLong);
}

#[test]
fn a_reason_and_a_role_of_the_tenant_are_needed() {
    given(vec![]).when(grant_as(" ", true, hour(4))).then_expect_error(Error::ReasonMissing);
    given(vec![]).when(grant_as("a slow restore", false, hour(4))).then_expect_error(Error::RoleUnknown);
}

#[test]
fn the_access_is_revoked_once() {
    given(vec![granted()]).when(revoke()).then_expect_events(vec![revoked()]);
    for history in over() {
        given(history).when(revoke()).then_expect_events(vec![]);
    }
}

#[test]
fn the_access_ends_when_its_end_comes() {
    given(vec![granted()]).when(end(3)).then_expect_error(Error::NotDue);
    given(vec![granted()]).when(end(4)).then_expect_events(vec![Event::Ended {}]);
    for history in over() {
        given(history).when(end(4)).then_expect_events(vec![]);
    }
}

#[test]
fn what_is_due_is_told_with_its_command() {
    assert_eq!(state(vec![granted()]).due_at(), Some(hour(4)));
    assert_eq!(state(vec![granted()]).due_command(hour(3)), None);
    assert_eq!(state(vec![granted()]).due_command(hour(5)), Some(end(5)));
    for history in [vec![vec![]], over().to_vec()].concat() {
        assert_eq!(state(history.clone()).due_at(), None);
        assert_eq!(state(history).due_command(hour(99)), None);
    }
}

#[test]
fn the_access_is_read_and_counted_until_it_is_over() {
    let count = |counter, delta| Effect::Count { counter, delta };
    let fact = Fact::Grant(GrantFact {
        principal: principal("user:staff"),
        home: Home::Platform,
        role_id: role_id(),
        from: hour(0),
        until: Some(hour(4)),
        source: GrantSource::SupportAccess,
    });
    assert_eq!(
        SupportAccess::Absent.effects(Uuid::nil(), &granted()),
        [count("support_accesses", 1), count("access_grants", 1), Effect::Show { part: "grant".into(), fact }]
    );
    for event in [revoked(), Event::Ended {}] {
        assert_eq!(
            state(vec![granted()]).effects(Uuid::nil(), &event),
            [count("support_accesses", -1), Effect::Hide { part: "grant".into() }]
        );
    }
}
