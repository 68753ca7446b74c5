mod judging;

use std::collections::BTreeSet;

use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use strum::VariantNames;
use uuid::Uuid;

use super::{CODES, Command, DutySet, Error, Event, LIMIT_REACHED, ROLE_COUNT_MAX, VIOLATED};
use crate::{
    aggregate::Decide,
    effect::{Effect, Reach},
    fact::{DutySetFact, Fact},
    golden,
    id::RoleId,
    refusal::Refusal,
    role::{self, Hierarchy},
};

fn given(events: Vec<Event>) -> AggregateTestExecutor<DutySet> {
    TestFramework::with(()).given(events)
}

fn state(events: Vec<Event>) -> DutySet {
    let mut set = DutySet::default();
    for event in events {
        set.apply(event);
    }
    set
}

fn role_id(n: usize) -> RoleId {
    RoleId(Uuid::from_u128(n as u128))
}

fn roles(ids: &[usize]) -> BTreeSet<RoleId> {
    ids.iter().map(|id| role_id(*id)).collect()
}

/// Roles 1 to `count`.
fn hierarchy(count: usize) -> Hierarchy {
    let mut hierarchy = Hierarchy::default();
    for n in 1..=count {
        let created = role::Event::Created {
            key: "support".parse().unwrap(),
            name: "Support".parse().unwrap(),
            description: "".parse().unwrap(),
            system: false,
            permissions: vec![],
        };
        hierarchy.apply(role_id(n), &created);
    }
    hierarchy
}

fn define_as(ids: &[usize], held_max: usize) -> Command {
    Command::Define {
        key: "payments".parse().unwrap(),
        name: "Payments".parse().unwrap(),
        roles: roles(ids),
        held_max,
        hierarchy: hierarchy(30),
    }
}

fn change(ids: &[usize], held_max: usize) -> Command {
    Command::Change { name: "Payments".parse().unwrap(), roles: roles(ids), held_max, hierarchy: hierarchy(30) }
}

fn defined() -> Event {
    Event::Defined {
        key: "payments".parse().unwrap(),
        name: "Payments".parse().unwrap(),
        roles: roles(&[1, 2, 3]),
        held_max: 1,
    }
}

fn changed(ids: &[usize], held_max: usize) -> Event {
    Event::Changed { name: "Payments".parse().unwrap(), roles: roles(ids), held_max }
}

fn shown(ids: &[usize], held_max: usize) -> Effect {
    let fact = DutySetFact { key: "payments".parse().unwrap(), roles: roles(ids), held_max };
    Effect::Show { part: "set".into(), fact: Fact::DutySet(fact) }
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(DutySet::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("absent", state(vec![])),
        ("defined", state(vec![defined(), changed(&[1, 2], 1)])),
        ("removed", state(vec![defined(), Event::Removed {}])),
    ]);
}

#[test]
fn every_refusal_has_a_listed_code_of_its_kind() {
    for error in [
        Error::NotFound,
        Error::AlreadyDefined,
        Error::Removed,
        Error::RolesOutOfBounds,
        Error::HeldMaxOutOfBounds,
        Error::RoleUnknown(role_id(1)),
    ] {
        let listed = CODES.iter().find(|code| code.code == error.code());
        assert_eq!(listed.map(|code| code.kind), Some(error.kind()), "{}", error.code());
    }
    assert!(CODES.contains(&LIMIT_REACHED) && CODES.contains(&VIOLATED));
}

#[test]
fn a_set_is_defined() {
    given(vec![]).when(define_as(&[1, 2, 3], 1)).then_expect_events(vec![defined()]);
}

#[test]
fn the_roles_and_the_maximum_have_bounds() {
    let many: Vec<_> = (1..=ROLE_COUNT_MAX + 1).collect();
    for (ids, held_max, error) in [
        (&[][..], 1, Error::RolesOutOfBounds),
        (&[1], 1, Error::RolesOutOfBounds),
        (&many, 1, Error::RolesOutOfBounds),
        (&[1, 2], 0, Error::HeldMaxOutOfBounds),
        (&[1, 2], 2, Error::HeldMaxOutOfBounds),
        (&[1, 31], 1, Error::RoleUnknown(role_id(31))),
    ] {
        given(vec![]).when(define_as(ids, held_max)).then_expect_error(error);
        given(vec![defined()]).when(change(ids, held_max)).then_expect_error(error);
    }
    assert!(DutySet::Absent.decide(define_as(&many[..ROLE_COUNT_MAX], ROLE_COUNT_MAX - 1)).is_ok());
}

#[test]
fn defining_again_is_refused() {
    given(vec![defined()]).when(define_as(&[1, 2], 1)).then_expect_error(Error::AlreadyDefined);
}

#[test]
fn a_set_changes_as_a_whole() {
    given(vec![defined()]).when(change(&[1, 2, 4], 2)).then_expect_events(vec![changed(&[1, 2, 4], 2)]);
    given(vec![defined()]).when(change(&[1, 2, 3], 1)).then_expect_events(vec![]);
    given(vec![defined(), changed(&[1, 2, 4], 2)]).when(change(&[1, 2, 4], 2)).then_expect_events(vec![]);
}

#[test]
fn a_removed_set_accepts_nothing() {
    given(vec![defined()]).when(Command::Remove).then_expect_events(vec![Event::Removed {}]);
    for command in [define_as(&[1, 2], 1), change(&[1, 2], 1), Command::Remove] {
        given(vec![defined(), Event::Removed {}]).when(command).then_expect_error(Error::Removed);
    }
}

#[test]
fn an_absent_set_knows_no_other_command() {
    for command in [change(&[1, 2], 1), Command::Remove] {
        given(vec![]).when(command).then_expect_error(Error::NotFound);
    }
}

#[test]
fn a_set_takes_its_key_is_counted_and_is_read_until_it_is_removed() {
    let count = |counter, delta| Effect::Count { counter, delta };
    assert_eq!(
        DutySet::Absent.effects(Uuid::nil(), &defined()),
        [
            Effect::Take { reach: Reach::Tenant, scope: "duty_set_key", key: "payments".into() },
            count("duty_sets", 1),
            count("access_grants", 1),
            shown(&[1, 2, 3], 1),
        ]
    );
    let set = state(vec![defined()]);
    assert_eq!(set.effects(Uuid::nil(), &changed(&[1, 2], 1)), [count("access_grants", 1), shown(&[1, 2], 1)]);
    assert_eq!(
        set.effects(Uuid::nil(), &Event::Removed {}),
        [
            Effect::Release { reach: Reach::Tenant, scope: "duty_set_key", key: "payments".into() },
            count("duty_sets", -1),
            Effect::Hide { part: "set".into() },
        ]
    );
}
