//! Subscriptions: one row each, for lists and details.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use hub_domain::{
    money::{Currency, Money},
    subscription::{Event, PeriodKind, Plan, StageName, Subscription},
    text::Remark,
};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{AggregateKey, FoldError, ReadModel, of_aggregate, to_micros};

/// The read model.
#[derive(Debug)]
pub struct Subscriptions;

/// One subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Subscription")]
pub struct SubscriptionRow {
    pub tenant_id: Uuid,
    pub id: Uuid,
    pub stage: StageName,
    pub plan: Plan,
    pub seats: u32,
    pub currency: Currency,
    /// Price times seats for one interval as agreed, whatever the stage; 0 after the end. Minor units of the currency.
    pub recurring_minor: i64,
    /// What is earned a month now. Minor units of the currency.
    pub mrr_minor: i64,
    pub starts_at: DateTime<Utc>,
    pub trial_ends_at: Option<DateTime<Utc>>,
    /// From when on periods are counted; null until the activation.
    pub anchor_at: Option<DateTime<Utc>>,
    /// The period opened last; null until the first.
    pub current_period: Option<CurrentPeriod>,
    /// The one change that waits for the end of the period.
    pub scheduled_change: Option<ScheduledChange>,
    pub paused_at: Option<DateTime<Utc>>,
    pub cancelled_at: Option<DateTime<Utc>>,
    pub cancellation_reason: Option<Remark>,
    /// When something happens by itself next.
    pub next_due_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The sequence of the subscription's stream.
    pub sequence: i64,
}

/// The period opened last, half-open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CurrentPeriod {
    pub number: u32,
    pub kind: PeriodKind,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    pub amount: Money,
}

/// A change that waits for its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ScheduledChange {
    PlanChange { plan: Plan, effective_at: DateTime<Utc> },
    Cancellation { reason: Remark, effective_at: DateTime<Utc> },
}

impl ReadModel for Subscriptions {
    type Row = SubscriptionRow;
    type Key = AggregateKey;

    const NAME: &'static str = "subscriptions";
    const TABLE: &'static str = "subscriptions";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, Subscription::TYPE)
    }

    fn key_of(row: &SubscriptionRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(
        row: Option<SubscriptionRow>,
        key: &AggregateKey,
        event: &Recorded,
    ) -> Result<Option<SubscriptionRow>, FoldError> {
        match (row, event.decode()?) {
            (
                None,
                Event::Created { plan, seats, starts_at, trial_ends_at, recurring, mrr, next_due_at, trial_days: _ },
            ) => Ok(Some(SubscriptionRow {
                tenant_id: key.tenant_id,
                id: key.id,
                stage: StageName::Trialing, // Without a trial the activation follows in the same breath.
                currency: recurring.currency,
                recurring_minor: recurring.minor,
                mrr_minor: mrr.after_minor,
                plan,
                seats,
                starts_at: to_micros(starts_at),
                trial_ends_at: trial_ends_at.map(to_micros),
                anchor_at: None,
                current_period: None,
                scheduled_change: None,
                paused_at: None,
                cancelled_at: None,
                cancellation_reason: None,
                next_due_at: next_due_at.map(to_micros),
                created_at: event.occurred_at,
                updated_at: event.occurred_at,
                sequence: event.sequence,
            })),
            (None, _) => Err(FoldError::row_missing(event)),
            (Some(row), change) => row.after(change, event).map(Some),
        }
    }
}

impl SubscriptionRow {
    fn after(mut self, change: Event, event: &Recorded) -> Result<Self, FoldError> {
        self.updated_at = event.occurred_at;
        self.sequence = event.sequence;
        match change {
            Event::Created { .. } => return Err(FoldError::row_exists(event)),
            Event::TrialEnded { ended_at, .. } => self.trial_ends_at = Some(to_micros(ended_at)),
            Event::Activated { anchor_at, recurring, mrr, next_due_at } => {
                self.stage = StageName::Active;
                self.anchor_at = Some(to_micros(anchor_at));
                self.price(recurring, mrr.after_minor);
                self.next_due_at = next_due_at.map(to_micros);
            }
            Event::PeriodOpened { number, kind, starts_at, ends_at, amount, next_due_at, .. } => {
                self.current_period = Some(CurrentPeriod { number, kind, starts_at, ends_at, amount });
                self.next_due_at = next_due_at.map(to_micros);
            }
            Event::PlanChanged { to, seats, recurring, mrr, .. } => {
                self.plan = to;
                self.seats = seats;
                self.scheduled_change = None;
                self.price(recurring, mrr.after_minor);
            }
            Event::PlanChangeScheduled { plan, effective_at } => {
                self.scheduled_change = Some(ScheduledChange::PlanChange { plan, effective_at });
            }
            Event::PlanChangeWithdrawn { .. } => self.scheduled_change = None,
            Event::SeatsChanged { to, recurring, mrr, .. } => {
                self.seats = to;
                self.price(recurring, mrr.after_minor);
            }
            Event::Paused { paused_at, recurring, mrr, next_due_at, .. } => {
                self.stage = StageName::Paused;
                self.paused_at = Some(to_micros(paused_at));
                self.price(recurring, mrr.after_minor);
                self.next_due_at = next_due_at.map(to_micros);
            }
            Event::Resumed { recurring, mrr, next_due_at, .. } => {
                self.stage = StageName::Active;
                self.paused_at = None;
                self.price(recurring, mrr.after_minor);
                self.next_due_at = next_due_at.map(to_micros);
            }
            Event::MarkedPastDue {} => self.stage = StageName::PastDue,
            Event::MarkedPaid {} => self.stage = StageName::Active,
            Event::CancellationScheduled { effective_at, reason, next_due_at } => {
                self.scheduled_change = Some(ScheduledChange::Cancellation { reason, effective_at });
                self.next_due_at = next_due_at.map(to_micros);
            }
            Event::CancellationUndone { next_due_at } => {
                self.scheduled_change = None;
                self.next_due_at = next_due_at.map(to_micros);
            }
            Event::Cancelled { cancelled_at, reason, recurring, mrr, .. } => {
                self.stage = StageName::Cancelled;
                self.cancelled_at = Some(to_micros(cancelled_at));
                self.cancellation_reason = Some(reason);
                self.scheduled_change = None;
                self.paused_at = None;
                self.price(recurring, mrr.after_minor);
                self.next_due_at = None;
            }
        }
        Ok(self)
    }

