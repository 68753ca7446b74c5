//! A subscription: what a tenant has bought, from its creation over trial, periods and changes to its cancellation.
//!
//! **Life.** Absent, trialing, active, past due or paused, cancelled. Without trial days it is active at once; one that starts later is
//! trialing until it starts. A trial ends at its time, or early by activation. Only an active subscription pauses or becomes past due;
//! a cancelled one accepts nothing.
//!
//! **Periods** follow one another without a gap, numbered from 1, each opened once and charged in full as it opens: seats times
//! price as they are then (see [`period`]). The anchor is the activation: the start, the trial's end, or the moment of the early
//! activation. The first period opens together with the activation. While past due, periods go on opening and charges gather.
//!
//! **Pause.** A pause within a paid period changes nothing of it, and no new period opens while it lasts. Resumed before the paid
//! period's end, everything goes on as before. Resumed later, the time since that end becomes one period of the kind `pause` that
//! costs nothing, and a full period of service begins at the moment of the resumption, which is the new anchor. So nobody pays for a
//! pause, nobody gains free service by one, and periods stay contiguous. A period that began before the pause but was not opened in
//! time is opened still, and must be before a resumption.
//!
//! **Changes.** Seats change at once. A plan or a cancellation takes effect at once or at the end of the current period (of the trial
//! while trialing); where that end has passed already, at once. Nothing is prorated: what is changed at once is charged from the next
//! period on. At most one change waits at a time, and while one does, another change of plan is refused, whatever its time, as is a
//! cancellation at the period's end. What waits ends thus: a cancellation is undone; a change of plan is withdrawn by ordering the
//! plan that the subscription has; a cancellation at once overrides both. A plan that waits while the paid period ends in a pause
//! takes effect at the resumption; a cancellation takes effect in a pause too.
//!
//! **Amounts.** `recurring` is price times seats for one interval as agreed, whatever the stage, and zero after the end. `mrr` is
//! what is earned a month: nothing in a trial or a pause (see [`mrr`]). `next_due_at` is when the subscription must be looked at
//! again, as it is right after the event; every event that changes it carries it.

pub mod decide;
pub mod mrr;
pub mod period;
pub mod plan;
pub mod refusal;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::{
    aggregate,
    money::Money,
    text::{Key, Name, Remark},
};

pub use self::{
    mrr::{Movement, MrrChange},
    period::PeriodKind,
    plan::{Interval, Plan},
    refusal::{CODES, Error},
};

use self::period::Calendar;

/// At most so many days a trial.
pub const TRIAL_DAYS_MAX: u32 = 365;

/// What has happened to a subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// The tenant bought a plan; without a trial (`trial_ends_at` is null) the activation follows at once.
    Created {
        plan: Plan,
        seats: u32,
        trial_days: u32,
        starts_at: DateTime<Utc>,
        trial_ends_at: Option<DateTime<Utc>>,
        recurring: Money,
        mrr: MrrChange,
        next_due_at: Option<DateTime<Utc>>,
    },
    /// The trial ended, `early` by an activation or at its time; activation or cancellation follows.
    TrialEnded { ended_at: DateTime<Utc>, early: bool },
    /// The subscription became active; periods are counted from the anchor.
    Activated { anchor_at: DateTime<Utc>, recurring: Money, mrr: MrrChange, next_due_at: Option<DateTime<Utc>> },
    /// A period began: `amount` is its charge, `price` the price of a seat. A period of the kind `pause` costs nothing.
    PeriodOpened {
        number: u32,
        kind: PeriodKind,
        starts_at: DateTime<Utc>,
        ends_at: DateTime<Utc>,
        amount: Money,
        seats: u32,
        plan_code: Key,
        plan_name: Name,
        price: Money,
        interval: Interval,
        next_due_at: Option<DateTime<Utc>>,
    },
    /// Another plan holds from now on; `scheduled` tells that the change had waited for this moment.
    PlanChanged { from: Plan, to: Plan, scheduled: bool, seats: u32, recurring: Money, mrr: MrrChange },
    /// Another plan is to hold from the end of the period on.
    PlanChangeScheduled { plan: Plan, effective_at: DateTime<Utc> },
    /// The plan that was to come will not; the subscription keeps the one it has.
    PlanChangeWithdrawn { plan: Plan },
    /// The number of seats changed.
    SeatsChanged { from: u32, to: u32, recurring: Money, mrr: MrrChange },
    /// Service and charges stopped for a while; what is paid until `paid_until_at` stays paid.
    Paused {
        paused_at: DateTime<Utc>,
        paid_until_at: DateTime<Utc>,
        recurring: Money,
        mrr: MrrChange,
        next_due_at: Option<DateTime<Utc>>,
    },
    /// Service and charges go on.
    Resumed { resumed_at: DateTime<Utc>, recurring: Money, mrr: MrrChange, next_due_at: Option<DateTime<Utc>> },
    /// A charge was not paid in time.
    MarkedPastDue {},
    /// Everything owed was paid.
    MarkedPaid {},
    /// The subscription is to end at the end of the period.
    CancellationScheduled { effective_at: DateTime<Utc>, reason: Remark, next_due_at: Option<DateTime<Utc>> },
    /// The subscription is not to end after all.
    CancellationUndone { next_due_at: Option<DateTime<Utc>> },
    /// The end of the subscription; nothing is due any more.
    Cancelled {
        cancelled_at: DateTime<Utc>,
        from: StageName,
        scheduled: bool,
        reason: Remark,
        recurring: Money,
        mrr: MrrChange,
    },
}

