//! Pause and resumption, and what they do to periods.

use super::{
    active, active_and, after, cancel, change_plan, eur, history, mrr, on, open, past_due, paused, period, periods,
    pro, reason, state,
};
use crate::subscription::{Command, Error, Event, Interval, Movement, PeriodKind, StageName, Timing};

fn pause(day: &str) -> Command {
    Command::Pause { now: on(day) }
}

fn resume(day: &str) -> Command {
    Command::Resume { now: on(day) }
}

fn resumed(day: &str, due: &str) -> Event {
    Event::Resumed {
        resumed_at: on(day),
        recurring: eur(3_000),
        mrr: mrr(0, 3_000, Movement::Reactivation),
        next_due_at: Some(on(due)),
    }
}

#[test]
fn a_pause_is_churn_and_stops_the_periods() {
    after(active()).when(pause("2026-02-10")).then_expect_events(vec![Event::Paused {
        paused_at: on("2026-02-10"),
        paid_until_at: on("2026-02-28"),
        recurring: eur(3_000),
        mrr: mrr(3_000, 0, Movement::Churn),
        next_due_at: None,
    }]);
    after(paused()).when(open("2026-02-28")).then_expect_error(Error::Paused);
    assert_eq!(state(paused()).due_at(), None);
    assert_eq!(state(paused()).stage(), Some(StageName::Paused));
}

#[test]
fn pausing_and_resuming_twice_changes_nothing() {
    after(paused()).when(pause("2026-02-11")).then_expect_events(vec![]);
    after(active()).when(resume("2026-02-11")).then_expect_events(vec![]);
}

#[test]
fn a_subscription_past_due_neither_pauses_nor_resumes() {
    after(past_due()).when(pause("2026-02-10")).then_expect_error(Error::PastDue);
    after(past_due()).when(resume("2026-02-10")).then_expect_error(Error::PastDue);
}

#[test]
fn resumed_within_the_paid_period_everything_goes_on_as_before() {
    after(paused()).when(resume("2026-02-20")).then_expect_events(vec![resumed("2026-02-20", "2026-02-28")]);
    assert_eq!(state(paused().into_iter().chain([resume("2026-02-20")]).collect()), state(active()));
}

#[test]
fn resumed_later_the_pause_costs_nothing_and_a_full_period_begins() {
    after(paused()).when(resume("2026-05-10")).then_expect_events(vec![
        resumed("2026-05-10", "2026-02-28"),
        Event::PeriodOpened {
            number: 2,
            kind: PeriodKind::Pause,
            starts_at: on("2026-02-28"),
            ends_at: on("2026-05-10"),
            amount: eur(0),
            seats: 3,
            plan_code: "basic".parse().unwrap(),
            plan_name: "Mail".parse().unwrap(),
            price: eur(1_000),
            interval: Interval::Month,
            next_due_at: Some(on("2026-05-10")),
        },
        period(3, "2026-05-10", "2026-06-10"),
    ]);
    let events = history(paused().into_iter().chain([resume("2026-05-10"), open("2026-06-10")]).collect());
    assert_eq!(periods(&events)[3], (4, PeriodKind::Service, "2026-06-10".into(), "2026-07-10".into(), 3_000));
}

#[test]
fn resumed_at_the_boundary_itself_the_anchor_stays() {
    let commands: Vec<_> = paused().into_iter().chain([resume("2026-02-28")]).collect();
    let events = history(commands.clone());
    assert_eq!(periods(&events)[1..], [(2, PeriodKind::Service, "2026-02-28".into(), "2026-03-31".into(), 3_000)]);
    assert_eq!(state(commands), state(active_and([open("2026-02-28")])));
}

#[test]
fn a_pause_around_a_boundary_gains_no_free_service() {
    let events = history(active_and([pause("2026-02-27"), resume("2026-03-01")]));
    assert_eq!(
        periods(&events)[1..],
        [
            (2, PeriodKind::Pause, "2026-02-28".into(), "2026-03-01".into(), 0),
            (3, PeriodKind::Service, "2026-03-01".into(), "2026-04-01".into(), 3_000),
        ]
    );
}

