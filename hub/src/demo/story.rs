//! What happens to one tenant in a year, told as a list of steps.
//!
//! A tenant leads one of seven lives. Of every twenty tenants each life has its share, in an order of the seed, so that even a
//! small cast has some of most. The parts of a life are in the modules below, one per context.

mod role;
mod service_instance;
mod subscription;
mod tenant;
mod webhook;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

use super::catalogue::{Region, SERVICES, Service};
use super::company::{Company, company};
use super::step::{Expect, Order, Step};
use service_instance::Delivery;
use subscription::{Bought, Terms};

/// Raised when stories change, so that the commands of an old edition are not taken for those of a new one.
pub const EDITION: u32 = 1;

/// The way a tenant's year goes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Life {
    /// Buys a few services and is content.
    Settled,
    /// Buys more and more.
    Growing,
    /// Looks around in a trial.
    Trying,
    /// Does not pay, is suspended, and pays.
    LatePaying,
    /// Has trouble with its services and is suspended for security.
    Troubled,
    /// Ends everything and is archived.
    Leaving,
    /// Is registered and not yet active.
    Waiting,
}

/// The lives of twenty tenants.
const LIVES: [Life; 20] = [
    Life::Settled,
    Life::Settled,
    Life::Settled,
    Life::Settled,
    Life::Settled,
    Life::Settled,
    Life::Settled,
    Life::Growing,
    Life::Growing,
    Life::Growing,
    Life::Growing,
    Life::Growing,
    Life::Trying,
    Life::Trying,
    Life::LatePaying,
    Life::LatePaying,
    Life::Troubled,
    Life::Leaving,
    Life::Leaving,
    Life::Waiting,
];

/// The story of one tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct Story {
    /// The place in the cast, from 0.
    pub index: usize,
    /// The way it goes.
    pub life: Life,
    /// Who it is about.
    pub company: Company,
    /// What happens, in order; the first step registers the tenant.
    pub steps: Vec<Step>,
}

