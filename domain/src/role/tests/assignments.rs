//! Who holds a role, and until when.

use std::collections::BTreeSet;

use cqrs_es::Aggregate;

use super::{assign, assigned, assignment_id, created, day, ended, given, principal, state, system, unassigned};
use crate::{
    aggregate::Decide,
    role::{ASSIGNMENT_COUNT_MAX, Command, Error, Principal, Role, SystemRole, Unassignment},
};

fn unassign(id: usize) -> Command {
    Command::Unassign { which: Unassignment::Assignment(assignment_id(id)), ended: BTreeSet::new(), now: day(9) }
}

fn unassign_principal(who: &str) -> Command {
    unassign_principal_beside(who, &[])
}

/// While these others have ended.
fn unassign_principal_beside(who: &str, ended: &[&str]) -> Command {
    let ended = ended.iter().map(|who| principal(who)).collect();
    Command::Unassign { which: Unassignment::Principal(principal(who)), ended, now: day(9) }
}

fn end(id: usize, now: u32) -> Command {
    Command::EndAssignment { assignment_id: assignment_id(id), now: day(now) }
}

#[test]
fn a_principal_is_assigned_from_now_without_end() {
    given(vec![created()]).when(assign(None, None, 3)).then_expect_events(vec![assigned(1, "user:ada", 3, None)]);
}

#[test]
fn a_principal_is_assigned_within_a_time() {
    given(vec![created()]).when(assign(Some(5), Some(9), 3)).then_expect_events(vec![assigned(
        1,
        "user:ada",
        5,
        Some(9),
    )]);
}

#[test]
fn assigning_the_same_again_changes_nothing() {
    given(vec![created(), assigned(1, "user:ada", 3, None)]).when(assign(None, None, 4)).then_expect_events(vec![]);
    given(vec![created(), assigned(1, "user:ada", 5, Some(9))])
        .when(assign(Some(5), Some(9), 4))
        .then_expect_events(vec![]);
}

#[test]
fn another_assignment_under_the_same_id_is_refused() {
    for history in [assigned(1, "user:bob", 3, None), assigned(1, "user:ada", 3, Some(9))] {
        given(vec![created(), history])
            .when(assign(None, None, 4))
            .then_expect_error(Error::AssignmentIdTaken(assignment_id(1)));
    }
}

#[test]
fn an_overlapping_assignment_of_the_same_principal_is_refused() {
    let cases = [
        (1, None, None, None),
        (1, None, Some(20), Some(21)),
        (5, Some(9), None, None),
        (5, Some(9), Some(8), Some(12)),
        (5, Some(9), Some(4), Some(6)),
        (5, Some(9), Some(6), Some(7)),
        (5, Some(9), Some(4), Some(20)),
        (20, None, None, None),
    ];
    for (held_from, held_until, from, until) in cases {
        given(vec![created(), assigned(2, "user:ada", held_from, held_until)])
            .when(assign(from, until, 3))
            .then_expect_error(Error::AlreadyAssigned(principal("user:ada")));
    }
}

#[test]
fn an_assignment_may_begin_when_another_ends() {
    for (from, until) in [(Some(9), None), (None, Some(5))] {
        given(vec![created(), assigned(2, "user:ada", 5, Some(9))])
            .when(assign(from, until, 3))
            .then_expect_events(vec![assigned(1, "user:ada", from.unwrap_or(3), until)]);
    }
}

#[test]
fn an_assignment_whose_end_has_come_is_in_nobodys_way() {
    given(vec![created(), assigned(2, "user:ada", 1, Some(5))])
        .when(assign(Some(4), None, 5))
        .then_expect_events(vec![assigned(1, "user:ada", 4, None)]);
}

#[test]
fn another_principal_is_assigned_at_the_same_time() {
    given(vec![created(), assigned(2, "key:ada", 1, None)])
        .when(assign(None, None, 3))
        .then_expect_events(vec![assigned(1, "user:ada", 3, None)]);
}

