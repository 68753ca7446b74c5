//! What the provider of the demo sells: services, their plans and prices, and the regions they run in.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng, RngExt as _};
use serde_json::{Value, json};

/// A managed service.
#[derive(Debug)]
pub struct Service {
    /// Its key.
    pub key: &'static str,
    /// Its name in the names of plans.
    pub name: &'static str,
    /// From the cheapest to the dearest.
    pub plans: [Plan; 3],
    /// Usual numbers of seats: mailboxes, sites, protected machines, checks, databases.
    pub seats: (u32, u32),
    /// Port of its endpoint.
    port: u16,
}

/// A level of a service.
#[derive(Debug)]
pub struct Plan {
    /// The level.
    pub tier: &'static str,
    /// The level's name.
    pub name: &'static str,
    /// The price of a seat for a month in minor units, in the order of [`CURRENCIES`].
    pub price_minor: [i64; 4],
}

/// How often a plan is charged, in the words of the API.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interval {
    Month,
    /// Costs as much as ten months.
    Year,
}

/// Where a tenant's data lives, and in what it pays.
#[derive(Debug)]
pub struct Region {
    /// Its key.
    pub key: &'static str,
    /// ISO 4217 code; one of [`CURRENCIES`].
    pub currency: &'static str,
    /// How many tenants live there, as a weight.
    weight: u32,
}

/// The currencies that prices exist in.
pub const CURRENCIES: [&str; 4] = ["EUR", "CHF", "USD", "GBP"];

/// The regions.
pub const REGIONS: [Region; 5] = [
    Region { key: "eu-central", currency: "EUR", weight: 8 },
    Region { key: "eu-west", currency: "EUR", weight: 4 },
    Region { key: "ch-north", currency: "CHF", weight: 4 },
    Region { key: "uk-south", currency: "GBP", weight: 3 },
    Region { key: "us-east", currency: "USD", weight: 3 },
];

/// The services.
pub const SERVICES: [Service; 5] = [
    Service {
        key: "mail",
        name: "Mail",
        plans: plans([[299, 320, 329, 269], [549, 590, 599, 489], [990, 1_050, 1_090, 890]]),
        seats: (5, 120),
        port: 993,
    },
    Service {
        key: "hosting",
        name: "Hosting",
        plans: plans([[900, 950, 990, 800], [2_400, 2_600, 2_600, 2_100], [6_900, 7_400, 7_500, 6_100]]),
        seats: (1, 12),
        port: 443,
    },
    Service {
        key: "backup",
        name: "Backup",
        plans: plans([[400, 430, 450, 360], [850, 900, 950, 760], [1_600, 1_700, 1_750, 1_400]]),
        seats: (3, 60),
        port: 8_443,
    },
    Service {
        key: "monitoring",
        name: "Monitoring",
        plans: plans([[150, 160, 165, 130], [320, 340, 350, 280], [700, 750, 770, 620]]),
        seats: (10, 200),
        port: 443,
    },
    Service {
        key: "database",
        name: "Database",
        plans: plans([[3_900, 4_200, 4_200, 3_500], [9_900, 10_500, 10_900, 8_900], [24_900, 26_500, 27_500, 22_000]]),
        seats: (1, 4),
        port: 5_432,
    },
];

const fn plans([basic, standard, premium]: [[i64; 4]; 3]) -> [Plan; 3] {
    [
        Plan { tier: "basic", name: "Basic", price_minor: basic },
        Plan { tier: "standard", name: "Standard", price_minor: standard },
        Plan { tier: "premium", name: "Premium", price_minor: premium },
    ]
}

impl Interval {
    fn word(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

impl Region {
    /// One of the regions, the larger ones more often.
    pub fn any(rng: &mut impl Rng) -> &'static Self {
        REGIONS.choose_weighted(rng, |region| region.weight).expect("the weights of the regions are positive")
    }
}

impl Service {
    /// The plan of a level (0 to 2) as it is sold in a currency.
    ///
    /// # Panics
    /// When there is no such level or no price in the currency.
    #[must_use]
    pub fn plan(&self, level: usize, interval: Interval, currency: &str) -> Value {
        let plan = &self.plans[level];
        let place = CURRENCIES.iter().position(|known| *known == currency).expect("every region's currency has prices");
        let (suffix, title, months) = match interval {
            Interval::Month => ("", "", 1),
            Interval::Year => ("-yearly", ", yearly", 10),
        };
        json!({
            "code": format!("{}-{}{suffix}", self.key, plan.tier),
            "name": format!("{} {}{title}", self.name, plan.name),
            "tier": plan.tier,
            "price": { "minor": plan.price_minor[place] * months, "currency": currency },
            "interval": interval.word(),
        })
    }

