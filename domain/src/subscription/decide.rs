//! What a subscription allows.

use chrono::{DateTime, Days, Utc};

use crate::{aggregate::Decide, money::Money, text::Remark};

use super::{
    Command, Contract, Error, Event, MrrChange, PeriodKind, Plan, Scheduled, Stage, Subscription, TRIAL_DAYS_MAX,
    Timing, mrr,
    period::{self, Calendar, Period},
    plan,
};

impl Decide for Subscription {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (self, command) {
            (Self::Absent, Command::Create { plan, seats, trial_days, starts_at, now }) => {
                create(plan, seats, trial_days, starts_at, now)
            }
            (Self::Absent, _) => Err(Error::NotFound),
            (Self::Live(contract), command) => contract.decide(command),
            (Self::Cancelled, _) => Err(Error::Cancelled),
        }
    }
}

fn create(
    plan: Plan,
    seats: u32,
    trial_days: u32,
    starts_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<Event>, Error> {
    plan.check_price()?;
    plan::check_seats(seats)?;
    if trial_days > TRIAL_DAYS_MAX {
        return Err(Error::TrialDaysOutOfRange(trial_days));
    }
    if !period::start_allowed(starts_at) {
        return Err(Error::StartOutOfRange(starts_at));
    }
    let ends_at = starts_at + Days::new(u64::from(trial_days));
    // Until a later start nothing is charged or earned, just as in a trial.
    let waits = trial_days > 0 || starts_at > now;
    let created = Event::Created {
        plan: plan.clone(),
        seats,
        trial_days,
        starts_at,
        trial_ends_at: waits.then_some(ends_at),
        recurring: plan.recurring(seats),
        mrr: MrrChange::started(0, plan.currency()),
        next_due_at: Some(ends_at),
    };
    let mut events = vec![created];
    if !waits {
        let stage = Stage::Trialing { starts_at, ends_at };
        let mut draft = Draft::new(&Contract { plan, seats, stage, scheduled: None });
        draft.activate(starts_at);
        events.append(&mut draft.events);
    }
    Ok(events)
}

impl Contract {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match command {
            Command::Create { .. } => Err(Error::AlreadyExists),
            Command::Activate { now } => self.activate(now),
            Command::EndTrial { now } => self.end_trial(now),
            Command::ChangePlan { plan, timing, now } => self.change_plan(plan, timing, now),
            Command::ChangeSeats { seats } => self.change_seats(seats),
            Command::Pause { now } => self.pause(now),
            Command::Resume { now } => self.resume(now),
            Command::Cancel { timing, reason, now } => self.cancel(timing, reason, now),
            Command::UndoCancel => self.undo_cancel(),
            Command::MarkPastDue => self.mark_past_due(),
            Command::MarkPaid => self.mark_paid(),
            Command::OpenNextPeriod { now } => self.open_next_period(now),
        }
    }

    fn activate(&self, now: DateTime<Utc>) -> Result<Vec<Event>, Error> {
        match self.stage {
            // Activating would contradict the order to end with the trial.
            Stage::Trialing { .. } if self.cancelling().is_some() => Err(Error::CancellationScheduled),
            Stage::Trialing { starts_at, ends_at } => Ok(self.leave_trial(now.max(starts_at).min(ends_at), ends_at)),
            Stage::Active(_) | Stage::PastDue(_) => Ok(vec![]),
            Stage::Paused { .. } => Err(Error::Paused),
        }
    }

    fn end_trial(&self, now: DateTime<Utc>) -> Result<Vec<Event>, Error> {
        match self.stage {
            Stage::Trialing { ends_at, .. } if now < ends_at => Err(Error::TrialNotOver(ends_at)),
            Stage::Trialing { ends_at, .. } => match self.cancelling() {
                Some(reason) => Ok(vec![
                    Event::TrialEnded { ended_at: ends_at, early: false },
                    self.cancelled(ends_at, true, reason.clone()),
                ]),
                None => Ok(self.leave_trial(ends_at, ends_at)),
            },
            Stage::Active(_) | Stage::PastDue(_) => Ok(vec![]),
            Stage::Paused { .. } => Err(Error::Paused),
        }
    }

    fn leave_trial(&self, anchor_at: DateTime<Utc>, ends_at: DateTime<Utc>) -> Vec<Event> {
        let mut draft = Draft::new(self);
        draft.record(Event::TrialEnded { ended_at: anchor_at, early: anchor_at < ends_at });
        draft.change_to_scheduled_plan();
        draft.activate(anchor_at);
        draft.events
    }

    fn change_plan(&self, plan: Plan, timing: Timing, now: DateTime<Utc>) -> Result<Vec<Event>, Error> {
        if plan.currency() != self.plan.currency() {
            return Err(Error::CurrencyMismatch { subscription: self.plan.currency(), plan: plan.currency() });
        }
        plan.check_price()?;
        if plan == self.plan {
            return match &self.scheduled {
                Some(Scheduled::PlanChange { .. }) => Ok(vec![Event::PlanChangeWithdrawn { plan }]),
                Some(Scheduled::Cancellation { .. }) | None => Ok(vec![]),
            };
        }
        match (&self.scheduled, timing) {
            (Some(Scheduled::PlanChange { plan: waiting }), Timing::PeriodEnd) if *waiting == plan => Ok(vec![]),
            (Some(_), _) => Err(Error::ChangeAlreadyScheduled),
            (None, Timing::PeriodEnd) if now < self.period_ends_at() => {
                Ok(vec![Event::PlanChangeScheduled { plan, effective_at: self.period_ends_at() }])
            }
            (None, Timing::Immediate | Timing::PeriodEnd) => Ok(vec![self.plan_changed(plan, false)]),
        }
    }

    fn change_seats(&self, seats: u32) -> Result<Vec<Event>, Error> {
        plan::check_seats(seats)?;
        if seats == self.seats {
            return Ok(vec![]);
        }
        let (recurring, mrr) = self.changed(&self.plan, seats);
        Ok(vec![Event::SeatsChanged { from: self.seats, to: seats, recurring, mrr }])
    }

    fn pause(&self, now: DateTime<Utc>) -> Result<Vec<Event>, Error> {
        match &self.stage {
            Stage::Trialing { .. } => Err(Error::Trialing),
            Stage::PastDue(_) => Err(Error::PastDue),
            Stage::Paused { .. } => Ok(vec![]),
            Stage::Active(calendar) => {
                let after = Self { stage: Stage::Paused { calendar: *calendar, since: now }, ..self.clone() };
                Ok(vec![Event::Paused {
                    paused_at: now,
                    paid_until_at: calendar.opened_until_at(),
                    recurring: self.recurring(),
                    mrr: MrrChange::stopped(self.monthly_minor(), self.plan.currency()),
                    next_due_at: after.due_at(),
                }])
            }
        }
    }

    fn resume(&self, now: DateTime<Utc>) -> Result<Vec<Event>, Error> {
        match &self.stage {
            Stage::Trialing { .. } => Err(Error::Trialing),
            Stage::PastDue(_) => Err(Error::PastDue),
            Stage::Active(_) => Ok(vec![]),
            Stage::Paused { calendar, .. } => {
                if let Some(due_at) = self.due_at().filter(|due_at| *due_at <= now) {
                    return Err(Error::PeriodDue(due_at));
                }
                let mut draft = Draft::new(self);
                if now < calendar.opened_until_at() {
                    draft.resume(calendar, now);
                } else {
                    draft.change_to_scheduled_plan();
                    draft.resume(calendar, now);
                    draft.open_periods_after_pause(*calendar, now);
                }
                Ok(draft.events)
            }
        }
    }

    fn cancel(&self, timing: Timing, reason: Remark, now: DateTime<Utc>) -> Result<Vec<Event>, Error> {
        match (timing, &self.scheduled) {
            (Timing::Immediate, _) => Ok(vec![self.cancelled(now, false, reason)]),
            (Timing::PeriodEnd, Some(Scheduled::Cancellation { reason: waiting })) if *waiting == reason => Ok(vec![]),
            (Timing::PeriodEnd, Some(_)) => Err(Error::ChangeAlreadyScheduled),
            (Timing::PeriodEnd, None) if now < self.period_ends_at() => {
                let effective_at = self.period_ends_at();
                Ok(vec![Event::CancellationScheduled { effective_at, reason, next_due_at: Some(effective_at) }])
            }
            (Timing::PeriodEnd, None) => Ok(vec![self.cancelled(now, false, reason)]),
        }
    }

    fn undo_cancel(&self) -> Result<Vec<Event>, Error> {
        if self.cancelling().is_none() {
            return Err(Error::NoCancellationScheduled);
        }
        let after = Self { scheduled: None, ..self.clone() };
        Ok(vec![Event::CancellationUndone { next_due_at: after.due_at() }])
    }

    fn mark_past_due(&self) -> Result<Vec<Event>, Error> {
        match &self.stage {
            Stage::Trialing { .. } => Err(Error::Trialing),
            Stage::Active(_) => Ok(vec![Event::MarkedPastDue {}]),
            Stage::PastDue(_) => Ok(vec![]),
            Stage::Paused { .. } => Err(Error::Paused),
        }
    }

    fn mark_paid(&self) -> Result<Vec<Event>, Error> {
        match &self.stage {
            Stage::Trialing { .. } => Err(Error::Trialing),
            Stage::Active(_) => Ok(vec![]),
            Stage::PastDue(_) => Ok(vec![Event::MarkedPaid {}]),
            Stage::Paused { .. } => Err(Error::Paused),
        }
    }

    fn open_next_period(&self, now: DateTime<Utc>) -> Result<Vec<Event>, Error> {
        let calendar = match &self.stage {
            Stage::Trialing { .. } => return Err(Error::Trialing),
            Stage::Active(calendar) | Stage::PastDue(calendar) | Stage::Paused { calendar, .. } => calendar,
        };
        let due_at = self.due_at().ok_or(Error::Paused)?;
        if now < due_at {
            return Err(Error::PeriodNotDue(due_at));
        }
        if let Some(reason) = self.cancelling() {
            return Ok(vec![self.cancelled(due_at, true, reason.clone())]);
        }
        let mut draft = Draft::new(self);
        draft.change_to_scheduled_plan();
        draft.open_service(calendar);
        Ok(draft.events)
    }
}