#[test]
fn an_assignment_that_does_not_end_after_it_begins_is_refused() {
    for (from, until) in [(9, 9), (9, 8)] {
        given(vec![created()]).when(assign(Some(from), Some(until), 3)).then_expect_error(Error::AssignmentPeriodEmpty);
    }
}

#[test]
fn an_assignment_that_has_ended_already_is_refused() {
    for until in [2, 3] {
        given(vec![created()]).when(assign(Some(1), Some(until), 3)).then_expect_error(Error::AssignmentInThePast);
    }
}

#[test]
fn one_assignment_too_many_is_refused() {
    let history = (2..ASSIGNMENT_COUNT_MAX + 2).map(|n| assigned(n, &format!("user:{n}"), 1, None)).collect();
    given(vec![created()]).and(history).when(assign(None, None, 3)).then_expect_error(Error::TooManyAssignments);
}

#[test]
fn an_assignment_is_taken_away_once() {
    let history = vec![created(), assigned(1, "user:ada", 1, None)];
    given(history.clone()).when(unassign(1)).then_expect_events(vec![unassigned(1, "user:ada")]);
    given(history)
        .and(vec![unassigned(1, "user:ada")])
        .when(unassign(1))
        .then_expect_error(Error::AssignmentUnknown(assignment_id(1)));
}

#[test]
fn a_principal_loses_every_assignment() {
    let history = vec![
        created(),
        assigned(1, "user:ada", 1, Some(5)),
        assigned(2, "user:bob", 1, None),
        assigned(3, "user:ada", 20, None),
    ];
    let gone = vec![unassigned(1, "user:ada"), unassigned(3, "user:ada")];
    given(history.clone()).when(unassign_principal("user:ada")).then_expect_events(gone.clone());
    given(history)
        .and(gone)
        .when(unassign_principal("user:ada"))
        .then_expect_error(Error::NotAssigned(principal("user:ada")));
}

#[test]
fn an_assignment_ends_when_its_time_comes() {
    let history = vec![created(), assigned(1, "user:ada", 1, Some(5))];
    for now in [5, 6] {
        given(history.clone()).when(end(1, now)).then_expect_events(vec![ended(1, "user:ada", 5)]);
    }
    given(history).when(end(1, 4)).then_expect_error(Error::AssignmentNotDue(assignment_id(1)));
}

#[test]
fn an_assignment_without_end_is_never_due() {
    given(vec![created(), assigned(1, "user:ada", 1, None)])
        .when(end(1, 31))
        .then_expect_error(Error::AssignmentNotDue(assignment_id(1)));
}

#[test]
fn ending_what_is_gone_changes_nothing() {
    let history = vec![created(), assigned(1, "user:ada", 1, Some(5))];
    for gone in [ended(1, "user:ada", 5), unassigned(1, "user:ada")] {
        given(history.clone()).and(vec![gone]).when(end(1, 6)).then_expect_events(vec![]);
    }
}

#[test]
fn a_system_role_is_assigned_unassigned_and_ends() {
    let owner = || system(SystemRole::Owner);
    given(vec![owner()]).when(assign(None, None, 3)).then_expect_events(vec![assigned(1, "user:ada", 3, None)]);
    let history = vec![owner(), assigned(1, "user:ada", 1, Some(5))];
    given(history.clone()).when(unassign(1)).then_expect_events(vec![unassigned(1, "user:ada")]);
    given(history.clone()).when(unassign_principal("user:ada")).then_expect_events(vec![unassigned(1, "user:ada")]);
    given(history).when(end(1, 5)).then_expect_events(vec![ended(1, "user:ada", 5)]);
}

