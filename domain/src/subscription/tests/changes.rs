//! Changes of plan and seats, cancellations, and the one change that may wait.

use super::{
    active, active_and, after, basic, cancel, change_plan, eur, mrr, on, past_due, paused, plan, pro, reason, state,
    trialing, yearly,
};
use crate::{
    money::Money,
    subscription::{
        Command, Error, Event, Interval, Movement, MrrChange, Plan, StageName, Subscription, Timing,
        plan::{PRICE_MINOR_MAX, SEATS_MAX},
    },
};

fn plan_changed(to: Plan, recurring: i64, change: MrrChange) -> Event {
    Event::PlanChanged { from: basic(), to, scheduled: false, seats: 3, recurring: eur(recurring), mrr: change }
}

fn plan_waits() -> Vec<Command> {
    active_and([change_plan(pro(), Timing::PeriodEnd, "2026-02-10")])
}

fn cancellation_waits() -> Vec<Command> {
    active_and([cancel(Timing::PeriodEnd, "2026-02-10")])
}

#[test]
fn a_plan_changes_at_once_at_every_stage() {
    for (commands, change) in [
        (trialing(), mrr(0, 0, Movement::None)),
        (active(), mrr(3_000, 4_500, Movement::Expansion)),
        (past_due(), mrr(3_000, 4_500, Movement::Expansion)),
        (paused(), mrr(0, 0, Movement::None)),
    ] {
        after(commands)
            .when(change_plan(pro(), Timing::Immediate, "2026-02-10"))
            .then_expect_events(vec![plan_changed(pro(), 4_500, change)]);
    }
}

#[test]
fn a_yearly_plan_earns_its_twelfth() {
    after(active())
        .when(change_plan(yearly(), Timing::Immediate, "2026-02-10"))
        .then_expect_events(vec![plan_changed(yearly(), 28_800, mrr(3_000, 2_400, Movement::Contraction))]);
}

#[test]
fn the_same_plan_changes_nothing() {
    for timing in [Timing::Immediate, Timing::PeriodEnd] {
        for commands in [active(), cancellation_waits()] {
            after(commands).when(change_plan(basic(), timing, "2026-02-10")).then_expect_events(vec![]);
        }
    }
}

#[test]
fn a_new_price_of_the_same_plan_is_a_change() {
    let dearer = plan("basic", 1_100, Interval::Month);
    after(active())
        .when(change_plan(dearer.clone(), Timing::Immediate, "2026-02-10"))
        .then_expect_events(vec![plan_changed(dearer, 3_300, mrr(3_000, 3_300, Movement::Expansion))]);
}

#[test]
fn a_plan_in_another_currency_or_beyond_the_bounds_is_refused() {
    let mut dollars = pro();
    dollars.price = Money::new(1_500, "USD".parse().unwrap());
    let mismatch = Error::CurrencyMismatch { subscription: "EUR".parse().unwrap(), plan: "USD".parse().unwrap() };
    for timing in [Timing::Immediate, Timing::PeriodEnd] {
        after(active()).when(change_plan(dollars.clone(), timing, "2026-02-10")).then_expect_error(mismatch.clone());
        for minor in [-1, PRICE_MINOR_MAX + 1] {
            after(active())
                .when(change_plan(plan("pro", minor, Interval::Month), timing, "2026-02-10"))
                .then_expect_error(Error::AmountOutOfRange(minor));
        }
    }
}

#[test]
fn a_plan_waits_for_the_end_of_the_period_or_of_the_trial() {
    for (commands, ends) in
        [(trialing(), "2026-02-14"), (active(), "2026-02-28"), (past_due(), "2026-02-28"), (paused(), "2026-02-28")]
    {
        after(commands)
            .when(change_plan(pro(), Timing::PeriodEnd, "2026-02-10"))
            .then_expect_events(vec![Event::PlanChangeScheduled { plan: pro(), effective_at: on(ends) }]);
    }
}

#[test]
fn where_the_period_is_over_already_a_plan_changes_at_once() {
    after(paused()).when(change_plan(pro(), Timing::PeriodEnd, "2026-03-05")).then_expect_events(vec![plan_changed(
        pro(),
        4_500,
        mrr(0, 0, Movement::None),
    )]);
}

#[test]
fn one_change_waits_at_a_time() {
    for timing in [Timing::Immediate, Timing::PeriodEnd] {
        for commands in [plan_waits(), cancellation_waits()] {
            after(commands)
                .when(change_plan(yearly(), timing, "2026-02-11"))
                .then_expect_error(Error::ChangeAlreadyScheduled);
        }
    }
    after(plan_waits()).when(cancel(Timing::PeriodEnd, "2026-02-11")).then_expect_error(Error::ChangeAlreadyScheduled);
    after(cancellation_waits())
        .when(Command::Cancel { timing: Timing::PeriodEnd, reason: reason("other"), now: on("2026-02-11") })
        .then_expect_error(Error::ChangeAlreadyScheduled);
}

