use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use strum::VariantNames;
use uuid::Uuid;

use super::{CODES, Command, Error, Event, LIMIT_REACHED, LegalHold, MATTER_COUNT_MAX, SUBJECT_UNKNOWN, decide::HELD};
use crate::{
    aggregate::Decide,
    effect::Effect,
    erasure::Scope,
    golden,
    refusal::Refusal,
    text::{Key, Remark},
};

fn given(events: Vec<Event>) -> AggregateTestExecutor<LegalHold> {
    TestFramework::with(()).given(events)
}

fn state(events: Vec<Event>) -> LegalHold {
    let mut hold = LegalHold::default();
    for event in events {
        hold.apply(event);
    }
    hold
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn reason(text: &str) -> Remark {
    text.parse().unwrap()
}

fn place(matter: &str) -> Command {
    let by = "user:counsel".parse().unwrap();
    Command::Place { scope: Scope::Subject, matter: key(matter), reason: reason("a claim"), by, erased: false }
}

fn release(matter: &str) -> Command {
    let by = "user:counsel".parse().unwrap();
    Command::Release { scope: Scope::Subject, matter: key(matter), reason: reason("settled"), by }
}

fn placed(matter: &str) -> Event {
    let by = "user:counsel".parse().unwrap();
    Event::Placed { scope: Scope::Subject, matter: key(matter), reason: reason("a claim"), by }
}

fn released(matter: &str, free: bool) -> Event {
    let by = "user:counsel".parse().unwrap();
    Event::Released { scope: Scope::Subject, matter: key(matter), reason: reason("settled"), by, free }
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(LegalHold::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("absent", state(vec![])),
        ("held", state(vec![placed("case-7"), placed("case-8")])),
        ("free", state(vec![placed("case-7"), released("case-7", true)])),
    ]);
}

#[test]
fn every_refusal_has_a_listed_code_of_its_kind() {
    for error in [
        Error::NotFound,
        Error::ReasonMissing,
        Error::Erased,
        Error::AlreadyPlaced(key("case-7")),
        Error::MatterUnknown(key("case-7")),
        Error::TooManyMatters,
    ] {
        let listed = CODES.iter().find(|code| code.code == error.code());
        assert_eq!(listed.map(|code| code.kind), Some(error.kind()), "{}", error.code());
    }
    assert!(CODES.contains(&LIMIT_REACHED) && CODES.contains(&SUBJECT_UNKNOWN));
}

#[test]
fn several_matters_hold_the_same_until_the_last_is_released() {
    given(vec![]).when(place("case-7")).then_expect_events(vec![placed("case-7")]);
    given(vec![placed("case-7")]).when(place("case-8")).then_expect_events(vec![placed("case-8")]);
    let both = vec![placed("case-7"), placed("case-8")];
    given(both.clone()).when(release("case-7")).then_expect_events(vec![released("case-7", false)]);
    let one = [both, vec![released("case-7", false)]].concat();
    assert!(state(one.clone()).held());
    given(one.clone()).when(release("case-8")).then_expect_events(vec![released("case-8", true)]);
    assert!(!state([one, vec![released("case-8", true)]].concat()).held());
}

#[test]
fn what_is_free_is_held_again() {
    let free = vec![placed("case-7"), released("case-7", true)];
    given(free).when(place("case-7")).then_expect_events(vec![placed("case-7")]);
}

#[test]
fn a_matter_holds_once_and_is_released_once() {
    given(vec![placed("case-7")]).when(place("case-7")).then_expect_error(Error::AlreadyPlaced(key("case-7")));
    given(vec![]).when(release("case-7")).then_expect_error(Error::NotFound);
    let free = vec![placed("case-7"), released("case-7", true)];
    for history in [vec![placed("case-8")], free] {
        given(history).when(release("case-7")).then_expect_error(Error::MatterUnknown(key("case-7")));
    }
}

#[test]
fn a_reason_is_needed_both_times() {
    let by = || "user:counsel".parse().unwrap();
    let place =
        Command::Place { scope: Scope::Tenant, matter: key("case-7"), reason: reason(" "), by: by(), erased: false };
    given(vec![]).when(place).then_expect_error(Error::ReasonMissing);
    let release = Command::Release { scope: Scope::Tenant, matter: key("case-7"), reason: reason(""), by: by() };
    given(vec![placed("case-7")]).when(release).then_expect_error(Error::ReasonMissing);
}

#[test]
fn what_is_erased_is_not_held() {
    let by = "user:counsel".parse().unwrap();
    let late =
        Command::Place { scope: Scope::Subject, matter: key("case-7"), reason: reason("late"), by, erased: true };
    given(vec![]).when(late).then_expect_error(Error::Erased);
}

#[test]
fn matters_have_a_bound() {
    let many: Vec<_> = (0..MATTER_COUNT_MAX).map(|n| placed(&format!("case-{n}"))).collect();
    given(many[1..].to_vec()).when(place("another")).then_expect_events(vec![placed("another")]);
    given(many).when(place("another")).then_expect_error(Error::TooManyMatters);
}

#[test]
fn a_scope_is_counted_once_however_many_matters_hold_it() {
    let id = Uuid::from_u128(1);
    let count = |delta| vec![Effect::Count { counter: HELD, delta }];
    assert_eq!(state(vec![]).effects(id, &placed("case-7")), count(1));
    let held = state(vec![placed("case-7")]);
    assert_eq!(held.effects(id, &placed("case-8")), []);
    assert_eq!(held.effects(id, &released("case-7", false)), []);
    assert_eq!(held.effects(id, &released("case-7", true)), count(-1));
}
