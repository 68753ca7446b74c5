use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use strum::VariantNames;
use uuid::Uuid;

use super::{BreakGlass, CODES, Command, Error, Event, LIMIT_REACHED, MINUTES_MAX, Verdict};
use crate::{
    aggregate::Decide,
    effect::Effect,
    fact::{Fact, GrantFact, GrantSource, Home},
    golden,
    id::RoleId,
    refusal::Refusal,
    role::Principal,
};

fn given(events: Vec<Event>) -> AggregateTestExecutor<BreakGlass> {
    TestFramework::with(()).given(events)
}

fn state(events: Vec<Event>) -> BreakGlass {
    let mut glass = BreakGlass::default();
    for event in events {
        glass.apply(event);
    }
    glass
}

fn ada() -> Principal {
    "user:ada".parse().unwrap()
}

fn bob() -> Principal {
    "user:bob".parse().unwrap()
}

fn minute(minutes: i64) -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::minutes(minutes)
}

fn role_id() -> RoleId {
    RoleId(Uuid::from_u128(7))
}

fn open_as(reason: &str, role_live: bool, minutes: u32) -> Command {
    Command::Open {
        by: ada(),
        role_id: role_id(),
        role_live,
        reason: reason.parse().unwrap(),
        ticket: "OPS-12".parse().unwrap(),
        minutes,
        now: minute(0),
    }
}

fn open() -> Command {
    open_as("mail is down", true, 30)
}

fn close(by: Principal) -> Command {
    Command::Close { by }
}

fn end(now: i64) -> Command {
    Command::End { now: minute(now) }
}

fn review(by: Principal) -> Command {
    Command::Review { by, verdict: Verdict::Justified, remark: "as agreed".parse().unwrap() }
}

fn opened() -> Event {
    Event::Opened {
        by: ada(),
        role_id: role_id(),
        reason: "mail is down".parse().unwrap(),
        ticket: "OPS-12".parse().unwrap(),
        from: minute(0),
        until: minute(30),
    }
}

fn reviewed() -> Event {
    Event::Reviewed { by: bob(), verdict: Verdict::Justified, remark: "as agreed".parse().unwrap() }
}

fn over() -> [Vec<Event>; 2] {
    [Event::Closed { by: ada() }, Event::Ended {}].map(|last| vec![opened(), last])
}

fn judged() -> Vec<Event> {
    vec![opened(), Event::Ended {}, reviewed()]
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(BreakGlass::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("absent", state(vec![])),
        ("open", state(vec![opened()])),
        ("unreviewed", state(vec![opened(), Event::Ended {}])),
        ("reviewed", state(judged())),
    ]);
}

#[test]
fn every_refusal_has_a_listed_code_of_its_kind() {
    for error in [
        Error::NotFound,
        Error::AlreadyOpened,
        Error::RoleUnknown,
        Error::ReasonMissing,
        Error::MinutesOutOfBounds,
        Error::StillOpen,
        Error::OwnReview,
        Error::AlreadyReviewed,
        Error::NotDue,
    ] {
        let listed = CODES.iter().find(|code| code.code == error.code());
        assert_eq!(listed.map(|code| code.kind), Some(error.kind()), "{}", error.code());
    }
    assert!(CODES.contains(&LIMIT_REACHED));
}

#[test]
fn the_glass_is_broken_at_once() {
    given(vec![]).when(open()).then_expect_events(vec![opened()]);
}

#[test]
fn opening_again_is_refused() {
    for history in [vec![vec![opened()], judged()], over().to_vec()].concat() {
        given(history).when(open()).then_expect_error(Error::AlreadyOpened);
    }
}

#[test]
fn what_was_not_opened_knows_no_other_command() {
    for command in [close(ada()), end(99), review(bob())] {
        given(vec![]).when(command).then_expect_error(Error::NotFound);
    }
}

#[test]
fn the_minutes_have_bounds() {
    for minutes in [0, MINUTES_MAX + 1, u32::MAX] {
        given(vec![]).when(open_as("mail is down", true, minutes)).then_expect_error(Error::MinutesOutOfBounds);
    }
    for minutes in [1, MINUTES_MAX] {
        assert!(BreakGlass::Absent.decide(open_as("mail is down", true, minutes)).is_ok());
    }
}

#[test]
fn a_reason_and_a_role_that_there_is_are_needed() {
    given(vec![]).when(open_as("", true, 30)).then_expect_error(Error::ReasonMissing);
    given(vec![]).when(open_as("mail is down", false, 30)).then_expect_error(Error::RoleUnknown);
}

#[test]
fn it_is_closed_by_whoever_has_it_or_somebody_else_once() {
    for by in [ada(), bob()] {
        let closed = Event::Closed { by: by.clone() };
        given(vec![opened()]).when(close(by.clone())).then_expect_events(vec![closed]);
    }
    for history in [over().to_vec(), vec![judged()]].concat() {
        given(history).when(close(bob())).then_expect_events(vec![]);
    }
}

#[test]
fn it_ends_when_its_time_is_over() {
    given(vec![opened()]).when(end(29)).then_expect_error(Error::NotDue);
    given(vec![opened()]).when(end(30)).then_expect_events(vec![Event::Ended {}]);
    for history in [over().to_vec(), vec![judged()]].concat() {
        given(history).when(end(30)).then_expect_events(vec![]);
    }
}

#[test]
fn somebody_else_reviews_it_once_it_is_over() {
    given(vec![opened()]).when(review(bob())).then_expect_error(Error::StillOpen);
    for history in over() {
        given(history.clone()).when(review(bob())).then_expect_events(vec![reviewed()]);
        given(history).when(review(ada())).then_expect_error(Error::OwnReview);
    }
    given(judged()).when(review(bob())).then_expect_error(Error::AlreadyReviewed);
}

#[test]
fn what_is_due_is_told_with_its_command() {
    assert_eq!(state(vec![opened()]).due_at(), Some(minute(30)));
    assert_eq!(state(vec![opened()]).due_command(minute(29)), None);
    assert_eq!(state(vec![opened()]).due_command(minute(31)), Some(end(31)));
    for history in [vec![vec![], judged()], over().to_vec()].concat() {
        assert_eq!(state(history.clone()).due_at(), None);
        assert_eq!(state(history).due_command(minute(99)), None);
    }
}

#[test]
fn the_access_is_read_while_it_is_open_and_counts_until_it_is_reviewed() {
    let count = |counter, delta| Effect::Count { counter, delta };
    let fact = Fact::Grant(GrantFact {
        principal: ada(),
        home: Home::Tenant,
        role_id: role_id(),
        from: minute(0),
        until: Some(minute(30)),
        source: GrantSource::BreakGlass,
    });
    assert_eq!(
        BreakGlass::Absent.effects(Uuid::nil(), &opened()),
        [count("break_glass_unreviewed", 1), count("access_grants", 1), Effect::Show { part: "grant".into(), fact }]
    );
    for event in [Event::Closed { by: ada() }, Event::Ended {}] {
        assert_eq!(state(vec![opened()]).effects(Uuid::nil(), &event), [Effect::Hide { part: "grant".into() }]);
    }
    let unreviewed = state(vec![opened(), Event::Ended {}]);
    assert_eq!(unreviewed.effects(Uuid::nil(), &reviewed()), [count("break_glass_unreviewed", -1)]);
}
