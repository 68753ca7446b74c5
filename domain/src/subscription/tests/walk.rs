//! Long random lives, and what must hold in each of them.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use strum::VariantNames;

use super::{basic, on, plan, pro, reason, yearly};
use crate::{
    aggregate::Decide,
    money::Money,
    subscription::{Command, Event, Interval, Movement, MrrChange, PeriodKind, Plan, Subscription, Timing},
};

/// A small repeatable source of numbers (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn timing(&mut self) -> Timing {
        if self.below(2) == 0 { Timing::Immediate } else { Timing::PeriodEnd }
    }

    fn plan(&mut self) -> Plan {
        [basic(), pro(), yearly(), plan("free", 0, Interval::Month)][self.below(4) as usize].clone()
    }

    fn command(&mut self, now: DateTime<Utc>) -> Command {
        match self.below(40) {
            0..=2 => Command::Activate { now },
            3..=8 => Command::ChangePlan { plan: self.plan(), timing: self.timing(), now },
            9..=13 => Command::ChangeSeats { seats: 1 + self.below(9) as u32 },
            14..=17 => Command::Pause { now },
            18..=24 => Command::Resume { now },
            25 => Command::Cancel { timing: Timing::PeriodEnd, reason: reason("moves"), now },
            26 if self.below(4) == 0 => Command::Cancel { timing: Timing::Immediate, reason: reason("moves"), now },
            26..=31 => Command::UndoCancel,
            32..=33 => Command::MarkPastDue,
            34..=36 => Command::MarkPaid,
            37 => Command::EndTrial { now },
            _ => Command::OpenNextPeriod { now },
        }
    }
}

/// What the events of one life so far amount to.
#[derive(Default)]
struct Account {
    mrr_minor: i64,
    recurring: Option<Money>,
    periods: u32,
    opened_until_at: Option<DateTime<Utc>>,
    paused_since: Option<DateTime<Utc>>,
}

impl Account {
    /// Takes one event in and checks that it follows from the ones before; `state` is the state after it.
    fn check(&mut self, event: &Event, state: &Subscription, due_before: Option<DateTime<Utc>>) {
        let mut due_at = due_before;
        match event {
            Event::Created { recurring, mrr, next_due_at, .. } => {
                self.earn(*recurring, mrr);
                due_at = *next_due_at;
            }
            Event::Activated { anchor_at, recurring, mrr, next_due_at } => {
                self.earn(*recurring, mrr);
                assert_eq!(self.opened_until_at.replace(*anchor_at), None, "activated once");
                due_at = *next_due_at;
            }
            Event::PeriodOpened { number, kind, starts_at, ends_at, amount, next_due_at, .. } => {
                assert_eq!(*number, self.periods + 1);
                assert_eq!(Some(*starts_at), self.opened_until_at);
                assert!(starts_at < ends_at);
                assert!(self.paused_since.is_none_or(|since| *starts_at < since), "no period begins in a pause");
                match kind {
                    PeriodKind::Service => assert_eq!(Some(*amount), self.recurring),
                    PeriodKind::Pause => assert_eq!(amount.minor, 0),
                }
                self.periods += 1;
                self.opened_until_at = Some(*ends_at);
                due_at = *next_due_at;
            }
            Event::PlanChanged { from, to, recurring, mrr, .. } => {
                assert_ne!(from, to);
                self.earn(*recurring, mrr);
            }
            Event::SeatsChanged { recurring, mrr, .. } => self.earn(*recurring, mrr),
            Event::Paused { paused_at, recurring, mrr, next_due_at, .. } => {
                self.earn(*recurring, mrr);
                self.paused_since = Some(*paused_at);
                due_at = *next_due_at;
            }
            Event::Resumed { recurring, mrr, next_due_at, .. } => {
                self.earn(*recurring, mrr);
                assert!(self.paused_since.take().is_some());
                due_at = *next_due_at;
            }
            Event::CancellationScheduled { next_due_at, .. } | Event::CancellationUndone { next_due_at } => {
                due_at = *next_due_at;
            }
            Event::Cancelled { recurring, mrr, .. } => {
                self.earn(*recurring, mrr);
                assert_eq!((self.mrr_minor, recurring.minor), (0, 0));
                due_at = None;
            }
            Event::TrialEnded { .. }
            | Event::PlanChangeScheduled { .. }
            | Event::PlanChangeWithdrawn { .. }
            | Event::MarkedPastDue {}
            | Event::MarkedPaid {} => {}
        }
        assert_eq!(state.due_at(), due_at, "{event:?}");
    }

    fn earn(&mut self, recurring: Money, mrr: &MrrChange) {
        assert_eq!(mrr.before_minor, self.mrr_minor);
        assert_eq!(mrr.movement == Movement::None, mrr.before_minor == mrr.after_minor);
        self.mrr_minor = mrr.after_minor;
        self.recurring = Some(recurring);
    }
}

/// Lets the command act, if it is allowed, checks each of its events and counts it; tells whether anything happened.
fn act(life: &mut (Subscription, Account), command: Command, seen: &mut BTreeMap<String, u32>) -> bool {
    let (subscription, account) = life;
    let Ok(events) = subscription.decide(command) else { return false };
    for event in &events {
        let due_before = subscription.due_at();
        subscription.apply(event.clone());
        account.check(event, subscription, due_before);
        *seen.entry(event.as_ref().to_owned()).or_default() += 1;
        if let Event::PeriodOpened { kind, .. } = event {
            *seen.entry(format!("period of {}", kind.as_ref())).or_default() += 1;
        }
    }
    !events.is_empty()
}

#[test]
fn in_every_life_periods_are_contiguous_and_amounts_add_up() {
    let mut seen = BTreeMap::new();
    for seed in 0..3_000 {
        let mut dice = Dice(seed);
        let mut life = (Subscription::default(), Account::default());
        let mut now = on("2024-01-01") + TimeDelta::hours(dice.below(24 * 400) as i64);
        let trial_days = if dice.below(2) == 0 { 0 } else { 30 };
        assert!(act(
            &mut life,
            Command::Create { plan: dice.plan(), seats: 3, trial_days, starts_at: now, now },
            &mut seen
        ));
        for _ in 0..60 {
            now += TimeDelta::hours(dice.below(24 * 25) as i64);
            act(&mut life, dice.command(now), &mut seen);
            // Mostly the scheduler is in time, now and then it is not.
            while dice.below(8) != 0 {
                let Some(command) = life.0.due_command(now) else { break };
                assert!(act(&mut life, command, &mut seen), "what is due can be done");
            }
        }
    }
    // The lives are worth something only if everything that can happen has happened often.
    for what in Event::VARIANTS.iter().copied().chain(["period of service", "period of pause"]) {
        assert!(seen.get(what).is_some_and(|count| *count >= 500), "too little of {what}: {seen:?}");
    }
}
