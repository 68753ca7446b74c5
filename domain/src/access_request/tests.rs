use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use strum::VariantNames;
use uuid::Uuid;

use super::{
    AccessRequest, CODES, Command, DURATION_SECONDS_MAX, DURATION_SECONDS_MIN, Error, Event, LIMIT_REACHED, OPEN_FOR,
};
use crate::{
    aggregate::Decide,
    effect::Effect,
    fact::{Fact, GrantFact, GrantSource, Home},
    golden,
    id::RoleId,
    refusal::Refusal,
    role::Principal,
    text::Remark,
};

fn given(events: Vec<Event>) -> AggregateTestExecutor<AccessRequest> {
    TestFramework::with(()).given(events)
}

fn state(events: Vec<Event>) -> AccessRequest {
    let mut request = AccessRequest::default();
    for event in events {
        request.apply(event);
    }
    request
}

fn ada() -> Principal {
    "user:ada".parse().unwrap()
}

fn bob() -> Principal {
    "user:bob".parse().unwrap()
}

fn remark(text: &str) -> Remark {
    text.parse().unwrap()
}

fn role_id() -> RoleId {
    RoleId(Uuid::from_u128(7))
}

/// So many hours after the request was submitted.
fn hour(hours: i64) -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::hours(hours)
}

fn submit_for(duration_seconds: u32) -> Command {
    Command::Submit {
        by: ada(),
        role_id: role_id(),
        role_live: true,
        reason: remark("a restore"),
        duration_seconds,
        now: hour(0),
    }
}

fn submit() -> Command {
    submit_for(7200)
}

fn approve(by: Principal, now: i64) -> Command {
    Command::Approve { by, role_live: true, remark: remark("for today"), now: hour(now) }
}

fn deny(now: i64) -> Command {
    Command::Deny { by: bob(), remark: remark("not today"), now: hour(now) }
}

fn withdraw(by: Principal, now: i64) -> Command {
    Command::Withdraw { by, now: hour(now) }
}

fn expire(now: i64) -> Command {
    Command::Expire { now: hour(now) }
}

fn revoke(now: i64) -> Command {
    Command::Revoke { by: bob(), remark: remark("done"), now: hour(now) }
}

fn finish(now: i64) -> Command {
    Command::Finish { now: hour(now) }
}

/// The hour at which an open request expires.
const EXPIRES: i64 = 7 * 24;

fn submitted() -> Event {
    Event::Submitted {
        by: ada(),
        role_id: role_id(),
        reason: remark("a restore"),
        duration_seconds: 7200,
        expires_at: hour(EXPIRES),
    }
}

fn approved() -> Event {
    Event::Approved { by: bob(), remark: remark("for today"), from: hour(1), until: hour(3) }
}

fn denied() -> Event {
    Event::Denied { by: bob(), remark: remark("not today") }
}

fn revoked() -> Event {
    Event::Revoked { by: bob(), remark: remark("done") }
}

fn open() -> Vec<Event> {
    vec![submitted()]
}

fn granted() -> Vec<Event> {
    vec![submitted(), approved()]
}

fn closed() -> [Vec<Event>; 3] {
    [denied(), Event::Withdrawn {}, Event::Expired {}].map(|last| vec![submitted(), last])
}

fn over() -> [Vec<Event>; 2] {
    [revoked(), Event::Finished {}].map(|last| vec![submitted(), approved(), last])
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(AccessRequest::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("absent", state(vec![])),
        ("open", state(open())),
        ("approved", state(granted())),
        ("denied", state(vec![submitted(), denied()])),
        ("withdrawn", state(vec![submitted(), Event::Withdrawn {}])),
        ("expired", state(vec![submitted(), Event::Expired {}])),
        ("revoked", state(vec![submitted(), approved(), revoked()])),
        ("finished", state(vec![submitted(), approved(), Event::Finished {}])),
    ]);
}

