//! What came of the year, and where to look at it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::TimeDelta;
use indicatif::HumanCount;

use super::client::Client;
use super::play::Played;
use super::story::Life;
use super::{Options, Year};

/// Something that can be looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// What is seen there.
    pub what: String,
    /// Path and query.
    pub path: String,
    /// What a query sends to see everything that was played.
    token: Option<String>,
    /// Whether it answers for as long as somebody listens.
    stream: bool,
}

/// A link after it was tried.
#[derive(Debug)]
pub struct Tried {
    link: Link,
    /// Why it did not answer, if it did not.
    trouble: Option<String>,
}

/// What can be looked at after a year.
#[must_use]
pub fn links(year: &Year) -> Vec<Link> {
    let newest = year.played.iter().rev().find_map(|played| played.token.clone());
    let platform = |what: &str, path: &str| Link {
        what: what.to_owned(),
        path: path.to_owned(),
        token: newest.clone(),
        stream: false,
    };
    let mut links = vec![
        platform("all tenants", "/v1/tenants?limit=100"),
        platform("tenants by status and tier", "/v1/analytics/tenants"),
        platform("recurring revenue of the last week, by day and currency", &revenue(year)),
        platform("what happened last on the platform", "/v1/audit?limit=20"),
        platform("instances by service, status and health", "/v1/analytics/service-instances"),
    ];
    let of = |played: &Played, what: &str, rest: &str| Link {
        what: format!("{}: {what}", played.name),
        path: format!("/v1/tenants/{}{rest}", played.tenant_id),
        token: played.token.clone(),
        stream: false,
    };
    if let Some(tenant) = most(year, |played| played.subscription_id.is_some()) {
        links.push(of(tenant, "the tenant", ""));
        links.push(of(tenant, "its account statement", "/statement"));
        links.push(of(tenant, "its subscriptions", "/subscriptions"));
        links.push(of(tenant, "its roles", "/roles"));
        links.push(of(tenant, "its webhooks", "/webhooks"));
    }
    let eventful = most(year, |played| played.life == Life::Troubled)
        .or_else(|| most(year, |played| played.service_instance_id.is_some()))
        .or_else(|| most(year, |_| true));
    if let Some(tenant) = eventful {
        links.push(of(tenant, "its service instances", "/service-instances"));
        links.push(of(tenant, "its audit log", "/audit?limit=20"));
        links.push(of(
            tenant,
            "the audit log of one piece of work",
            &format!("/audit?correlation_id={}", tenant.correlation_id),
        ));
        links.push(of(tenant, "its events, page by page", "/events?limit=20"));
        links.push(Link { stream: true, ..of(tenant, "its events as a stream", "/events/stream?after=0") });
    }
    links
}

/// The revenue of the week that ends on the day of the last registration.
fn revenue(year: &Year) -> String {
    let last = year.played.iter().map(|played| played.registered_at.date_naive()).max().unwrap_or_default();
    format!("/v1/analytics/revenue?from={}&to={last}", last - TimeDelta::days(6))
}

/// The tenant with the most events of those that are wanted.
fn most(year: &Year, wanted: impl Fn(&Played) -> bool) -> Option<&Played> {
    year.played.iter().filter(|played| wanted(played)).max_by_key(|played| played.logged_count)
}

/// Tries each link once, waiting for its read model; a stream is taken on trust.
pub async fn try_links(client: &Client, links: Vec<Link>) -> Vec<Tried> {
    let mut tried = Vec::with_capacity(links.len());
    for link in links {
        let trouble = if link.stream {
            None
        } else {
            match client.ask(&link.path, link.token.as_deref()).await {
                Ok(answer) if answer.succeeded() => None,
                Ok(answer) => Some(answer.problem()),
                Err(error) => Some(format!("{error:#}")),
            }
        };
        tried.push(Tried { link, trouble });
    }
    tried
}

/// The closing words. `base` is the address of the platform, `key` how a shell says the key.
#[must_use]
pub fn text(year: &Year, options: Options, links: &[Tried], base: &str, key: &str) -> String {
    let mut text = String::new();
    write_numbers(&mut text, year, options).expect("a text takes everything");
    write_links(&mut text, links, base, key).expect("a text takes everything");
    text
}