impl Contract {
    /// What one interval costs.
    fn recurring(&self) -> Money {
        self.plan.recurring(self.seats)
    }

    /// What is earned a month, in minor units.
    fn monthly_minor(&self) -> i64 {
        self.monthly_minor_with(&self.plan, self.seats)
    }

    /// What would be earned a month with another plan or other seats, in minor units.
    fn monthly_minor_with(&self, plan: &Plan, seats: u32) -> i64 {
        match self.stage {
            Stage::Trialing { .. } | Stage::Paused { .. } => 0,
            Stage::Active(_) | Stage::PastDue(_) => mrr::monthly_minor(plan.recurring(seats), plan.interval),
        }
    }

    /// The end of the trial or of the last opened period.
    fn period_ends_at(&self) -> DateTime<Utc> {
        match &self.stage {
            Stage::Trialing { ends_at, .. } => *ends_at,
            Stage::Active(calendar) | Stage::PastDue(calendar) | Stage::Paused { calendar, .. } => {
                calendar.opened_until_at()
            }
        }
    }

    /// The amounts after a change of plan or seats.
    fn changed(&self, plan: &Plan, seats: u32) -> (Money, MrrChange) {
        let after_minor = self.monthly_minor_with(plan, seats);
        (plan.recurring(seats), MrrChange::changed(self.monthly_minor(), after_minor, plan.currency()))
    }