/// What a subscription can be ordered to do; `now` is the moment of the order.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Create {
        plan: Plan,
        seats: u32,
        trial_days: u32,
        starts_at: DateTime<Utc>,
        now: DateTime<Utc>,
    },
    /// Ends a trial early.
    Activate {
        now: DateTime<Utc>,
    },
    /// Ends a trial at its time.
    EndTrial {
        now: DateTime<Utc>,
    },
    ChangePlan {
        plan: Plan,
        timing: Timing,
        now: DateTime<Utc>,
    },
    ChangeSeats {
        seats: u32,
    },
    Pause {
        now: DateTime<Utc>,
    },
    Resume {
        now: DateTime<Utc>,
    },
    Cancel {
        timing: Timing,
        reason: Remark,
        now: DateTime<Utc>,
    },
    UndoCancel,
    MarkPastDue,
    MarkPaid,
    /// Does what is due at the end of a period: the scheduled change, then the next period.
    OpenNextPeriod {
        now: DateTime<Utc>,
    },
}

/// When a change takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, AsRefStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Timing {
    Immediate,
    PeriodEnd,
}

/// A stage of life without its details.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    AsRefStr,
    strum::Display,
    strum::EnumString,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum StageName {
    Trialing,
    Active,
    Paused,
    PastDue,
    Cancelled,
}

/// A subscription at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum Subscription {
    /// Not created.
    #[default]
    Absent,
    /// Created and not cancelled.
    Live(Box<Contract>),
    /// Cancelled for ever.
    Cancelled,
}

/// What a live subscription is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contract {
    pub plan: Plan,
    pub seats: u32,
    pub stage: Stage,
    pub scheduled: Option<Scheduled>,
}

/// Where in its life a live subscription stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Stage {
    Trialing { starts_at: DateTime<Utc>, ends_at: DateTime<Utc> },
    Active(Calendar),
    PastDue(Calendar),
    Paused { calendar: Calendar, since: DateTime<Utc> },
}

/// The one change that waits for the end of the period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Scheduled {
    PlanChange { plan: Plan },
    Cancellation { reason: Remark },
}

impl Subscription {
    /// The stage's name; `None` while the subscription does not exist.
    #[must_use]
    pub fn stage(&self) -> Option<StageName> {
        match self {
            Self::Absent => None,
            Self::Live(contract) => Some(contract.stage.name()),
            Self::Cancelled => Some(StageName::Cancelled),
        }
    }

    /// The next moment at which something must be done by [`Self::due_command`]; `None` when nothing will be due by itself.
    #[must_use]
    pub fn due_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Live(contract) => contract.due_at(),
            Self::Absent | Self::Cancelled => None,
        }
    }

    /// The command that does what is due at `now`, if anything is; when it is done, more may be due.
    #[must_use]
    pub fn due_command(&self, now: DateTime<Utc>) -> Option<Command> {
        let Self::Live(contract) = self else { return None };
        let due_at = contract.due_at()?;
        let command = match contract.stage {
            Stage::Trialing { .. } => Command::EndTrial { now },
            Stage::Active(_) | Stage::PastDue(_) | Stage::Paused { .. } => Command::OpenNextPeriod { now },
        };
        (due_at <= now).then_some(command)
    }
}

