use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use strum::VariantNames;
use uuid::Uuid;

use super::{
    CODES, Command, Erasure, Error, Event, GRACE_DAYS_MAX, Hold, KeyState, LIMIT_REACHED, Scope, decide::OPEN, kept,
};
use crate::{
    aggregate::Decide,
    effect::Effect,
    golden,
    refusal::Refusal,
    role::Principal,
    text::{Key, Remark},
};

fn given(events: Vec<Event>) -> AggregateTestExecutor<Erasure> {
    TestFramework::with(()).given(events)
}

fn state(events: Vec<Event>) -> Erasure {
    let mut erasure = Erasure::default();
    for event in events {
        erasure.apply(event);
    }
    erasure
}

fn by() -> Principal {
    "user:officer".parse().unwrap()
}

fn remark(text: &str) -> Remark {
    text.parse().unwrap()
}

fn day(days: i64) -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::days(days)
}

fn holds(matters: &[&str]) -> BTreeSet<Hold> {
    matters.iter().map(|matter| Hold { scope: Scope::Subject, matter: matter.parse().unwrap() }).collect()
}

fn request() -> Command {
    Command::Request {
        scope: Scope::Subject,
        by: by(),
        reason: remark("she asked for it"),
        grace_days: 7,
        urgency: remark(""),
        key: KeyState::Live,
        holds: BTreeSet::new(),
        leaving: true,
        now: day(0),
    }
}

/// The same request with something else about it.
fn request_but(change: impl FnOnce(&mut Asked)) -> Command {
    let mut asked = Asked {
        scope: Scope::Subject,
        reason: "she asked for it",
        grace_days: 7,
        urgency: "",
        key: KeyState::Live,
        held: false,
        leaving: true,
    };
    change(&mut asked);
    let Asked { scope, reason, grace_days, urgency, key, held, leaving } = asked;
    let holds = if held { holds(&["case-7"]) } else { BTreeSet::new() };
    let (reason, urgency) = (remark(reason), remark(urgency));
    Command::Request { scope, by: by(), reason, grace_days, urgency, key, holds, leaving, now: day(0) }
}

struct Asked {
    scope: Scope,
    reason: &'static str,
    grace_days: u16,
    urgency: &'static str,
    key: KeyState,
    held: bool,
    leaving: bool,
}

fn cancel() -> Command {
    Command::Cancel { by: by(), reason: remark("she thought better of it") }
}

fn begin(days: i64, matters: &[&str]) -> Command {
    Command::Begin { holds: holds(matters), now: day(days) }
}

fn complete() -> Command {
    Command::Complete { key_id: Uuid::from_u128(7), destroyed_at: day(8) }
}

fn requested() -> Event {
    let (reason, urgency) = (remark("she asked for it"), remark(""));
    Event::Requested { scope: Scope::Subject, by: by(), reason, grace_days: 7, urgency, due_at: day(7) }
}

fn cancelled() -> Event {
    Event::Cancelled { by: by(), reason: remark("she thought better of it") }
}

fn deferred(matters: &[&str]) -> Event {
    Event::Deferred { holds: holds(matters) }
}

fn executed() -> Event {
    let (scope, key_id) = (Scope::Subject, Uuid::from_u128(7));
    Event::Executed { scope, key_id, destroyed_at: day(8), kept: kept(scope) }
}

fn begun() -> Vec<Event> {
    vec![requested(), Event::Begun {}]
}

fn done() -> Vec<Event> {
    [begun(), vec![executed()]].concat()
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(Erasure::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("absent", state(vec![])),
        ("pending", state(vec![requested()])),
        ("deferred", state(vec![requested(), deferred(&["case-7"])])),
        ("begun", state(begun())),
        ("executed", state(done())),
        ("cancelled", state(vec![requested(), cancelled()])),
    ]);
}

#[test]
fn every_refusal_has_a_listed_code_of_its_kind() {
    for error in [
        Error::NotFound,
        Error::SubjectUnknown,
        Error::ReasonMissing,
        Error::GraceOutOfBounds,
        Error::UrgencyMissing,
        Error::Held("case-7".parse::<Key>().unwrap()),
        Error::TenantNotArchived,
        Error::AlreadyRequested,
        Error::AlreadyErased,
        Error::Begun,
        Error::NotDue,
        Error::NotBegun,
    ] {
        let listed = CODES.iter().find(|code| code.code == error.code());
        assert_eq!(listed.map(|code| code.kind), Some(error.kind()), "{}", error.code());
    }
    assert!(CODES.contains(&LIMIT_REACHED));
}

#[test]
fn a_request_waits_for_the_end_of_its_grace_period() {
    given(vec![]).when(request()).then_expect_events(vec![requested()]);
    assert_eq!(state(vec![requested()]).due_at(), Some(day(7)));
    given(vec![requested()]).when(begin(6, &[])).then_expect_error(Error::NotDue);
    given(vec![requested()]).when(begin(7, &[])).then_expect_events(vec![Event::Begun {}]);
    given(begun()).when(complete()).then_expect_events(vec![executed()]);
    assert_eq!(state(done()).due_at(), None);
}