fn write_numbers(text: &mut String, year: &Year, options: Options) -> std::fmt::Result {
    let sum = |number: fn(&Played) -> u64| year.played.iter().map(number).sum::<u64>();
    let commands = sum(|played| played.command_count);
    let replayed = sum(|played| played.replayed_count);
    let seconds = year.took.as_secs_f64();
    let mut lives: BTreeMap<Life, usize> = BTreeMap::new();
    for played in &year.played {
        *lives.entry(played.life).or_default() += 1;
    }
    let lives: Vec<_> = lives.into_iter().map(|(life, count)| format!("{count} {}", life.words())).collect();
    writeln!(text, "\nA year of {} tenants, played in {seconds:.1} s (seed {})\n", year.played.len(), options.seed)?;
    writeln!(text, "  tenants    {}", lives.join(", "))?;
    writeln!(
        text,
        "  commands   {}, {:.0} per second; {} were new, {} known from before",
        HumanCount(commands),
        per_second(commands, seconds),
        HumanCount(commands - replayed),
        HumanCount(replayed),
    )?;
    writeln!(
        text,
        "  events     {} by these commands; {} in the tenants' logs, with what the platform did by itself",
        HumanCount(sum(|played| played.event_count)),
        HumanCount(sum(|played| played.logged_count)),
    )?;
    writeln!(text, "  refused    {}, as they should be", HumanCount(sum(|played| played.refused_count)))?;
    if commands == replayed {
        writeln!(text, "\nThis year had been played before: nothing was changed. Another --seed plays another one.")?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people; counts are far below 2^52")]
fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds.max(0.001)
}

fn write_links(text: &mut String, links: &[Tried], base: &str, key: &str) -> std::fmt::Result {
    writeln!(text, "\nLook at it\n\n  KEY=\"Authorization: Bearer {key}\"")?;
    for Tried { link, trouble } in links {
        let curl = if link.stream { "curl -sN" } else { "curl -s" };
        writeln!(text, "\n  # {}", link.what)?;
        if let Some(trouble) = trouble {
            writeln!(text, "  # answered {trouble}")?;
        }
        writeln!(text, "  {curl} -H \"$KEY\" '{base}{}'", link.path)?;
    }
    writeln!(text, "\nAll operations: {base}/openapi.json\n")
}

impl Life {
    /// What a tenant of this life did, for counting.
    fn words(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Growing => "growing",
            Self::Trying => "in a trial",
            Self::LatePaying => "paying late",
            Self::Troubled => "in trouble",
            Self::Leaving => "left and archived",
            Self::Waiting => "waiting to begin",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::{Link, Tried, links, text};
    use crate::demo::play::Played;
    use crate::demo::story::Life;
    use crate::demo::{Options, Year};

    fn played(index: usize, life: Life, replayed_count: u64) -> Played {
        Played {
            index,
            tenant_id: Uuid::from_u128(7),
            name: "Kestrel Dental".to_owned(),
            slug: "kestrel-dental".to_owned(),
            life,
            registered_at: "2026-03-02T10:00:00Z".parse().unwrap(),
            command_count: 30,
            replayed_count,
            refused_count: 2,
            event_count: 1_200,
            logged_count: 1_300,
            token: Some("t".to_owned()),
            subscription_id: Some("s".to_owned()),
            service_instance_id: None,
            correlation_id: Uuid::nil(),
        }
    }

    fn words(year: &Year, tried: &[Tried]) -> String {
        let options = Options { tenants: 2, seed: 5, concurrency: 1 };
        text(year, options, tried, "http://hub.example", "$(cat admin.key)")
    }

    #[test]
    fn the_numbers_of_all_tenants_are_added() {
        let played = vec![played(0, Life::Settled, 0), played(1, Life::Leaving, 0)];
        let text = words(&Year { played, took: Duration::from_secs(2) }, &[]);
        for part in ["2 tenants", "1 settled, 1 left", "60, 30 per second; 60 were new", "2,400 by these", "4, as they"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("nothing was changed"), "{text}");
    }

    #[test]
    fn a_second_time_says_that_nothing_was_changed() {
        let year = Year { played: vec![played(0, Life::Settled, 30)], took: Duration::from_secs(1) };
        assert!(words(&year, &[]).contains("nothing was changed"));
    }

    #[test]
    fn links_are_lines_for_a_shell() {
        let year = Year { played: vec![played(0, Life::Settled, 0)], took: Duration::from_secs(1) };
        let tried: Vec<_> = links(&year).into_iter().map(|link: Link| Tried { link, trouble: None }).collect();
        let text = words(&year, &tried);
        assert!(text.contains("KEY=\"Authorization: Bearer $(cat admin.key)\""), "{text}");
        assert!(text.contains("/v1/analytics/revenue?from=2026-02-24&to=2026-03-02'"), "{text}");
        let id = Uuid::from_u128(7);
        assert!(
            text.contains(&format!("curl -s -H \"$KEY\" 'http://hub.example/v1/tenants/{id}/statement'")),
            "{text}"
        );
        assert!(
            text.contains(&format!("curl -sN -H \"$KEY\" 'http://hub.example/v1/tenants/{id}/events/stream")),
            "{text}"
        );
    }

    #[test]
    fn a_link_that_does_not_answer_says_so() {
        let year = Year { played: vec![played(0, Life::Settled, 0)], took: Duration::from_secs(1) };
        let link = links(&year).remove(0);
        let text = words(&year, &[Tried { link, trouble: Some("503 projection_behind".to_owned()) }]);
        assert!(text.contains("# answered 503 projection_behind\n"), "{text}");
    }
}