impl Contract {
    fn due_at(&self) -> Option<DateTime<Utc>> {
        match &self.stage {
            Stage::Trialing { ends_at, .. } => Some(*ends_at),
            Stage::Active(calendar) | Stage::PastDue(calendar) => Some(calendar.opened_until_at()),
            Stage::Paused { calendar, since } => {
                // A pause stops the periods that begin in it, neither an earlier one nor the end of the subscription.
                let until_at = calendar.opened_until_at();
                (until_at < *since || self.cancelling().is_some()).then_some(until_at)
            }
        }
    }

    /// The reason of the scheduled cancellation, if there is one.
    fn cancelling(&self) -> Option<&Remark> {
        match &self.scheduled {
            Some(Scheduled::Cancellation { reason }) => Some(reason),
            Some(Scheduled::PlanChange { .. }) | None => None,
        }
    }
}

impl Stage {
    /// The stage's name.
    #[must_use]
    pub fn name(&self) -> StageName {
        match self {
            Self::Trialing { .. } => StageName::Trialing,
            Self::Active(_) => StageName::Active,
            Self::PastDue(_) => StageName::PastDue,
            Self::Paused { .. } => StageName::Paused,
        }
    }

    fn calendar_mut(&mut self) -> Option<&mut Calendar> {
        match self {
            Self::Trialing { .. } => None,
            Self::Active(calendar) | Self::PastDue(calendar) | Self::Paused { calendar, .. } => Some(calendar),
        }
    }
}

impl Aggregate for Subscription {
    const TYPE: &'static str = "subscription";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match (self, event) {
            (state, Event::Created { plan, seats, starts_at, trial_ends_at, .. }) => {
                // Without a trial this is a trial of no length, which the activation in the same decision ends.
                let stage = Stage::Trialing { starts_at, ends_at: trial_ends_at.unwrap_or(starts_at) };
                *state = Self::Live(Box::new(Contract { plan, seats, stage, scheduled: None }));
            }
            (state, Event::Cancelled { .. }) => *state = Self::Cancelled,
            (Self::Live(contract), event) => contract.apply(event),
            (Self::Absent | Self::Cancelled, _) => {} // No such history is ever written.
        }
    }
}

impl Contract {
    fn apply(&mut self, event: Event) {
        match event {
            Event::Activated { anchor_at, .. } => self.stage = Stage::Active(Calendar::new(anchor_at)),
            Event::PeriodOpened { kind, number, ends_at, interval, .. } => {
                if let Some(calendar) = self.stage.calendar_mut() {
                    calendar.open(kind, interval, number, ends_at);
                }
            }
            Event::PlanChanged { to, .. } => {
                // At once or as scheduled: a change of plan happens only when none waits or when this is the one.
                self.plan = to;
                self.scheduled = None;
            }
            Event::PlanChangeScheduled { plan, .. } => self.scheduled = Some(Scheduled::PlanChange { plan }),
            Event::CancellationScheduled { reason, .. } => self.scheduled = Some(Scheduled::Cancellation { reason }),
            Event::PlanChangeWithdrawn { .. } | Event::CancellationUndone { .. } => self.scheduled = None,
            Event::SeatsChanged { to, .. } => self.seats = to,
            Event::Paused { paused_at, .. } => {
                self.turn(|calendar| Stage::Paused { calendar, since: paused_at });
            }
            Event::Resumed { .. } | Event::MarkedPaid {} => self.turn(Stage::Active),
            Event::MarkedPastDue {} => self.turn(Stage::PastDue),
            Event::TrialEnded { .. } => {} // The activation or cancellation after it says what becomes of it.
            Event::Created { .. } | Event::Cancelled { .. } => {} // Applied to the subscription as a whole.
        }
    }

    /// Moves to another stage with the same calendar.
    fn turn(&mut self, stage: impl FnOnce(Calendar) -> Stage) {
        if let Some(calendar) = self.stage.calendar_mut() {
            self.stage = stage(*calendar);
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", Subscription::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
