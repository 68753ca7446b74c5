//! `hub webhooks tail`: the attempts to deliver a tenant's webhooks, as they happen.
//!
//! It asks the platform's log of attempts again and again, each time behind what it has shown, so nothing is left out and nothing comes twice.

use std::{collections::BTreeMap, convert::Infallible, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use tokio::time::sleep;
use uuid::Uuid;

use super::{platform::Platform, print};
use crate::{clock::system_clock, config::Config, demo::client::Client, shutdown::Shutdown};

/// So often it is asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Without `--webhook` it is looked for new webhooks each time it was asked so often.
const LOOK_EVERY: u32 = 10;

/// Most attempts of a page; a tenant has fewer webhooks.
const PAGE_LIMIT: usize = 200;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show attempts to deliver as they happen, until Ctrl-C
    Tail {
        /// Whose webhooks
        #[arg(long, value_name = "UUID")]
        tenant: Uuid,
        /// Only this one [default: all of the tenant]
        #[arg(long, value_name = "UUID")]
        webhook: Option<Uuid>,
        /// Begin with the attempts since then (RFC 3339) [default: now]
        #[arg(long, value_name = "TIME")]
        since: Option<DateTime<Utc>>,
        #[command(flatten)]
        platform: Platform,
    },
}

/// A page of the log of attempts.
#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Attempt>,
    next: String,
}

#[derive(Debug, Deserialize)]
struct Attempt {
    at: DateTime<Utc>,
    position: i64,
    event_type: String,
    attempt: i32,
    outcome: String,
    status: Option<i32>,
    error: Option<String>,
    latency_ms: i32,
}

/// A page of webhooks, of which only the ids are wanted.
#[derive(Debug, Deserialize)]
struct Webhooks {
    items: Vec<Webhook>,
}

#[derive(Debug, Deserialize)]
struct Webhook {
    id: Uuid,
}

pub(super) async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let What::Tail { tenant, webhook, since, platform } = arguments.what;
    let (url, key) = platform.found(config)?;
    let path = format!("/v1/tenants/{tenant}/webhooks");
    print(&format!("from     {url}{path}\nCtrl-C ends\n"))?;
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let begin = since.unwrap_or_else(|| system_clock()());
    let mut tail = Tail {
        client: Client::new(&url, &key)?,
        path,
        only: webhook,
        begin: format!("since={}", begin.to_rfc3339_opts(SecondsFormat::Micros, true)),
        places: BTreeMap::new(),
    };
    tokio::select! {
        Err(error) = tail.follow() => Err(error),
        // Whatever it waits for; what is shown was shown.
        () = shutdown.drain.cancelled() => Ok(ExitCode::SUCCESS),
    }
}

/// What is followed, and how far it was shown.
struct Tail {
    client: Client,
    /// Of the tenant's webhooks.
    path: String,
    only: Option<Uuid>,
    /// Where to begin, as a query.
    begin: String,
    /// Of each webhook where to go on, as a query.
    places: BTreeMap<Uuid, String>,
}

impl Tail {
    async fn follow(&mut self) -> anyhow::Result<Infallible> {
        let mut round = 0_u32;
        loop {
            if round.is_multiple_of(LOOK_EVERY) {
                self.look().await?;
            }
            round = round.wrapping_add(1);
            for webhook in self.places.keys().copied().collect::<Vec<_>>() {
                self.show(webhook).await?;
            }
            sleep(INTERVAL).await;
        }
    }

    /// Takes in the webhooks that there are now.
    async fn look(&mut self) -> anyhow::Result<()> {
        let found = match self.only {
            Some(only) => vec![only],
            None => {
                let answer = self.client.ask(&format!("{}?limit={PAGE_LIMIT}", self.path), None).await?;
                if !answer.succeeded() {
                    bail!("the platform does not tell the tenant's webhooks: {}", answer.problem());
                }
                let page: Webhooks = serde_json::from_value(answer.body).context("the platform tells no webhooks")?;
                page.items.into_iter().map(|webhook| webhook.id).collect()
            }
        };
        self.places.retain(|webhook, _| found.contains(webhook));
        for webhook in found {
            self.places.entry(webhook).or_insert_with(|| self.begin.clone());
        }
        Ok(())
    }

    /// Shows what has happened since the last time, page by page.
    async fn show(&mut self, webhook: Uuid) -> anyhow::Result<()> {
        loop {
            let place = &self.places[&webhook];
            let path = format!("{}/{webhook}/attempts?limit={PAGE_LIMIT}&{place}", self.path);
            let answer = self.client.ask(&path, None).await?;
            if answer.status == 404 && self.only.is_none() {
                self.places.remove(&webhook); // Deleted since the last look.
                return Ok(());
            }
            if !answer.succeeded() {
                bail!("the platform does not tell the attempts of {webhook}: {}", answer.problem());
            }
            let page: Page = serde_json::from_value(answer.body).context("the platform tells no attempts")?;
            let whose = if self.only.is_some() { String::new() } else { format!("  {webhook}") };
            for attempt in &page.items {
                print(&format!("{}{whose}\n", line(attempt)))?;
            }
            self.places.insert(webhook, format!("after={}", page.next));
            if page.items.len() < PAGE_LIMIT {
                return Ok(());
            }
        }
    }
}

/// One attempt as it is shown.
fn line(attempt: &Attempt) -> String {
    let Attempt { at, position, event_type, attempt: number, outcome, status, error, latency_ms } = attempt;
    let time = at.format("%H:%M:%S");
    let status = status.map_or_else(|| "---".to_owned(), |status| status.to_string());
    let error = error.as_ref().map_or_else(String::new, |error| format!("  {error}"));
    format!(
        "{time}  {event_type:<40} {position:>8}  {status}  {latency_ms:>5} ms  {outcome} at attempt {number}{error}"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_attempt_is_a_line() {
        let shown = |status: Option<i32>, outcome: &str, error: Option<&str>| {
            let attempt = json!({
                "id": Uuid::nil(), "at": "2026-06-01T12:00:01Z", "position": 7, "event_id": Uuid::nil(), "event_type": "tenant.renamed",
                "attempt": 2, "outcome": outcome, "status": status, "error": error, "latency_ms": 12,
            });
            line(&serde_json::from_value(attempt).unwrap())
        };
        let begin = format!("12:00:01  {:<40}        7  ", "tenant.renamed");
        assert_eq!(shown(Some(204), "delivered", None), format!("{begin}204     12 ms  delivered at attempt 2"));
        let refused = shown(None, "retrying", Some("the connection was refused"));
        assert_eq!(refused, format!("{begin}---     12 ms  retrying at attempt 2  the connection was refused"));
    }
}
