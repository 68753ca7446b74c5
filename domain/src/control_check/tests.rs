use std::collections::BTreeSet;

use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use strum::VariantNames;
use uuid::Uuid;

use super::{
    Command, ControlCheck, Error, Evaluation, Event, FINDING_COUNT_MAX, FOLLOWED_COUNT_MAX, Listed, Outcome, Sealed,
};
use crate::{golden, id::TenantId};

fn given(events: Vec<Event>) -> AggregateTestExecutor<ControlCheck> {
    TestFramework::with(()).given(events)
}

fn listed(id: u128) -> Listed {
    Listed {
        finding_id: Uuid::from_u128(id),
        tenant_id: Some(TenantId(Uuid::from_u128(7))),
        about: "break_glass/1".to_owned(),
        what: "nobody has reviewed it for 9 days".to_owned(),
    }
}

/// An evaluation that lists these findings of so many.
fn evaluation(ids: impl IntoIterator<Item = u128>, finding_count: u64) -> Evaluation {
    let findings: Vec<_> = ids.into_iter().map(listed).collect();
    Evaluation {
        run_id: Uuid::from_u128(5),
        control_id: "emergency-access-reviewed".to_owned(),
        version: "1-0011".to_owned(),
        outcome: if finding_count == 0 { Outcome::Pass } else { Outcome::Fail },
        checked_count: 12,
        finding_count,
        findings,
        sealed: Some(Sealed { size: 40, root: "cm9vdA==".to_owned() }),
    }
}

fn after(evaluations: Vec<Evaluation>) -> ControlCheck {
    let mut state = ControlCheck::default();
    evaluations.into_iter().for_each(|evaluation| state.apply(Event::Evaluated(evaluation)));
    state
}

fn ids(ids: impl IntoIterator<Item = u128>) -> BTreeSet<Uuid> {
    ids.into_iter().map(Uuid::from_u128).collect()
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(ControlCheck::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[("absent", after(vec![])), ("failed", after(vec![evaluation([1], 1)]))]);
}

#[test]
fn whatever_a_check_came_to_is_written_down_each_time() {
    let same = evaluation([1], 1);
    let event = Event::Evaluated(same.clone());
    given(vec![]).when(Command::Evaluate(same.clone())).then_expect_events(vec![event.clone()]);
    given(vec![event.clone()]).when(Command::Evaluate(same)).then_expect_events(vec![event]);
}

#[test]
fn a_list_has_a_bound() {
    let count = FINDING_COUNT_MAX as u64 + 1;
    let long = Command::Evaluate(evaluation(0..u128::from(count), count));
    given(vec![]).when(long).then_expect_error(Error::TooManyFindings);
}

#[test]
fn what_a_complete_list_leaves_out_is_over() {
    let then = |list: Evaluation| after(vec![evaluation([1, 2, 3], 3), list]);
    assert_eq!(then(evaluation([2], 1)).over, ids([1, 3]));
    assert_eq!(then(evaluation([], 0)).over, ids([1, 2, 3]));
    let more = then(evaluation([1, 2, 3, 4], 4));
    assert_eq!((more.over.len(), more.found().count()), (0, 4));
}

#[test]
fn a_list_that_leaves_something_out_ends_nothing() {
    let then = |list: Evaluation| after(vec![evaluation([1, 2], 2), evaluation([3], 900), list]);
    assert_eq!(then(evaluation([4], 900)).over, ids([]));
    assert_eq!(then(evaluation([3], 1)).over, ids([1, 2]));
}

#[test]
fn so_many_findings_are_followed_and_no_more() {
    let part = FINDING_COUNT_MAX as u128;
    let state = after((0..9).map(|n| evaluation(n * part..(n + 1) * part, 5_000)).collect());
    assert_eq!((state.followed.len(), state.found().count()), (FOLLOWED_COUNT_MAX, 0));
}
