//! Creation, trial, activation, overdue payments and the end.

use chrono::{DateTime, Utc};

use super::{
    active, active_and, after, basic, cancel, cancelled, change_plan, create, eur, every_command_but_create, history,
    mrr, on, past_due, paused, period, periods, plan, pro, reason, state, trialing,
};
use crate::subscription::{
    Command, Error, Event, Interval, Movement, MrrChange, StageName, TRIAL_DAYS_MAX, Timing,
    plan::{PRICE_MINOR_MAX, SEATS_MAX},
};

fn created(trial_days: u32, ends: Option<&str>) -> Event {
    Event::Created {
        plan: basic(),
        seats: 3,
        trial_days,
        starts_at: on("2026-01-31"),
        trial_ends_at: ends.map(on),
        recurring: eur(3_000),
        mrr: mrr(0, 0, Movement::None),
        next_due_at: Some(on(ends.unwrap_or("2026-01-31"))),
    }
}

fn activated(day: &str) -> Event {
    Event::Activated {
        anchor_at: on(day),
        recurring: eur(3_000),
        mrr: mrr(0, 3_000, Movement::New),
        next_due_at: Some(on(day)),
    }
}

fn end_trial(day: &str) -> Command {
    Command::EndTrial { now: on(day) }
}

fn activate(day: &str) -> Command {
    Command::Activate { now: on(day) }
}

#[test]
fn without_a_trial_it_is_active_at_once_and_its_first_period_opens() {
    after(vec![]).when(create(0)).then_expect_events(vec![
        created(0, None),
        activated("2026-01-31"),
        period(1, "2026-01-31", "2026-02-28"),
    ]);
    assert_eq!(state(active()).stage(), Some(StageName::Active));
}

#[test]
fn with_a_trial_it_earns_and_charges_nothing_yet() {
    after(vec![]).when(create(14)).then_expect_events(vec![created(14, Some("2026-02-14"))]);
    let state = state(trialing());
    assert_eq!((state.stage(), state.due_at()), (Some(StageName::Trialing), Some(on("2026-02-14"))));
}

#[test]
fn creating_again_is_refused() {
    for commands in [trialing(), active(), past_due(), paused()] {
        after(commands).when(create(0)).then_expect_error(Error::AlreadyExists);
    }
}

#[test]
fn an_absent_subscription_knows_no_other_command() {
    for command in every_command_but_create() {
        after(vec![]).when(command).then_expect_error(Error::NotFound);
    }
}

#[test]
fn a_cancelled_subscription_accepts_nothing() {
    for command in every_command_but_create().into_iter().chain([create(0)]) {
        after(cancelled()).when(command).then_expect_error(Error::Cancelled);
    }
    assert_eq!(state(cancelled()).stage(), Some(StageName::Cancelled));
    assert_eq!(state(cancelled()).due_at(), None);
}

#[test]
fn a_later_start_is_waited_for_and_costs_nothing_before() {
    let start = on("2026-01-31");
    let order = Command::Create { plan: basic(), seats: 3, trial_days: 0, starts_at: start, now: on("2026-01-01") };
    assert_eq!(history(vec![order.clone()]).len(), 1, "only created");
    let waiting = state(vec![order.clone()]);
    assert_eq!((waiting.stage(), waiting.due_at()), (Some(StageName::Trialing), Some(start)));
    let events = history(vec![order, Command::EndTrial { now: start }]);
    assert!(events.iter().any(|event| matches!(event, Event::Activated { anchor_at, .. } if *anchor_at == start)));
    assert!(events.iter().any(|event| matches!(event, Event::PeriodOpened { starts_at, .. } if *starts_at == start)));
}

#[test]
fn a_creation_has_bounds() {
    let creation = |minor, seats, trial_days, starts: &str| Command::Create {
        plan: plan("basic", minor, Interval::Month),
        seats,
        trial_days,
        starts_at: on(starts),
        now: on(starts),
    };
    for (minor, seats, trial_days, starts) in [
        (0, 1, 0, "2000-01-01"),
        (PRICE_MINOR_MAX, SEATS_MAX, TRIAL_DAYS_MAX, "2199-12-31"),
        (PRICE_MINOR_MAX, SEATS_MAX, 0, "2199-12-31"),
    ] {
        history(vec![creation(minor, seats, trial_days, starts)]);
    }
    for (minor, seats, trial_days, starts, error) in [
        (-1, 1, 0, "2026-01-31", Error::AmountOutOfRange(-1)),
        (PRICE_MINOR_MAX + 1, 1, 0, "2026-01-31", Error::AmountOutOfRange(PRICE_MINOR_MAX + 1)),
        (i64::MAX, SEATS_MAX, 0, "2026-01-31", Error::AmountOutOfRange(i64::MAX)),
        (1, 0, 0, "2026-01-31", Error::SeatsOutOfRange(0)),
        (1, SEATS_MAX + 1, 0, "2026-01-31", Error::SeatsOutOfRange(SEATS_MAX + 1)),
        (1, 1, TRIAL_DAYS_MAX + 1, "2026-01-31", Error::TrialDaysOutOfRange(TRIAL_DAYS_MAX + 1)),
        (1, 1, 0, "1999-12-31", Error::StartOutOfRange(on("1999-12-31"))),
        (1, 1, 0, "2200-01-01", Error::StartOutOfRange(on("2200-01-01"))),
    ] {
        after(vec![]).when(creation(minor, seats, trial_days, starts)).then_expect_error(error);
    }
}

