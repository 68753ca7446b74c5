//! What a tenant buys, and what becomes of it.

use serde_json::{Value, json};

use crate::demo::catalogue::{Interval, Service, pick};
use crate::demo::step::{Step, at};

use super::Draft;
use super::service_instance::Installed;

const NOUN: &str = "subscriptions";

/// What a subscription begins with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Terms {
    /// How long ago it began.
    pub(super) days_ago: i64,
    pub(super) trial_days: u32,
    pub(super) yearly: bool,
}

/// A subscription that was bought.
#[derive(Clone, Debug)]
pub(super) struct Bought {
    pub(super) name: String,
    pub(super) service: &'static Service,
    pub(super) seats: u32,
    level: usize,
    interval: Interval,
}

impl Bought {
    /// The level that was bought.
    pub(super) fn tier(&self) -> &'static str {
        self.service.plans[self.level].tier
    }
}

impl Draft {
    pub(super) fn buy(&mut self, service: &'static Service, terms: Terms) -> Bought {
        self.next_work();
        let name = format!("{}-{}", service.key, self.bought.len() + 1);
        self.bought.push(name.clone());
        let (low, high) = service.seats;
        // Small customers are more frequent than large ones.
        let seats = self.between(low, high).min(self.between(low, high));
        let level = pick(&mut self.rng, &[0, 0, 1, 1, 1, 2]);
        let interval = if terms.yearly { Interval::Year } else { Interval::Month };
        let hour = i64::from(self.between(7, 18));
        let body = json!({
            "plan": service.plan(level, interval, self.region.currency),
            "seats": seats,
            "trial_days": terms.trial_days,
            "starts_at": at(-terms.days_ago, -hour * 60),
        });
        self.make(NOUN, &name, body);
        Bought { name, service, seats, level, interval }
    }

    /// Waits until the platform has opened the periods of a subscription that have passed.
    pub(super) fn settle(&mut self, bought: &Bought) {
        self.steps.push(Step::Settle(bought.name.clone()));
    }

    /// The same for every subscription, so that the account statement is complete when the story ends.
    pub(super) fn settle_all(&mut self) {
        self.steps.extend(self.bought.drain(..).map(Step::Settle));
    }

    fn change_plan(&mut self, bought: &Bought, level: usize, timing: &str) {
        let plan = bought.service.plan(level, bought.interval, self.region.currency);
        self.of(NOUN, &bought.name, "change-plan", json!({ "plan": plan, "timing": timing }));
    }

    pub(super) fn change_seats(&mut self, bought: &Bought) {
        let (low, high) = bought.service.seats;
        let seats = if self.chance(70) { bought.seats + self.between(1, 5) } else { self.between(low, high) };
        self.of(NOUN, &bought.name, "change-seats", json!({ "seats": seats }));
    }

    /// More seats and a higher plan; another currency is refused.
    pub(super) fn grow(&mut self, bought: &mut Bought) {
        self.next_work();
        bought.seats += self.between(2, 20);
        self.of(NOUN, &bought.name, "change-seats", json!({ "seats": bought.seats }));
        if bought.level < 2 && self.chance(70) {
            bought.level += 1;
            self.change_plan(bought, bought.level, "immediate");
        }
        if self.chance(20) {
            let other = if self.region.currency == "USD" { "EUR" } else { "USD" };
            let plan = bought.service.plan(bought.level, bought.interval, other);
            self.of(NOUN, &bought.name, "change-plan", json!({ "plan": plan, "timing": "immediate" }))
                .refused("subscription_currency_mismatch");
        }
    }

    /// Another plan from the next period on; a second change is refused while the first waits.
    pub(super) fn upgrade_at_period_end(&mut self, bought: &Bought) {
        let level = if bought.level == 2 { 1 } else { bought.level + 1 };
        self.change_plan(bought, level, "period_end");
        if self.chance(30) {
            self.of(NOUN, &bought.name, "cancel", json!({ "timing": "period_end", "reason": "too dear" }))
                .refused("subscription_change_already_scheduled");
        }
    }

    pub(super) fn cancel_at_period_end(&mut self, bought: &Bought) {
        let reason = pick(&mut self.rng, &["not needed any more", "we build our own", "a cheaper offer"]);
        self.of(NOUN, &bought.name, "cancel", json!({ "timing": "period_end", "reason": reason }));
    }

    /// A cancellation that is taken back.
    pub(super) fn change_their_mind(&mut self, bought: &Bought) {
        self.cancel_at_period_end(bought);
        self.of(NOUN, &bought.name, "undo-cancel", Value::Null);
        if self.chance(30) {
            self.of(NOUN, &bought.name, "undo-cancel", Value::Null).refused("subscription_no_cancellation_scheduled");
        }
    }

    /// A pause, of which some end again.
    pub(super) fn pause(&mut self, bought: &Bought) {
        self.of(NOUN, &bought.name, "pause", Value::Null);
        if self.chance(70) {
            self.of(NOUN, &bought.name, "resume", Value::Null);
        }
    }

    pub(super) fn mark_past_due(&mut self, bought: &Bought) {
        self.of(NOUN, &bought.name, "mark-past-due", Value::Null);
    }

    pub(super) fn mark_paid(&mut self, bought: &Bought) {
        self.of(NOUN, &bought.name, "mark-paid", Value::Null);
    }

    /// What was owed is paid, and everything runs again.
    pub(super) fn pay(&mut self, bought: &Bought, instance: &Installed) {
        self.next_work();
        self.mark_paid(bought);
        self.resume_after_payment(instance);
    }

    /// A trial that convinces before it is over.
    pub(super) fn convince(&mut self, bought: &Bought) {
        self.of(NOUN, &bought.name, "pause", Value::Null).refused("subscription_trialing");
        self.of(NOUN, &bought.name, "activate", Value::Null);
    }

    /// A trial that does not convince.
    pub(super) fn end_with_trial(&mut self, bought: &Bought) {
        self.of(NOUN, &bought.name, "cancel", json!({ "timing": "period_end", "reason": "only looked around" }));
    }

    /// The subscription ends now.
    pub(super) fn leave(&mut self, bought: &Bought) {
        self.next_work();
        let reason = pick(&mut self.rng, &["moves to another provider", "the company was sold", "closes down"]);
        self.of(NOUN, &bought.name, "cancel", json!({ "timing": "immediate", "reason": reason }));
        if self.chance(30) {
            self.of(NOUN, &bought.name, "change-seats", json!({ "seats": 1 })).refused("subscription_cancelled");
        }
    }
}
