use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use strum::VariantNames;
use uuid::Uuid;

use super::{CODES, Command, Error, Event, LIMIT_REACHED, Standing, stream_id};
use crate::{
    aggregate::Decide,
    effect::Effect,
    fact::{EndedFact, Fact},
    golden,
    id::TenantId,
    refusal::Refusal,
    role::Principal,
};

fn given(events: Vec<Event>) -> AggregateTestExecutor<Standing> {
    TestFramework::with(()).given(events)
}

fn state(events: Vec<Event>) -> Standing {
    let mut standing = Standing::default();
    for event in events {
        standing.apply(event);
    }
    standing
}

fn principal(name: &str) -> Principal {
    name.parse().unwrap()
}

fn end_of(name: &str, reason: &str, last_owner: bool) -> Command {
    Command::End { principal: principal(name), by: principal("user:bob"), reason: reason.parse().unwrap(), last_owner }
}

fn end() -> Command {
    end_of("user:ada", "has left", false)
}

fn reinstate_with(reason: &str, wound_up: bool) -> Command {
    let (ada, bob) = (principal("user:ada"), principal("user:bob"));
    Command::Reinstate { principal: ada, by: bob, reason: reason.parse().unwrap(), wound_up }
}

fn reinstate() -> Command {
    reinstate_with("is back", true)
}

fn ended() -> Event {
    Event::Ended { principal: principal("user:ada"), by: principal("user:bob"), reason: "has left".parse().unwrap() }
}

fn reinstated() -> Event {
    Event::Reinstated {
        principal: principal("user:ada"),
        by: principal("user:bob"),
        reason: "is back".parse().unwrap(),
    }
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(Standing::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("absent", state(vec![])),
        ("ended", state(vec![ended()])),
        ("reinstated", state(vec![ended(), reinstated()])),
    ]);
}

#[test]
fn every_refusal_has_a_listed_code_of_its_kind() {
    for error in [Error::NotFound, Error::Key, Error::ReasonMissing, Error::LastOwner, Error::NotWoundUp] {
        let listed = CODES.iter().find(|code| code.code == error.code());
        assert_eq!(listed.map(|code| code.kind), Some(error.kind()), "{}", error.code());
    }
    assert!(CODES.contains(&LIMIT_REACHED));
}

#[test]
fn whoever_is_let_in_can_end() {
    for history in [vec![], vec![ended(), reinstated()]] {
        given(history).when(end()).then_expect_events(vec![ended()]);
    }
    assert!(Standing::Absent.decide(end_of("service:backup", "replaced", false)).is_ok());
}

#[test]
fn ending_twice_and_reinstating_twice_change_nothing() {
    given(vec![ended()]).when(end()).then_expect_events(vec![]);
    given(vec![ended()]).when(end_of("user:ada", "has left", true)).then_expect_events(vec![]);
    for wound_up in [true, false] {
        given(vec![ended(), reinstated()]).when(reinstate_with("is back", wound_up)).then_expect_events(vec![]);
    }
}

#[test]
fn the_last_owner_cannot_end() {
    for history in [vec![], vec![ended(), reinstated()]] {
        given(history).when(end_of("user:ada", "has left", true)).then_expect_error(Error::LastOwner);
    }
}

#[test]
fn who_has_ended_is_reinstated_once_all_was_taken_away() {
    given(vec![]).when(reinstate()).then_expect_error(Error::NotFound);
    given(vec![ended()]).when(reinstate_with("is back", false)).then_expect_error(Error::NotWoundUp);
    given(vec![ended()]).when(reinstate()).then_expect_events(vec![reinstated()]);
}

#[test]
fn a_reason_is_needed_and_a_key_is_none_of_these_principals() {
    given(vec![]).when(end_of("user:ada", "", false)).then_expect_error(Error::ReasonMissing);
    given(vec![ended()]).when(reinstate_with("", true)).then_expect_error(Error::ReasonMissing);
    given(vec![]).when(end_of("key:1", "leaked", false)).then_expect_error(Error::Key);
}

#[test]
fn the_end_is_read_and_counted_until_the_return() {
    let fact = Fact::Ended(EndedFact { principal: principal("user:ada") });
    let count = |delta| Effect::Count { counter: "principals_ended", delta };
    assert_eq!(
        Standing::Absent.effects(Uuid::nil(), &ended()),
        [count(1), Effect::Show { part: "ended".into(), fact }]
    );
    assert_eq!(
        state(vec![ended()]).effects(Uuid::nil(), &reinstated()),
        [count(-1), Effect::Hide { part: "ended".into() }]
    );
}

#[test]
fn a_name_is_another_principal_in_another_tenant() {
    let [one, other] = [1, 2].map(|tenant| TenantId(Uuid::from_u128(tenant)));
    let (ada, bob) = (principal("user:ada"), principal("user:bob"));
    assert_eq!(stream_id(one, &ada), stream_id(one, &ada));
    assert!(stream_id(one, &ada) != stream_id(other, &ada) && stream_id(one, &ada) != stream_id(one, &bob));
}