#[test]
fn a_trial_does_not_end_before_its_time() {
    let early: DateTime<Utc> = "2026-02-14T08:29:59Z".parse().unwrap();
    after(trialing()).when(Command::EndTrial { now: early }).then_expect_error(Error::TrialNotOver(on("2026-02-14")));
    assert_eq!(state(trialing()).due_command(early), None);
}

#[test]
fn a_trial_that_ends_becomes_active_from_its_end_on_however_late() {
    for day in ["2026-02-14", "2026-02-20"] {
        assert_eq!(state(trialing()).due_command(on(day)), Some(end_trial(day)));
        for command in [end_trial(day), activate(day)] {
            after(trialing()).when(command).then_expect_events(vec![
                Event::TrialEnded { ended_at: on("2026-02-14"), early: false },
                activated("2026-02-14"),
                period(1, "2026-02-14", "2026-03-14"),
            ]);
        }
    }
}

#[test]
fn activating_ends_a_trial_early() {
    after(trialing()).when(activate("2026-02-05")).then_expect_events(vec![
        Event::TrialEnded { ended_at: on("2026-02-05"), early: true },
        activated("2026-02-05"),
        period(1, "2026-02-05", "2026-03-05"),
    ]);
}

#[test]
fn activating_before_the_start_counts_from_the_start() {
    after(trialing()).when(activate("2026-01-20")).then_expect_events(vec![
        Event::TrialEnded { ended_at: on("2026-01-31"), early: true },
        activated("2026-01-31"),
        period(1, "2026-01-31", "2026-02-28"),
    ]);
}

#[test]
fn activating_or_ending_the_trial_again_changes_nothing() {
    for commands in [active(), past_due()] {
        after(commands.clone()).when(activate("2026-02-28")).then_expect_events(vec![]);
        after(commands).when(end_trial("2026-02-28")).then_expect_events(vec![]);
    }
}

#[test]
fn a_paused_subscription_is_not_activated() {
    after(paused()).when(activate("2026-02-28")).then_expect_error(Error::Paused);
    after(paused()).when(end_trial("2026-02-28")).then_expect_error(Error::Paused);
}

#[test]
fn a_trial_knows_neither_pause_nor_charge() {
    let now = on("2026-02-10");
    for command in [
        Command::Pause { now },
        Command::Resume { now },
        Command::MarkPastDue,
        Command::MarkPaid,
        Command::OpenNextPeriod { now },
    ] {
        after(trialing()).when(command).then_expect_error(Error::Trialing);
    }
}

#[test]
fn a_trial_to_be_cancelled_ends_without_an_activation() {
    let commands = vec![create(14), cancel(Timing::PeriodEnd, "2026-02-05")];
    after(commands.clone()).when(activate("2026-02-06")).then_expect_error(Error::CancellationScheduled);
    after(commands).when(end_trial("2026-02-14")).then_expect_events(vec![
        Event::TrialEnded { ended_at: on("2026-02-14"), early: false },
        Event::Cancelled {
            cancelled_at: on("2026-02-14"),
            from: StageName::Trialing,
            scheduled: true,
            reason: reason("moves"),
            recurring: eur(0),
            mrr: mrr(0, 0, Movement::None),
        },
    ]);
}

#[test]
fn a_trial_with_another_plan_to_come_becomes_active_with_that_plan() {
    for command in [end_trial("2026-02-14"), activate("2026-02-05")] {
        let events = history(vec![create(14), change_plan(pro(), Timing::PeriodEnd, "2026-02-01"), command]);
        assert!(matches!(
            &events[3],
            Event::PlanChanged { scheduled: true, mrr: MrrChange { movement: Movement::None, .. }, .. }
        ));
        assert!(matches!(&events[4], Event::Activated { recurring, .. } if *recurring == eur(4_500)));
        assert_eq!(periods(&events)[0].4, 4_500);
    }
}

#[test]
fn past_due_and_paid_follow_each_other() {
    after(active()).when(Command::MarkPastDue).then_expect_events(vec![Event::MarkedPastDue {}]);
    after(past_due()).when(Command::MarkPastDue).then_expect_events(vec![]);
    after(past_due()).when(Command::MarkPaid).then_expect_events(vec![Event::MarkedPaid {}]);
    after(active()).when(Command::MarkPaid).then_expect_events(vec![]);
    after(paused()).when(Command::MarkPastDue).then_expect_error(Error::Paused);
    after(paused()).when(Command::MarkPaid).then_expect_error(Error::Paused);
    assert_eq!(state(past_due()).stage(), Some(StageName::PastDue));
    assert_eq!(state(active_and([Command::MarkPastDue, Command::MarkPaid])), state(active()));
}

#[test]
fn cancelling_at_once_is_allowed_at_every_stage() {
    for (commands, from, change) in [
        (trialing(), StageName::Trialing, mrr(0, 0, Movement::None)),
        (active(), StageName::Active, mrr(3_000, 0, Movement::Churn)),
        (past_due(), StageName::PastDue, mrr(3_000, 0, Movement::Churn)),
        (paused(), StageName::Paused, mrr(0, 0, Movement::None)),
    ] {
        after(commands).when(cancel(Timing::Immediate, "2026-02-10")).then_expect_events(vec![Event::Cancelled {
            cancelled_at: on("2026-02-10"),
            from,
            scheduled: false,
            reason: reason("moves"),
            recurring: eur(0),
            mrr: change,
        }]);
    }
}