#[test]
fn scheduling_the_same_again_changes_nothing() {
    after(plan_waits()).when(change_plan(pro(), Timing::PeriodEnd, "2026-02-11")).then_expect_events(vec![]);
    after(cancellation_waits()).when(cancel(Timing::PeriodEnd, "2026-02-11")).then_expect_events(vec![]);
}

#[test]
fn ordering_the_plan_one_has_withdraws_the_one_to_come() {
    for timing in [Timing::Immediate, Timing::PeriodEnd] {
        after(plan_waits())
            .when(change_plan(basic(), timing, "2026-02-11"))
            .then_expect_events(vec![Event::PlanChangeWithdrawn { plan: basic() }]);
    }
    let withdrawn = plan_waits().into_iter().chain([change_plan(basic(), Timing::PeriodEnd, "2026-02-11")]);
    assert_eq!(state(withdrawn.collect()), state(active()));
}

#[test]
fn a_cancellation_waits_for_the_end_of_the_period_or_of_the_trial() {
    for (commands, ends) in
        [(trialing(), "2026-02-14"), (active(), "2026-02-28"), (past_due(), "2026-02-28"), (paused(), "2026-02-28")]
    {
        after(commands).when(cancel(Timing::PeriodEnd, "2026-02-10")).then_expect_events(vec![
            Event::CancellationScheduled {
                effective_at: on(ends),
                reason: reason("moves"),
                next_due_at: Some(on(ends)),
            },
        ]);
    }
}

#[test]
fn where_the_period_is_over_already_it_is_cancelled_at_once() {
    after(paused()).when(cancel(Timing::PeriodEnd, "2026-03-05")).then_expect_events(vec![Event::Cancelled {
        cancelled_at: on("2026-03-05"),
        from: StageName::Paused,
        scheduled: false,
        reason: reason("moves"),
        recurring: eur(0),
        mrr: mrr(0, 0, Movement::None),
    }]);
}

#[test]
fn cancelling_at_once_overrides_what_waits() {
    for commands in [plan_waits(), cancellation_waits()] {
        let cancelled = commands.into_iter().chain([cancel(Timing::Immediate, "2026-02-11")]);
        assert_eq!(state(cancelled.collect()), Subscription::Cancelled);
    }
}

#[test]
fn a_scheduled_cancellation_is_undone() {
    after(cancellation_waits())
        .when(Command::UndoCancel)
        .then_expect_events(vec![Event::CancellationUndone { next_due_at: Some(on("2026-02-28")) }]);
    assert_eq!(state(cancellation_waits().into_iter().chain([Command::UndoCancel]).collect()), state(active()));
}

#[test]
fn where_no_cancellation_waits_there_is_none_to_undo() {
    for commands in [trialing(), active(), past_due(), paused(), plan_waits()] {
        after(commands).when(Command::UndoCancel).then_expect_error(Error::NoCancellationScheduled);
    }
}

#[test]
fn seats_change_at_every_stage_and_beside_what_waits() {
    for (commands, change) in [
        (trialing(), mrr(0, 0, Movement::None)),
        (active(), mrr(3_000, 5_000, Movement::Expansion)),
        (past_due(), mrr(3_000, 5_000, Movement::Expansion)),
        (paused(), mrr(0, 0, Movement::None)),
        (plan_waits(), mrr(3_000, 5_000, Movement::Expansion)),
        (cancellation_waits(), mrr(3_000, 5_000, Movement::Expansion)),
    ] {
        after(commands).when(Command::ChangeSeats { seats: 5 }).then_expect_events(vec![Event::SeatsChanged {
            from: 3,
            to: 5,
            recurring: eur(5_000),
            mrr: change,
        }]);
    }
}

#[test]
fn fewer_seats_are_a_contraction() {
    after(active()).when(Command::ChangeSeats { seats: 1 }).then_expect_events(vec![Event::SeatsChanged {
        from: 3,
        to: 1,
        recurring: eur(1_000),
        mrr: mrr(3_000, 1_000, Movement::Contraction),
    }]);
}

#[test]
fn the_same_seats_change_nothing_and_a_wrong_number_is_refused() {
    after(active()).when(Command::ChangeSeats { seats: 3 }).then_expect_events(vec![]);
    for seats in [0, SEATS_MAX + 1] {
        after(active()).when(Command::ChangeSeats { seats }).then_expect_error(Error::SeatsOutOfRange(seats));
    }
}