    /// What an instance is ordered with.
    pub fn parameters(&self, seats: u32, region: &str, rng: &mut StdRng) -> Value {
        match self.key {
            "mail" => json!({
                "mailboxes": seats,
                "domain": "{slug}.example",
                "spam_filter": { "level": pick(rng, &["normal", "high", "strict"]), "quarantine_days": 14 },
            }),
            "hosting" => json!({
                "sites": seats,
                "runtime": pick(rng, &["php-8.4", "node-24", "python-3.13", "static"]),
                "memory_mib": pick(rng, &[512, 1_024, 2_048, 4_096]),
                "region": region,
            }),
            "backup" => json!({
                "machines": seats,
                "schedule": pick(rng, &["hourly", "every-6-hours", "nightly"]),
                "keep_days": pick(rng, &[14, 30, 90]),
                "second_region": pick(rng, &["eu-west", "ch-north"]),
            }),
            "monitoring" => json!({
                "checks": seats,
                "interval_seconds": pick(rng, &[30, 60, 300]),
                "alert": { "mail": "ops@{slug}.example", "quiet_hours": rng.random_bool(0.5) },
            }),
            _ => json!({
                "engine": pick(rng, &["postgresql-17", "mariadb-11.4"]),
                "storage_gib": pick(rng, &[50, 100, 250, 500]),
                "replicas": rng.random_range(0..3),
                "region": region,
            }),
        }
    }

    /// Where the tenant reaches an instance; `number` tells its instances of the same service apart.
    #[must_use]
    pub fn endpoint(&self, number: u32) -> String {
        format!("{}-{number}.{{slug}}.example:{}", self.key, self.port)
    }

    /// What the provider tells when an instance is ready.
    pub fn outputs(&self, region: &str, rng: &mut StdRng) -> Value {
        json!({ "cluster": format!("{region}-{}", rng.random_range(1..5)), "version": pick(rng, &["2026.1", "2026.2"]) })
    }
}

/// One of some values.
pub(super) fn pick<T: Copy>(rng: &mut StdRng, values: &[T]) -> T {
    *values.choose(rng).expect("there is something to choose from")
}

#[cfg(test)]
mod tests {
    use hub_domain::money::{Currency, Money};
    use hub_domain::service_instance::{Endpoint, Parameters};
    use hub_domain::subscription::Plan as DomainPlan;
    use hub_domain::subscription::plan::{PRICE_MINOR_MAX, SEATS_MAX};
    use hub_domain::text::{Key, Name};
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::{CURRENCIES, Interval, REGIONS, SERVICES};

    #[test]
    fn every_plan_passes_the_gates_of_the_domain() {
        for service in &SERVICES {
            service.key.parse::<Key>().unwrap();
            for (level, interval, currency) in (0..3)
                .flat_map(|level| [Interval::Month, Interval::Year].map(|interval| (level, interval)))
                .flat_map(|(level, interval)| CURRENCIES.map(|currency| (level, interval, currency)))
            {
                let plan = service.plan(level, interval, currency);
                for field in ["code", "tier"] {
                    plan[field].as_str().unwrap().parse::<Key>().unwrap();
                }
                plan["name"].as_str().unwrap().parse::<Name>().unwrap();
                let plan: DomainPlan = serde_json::from_value(plan).unwrap();
                assert!((1..=PRICE_MINOR_MAX).contains(&plan.price.minor), "{plan:?}");
                assert_eq!(plan.price.currency, currency.parse::<Currency>().unwrap());
            }
        }
    }

    #[test]
    fn a_higher_level_costs_more_and_a_year_less_than_twelve_months() {
        for (service, currency) in SERVICES.iter().flat_map(|service| CURRENCIES.map(|currency| (service, currency))) {
            let price = |level, interval| -> Money {
                serde_json::from_value(service.plan(level, interval, currency)["price"].clone()).unwrap()
            };
            assert!(price(0, Interval::Month).minor < price(1, Interval::Month).minor);
            assert!(price(1, Interval::Month).minor < price(2, Interval::Month).minor);
            assert!(price(1, Interval::Year).minor < 12 * price(1, Interval::Month).minor);
        }
    }

    #[test]
    fn regions_are_keys_and_their_currencies_have_prices() {
        for region in &REGIONS {
            region.key.parse::<Key>().unwrap();
            assert!(CURRENCIES.contains(&region.currency), "{}", region.currency);
        }
    }

    #[test]
    fn instances_pass_the_gates_of_the_domain() {
        let mut rng = StdRng::seed_from_u64(7);
        for service in &SERVICES {
            assert!(0 < service.seats.0 && service.seats.0 <= service.seats.1 && service.seats.1 <= SEATS_MAX);
            for _ in 0..20 {
                Parameters::try_from(service.parameters(3, "eu-west", &mut rng)).unwrap();
                Parameters::try_from(service.outputs("eu-west", &mut rng)).unwrap();
            }
            service.endpoint(1).replace("{slug}", "acme").parse::<Endpoint>().unwrap();
        }
    }
}
