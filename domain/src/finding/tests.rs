use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use strum::VariantNames;
use uuid::Uuid;

use super::{ACCEPTANCE_DAYS_MAX, Command, Error, Event, Finding, ReopenCause, Severity, id_of};
use crate::{golden, id::TenantId, role::Principal, text::Remark};

const RUN: Uuid = Uuid::from_u128(5);

fn given(events: Vec<Event>) -> AggregateTestExecutor<Finding> {
    TestFramework::with(()).given(events)
}

fn now() -> DateTime<Utc> {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn ada() -> Principal {
    "user:ada".parse().unwrap()
}

fn remark(text: &str) -> Remark {
    text.parse().unwrap()
}

fn opened() -> Event {
    Event::Opened {
        control_id: "emergency-access-reviewed".to_owned(),
        severity: Severity::High,
        tenant_id: Some(TenantId(Uuid::from_u128(7))),
        about: "break_glass/1".to_owned(),
        what: "nobody has reviewed it for 9 days".to_owned(),
        run_id: RUN,
    }
}

fn find(now: DateTime<Utc>) -> Command {
    Command::Find {
        control_id: "emergency-access-reviewed".to_owned(),
        severity: Severity::High,
        tenant_id: Some(TenantId(Uuid::from_u128(7))),
        about: "break_glass/1".to_owned(),
        what: "nobody has reviewed it for 9 days".to_owned(),
        run_id: RUN,
        now,
    }
}

fn reopened(cause: ReopenCause) -> Event {
    Event::Reopened { cause, what: "nobody has reviewed it for 9 days".to_owned(), run_id: RUN }
}

fn acknowledge() -> Command {
    Command::Acknowledge { by: ada(), remark: remark("seen") }
}

fn acknowledged() -> Event {
    Event::Acknowledged { by: ada(), remark: remark("seen") }
}

fn start() -> Command {
    Command::StartRemediation { by: ada(), remark: remark("") }
}

fn started() -> Event {
    Event::RemediationStarted { by: ada(), remark: remark("") }
}

fn resolve() -> Command {
    Command::Resolve { by: ada(), remark: remark("reviewed") }
}

fn resolved() -> Event {
    Event::Resolved { by: ada(), remark: remark("reviewed") }
}

fn accept(until: DateTime<Utc>) -> Command {
    Command::AcceptRisk { by: ada(), reason: remark("it is on leave"), until, now: now() }
}

fn accepted(until: DateTime<Utc>) -> Event {
    Event::RiskAccepted { by: ada(), reason: remark("it is on leave"), until }
}

fn verified() -> Event {
    Event::Verified { run_id: RUN }
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(Finding::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("absent", Finding::Absent),
        ("open", Finding::Open),
        ("acknowledged", Finding::Acknowledged),
        ("in_remediation", Finding::InRemediation),
        ("risk_accepted", Finding::RiskAccepted { until: now() }),
        ("resolved", Finding::Resolved),
        ("verified", Finding::Verified),
    ]);
}

#[test]
fn what_is_found_is_opened_once() {
    given(vec![]).when(find(now())).then_expect_events(vec![opened()]);
    for events in [vec![opened()], vec![opened(), acknowledged()], vec![opened(), started()]] {
        given(events).when(find(now())).then_expect_events(vec![]);
    }
}

#[test]
fn what_is_not_found_any_more_is_verified_whatever_was_done_about_it() {
    let until = now() + TimeDelta::days(3);
    for event in [acknowledged(), started(), resolved(), accepted(until)] {
        given(vec![opened(), event]).when(Command::Miss { run_id: RUN }).then_expect_events(vec![verified()]);
    }
    given(vec![opened(), verified()]).when(Command::Miss { run_id: RUN }).then_expect_events(vec![]);
    given(vec![]).when(Command::Miss { run_id: RUN }).then_expect_events(vec![]);
}

#[test]
fn what_comes_back_or_was_not_done_is_open_again() {
    given(vec![opened(), verified()]).when(find(now())).then_expect_events(vec![reopened(ReopenCause::CameBack)]);
    given(vec![opened(), resolved()]).when(find(now())).then_expect_events(vec![reopened(ReopenCause::NotResolved)]);
}

#[test]
fn an_accepted_risk_rests_until_its_time_is_over() {
    let until = now() + TimeDelta::days(3);
    let history = || vec![opened(), accepted(until)];
    given(history()).when(find(until - TimeDelta::seconds(1))).then_expect_events(vec![]);
    given(history()).when(find(until)).then_expect_events(vec![reopened(ReopenCause::AcceptanceOver)]);
}

#[test]
fn a_risk_is_accepted_for_a_time_and_a_reason() {
    let until = now() + TimeDelta::days(3);
    given(vec![opened()]).when(accept(until)).then_expect_events(vec![accepted(until)]);
    for until in [now(), now() + TimeDelta::days(ACCEPTANCE_DAYS_MAX + 1)] {
        given(vec![opened()]).when(accept(until)).then_expect_error(Error::UntilOutOfBounds);
    }
    let silent = Command::AcceptRisk { by: ada(), reason: remark(" "), until, now: now() };
    given(vec![opened()]).when(silent).then_expect_error(Error::ReasonMissing);
}

#[test]
fn people_acknowledge_mend_and_resolve() {
    given(vec![opened()]).when(acknowledge()).then_expect_events(vec![acknowledged()]);
    given(vec![opened(), acknowledged()]).when(acknowledge()).then_expect_events(vec![]);
    given(vec![opened(), acknowledged()]).when(start()).then_expect_events(vec![started()]);
    given(vec![opened(), started()]).when(start()).then_expect_events(vec![]);
    given(vec![opened(), started()]).when(acknowledge()).then_expect_events(vec![]);
    given(vec![opened(), started()]).when(resolve()).then_expect_events(vec![resolved()]);
    given(vec![opened(), resolved()]).when(resolve()).then_expect_events(vec![]);
}

#[test]
fn nobody_does_anything_about_what_is_not_there_or_is_done() {
    let until = now() + TimeDelta::days(3);
    for command in [acknowledge(), start(), resolve(), accept(until)] {
        given(vec![]).when(command.clone()).then_expect_error(Error::NotFound);
        given(vec![opened(), verified()]).when(command).then_expect_error(Error::Resolved);
    }
    given(vec![opened(), resolved()]).when(start()).then_expect_error(Error::Resolved);
}

#[test]
fn the_same_thing_of_the_same_control_has_the_same_id_and_no_other_has() {
    let tenant = |n| Some(TenantId(Uuid::from_u128(n)));
    let id = id_of("a", tenant(1), "x");
    assert_eq!(id, id_of("a", tenant(1), "x"));
    for other in
        [id_of("b", tenant(1), "x"), id_of("a", tenant(2), "x"), id_of("a", None, "x"), id_of("a", tenant(1), "y")]
    {
        assert_ne!(id, other);
    }
}
