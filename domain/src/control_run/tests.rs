use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use strum::VariantNames;
use uuid::Uuid;

use super::{Command, ControlRun, Error, Event, decide::WAITING};
use crate::{aggregate::Decide, effect::Effect, golden};

fn given(events: Vec<Event>) -> AggregateTestExecutor<ControlRun> {
    TestFramework::with(()).given(events)
}

fn request() -> Command {
    Command::Request { reason: "before the audit".parse().unwrap() }
}

fn requested() -> Event {
    Event::Requested { reason: "before the audit".parse().unwrap() }
}

fn complete() -> Command {
    Command::Complete { version: "1-0011".to_owned(), pass_count: 9, fail_count: 2, not_applicable_count: 1 }
}

fn completed() -> Event {
    Event::Completed { version: "1-0011".to_owned(), pass_count: 9, fail_count: 2, not_applicable_count: 1 }
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(ControlRun::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("absent", ControlRun::Absent),
        ("requested", ControlRun::Requested),
        ("completed", ControlRun::Completed),
    ]);
}

#[test]
fn a_run_is_requested_and_completed_once() {
    given(vec![]).when(request()).then_expect_events(vec![requested()]);
    given(vec![requested()]).when(request()).then_expect_error(Error::AlreadyRequested);
    given(vec![requested()]).when(complete()).then_expect_events(vec![completed()]);
    given(vec![requested(), completed()]).when(complete()).then_expect_error(Error::Completed);
}

#[test]
fn a_run_that_is_due_needs_no_request() {
    given(vec![]).when(complete()).then_expect_events(vec![completed()]);
}

#[test]
fn only_what_was_requested_is_counted_as_waiting() {
    let count = |state: ControlRun, event: Event| state.effects(Uuid::nil(), &event);
    assert_eq!(count(ControlRun::Absent, requested()), [Effect::Count { counter: WAITING, delta: 1 }]);
    assert_eq!(count(ControlRun::Requested, completed()), [Effect::Count { counter: WAITING, delta: -1 }]);
    assert_eq!(count(ControlRun::Absent, completed()), []);
}
