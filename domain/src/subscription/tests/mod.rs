mod changes;
mod life;
mod pause;
mod periods;
mod walk;

use chrono::{DateTime, Utc};
use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use strum::VariantNames;

use super::{CODES, Command, Error, Event, Interval, Movement, MrrChange, PeriodKind, Plan, Subscription, Timing};
use crate::{aggregate::Decide, golden, money::Money, refusal::Refusal, text::Remark};

/// Half past eight on a day such as `2026-01-31`.
fn on(day: &str) -> DateTime<Utc> {
    format!("{day}T08:30:00Z").parse().unwrap()
}

fn eur(minor: i64) -> Money {
    Money::new(minor, "EUR".parse().unwrap())
}

fn mrr(before_minor: i64, after_minor: i64, movement: Movement) -> MrrChange {
    MrrChange { before_minor, after_minor, currency: "EUR".parse().unwrap(), movement }
}

fn plan(code: &str, minor: i64, interval: Interval) -> Plan {
    Plan {
        code: code.parse().unwrap(),
        name: "Mail".parse().unwrap(),
        tier: "standard".parse().unwrap(),
        price: eur(minor),
        interval,
    }
}

/// 10.00 euros a seat and month.
fn basic() -> Plan {
    plan("basic", 1_000, Interval::Month)
}

/// 15.00 euros a seat and month.
fn pro() -> Plan {
    plan("pro", 1_500, Interval::Month)
}

/// 96.00 euros a seat and year, 8.00 a month.
fn yearly() -> Plan {
    plan("yearly", 9_600, Interval::Year)
}

fn reason(text: &str) -> Remark {
    text.parse().unwrap()
}

/// Three basic seats from 31 January 2026 on.
fn create(trial_days: u32) -> Command {
    Command::Create { plan: basic(), seats: 3, trial_days, starts_at: on("2026-01-31"), now: on("2026-01-31") }
}

fn change_plan(plan: Plan, timing: Timing, day: &str) -> Command {
    Command::ChangePlan { plan, timing, now: on(day) }
}

fn cancel(timing: Timing, day: &str) -> Command {
    Command::Cancel { timing, reason: reason("moves"), now: on(day) }
}

fn open(day: &str) -> Command {
    Command::OpenNextPeriod { now: on(day) }
}

/// The events that the commands lead to; none may be refused.
fn history(commands: Vec<Command>) -> Vec<Event> {
    let mut subscription = Subscription::default();
    let mut history = Vec::new();
    for command in commands {
        let events = subscription.decide(command.clone()).unwrap_or_else(|e| panic!("{command:?}: {e}"));
        for event in &events {
            subscription.apply(event.clone());
        }
        history.extend(events);
    }
    history
}

/// After the commands, the next is to be tried.
fn after(commands: Vec<Command>) -> AggregateTestExecutor<Subscription> {
    TestFramework::with(()).given(history(commands))
}

fn state(commands: Vec<Command>) -> Subscription {
    let mut subscription = Subscription::default();
    for event in history(commands) {
        subscription.apply(event);
    }
    subscription
}

/// Fourteen days of trial, until 14 February.
fn trialing() -> Vec<Command> {
    vec![create(14)]
}

/// Active, the first period from 31 January to 28 February.
fn active() -> Vec<Command> {
    vec![create(0)]
}

fn active_and(commands: impl IntoIterator<Item = Command>) -> Vec<Command> {
    active().into_iter().chain(commands).collect()
}

fn past_due() -> Vec<Command> {
    active_and([Command::MarkPastDue])
}

/// Paused within the first period.
fn paused() -> Vec<Command> {
    active_and([Command::Pause { now: on("2026-02-10") }])
}

fn cancelled() -> Vec<Command> {
    active_and([cancel(Timing::Immediate, "2026-02-10")])
}

/// A period of three basic seats.
fn period(number: u32, starts: &str, ends: &str) -> Event {
    Event::PeriodOpened {
        number,
        kind: PeriodKind::Service,
        starts_at: on(starts),
        ends_at: on(ends),
        amount: eur(3_000),
        seats: 3,
        plan_code: "basic".parse().unwrap(),
        plan_name: "Mail".parse().unwrap(),
        price: eur(1_000),
        interval: Interval::Month,
        next_due_at: Some(on(ends)),
    }
}

/// The charges of a history: number, kind, first and last day, amount.
fn periods(events: &[Event]) -> Vec<(u32, PeriodKind, String, String, i64)> {
    let day = |moment: &DateTime<Utc>| moment.format("%Y-%m-%d").to_string();
    let mut periods = Vec::new();
    for event in events {
        if let Event::PeriodOpened { number, kind, starts_at, ends_at, amount, .. } = event {
            periods.push((*number, *kind, day(starts_at), day(ends_at), amount.minor));
        }
    }
    periods
}

fn every_command_but_create() -> Vec<Command> {
    let now = on("2026-02-28");
    vec![
        Command::Activate { now },
        Command::EndTrial { now },
        change_plan(pro(), Timing::Immediate, "2026-02-28"),
        Command::ChangeSeats { seats: 4 },
        Command::Pause { now },
        Command::Resume { now },
        cancel(Timing::Immediate, "2026-02-28"),
        cancel(Timing::PeriodEnd, "2026-02-28"),
        Command::UndoCancel,
        Command::MarkPastDue,
        Command::MarkPaid,
        Command::OpenNextPeriod { now },
    ]
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(Subscription::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("absent", state(vec![])),
        ("trialing", state(trialing())),
        ("active", state(active())),
        ("plan_change_scheduled", state(active_and([change_plan(pro(), Timing::PeriodEnd, "2026-02-10")]))),
        ("past_due", state(past_due())),
        ("paused", state(paused())),
        ("cancelled", state(cancelled())),
    ]);
}

#[test]
fn every_refusal_has_a_listed_code() {
    let now = on("2026-02-28");
    let currency = "EUR".parse().unwrap();
    let errors = [
        Error::NotFound,
        Error::AlreadyExists,
        Error::Cancelled,
        Error::Trialing,
        Error::Paused,
        Error::PastDue,
        Error::TrialNotOver(now),
        Error::PeriodNotDue(now),
        Error::PeriodDue(now),
        Error::ChangeAlreadyScheduled,
        Error::CancellationScheduled,
        Error::NoCancellationScheduled,
        Error::CurrencyMismatch { subscription: currency, plan: currency },
        Error::AmountOutOfRange(-1),
        Error::SeatsOutOfRange(0),
        Error::TrialDaysOutOfRange(366),
        Error::StartOutOfRange(now),
    ];
    assert_eq!(errors.len(), CODES.len());
    for error in errors {
        let listed = CODES.iter().find(|code| code.code == error.code()).expect("the code is listed");
        assert_eq!(listed.kind, error.kind(), "{}", error.code());
        assert!(error.code().starts_with("subscription_"));
    }
}

#[test]
fn a_state_comes_back_from_its_json() {
    for commands in [vec![], trialing(), active(), past_due(), paused(), cancelled()] {
        let state = state(commands);
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<Subscription>(&json).unwrap(), state);
    }
}
