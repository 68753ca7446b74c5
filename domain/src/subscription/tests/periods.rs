//! The opening of periods, one after the other.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;

use super::{
    active, active_and, after, basic, cancel, change_plan, eur, history, mrr, on, open, past_due, period, periods, pro,
    reason, state, yearly,
};
use crate::{
    aggregate::Decide,
    subscription::{Command, Error, Event, Interval, Movement, PeriodKind, StageName, Subscription, Timing},
};

#[test]
fn a_period_opens_once_and_in_its_time() {
    let early: DateTime<Utc> = "2026-02-28T08:29:59Z".parse().unwrap();
    after(active())
        .when(Command::OpenNextPeriod { now: early })
        .then_expect_error(Error::PeriodNotDue(on("2026-02-28")));
    after(active()).when(open("2026-02-28")).then_expect_events(vec![period(2, "2026-02-28", "2026-03-31")]);
    after(active_and([open("2026-02-28")]))
        .when(open("2026-02-28"))
        .then_expect_error(Error::PeriodNotDue(on("2026-03-31")));
}

#[test]
fn a_late_scheduler_opens_every_period_it_missed() {
    let mut subscription = state(active());
    let now = on("2026-06-15");
    let mut events = Vec::new();
    while let Some(command) = subscription.due_command(now) {
        for event in subscription.decide(command).unwrap() {
            subscription.apply(event.clone());
            events.push(event);
        }
    }
    assert_eq!(
        events,
        [
            period(2, "2026-02-28", "2026-03-31"),
            period(3, "2026-03-31", "2026-04-30"),
            period(4, "2026-04-30", "2026-05-31"),
            period(5, "2026-05-31", "2026-06-30"),
        ]
    );
    assert_eq!(subscription.due_at(), Some(on("2026-06-30")));
}

#[test]
fn periods_go_on_while_past_due() {
    after(past_due()).when(open("2026-02-28")).then_expect_events(vec![period(2, "2026-02-28", "2026-03-31")]);
}

#[test]
fn what_is_due_is_told_with_its_command() {
    let state = state(active());
    assert_eq!(state.due_at(), Some(on("2026-02-28")));
    assert_eq!(state.due_command(on("2026-02-27")), None);
    assert_eq!(state.due_command(on("2026-02-28")), Some(open("2026-02-28")));
    assert_eq!(Subscription::default().due_command(on("2026-02-28")), None);
}

#[test]
fn seats_changed_at_once_are_charged_from_the_next_period_on() {
    let events = history(active_and([Command::ChangeSeats { seats: 5 }, open("2026-02-28")]));
    let amounts: Vec<_> = periods(&events).into_iter().map(|period| period.4).collect();
    assert_eq!(amounts, [3_000, 5_000]);
}

#[test]
fn a_plan_changed_at_once_is_charged_from_the_next_period_on() {
    let events = history(active_and([change_plan(yearly(), Timing::Immediate, "2026-02-10"), open("2026-02-28")]));
    assert_eq!(
        periods(&events),
        [
            (1, PeriodKind::Service, "2026-01-31".into(), "2026-02-28".into(), 3_000),
            (2, PeriodKind::Service, "2026-02-28".into(), "2027-02-28".into(), 28_800),
        ]
    );
}

#[test]
fn from_yearly_back_to_monthly_the_day_of_the_month_returns() {
    let events = history(active_and([
        change_plan(yearly(), Timing::PeriodEnd, "2026-02-10"),
        open("2026-02-28"),
        change_plan(basic(), Timing::PeriodEnd, "2026-06-10"),
        open("2027-02-28"),
        open("2027-03-31"),
    ]));
    let ends: Vec<_> = periods(&events).into_iter().map(|period| period.3).collect();
    assert_eq!(ends, ["2026-02-28", "2027-02-28", "2027-03-31", "2027-04-30"]);
}

#[test]
fn a_scheduled_plan_takes_effect_before_the_period_it_is_charged_in() {
    after(active_and([change_plan(pro(), Timing::PeriodEnd, "2026-02-10")]))
        .when(open("2026-02-28"))
        .then_expect_events(vec![
            Event::PlanChanged {
                from: basic(),
                to: pro(),
                scheduled: true,
                seats: 3,
                recurring: eur(4_500),
                mrr: mrr(3_000, 4_500, Movement::Expansion),
            },
            Event::PeriodOpened {
                number: 2,
                kind: PeriodKind::Service,
                starts_at: on("2026-02-28"),
                ends_at: on("2026-03-31"),
                amount: eur(4_500),
                seats: 3,
                plan_code: "pro".parse().unwrap(),
                plan_name: "Mail".parse().unwrap(),
                price: eur(1_500),
                interval: Interval::Month,
                next_due_at: Some(on("2026-03-31")),
            },
        ]);
}

#[test]
fn a_scheduled_cancellation_opens_no_period() {
    for (stage, from) in [(active(), StageName::Active), (past_due(), StageName::PastDue)] {
        let commands = stage.into_iter().chain([cancel(Timing::PeriodEnd, "2026-02-10")]).collect::<Vec<_>>();
        after(commands.clone()).when(open("2026-02-27")).then_expect_error(Error::PeriodNotDue(on("2026-02-28")));
        after(commands).when(open("2026-03-02")).then_expect_events(vec![Event::Cancelled {
            cancelled_at: on("2026-02-28"),
            from,
            scheduled: true,
            reason: reason("moves"),
            recurring: eur(0),
            mrr: mrr(3_000, 0, Movement::Churn),
        }]);
    }
}