#[test]
fn a_request_is_refused_for_what_it_lacks() {
    let check = |change: fn(&mut Asked), error: Error| {
        given(vec![]).when(request_but(change)).then_expect_error(error);
    };
    check(|asked| asked.key = KeyState::Unknown, Error::SubjectUnknown);
    check(|asked| asked.key = KeyState::Destroyed, Error::AlreadyErased);
    check(|asked| asked.reason = " ", Error::ReasonMissing);
    check(|asked| asked.grace_days = GRACE_DAYS_MAX + 1, Error::GraceOutOfBounds);
    check(|asked| asked.grace_days = 0, Error::UrgencyMissing);
    check(|asked| asked.held = true, Error::Held("case-7".parse().unwrap()));
    check(
        |asked| {
            asked.scope = Scope::Tenant;
            asked.leaving = false;
        },
        Error::TenantNotArchived,
    );
}

#[test]
fn without_a_grace_period_it_says_why_and_is_due_at_once() {
    let urgent = request_but(|asked| {
        asked.grace_days = 0;
        asked.urgency = "an order of the authority";
    });
    let events = Erasure::Absent.decide(urgent).unwrap();
    assert_eq!(state(events).due_at(), Some(day(0)));
}

#[test]
fn what_is_requested_is_not_requested_again_until_it_is_cancelled() {
    given(vec![requested()]).when(request()).then_expect_error(Error::AlreadyRequested);
    given(begun()).when(request()).then_expect_error(Error::AlreadyRequested);
    given(done()).when(request()).then_expect_error(Error::AlreadyErased);
    given(vec![requested(), cancelled()]).when(request()).then_expect_events(vec![requested()]);
}

#[test]
fn it_is_cancelled_until_it_has_begun() {
    given(vec![]).when(cancel()).then_expect_error(Error::NotFound);
    given(vec![requested()]).when(cancel()).then_expect_events(vec![cancelled()]);
    given(vec![requested(), deferred(&["case-7"])]).when(cancel()).then_expect_events(vec![cancelled()]);
    given(vec![requested(), cancelled()]).when(cancel()).then_expect_events(vec![]);
    given(begun()).when(cancel()).then_expect_error(Error::Begun);
    given(done()).when(cancel()).then_expect_error(Error::Begun);
    let silent = Command::Cancel { by: by(), reason: remark("") };
    given(vec![requested()]).when(silent).then_expect_error(Error::ReasonMissing);
}

#[test]
fn a_hold_defers_it_and_is_named_once() {
    given(vec![requested()]).when(begin(7, &["case-7"])).then_expect_events(vec![deferred(&["case-7"])]);
    let history = vec![requested(), deferred(&["case-7"])];
    given(history.clone()).when(begin(8, &["case-7"])).then_expect_events(vec![]);
    given(history.clone()).when(begin(8, &["case-8"])).then_expect_events(vec![deferred(&["case-8"])]);
    assert_eq!(state(history.clone()).due_at(), Some(day(7)));
    given(history).when(begin(9, &[])).then_expect_events(vec![Event::Begun {}]);
}

#[test]
fn what_has_begun_goes_to_its_end_whatever_is_held_since() {
    given(begun()).when(begin(8, &["case-7"])).then_expect_events(vec![]);
    assert!(state(begun()).begun() && state(begun()).due_at().is_some_and(|due_at| due_at < day(0)));
    assert!(state(done()).begun() && !state(vec![requested()]).begun());
}

#[test]
fn nothing_is_completed_that_has_not_begun() {
    given(vec![requested()]).when(complete()).then_expect_error(Error::NotBegun);
    given(vec![requested(), cancelled()]).when(complete()).then_expect_error(Error::NotBegun);
    given(done()).when(complete()).then_expect_events(vec![]);
    given(vec![]).when(complete()).then_expect_error(Error::NotFound);
}

#[test]
fn a_cancelled_erasure_does_nothing_when_its_time_comes() {
    given(vec![requested(), cancelled()]).when(begin(7, &[])).then_expect_events(vec![]);
    assert_eq!(state(vec![requested(), cancelled()]).due_at(), None);
}

#[test]
fn open_ones_are_counted() {
    let id = Uuid::from_u128(7);
    let count = |delta| vec![Effect::Count { counter: OPEN, delta }];
    assert_eq!(state(vec![]).effects(id, &requested()), count(1));
    assert_eq!(state(vec![requested()]).effects(id, &deferred(&["case-7"])), []);
    assert_eq!(state(vec![requested()]).effects(id, &cancelled()), count(-1));
    assert_eq!(state(begun()).effects(id, &executed()), count(-1));
}

#[test]
fn what_is_kept_is_said_with_its_basis() {
    for scope in [Scope::Subject, Scope::Tenant] {
        let kept = kept(scope);
        assert!(kept.iter().any(|kept| kept.part == "actors"), "{kept:?}");
        assert!(kept.iter().all(|kept| !kept.what.is_empty() && !kept.basis.is_empty()), "{kept:?}");
    }
}