#[test]
fn a_period_that_began_before_the_pause_is_opened_still_and_before_a_resumption() {
    // The scheduler was late: the second period began on 28 February, the pause on 5 March.
    let commands = active_and([pause("2026-03-05")]);
    let subscription = state(commands.clone());
    assert_eq!(subscription.due_at(), Some(on("2026-02-28")));
    assert_eq!(subscription.due_command(on("2026-03-06")), Some(open("2026-03-06")));
    after(commands.clone()).when(resume("2026-03-06")).then_expect_error(Error::PeriodDue(on("2026-02-28")));

    let opened: Vec<_> = commands.into_iter().chain([open("2026-03-06")]).collect();
    let events = history(opened.clone());
    assert_eq!(periods(&events)[1], (2, PeriodKind::Service, "2026-02-28".into(), "2026-03-31".into(), 3_000));
    assert!(matches!(events.last(), Some(Event::PeriodOpened { next_due_at: None, .. })));
    after(opened.clone()).when(open("2026-03-31")).then_expect_error(Error::Paused);
    after(opened).when(resume("2026-03-07")).then_expect_events(vec![resumed("2026-03-07", "2026-03-31")]);
}

#[test]
fn a_pause_at_the_boundary_opens_no_period_of_its_own() {
    after(active_and([pause("2026-02-28")])).when(open("2026-02-28")).then_expect_error(Error::Paused);
}

#[test]
fn a_plan_that_waits_takes_effect_at_the_resumption() {
    let waits = active_and([change_plan(pro(), Timing::PeriodEnd, "2026-02-05"), pause("2026-02-10")]);
    let within = history(waits.iter().cloned().chain([resume("2026-02-20")]).collect());
    assert!(!within.iter().any(|event| matches!(event, Event::PlanChanged { .. })));

    after(waits.clone()).when(open("2026-03-01")).then_expect_error(Error::Paused);
    let events = history(waits.into_iter().chain([resume("2026-05-10")]).collect());
    let changed = mrr(0, 0, Movement::None);
    assert!(matches!(&events[5], Event::PlanChanged { scheduled: true, mrr, .. } if *mrr == changed));
    let reactivated = mrr(0, 4_500, Movement::Reactivation);
    assert!(matches!(&events[6], Event::Resumed { mrr, .. } if *mrr == reactivated));
    let amounts: Vec<_> = periods(&events).into_iter().map(|period| period.4).collect();
    assert_eq!(amounts, [3_000, 0, 4_500]);
}

#[test]
fn a_cancellation_that_waits_takes_effect_in_the_pause() {
    let commands = active_and([cancel(Timing::PeriodEnd, "2026-02-05"), pause("2026-02-10")]);
    let subscription = state(commands.clone());
    assert_eq!(subscription.due_at(), Some(on("2026-02-28")));
    assert_eq!(subscription.due_command(on("2026-03-01")), Some(open("2026-03-01")));
    after(commands.clone()).when(open("2026-02-27")).then_expect_error(Error::PeriodNotDue(on("2026-02-28")));
    after(commands.clone()).when(resume("2026-03-01")).then_expect_error(Error::PeriodDue(on("2026-02-28")));
    after(commands).when(open("2026-03-01")).then_expect_events(vec![Event::Cancelled {
        cancelled_at: on("2026-02-28"),
        from: StageName::Paused,
        scheduled: true,
        reason: reason("moves"),
        recurring: eur(0),
        mrr: mrr(0, 0, Movement::None),
    }]);
}

#[test]
fn scheduling_and_undoing_a_cancellation_in_a_pause_moves_what_is_due() {
    let commands: Vec<_> = paused().into_iter().chain([cancel(Timing::PeriodEnd, "2026-02-12")]).collect();
    assert_eq!(state(commands.clone()).due_at(), Some(on("2026-02-28")));
    after(commands).when(Command::UndoCancel).then_expect_events(vec![Event::CancellationUndone { next_due_at: None }]);
}