#[test]
fn the_last_lasting_owner_is_not_unassigned() {
    let ada = || assigned(1, "user:ada", 1, None);
    let cases = [
        vec![],
        vec![assigned(2, "user:bob", 1, Some(20))], // Has an end.
        vec![assigned(2, "user:bob", 10, None)],    // Has not begun.
        vec![assigned(2, "user:ada", 20, Some(21))],
    ];
    for others in cases {
        for command in [unassign(1), unassign_principal("user:ada")] {
            given(vec![system(SystemRole::Owner), ada()])
                .and(others.clone())
                .when(command)
                .then_expect_error(Error::LastOwner);
        }
    }
}

#[test]
fn an_owner_is_unassigned_while_another_stays() {
    let history = vec![
        system(SystemRole::Owner),
        assigned(1, "user:ada", 1, None),
        assigned(2, "user:bob", 9, None),
        assigned(3, "user:eve", 1, Some(20)),
    ];
    for (id, who) in [(1, "user:ada"), (2, "user:bob"), (3, "user:eve")] {
        given(history.clone()).when(unassign(id)).then_expect_events(vec![unassigned(id, who)]);
    }
}

#[test]
fn an_owner_who_has_ended_stands_in_for_nobody() {
    let history = || {
        vec![
            system(SystemRole::Owner),
            assigned(1, "user:ada", 1, None),
            assigned(2, "user:bob", 1, None),
            assigned(3, "user:eve", 1, None),
        ]
    };
    let bob = |ended: &[&str]| unassign_principal_beside("user:bob", ended);
    given(history()).when(bob(&["user:ada", "user:eve"])).then_expect_error(Error::LastOwner);
    given(history()).when(bob(&["user:ada"])).then_expect_events(vec![unassigned(2, "user:bob")]);
    let ada = unassign_principal_beside("user:ada", &["user:eve"]);
    given(history()).when(ada).then_expect_events(vec![unassigned(1, "user:ada")]);
}

#[test]
fn the_last_holder_of_another_role_is_unassigned() {
    for role in [created(), system(SystemRole::Admin)] {
        given(vec![role, assigned(1, "user:ada", 1, None)])
            .when(unassign(1))
            .then_expect_events(vec![unassigned(1, "user:ada")]);
    }
}

#[test]
fn the_earliest_end_is_due_first() {
    assert_eq!(Role::default().due_at(), None);
    let mut role = state(vec![created(), assigned(1, "user:ada", 1, None)]);
    assert_eq!(role.due_at(), None);
    role.apply(assigned(2, "user:bob", 1, Some(9)));
    role.apply(assigned(3, "user:eve", 1, Some(5)));
    assert_eq!(role.due_at(), Some(day(5)));
    role.apply(ended(3, "user:eve", 5));
    assert_eq!(role.due_at(), Some(day(9)));
}

#[test]
fn what_is_due_is_ended_by_its_commands() {
    let mut role = state(vec![
        created(),
        assigned(1, "user:ada", 1, Some(5)),
        assigned(2, "user:bob", 1, Some(6)),
        assigned(3, "user:eve", 1, Some(7)),
        assigned(4, "user:joe", 1, None),
    ]);
    assert_eq!(role.due_commands(day(4)), vec![]);
    assert_eq!(role.due_commands(day(6)), vec![end(1, 6), end(2, 6)]);
    for command in role.due_commands(day(6)) {
        for event in role.decide(command).unwrap() {
            role.apply(event);
        }
    }
    assert_eq!(role.due_commands(day(6)), vec![]);
    assert_eq!(role.due_at(), Some(day(7)));
}

#[test]
fn a_principal_has_a_kind_and_a_name() {
    for text in ["user:ada", "user:acme|0042", "key:01", "service:backup", &format!("user:{}", "a".repeat(195))] {
        assert_eq!(text.parse::<Principal>().unwrap().as_str(), text);
    }
    let long = format!("user:{}", "a".repeat(196));
    for text in [
        "",
        "ada",
        "user:",
        "group:a",
        "User:a",
        "user:a b",
        "user:\u{e9}",
        "user:a\n b",
        "user:ada@acme.example",
        &long,
    ] {
        assert!(text.parse::<Principal>().is_err(), "{text}");
    }
}
