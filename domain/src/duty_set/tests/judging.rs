//! Who holds too many roles of a set.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::{role_id, roles};
use crate::{
    duty_set::{Change, Picture, VIOLATION_COUNT_MAX, Violation, violations},
    fact::{DutySetFact, Fact, GrantFact, GrantSource, Home, RoleFact},
};

fn day(days: i64) -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::days(days)
}

fn grant(who: &str, role: usize, from: i64, until: Option<i64>) -> GrantFact {
    GrantFact {
        principal: format!("user:{who}").parse().unwrap(),
        home: Home::Tenant,
        role_id: role_id(role),
        from: day(from),
        until: until.map(day),
        source: GrantSource::Assignment,
    }
}

fn set(key: &str, ids: &[usize], held_max: usize) -> DutySetFact {
    DutySetFact { key: key.parse().unwrap(), roles: roles(ids), held_max }
}

fn picture(edges: &[(usize, usize)], grants: Vec<GrantFact>, sets: Vec<DutySetFact>) -> Picture {
    let mut parents: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (child, parent) in edges {
        parents.entry(*child).or_default().push(*parent);
    }
    let mut picture = Picture::default();
    for (child, parents) in parents {
        let fact =
            RoleFact { key: "support".parse().unwrap(), system: false, permissions: vec![], parents: roles(&parents) };
        picture.take(role_id(child).0, Fact::Role(fact));
    }
    for (n, grant) in grants.into_iter().enumerate() {
        picture.take(role_id(1000 + n).0, Fact::Grant(grant));
    }
    for (n, set) in sets.into_iter().enumerate() {
        picture.take(role_id(9000 + n).0, Fact::DutySet(set));
    }
    picture
}

fn found(who: &str, set: &str, ids: &[usize], at: i64) -> Violation {
    Violation {
        principal: format!("user:{who}").parse().unwrap(),
        home: Home::Tenant,
        set: set.parse().unwrap(),
        roles: roles(ids),
        at: day(at),
    }
}

fn pay() -> DutySetFact {
    set("pay", &[1, 2], 1)
}

#[test]
fn two_roles_of_a_set_at_a_time_are_too_many() {
    let grants = vec![grant("ada", 1, 0, None), grant("ada", 2, 3, Some(9)), grant("bob", 1, 0, None)];
    assert_eq!(violations(&picture(&[], grants, vec![pay()]), None, day(1)), [found("ada", "pay", &[1, 2], 3)]);
}

#[test]
fn as_many_as_are_allowed_are_not_too_many() {
    let grants = vec![grant("ada", 1, 0, None), grant("ada", 2, 0, None), grant("ada", 1, 0, Some(3))];
    assert_eq!(violations(&picture(&[], grants, vec![set("pay", &[1, 2, 3], 2)]), None, day(1)), []);
}

#[test]
fn roles_of_different_people_are_not_added() {
    let mut guest = grant("ada", 2, 0, None);
    guest.home = Home::Platform;
    let grants = vec![grant("ada", 1, 0, None), grant("bob", 2, 0, None), guest];
    assert_eq!(violations(&picture(&[], grants, vec![pay()]), None, day(1)), []);
}

#[test]
fn only_times_that_overlap_count() {
    let table = [
        ((0, Some(5)), (5, None), None),
        ((5, None), (0, Some(5)), None),
        ((0, Some(5)), (4, None), Some(4)),
        ((0, None), (0, None), Some(1)),
        ((0, Some(1)), (0, None), None), // Over now.
        ((7, Some(8)), (6, Some(9)), Some(7)),
        ((7, Some(7)), (6, Some(9)), None),
    ];
    for (one, other, at) in table {
        let grants = vec![grant("ada", 1, one.0, one.1), grant("ada", 2, other.0, other.1)];
        let expected: Vec<_> = at.map(|at| found("ada", "pay", &[1, 2], at)).into_iter().collect();
        assert_eq!(violations(&picture(&[], grants, vec![pay()]), None, day(1)), expected, "{one:?} {other:?}");
    }
}