    fn price(&mut self, recurring: Money, mrr_minor: i64) {
        self.recurring_minor = recurring.minor;
        self.mrr_minor = mrr_minor;
    }
}

#[cfg(test)]
mod tests {
    use hub_domain::subscription::{Event, StageName};

    use super::{ScheduledChange, SubscriptionRow, Subscriptions};
    use crate::testing::{History, rows, subscription as given};

    fn row(events: Vec<Event>) -> SubscriptionRow {
        let mut history = History::default();
        history.subscription(given::created(0));
        for event in events {
            history.subscription(event);
        }
        rows::<Subscriptions>(&history).unwrap().remove(0)
    }

    fn active() -> Vec<Event> {
        vec![given::activated(3_000), given::period_opened(1, 3_000)]
    }

    fn active_and(event: Event) -> SubscriptionRow {
        row(active().into_iter().chain([event]).collect())
    }

    #[test]
    fn a_trial_earns_nothing() {
        let row = row(vec![]);
        assert_eq!((row.stage, row.seats, row.recurring_minor, row.mrr_minor), (StageName::Trialing, 3, 3_000, 0));
        assert_eq!(row.current_period, None);
    }

    #[test]
    fn an_active_subscription_earns_and_has_a_period() {
        let row = row(active());
        assert_eq!((row.stage, row.mrr_minor, row.sequence), (StageName::Active, 3_000, 3));
        assert!(row.anchor_at.is_some());
        assert_eq!(row.current_period.unwrap().number, 1);
    }

    #[test]
    fn seats_and_amounts_change_together() {
        let row = active_and(given::seats_changed(2, 3_000, 2_000));
        assert_eq!((row.seats, row.recurring_minor, row.mrr_minor), (2, 2_000, 2_000));
    }

    #[test]
    fn a_scheduled_plan_waits_until_it_holds_or_is_withdrawn() {
        let effective_at = "2025-04-01T00:00:00Z".parse().unwrap();
        let scheduled = Event::PlanChangeScheduled { plan: given::plan("mail-team", 1_500), effective_at };
        let waiting = active_and(scheduled.clone());
        assert!(matches!(waiting.scheduled_change, Some(ScheduledChange::PlanChange { .. })));
        assert_eq!(waiting.plan.code.as_str(), "mail-pro");
        let with = |event| row(active().into_iter().chain([scheduled.clone(), event]).collect());
        let changed = with(given::plan_changed("mail-team", 3_000, 4_500));
        assert_eq!((changed.scheduled_change, changed.plan.code.as_str()), (None, "mail-team"));
        let withdrawn = with(Event::PlanChangeWithdrawn { plan: given::plan("mail-pro", 1_000) });
        assert_eq!((withdrawn.scheduled_change, withdrawn.plan.code.as_str()), (None, "mail-pro"));
    }

    #[test]
    fn a_pause_earns_nothing_and_ends_with_the_resumption() {
        let paused = active_and(given::paused(3_000));
        assert_eq!((paused.stage, paused.mrr_minor, paused.next_due_at), (StageName::Paused, 0, None));
        assert!(paused.paused_at.is_some());
        let resumed = row(active().into_iter().chain([given::paused(3_000), given::resumed(3_000)]).collect());
        assert_eq!((resumed.stage, resumed.mrr_minor, resumed.paused_at), (StageName::Active, 3_000, None));
    }

    #[test]
    fn past_due_ends_with_the_payment() {
        assert_eq!(active_and(Event::MarkedPastDue {}).stage, StageName::PastDue);
        let paid = row(active().into_iter().chain([Event::MarkedPastDue {}, Event::MarkedPaid {}]).collect());
        assert_eq!(paid.stage, StageName::Active);
    }

    #[test]
    fn a_cancellation_waits_and_may_be_undone() {
        let scheduled = Event::CancellationScheduled {
            effective_at: "2025-04-01T00:00:00Z".parse().unwrap(),
            reason: "moves in-house".parse().unwrap(),
            next_due_at: None,
        };
        let waiting = active_and(scheduled.clone());
        assert!(matches!(waiting.scheduled_change, Some(ScheduledChange::Cancellation { .. })));
        let undone = Event::CancellationUndone { next_due_at: None };
        let kept = row(active().into_iter().chain([scheduled, undone]).collect());
        assert_eq!((kept.stage, kept.scheduled_change), (StageName::Active, None));
    }

    #[test]
    fn a_cancelled_subscription_earns_nothing_and_is_due_no_more() {
        let row = active_and(given::cancelled(3_000));
        assert_eq!((row.stage, row.recurring_minor, row.mrr_minor), (StageName::Cancelled, 0, 0));
        assert_eq!(row.next_due_at, None);
        assert!(row.cancelled_at.is_some() && row.cancellation_reason.is_some());
    }
}