    fn plan_changed(&self, to: Plan, scheduled: bool) -> Event {
        let (recurring, mrr) = self.changed(&to, self.seats);
        Event::PlanChanged { from: self.plan.clone(), to, scheduled, seats: self.seats, recurring, mrr }
    }

    fn cancelled(&self, cancelled_at: DateTime<Utc>, scheduled: bool, reason: Remark) -> Event {
        let currency = self.plan.currency();
        Event::Cancelled {
            cancelled_at,
            from: self.stage.name(),
            scheduled,
            reason,
            recurring: Money::new(0, currency),
            mrr: MrrChange::stopped(self.monthly_minor(), currency),
        }
    }
}

/// A decision of several events in the making; each event is decided on what the ones before it have led to.
struct Draft {
    contract: Contract,
    events: Vec<Event>,
}

impl Draft {
    fn new(contract: &Contract) -> Self {
        Self { contract: contract.clone(), events: Vec::new() }
    }

    fn record(&mut self, event: Event) {
        self.contract.apply(event.clone());
        self.events.push(event);
    }

    fn change_to_scheduled_plan(&mut self) {
        if let Some(Scheduled::PlanChange { plan }) = self.contract.scheduled.clone() {
            self.record(self.contract.plan_changed(plan, true));
        }
    }