#[test]
fn inherited_roles_count_through_any_number_of_steps() {
    let edges = [(5, 4), (4, 1), (6, 2)];
    let grants = vec![grant("ada", 5, 0, None), grant("ada", 6, 0, None), grant("bob", 5, 0, None)];
    assert_eq!(violations(&picture(&edges, grants, vec![pay()]), None, day(1)), [found("ada", "pay", &[1, 2], 1)]);
}

#[test]
fn a_role_that_inherits_from_both_is_too_many_by_itself() {
    let grants = vec![grant("ada", 3, 2, Some(4))];
    let picture = picture(&[(3, 1), (3, 2)], grants, vec![pay()]);
    assert_eq!(violations(&picture, None, day(1)), [found("ada", "pay", &[1, 2], 2)]);
}

#[test]
fn a_cycle_that_slipped_in_ends() {
    let picture = picture(&[(1, 2), (2, 1)], vec![grant("ada", 1, 0, None)], vec![pay()]);
    assert_eq!(violations(&picture, None, day(1)).len(), 1);
}

#[test]
fn one_more_grant_is_judged_with_those_that_are_there() {
    let there = picture(&[], vec![grant("ada", 1, 0, Some(5))], vec![pay()]);
    let judge = |grant| violations(&there, Some(&Change::Grant(grant)), day(1));
    assert_eq!(judge(grant("ada", 2, 2, None)), [found("ada", "pay", &[1, 2], 2)]);
    assert_eq!(judge(grant("ada", 2, 5, None)), []);
    assert_eq!(judge(grant("ada", 1, 2, None)), []);
    assert_eq!(judge(grant("bob", 2, 2, None)), []);
}

#[test]
fn one_more_parent_is_judged_for_all_who_hold_the_child_or_inherit_from_it() {
    let grants = vec![grant("ada", 4, 0, None), grant("ada", 1, 3, None), grant("bob", 4, 0, None)];
    let there = picture(&[(4, 3)], grants, vec![pay()]);
    let judge = |child, parent| {
        violations(&there, Some(&Change::Parent { child: role_id(child), parent: role_id(parent) }), day(1))
    };
    assert_eq!(judge(3, 2), [found("ada", "pay", &[1, 2], 3)]);
    assert_eq!(judge(3, 1), []);
    assert_eq!(judge(7, 2), []);
}

#[test]
fn a_set_is_judged_before_it_holds_or_changes() {
    let grants = vec![grant("ada", 1, 0, None), grant("ada", 2, 0, None), grant("ada", 3, 0, None)];
    let there = picture(&[], grants, vec![set("pay", &[1, 2, 3], 2), set("other", &[2, 3], 1)]);
    let judge = |set| violations(&there, Some(&Change::Set(set)), day(1));
    assert_eq!(judge(set("new", &[1, 3], 1)), [found("ada", "new", &[1, 3], 1)]);
    assert_eq!(judge(set("pay", &[1, 4], 1)), []);
    assert_eq!(judge(set("pay", &[1, 2, 3], 1)), [found("ada", "pay", &[1, 2, 3], 1)]);
}

#[test]
fn an_old_violation_does_not_stand_in_the_way_of_something_else() {
    let grants = vec![grant("ada", 1, 0, None), grant("ada", 2, 0, None)];
    let there = picture(&[], grants, vec![pay(), set("mail", &[3, 4], 1)]);
    assert_eq!(violations(&there, None, day(1)).len(), 1);
    for change in [
        Change::Grant(grant("ada", 3, 0, None)),
        Change::Grant(grant("bob", 1, 0, None)),
        Change::Parent { child: role_id(1), parent: role_id(4) },
        Change::Set(set("rest", &[1, 3], 1)),
    ] {
        assert_eq!(violations(&there, Some(&change), day(1)), [], "{change:?}");
    }
}

/// A small source of numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % end).unwrap()
    }
}