#[test]
fn every_refusal_has_a_listed_code_of_its_kind() {
    for error in [
        Error::NotFound,
        Error::AlreadySubmitted,
        Error::RoleUnknown,
        Error::ReasonMissing,
        Error::DurationOutOfBounds,
        Error::Own,
        Error::NotRequester,
        Error::NotOpen,
        Error::NotApproved,
        Error::NotDue,
    ] {
        let listed = CODES.iter().find(|code| code.code == error.code());
        assert_eq!(listed.map(|code| code.kind), Some(error.kind()), "{}", error.code());
    }
    assert!(CODES.contains(&LIMIT_REACHED));
}

#[test]
fn a_request_is_submitted_and_stays_open_for_a_while() {
    given(vec![]).when(submit()).then_expect_events(open());
    assert_eq!(hour(0) + OPEN_FOR, hour(EXPIRES));
}

#[test]
fn submitting_again_is_refused() {
    for history in [vec![open(), granted()], closed().to_vec(), over().to_vec()].concat() {
        given(history).when(submit()).then_expect_error(Error::AlreadySubmitted);
    }
}

#[test]
fn an_absent_request_knows_no_other_command() {
    for command in [approve(bob(), 1), deny(1), withdraw(ada(), 1), expire(999), revoke(1), finish(999)] {
        given(vec![]).when(command).then_expect_error(Error::NotFound);
    }
}

#[test]
fn the_time_asked_for_has_bounds() {
    for seconds in [0, DURATION_SECONDS_MIN - 1, DURATION_SECONDS_MAX + 1, u32::MAX] {
        given(vec![]).when(submit_for(seconds)).then_expect_error(Error::DurationOutOfBounds);
    }
    for seconds in [DURATION_SECONDS_MIN, DURATION_SECONDS_MAX] {
        assert!(AccessRequest::Absent.decide(submit_for(seconds)).is_ok());
    }
}

#[test]
fn access_is_asked_for_with_a_reason_and_to_a_role_that_there_is() {
    let asked = |reason: &str, role_live| Command::Submit {
        by: ada(),
        role_id: role_id(),
        role_live,
        reason: remark(reason),
        duration_seconds: 7200,
        now: hour(0),
    };
    given(vec![]).when(asked(" ", true)).then_expect_error(Error::ReasonMissing);
    given(vec![]).when(asked("a restore", false)).then_expect_error(Error::RoleUnknown);
}

#[test]
fn somebody_else_approves_and_the_access_begins() {
    given(open()).when(approve(bob(), 1)).then_expect_events(vec![approved()]);
}

#[test]
fn nobody_approves_an_own_request() {
    for history in [open(), granted()] {
        given(history).when(approve(ada(), 1)).then_expect_error(Error::Own);
    }
}

#[test]
fn approving_again_changes_nothing() {
    given(granted()).when(approve(bob(), 2)).then_expect_events(vec![]);
}

#[test]
fn a_role_that_is_gone_is_not_granted() {
    let gone = Command::Approve { by: bob(), role_live: false, remark: remark(""), now: hour(1) };
    given(open()).when(gone).then_expect_error(Error::RoleUnknown);
}

#[test]
fn a_request_is_denied_once() {
    given(open()).when(deny(1)).then_expect_events(vec![denied()]);
    given(vec![submitted(), denied()]).when(deny(2)).then_expect_events(vec![]);
}

#[test]
fn only_the_requester_withdraws() {
    given(open()).when(withdraw(bob(), 1)).then_expect_error(Error::NotRequester);
    given(open()).when(withdraw(ada(), 1)).then_expect_events(vec![Event::Withdrawn {}]);
}

#[test]
fn a_request_whose_time_has_come_waits_for_nobody() {
    for command in [approve(bob(), EXPIRES), deny(EXPIRES), withdraw(ada(), EXPIRES)] {
        given(open()).when(command).then_expect_error(Error::NotOpen);
    }
}