    fn activate(&mut self, anchor_at: DateTime<Utc>) {
        let calendar = Calendar::new(anchor_at);
        let recurring = self.contract.recurring();
        let after_minor = mrr::monthly_minor(recurring, self.contract.plan.interval);
        let mrr = MrrChange::started(after_minor, recurring.currency);
        self.record(Event::Activated { anchor_at, recurring, mrr, next_due_at: Some(anchor_at) });
        self.open_service(&calendar);
    }

    fn resume(&mut self, calendar: &Calendar, now: DateTime<Utc>) {
        let recurring = self.contract.recurring();
        let after_minor = mrr::monthly_minor(recurring, self.contract.plan.interval);
        let mrr = MrrChange::resumed(after_minor, recurring.currency);
        let next_due_at = Some(calendar.opened_until_at());
        self.record(Event::Resumed { resumed_at: now, recurring, mrr, next_due_at });
    }

    /// Covers what of the pause was not paid for, and begins a period of service at once.
    fn open_periods_after_pause(&mut self, mut calendar: Calendar, now: DateTime<Utc>) {
        if calendar.opened_until_at() < now {
            let pause = calendar.rest(now);
            self.open(PeriodKind::Pause, pause);
            calendar.open(PeriodKind::Pause, self.contract.plan.interval, pause.number, pause.ends_at);
        }
        self.open_service(&calendar);
    }

    fn open_service(&mut self, calendar: &Calendar) {
        self.open(PeriodKind::Service, calendar.next(self.contract.plan.interval));
    }

    fn open(&mut self, kind: PeriodKind, period: Period) {
        let Contract { plan, seats, .. } = &self.contract;
        let amount = match kind {
            PeriodKind::Service => plan.recurring(*seats),
            PeriodKind::Pause => Money::new(0, plan.currency()),
        };
        let next_due_at = match &self.contract.stage {
            // Of a paused subscription only the periods are opened that began before the pause.
            Stage::Paused { since, .. } if *since <= period.ends_at => None,
            Stage::Trialing { .. } | Stage::Active(_) | Stage::PastDue(_) | Stage::Paused { .. } => {
                Some(period.ends_at)
            }
        };
        let event = Event::PeriodOpened {
            number: period.number,
            kind,
            starts_at: period.starts_at,
            ends_at: period.ends_at,
            amount,
            seats: *seats,
            plan_code: plan.code.clone(),
            plan_name: plan.name.clone(),
            price: plan.price,
            interval: plan.interval,
            next_due_at,
        };
        self.record(event);
    }
}