/// The same question, answered by looking at each day one by one.
fn day_by_day(edges: &[(usize, usize)], grants: &[GrantFact], set: &DutySetFact, who: &str, now: i64) -> Option<i64> {
    let holds = |role: usize, at: i64| {
        let who = format!("user:{who}");
        let runs = |held: &&GrantFact| held.from <= day(at) && held.until.is_none_or(|until| day(at) < until);
        let mut held: BTreeSet<_> =
            grants.iter().filter(|held| held.principal.as_str() == who).filter(runs).map(|held| held.role_id).collect();
        loop {
            let more = edges.iter().filter(|(child, _)| held.contains(&role_id(*child)));
            let more: Vec<_> = more.map(|(_, parent)| role_id(*parent)).filter(|role| !held.contains(role)).collect();
            if more.is_empty() {
                return held.contains(&role_id(role));
            }
            held.extend(more);
        }
    };
    (now..40).find(|at| (1..=6).filter(|n| set.roles.contains(&role_id(*n)) && holds(*n, *at)).count() > set.held_max)
}

#[test]
fn the_sweep_answers_as_looking_at_each_day_does() {
    let mut numbers = Numbers(7);
    for round in 0..300 {
        // A child has a greater number than its parents.
        let edges: Vec<_> = (0..numbers.below(6))
            .map(|_| 2 + numbers.below(8))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|child| (child, 1 + numbers.below(child as u64 - 1)))
            .collect();
        let grants: Vec<_> = (0..numbers.below(8))
            .map(|_| {
                let from = i64::try_from(numbers.below(20)).unwrap();
                let until = (numbers.below(3) > 0).then(|| from + i64::try_from(numbers.below(12)).unwrap());
                grant(["ada", "bob"][numbers.below(2)], 1 + numbers.below(9), from, until)
            })
            .collect();
        let duties = set("pay", &[1, 2, 1 + numbers.below(6), 1 + numbers.below(6)], 1);
        let now = i64::try_from(numbers.below(15)).unwrap();
        let there = picture(&edges, grants.clone(), vec![duties.clone()]);
        let answer = violations(&there, None, day(now));
        for who in ["ada", "bob"] {
            let at =
                answer.iter().find(|found| found.principal.as_str() == format!("user:{who}")).map(|found| found.at);
            assert_eq!(at, day_by_day(&edges, &grants, &duties, who, now).map(day), "round {round}: {who}");
        }
        // The last grant makes exactly the difference between the picture without it and the one with it, where none was before.
        if let Some((last, others)) = grants.split_last() {
            let before = picture(&edges, others.to_vec(), vec![duties]);
            if violations(&before, None, day(now)).is_empty() {
                assert_eq!(violations(&before, Some(&Change::Grant(last.clone())), day(now)), answer, "round {round}");
            }
        }
    }
}

#[test]
fn a_large_tenant_is_judged_within_its_bounds() {
    let edges: Vec<_> =
        (50..500).flat_map(|role| (0..10).map(move |n| (role, (role / 50 - 1) * 50 + (role + n) % 50))).collect();
    let grants: Vec<_> = (0..5000).map(|n| grant(&format!("p{}", n % 700), n % 500, 0, Some(100))).collect();
    let sets: Vec<_> = (0..100).map(|n| set(&format!("s{n}"), &[n % 50, (n + 1) % 50], 1)).collect();
    let there = picture(&edges, grants, sets);
    assert_eq!(violations(&there, None, day(1)).len(), VIOLATION_COUNT_MAX);
    let quiet = picture(
        &edges,
        (0..5000).map(|n| grant(&format!("p{n}"), 450 + n % 50, 0, None)).collect(),
        (0..100).map(|n| set(&format!("s{n}"), &[n, 500 + n], 1)).collect(),
    );
    assert_eq!(violations(&quiet, None, day(1)), []);
    let parent = Change::Parent { child: role_id(450), parent: role_id(500) };
    assert_eq!(violations(&quiet, Some(&parent), day(1)).len(), 100);
}