#[test]
fn what_was_decided_is_not_decided_again() {
    for history in [closed().to_vec(), over().to_vec()].concat() {
        given(history.clone()).when(approve(bob(), 1)).then_expect_error(Error::NotOpen);
        given(history).when(withdraw(ada(), 1)).then_expect_error(Error::NotOpen);
    }
    for command in [deny(1), withdraw(ada(), 1)] {
        given(granted()).when(command).then_expect_error(Error::NotOpen);
    }
}

#[test]
fn an_open_request_expires_when_its_time_comes() {
    given(open()).when(expire(EXPIRES - 1)).then_expect_error(Error::NotDue);
    given(open()).when(expire(EXPIRES)).then_expect_events(vec![Event::Expired {}]);
    for history in [vec![granted()], closed().to_vec(), over().to_vec()].concat() {
        given(history).when(expire(EXPIRES)).then_expect_events(vec![]);
    }
}

#[test]
fn access_is_revoked_before_its_end_only() {
    given(granted()).when(revoke(2)).then_expect_events(vec![revoked()]);
    given(granted()).when(revoke(3)).then_expect_error(Error::NotApproved);
    given(open()).when(revoke(2)).then_expect_error(Error::NotApproved);
    for history in closed() {
        given(history).when(revoke(2)).then_expect_error(Error::NotApproved);
    }
    let [revoked, finished] = over();
    given(revoked).when(revoke(2)).then_expect_events(vec![]);
    given(finished).when(revoke(4)).then_expect_error(Error::NotApproved);
}

#[test]
fn access_finishes_when_its_end_comes() {
    given(granted()).when(finish(2)).then_expect_error(Error::NotDue);
    given(granted()).when(finish(3)).then_expect_events(vec![Event::Finished {}]);
    given(open()).when(finish(3)).then_expect_error(Error::NotDue);
    for history in [closed().to_vec(), over().to_vec()].concat() {
        given(history).when(finish(3)).then_expect_events(vec![]);
    }
}

#[test]
fn what_is_due_is_told_with_its_command() {
    assert_eq!(state(open()).due_at(), Some(hour(EXPIRES)));
    assert_eq!(state(open()).due_command(hour(EXPIRES - 1)), None);
    assert_eq!(state(open()).due_command(hour(EXPIRES)), Some(expire(EXPIRES)));
    assert_eq!(state(granted()).due_at(), Some(hour(3)));
    assert_eq!(state(granted()).due_command(hour(2)), None);
    assert_eq!(state(granted()).due_command(hour(3)), Some(finish(3)));
    for history in [vec![vec![]], closed().to_vec(), over().to_vec()].concat() {
        assert_eq!(state(history.clone()).due_at(), None);
        assert_eq!(state(history).due_command(hour(999)), None);
    }
}

#[test]
fn an_approval_is_read_until_the_access_is_over() {
    let fact = Fact::Grant(GrantFact {
        principal: ada(),
        home: Home::Tenant,
        role_id: role_id(),
        from: hour(1),
        until: Some(hour(3)),
        source: GrantSource::AccessRequest,
    });
    assert_eq!(
        state(open()).effects(Uuid::nil(), &approved()),
        [Effect::Count { counter: "access_grants", delta: 1 }, Effect::Show { part: "grant".into(), fact }]
    );
    for event in [revoked(), Event::Finished {}] {
        let effects = state(granted()).effects(Uuid::nil(), &event);
        assert_eq!(
            effects,
            [Effect::Count { counter: "access_requests", delta: -1 }, Effect::Hide { part: "grant".into() }]
        );
    }
}

#[test]
fn a_request_counts_until_it_is_closed_or_over() {
    let count = |delta| Effect::Count { counter: "access_requests", delta };
    assert_eq!(AccessRequest::Absent.effects(Uuid::nil(), &submitted()), [count(1)]);
    for event in [denied(), Event::Withdrawn {}, Event::Expired {}] {
        assert_eq!(state(open()).effects(Uuid::nil(), &event), [count(-1)]);
    }
}
