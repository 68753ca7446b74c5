use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use strum::VariantNames;
use uuid::Uuid;

use super::{Command, Error, Event, Finding, Rollback, Scope, SelfCheck};
use crate::{golden, id::TenantId};

fn given(events: Vec<Event>) -> AggregateTestExecutor<SelfCheck> {
    TestFramework::with(()).given(events)
}

fn findings() -> Vec<Finding> {
    let what = "the event is missing".to_owned();
    vec![Finding { tenant_id: TenantId(Uuid::from_u128(7)), position: 3, what }]
}

fn completed() -> Event {
    Event::Completed {
        scope: Scope::Full,
        tenant_id: None,
        log_count: 2,
        event_count: 9,
        finding_count: 1,
        findings: findings(),
    }
}

fn complete() -> Command {
    Command::Complete {
        scope: Scope::Full,
        tenant_id: None,
        log_count: 2,
        event_count: 9,
        finding_count: 1,
        findings: findings(),
    }
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(SelfCheck::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    let mut state = SelfCheck::default();
    state.apply(completed());
    golden::check_state(&[("absent", SelfCheck::default()), ("completed", state)]);
}

#[test]
fn a_check_is_completed_once() {
    given(vec![]).when(complete()).then_expect_events(vec![completed()]);
    given(vec![completed()]).when(complete()).then_expect_error(Error::Completed);
}

#[test]
fn giving_up_a_past_is_written_down_once() {
    let rollback = Rollback {
        kept_size: 40,
        kept_note: "hub.example.com/platform\n40\n".to_owned(),
        found_size: 31,
        reason: "the disk was lost".to_owned(),
    };
    let accepted = Event::RollbackAccepted(rollback.clone());
    given(vec![]).when(Command::AcceptRollback(rollback.clone())).then_expect_events(vec![accepted.clone()]);
    given(vec![accepted]).when(Command::AcceptRollback(rollback)).then_expect_error(Error::Completed);
}