/// Tells the story at a place in the cast of a seed. The same seed and place have the same story.
#[must_use]
pub fn tell(seed: u64, index: usize) -> Story {
    let life = life(seed, index);
    let company = company(seed, index);
    let place = u64::try_from(index).expect("a place in the cast is a small number");
    let mut rng = StdRng::seed_from_u64(seed.rotate_left(32) ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let region = Region::any(&mut rng);
    let mut draft = Draft {
        rng,
        region,
        company: company.clone(),
        work: 0,
        steps: Vec::new(),
        bought: Vec::new(),
        ordered: 0,
        counted: 0,
    };
    draft.register(life);
    match life {
        Life::Settled => draft.settled(),
        Life::Growing => draft.growing(),
        Life::Trying => draft.trying(),
        Life::LatePaying => draft.late_paying(),
        Life::Troubled => draft.troubled(),
        Life::Leaving => draft.leaving(),
        Life::Waiting => draft.waiting(),
    }
    draft.settle_all();
    Story { index, life, company, steps: draft.steps }
}

fn life(seed: u64, index: usize) -> Life {
    let round = u64::try_from(index / LIVES.len()).expect("a place in the cast is a small number");
    let mut lives = LIVES;
    lives.shuffle(&mut StdRng::seed_from_u64(seed ^ round.wrapping_mul(0xd1b5_4a32_d192_ed03)));
    lives[index % lives.len()]
}

/// A story in the making.
struct Draft {
    rng: StdRng,
    region: &'static Region,
    company: Company,
    /// The number of the present piece of work.
    work: u32,
    steps: Vec<Step>,
    /// The names of the subscriptions that there are by now.
    bought: Vec<String>,
    /// How many instances were ordered by now.
    ordered: u32,
    /// How many of them count against the quota.
    counted: u32,
}

impl Draft {
    /// Begins another piece of work.
    fn next_work(&mut self) {
        self.work += 1;
    }

    /// Whether something happens that happens to so many of a hundred.
    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_ratio(percent, 100)
    }

    /// A number from a range, both ends included.
    fn between(&mut self, low: u32, high: u32) -> u32 {
        self.rng.random_range(low..=high)
    }

    /// Some services, each once.
    fn services(&mut self, count: usize) -> Vec<&'static Service> {
        let mut services: Vec<_> = SERVICES.iter().collect();
        services.shuffle(&mut self.rng);
        services.truncate(count);
        services
    }

    fn order(&mut self, what: String, path: String, body: Value) -> &mut Order {
        let order = Order { what, work: self.work, path, body, keep: None, expect: Expect::Done };
        self.steps.push(Step::Order(order));
        match self.steps.last_mut() {
            Some(Step::Order(order)) => order,
            Some(Step::Settle(_)) | None => unreachable!("an order was put there just now"),
        }
    }

    /// Orders something of the tenant.
    fn tenant(&mut self, verb: &str, body: Value) -> &mut Order {
        self.order(format!("tenant: {verb}"), format!("/v1/tenants/{{tenant}}/{verb}"), body)
    }

    /// Makes something that belongs to the tenant, and keeps it under a name.
    fn make(&mut self, noun: &str, name: &str, body: Value) -> &mut Order {
        self.order(format!("{noun} {name}: make"), format!("/v1/tenants/{{tenant}}/{noun}"), body).keep(name)
    }

    /// Orders something of what belongs to the tenant.
    fn of(&mut self, noun: &str, name: &str, verb: &str, body: Value) -> &mut Order {
        self.order(format!("{noun} {name}: {verb}"), format!("/v1/tenants/{{tenant}}/{noun}/{{{name}}}/{verb}"), body)
    }

    fn settled(&mut self) {
        let count = 2 + usize::from(self.chance(40));
        let mut all = Vec::new();
        for service in self.services(count) {
            let terms = self.old_terms();
            let bought = self.buy(service, terms);
            let delivery = if self.chance(15) { Delivery::SecondTime } else { Delivery::AtOnce };
            let instance = self.install(&bought, delivery);
            self.watch(&instance);
            if self.chance(30) {
                self.configure(&instance, true);
            }
            all.push(bought);
        }
        self.staff(false);
        if self.chance(60) {
            self.webhook_life("events", false);
        }
        if self.chance(15) {
            self.rename();
        }
        for bought in &all {
            self.ordinary_year(bought);
        }
    }

    fn growing(&mut self) {
        let mut all = Vec::new();
        for service in self.services(4) {
            let terms = self.old_terms();
            let bought = self.buy(service, terms);
            let copies = 1 + self.between(0, 1);
            for copy in 0..copies {
                let delivery = if copy == 1 && self.chance(30) { Delivery::SecondTime } else { Delivery::AtOnce };
                let instance = self.install(&bought, delivery);
                self.watch(&instance);
                let success = self.chance(80);
                self.configure(&instance, success);
            }
            all.push(bought);
        }
        self.change_tier("enterprise");
        self.reach_quota();
        self.staff(true);
        self.webhook_life("billing", true);
        self.webhook_life("events", false);
        for bought in &mut all {
            self.settle(bought);
            self.grow(bought);
        }
    }

    fn trying(&mut self) {
        let service = self.services(1)[0];
        let days_ago = i64::from(self.between(2, 9));
        let bought = self.buy(service, Terms { days_ago, trial_days: 14, ..Terms::default() });
        let instance = self.install(&bought, Delivery::AtOnce);
        self.watch(&instance);
        match self.between(0, 2) {
            0 => self.convince(&bought),
            1 => self.end_with_trial(&bought),
            _ => {}
        }
        self.own();
    }

    fn late_paying(&mut self) {
        let services = self.services(2);
        let mut late = Vec::new();
        for service in services {
            let terms = self.old_terms();
            let bought = self.buy(service, terms);
            let instance = self.install(&bought, Delivery::AtOnce);
            self.watch(&instance);
            late.push((bought, instance));
        }
        self.own();
        self.webhook_life("billing", false);
        let Some((bought, instance)) = late.into_iter().next() else { return };
        self.settle(&bought);
        self.next_work();
        self.mark_past_due(&bought);
        self.suspend_for_payment(&instance);
        if self.chance(70) {
            self.pay(&bought, &instance);
        }
    }

    fn troubled(&mut self) {
        let services = self.services(3);
        let mut first = None;
        for (place, service) in services.into_iter().enumerate() {
            let terms = self.old_terms();
            let bought = self.buy(service, terms);
            match place {
                0 => {
                    self.lose(&bought);
                    let instance = self.install(&bought, Delivery::SecondTime);
                    self.configure(&instance, false);
                    first = Some(instance);
                }
                1 => {
                    let instance = self.install(&bought, Delivery::SecondTime);
                    self.outage(&instance);
                    self.rest(&instance);
                }
                _ => {
                    let instance = self.install(&bought, Delivery::AtOnce);
                    self.outage(&instance);
                    self.remove(&instance, true);
                }
            }
        }
        self.staff(false);
        if let Some(instance) = first {
            self.break_in(&instance);
        }
    }

    fn leaving(&mut self) {
        let services = self.services(2);
        let mut all = Vec::new();
        for service in services {
            let terms = self.old_terms();
            let bought = self.buy(service, terms);
            let instance = self.install(&bought, Delivery::AtOnce);
            all.push((bought, instance));
        }
        self.webhook_life("events", true);
        self.staff(false);
        for (bought, instance) in all {
            self.settle(&bought);
            self.leave(&bought);
            self.remove(&instance, false);
        }
        self.archive();
    }

    fn waiting(&mut self) {
        self.ask_too_early();
    }

    /// Terms of a subscription that began some time in the year.
    fn old_terms(&mut self) -> Terms {
        let yearly = self.chance(15);
        let trial_days = if self.chance(35) { 14 } else { 0 };
        let days_ago = i64::from(if yearly { self.between(200, 360) } else { self.between(25, 360) });
        Terms { days_ago, trial_days, yearly }
    }

    /// What happens to a subscription that nobody worries about, once its periods are open.
    fn ordinary_year(&mut self, bought: &Bought) {
        self.next_work();
        self.settle(bought);
        match self.between(0, 9) {
            0..=2 => self.change_seats(bought),
            3 => self.upgrade_at_period_end(bought),
            4 => self.change_their_mind(bought),
            5 => self.pause(bought),
            6 => {
                self.mark_past_due(bought);
                self.mark_paid(bought);
            }
            7 => self.cancel_at_period_end(bought),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
