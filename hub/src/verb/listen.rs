//! `hub listen`: a tenant's events to a program on this machine, signed as webhooks are, for whoever writes a receiver.
//!
//! It follows the tenant's event stream over the API, so the tenant needs no webhook and the program no public address. Events
//! go out one by one in their order; one that is not taken is sent again and then given up, since nobody wants to wait for
//! days at a terminal. Nothing is kept: the position to go on from is said at the end.

mod follow;
mod forward;
mod frames;

use std::{net::IpAddr, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use hub_signature::{Key, SymmetricSecret};
use reqwest::{Client, Url};
use serde_json::Value;
use uuid::Uuid;

use super::{INTERRUPTED, platform::Platform, print};
use crate::{clock::system_clock, config::Config, shutdown::Shutdown};
use follow::{Follower, Item};
use forward::{Attempt, Forward, Message, Outcome};
use frames::Frame;

/// How long a connection may take to come about.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// What only this verb takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where each event is sent to, such as http://127.0.0.1:8090/webhooks
    #[arg(long, value_name = "URL")]
    forward_to: Url,
    /// Whose events
    #[arg(long, value_name = "UUID")]
    tenant: Uuid,
    /// Only events of these types, such as tenant.suspended or subscription.*
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    types: Vec<String>,
    /// Begin behind this position, moment (RFC 3339), or at earliest or latest [default: latest]
    #[arg(long, value_name = "WHERE")]
    after: Option<String>,
    /// Secret that the program verifies with, whsec_.. or whsk_.. [default: a new one, which is printed]
    #[arg(long, value_name = "SECRET", env = "HUB_LISTEN_SECRET", hide_env_values = true)]
    secret: Option<String>,
    #[command(flatten)]
    platform: Platform,
    /// Let the tenant's events leave this machine
    #[arg(long)]
    allow_remote: bool,
}

pub(super) async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { forward_to, tenant, types, after, secret, platform, allow_remote } = arguments;
    check_target(&forward_to, allow_remote)?;
    let (api_url, api_key) = platform.found(config)?;
    let given = secret.is_some();
    let key = match secret {
        Some(secret) => Key::parse(&secret).context("--secret")?,
        None => SymmetricSecret::from_random(rand::random()).into(),
    };
    let http = Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .context("cannot set up the HTTP client")?;
    let stream = format!("{api_url}/v1/tenants/{tenant}/events/stream");
    let mut stream: Url = stream.parse().with_context(|| format!("`{api_url}` is no address"))?;
    if !types.is_empty() {
        stream.query_pairs_mut().append_pair("types", &types.join(","));
    }

    let mut head = format!("from     {stream}\nto       {forward_to}\n");
    match &key {
        // Whoever gave it knows it.
        Key::Symmetric(secret) if !given => head += &format!("secret   {}\n", *secret.reveal()),
        Key::Symmetric(_) => {}
        Key::Asymmetric(key) => head += &format!("public   {}\n", key.public()),
    }
    print(&(head + "Ctrl-C ends\n"))?;

    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let mut session = Session {
        follower: Follower::new(http.clone(), stream, &api_key, after)?,
        forward: Forward { http, url: forward_to.into(), key, clock: system_clock() },
        taken: 0,
        given_up: 0,
    };
    let ended = tokio::select! {
        ended = session.follow(&shutdown) => ended,
        () = shutdown.hurry.cancelled() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    // What was done is said also when it ends in an error.
    print(&session.summary())?;
    ended.map(|()| ExitCode::SUCCESS)
}

/// One run of the verb.
struct Session {
    follower: Follower,
    forward: Forward,
    taken: u64,
    given_up: u64,
}

impl Session {
    async fn follow(&mut self, shutdown: &Shutdown) -> anyhow::Result<()> {
        loop {
            let item = tokio::select! {
                biased;
                () = shutdown.drain.cancelled() => return Ok(()),
                item = self.follower.next() => item?,
            };
            match item {
                Item::Passed(position) => self.follower.advance(&position),
                Item::End(reason) => print(&format!("the platform ended the stream: {}\n", reason_in(&reason)))?,
                Item::Event(frame) => {
                    if self.outcome(&frame, shutdown).await? == Outcome::Stopped {
                        return Ok(());
                    }
                    if let Some(position) = &frame.id {
                        self.follower.advance(position);
                    }
                }
            }
        }
    }

    async fn outcome(&mut self, frame: &Frame, shutdown: &Shutdown) -> anyhow::Result<Outcome> {
        let event: Value = serde_json::from_str(&frame.data).context("the platform sent an event that is no JSON")?;
        let text =
            |name: &str| event[name].as_str().with_context(|| format!("the platform sent an event without `{name}`"));
        let (id, event_type) = (text("id")?, text("type")?);
        let position = frame.id.as_deref().unwrap_or("-");
        let clock = self.forward.clock.clone();
        let told =
            |attempt: &Attempt| print(&line(&clock().format("%H:%M:%S").to_string(), event_type, position, attempt));
        let outcome = self.forward.deliver(Message { id, body: &frame.data }, &shutdown.drain, told).await?;
        match outcome {
            Outcome::Taken => self.taken += 1,
            Outcome::GivenUp => self.given_up += 1,
            Outcome::Stopped => {}
        }
        Ok(outcome)
    }

    fn summary(&self) -> String {
        let Self { taken, given_up, .. } = self;
        let next = self.follower.cursor().map_or_else(String::new, |at| format!("; go on with --after {at}"));
        format!("{taken} taken, {given_up} given up{next}\n")
    }
}

/// One attempt as it is shown.
fn line(time: &str, event_type: &str, position: &str, attempt: &Attempt) -> String {
    let Attempt { number, answer, took, again_after } = attempt;
    let (status, why) = match answer {
        Ok(status) => (status.as_str().to_owned(), String::new()),
        Err(why) => ("---".to_owned(), format!("  {why}")),
    };
    let next = match again_after {
        Some(wait) => format!("{why}  attempt {number}, again in {:.1} s", wait.as_secs_f64()),
        None if answer.as_ref().is_ok_and(reqwest::StatusCode::is_success) => String::new(),
        None => format!("{why}  given up after {number} attempts"),
    };
    format!("{time}  {event_type:<40} {position:>8}  {status}  {:>5} ms{next}\n", took.as_millis())
}

/// The reason of an `end` frame, for people.
fn reason_in(data: &str) -> String {
    let value: Value = serde_json::from_str(data).unwrap_or_default();
    value["reason"].as_str().map_or_else(|| data.to_owned(), str::to_owned)
}

/// A tenant's events are its own, so they stay on this machine unless somebody says otherwise.
fn check_target(url: &Url, allow_remote: bool) -> anyhow::Result<()> {
    if url.scheme() != "http" {
        bail!("cannot forward to {url}: this verb speaks plain HTTP only");
    }
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    if !local && !allow_remote {
        bail!("{host} is not this machine: --allow-remote lets the tenant's events go there");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    #[test]
    fn events_leave_the_machine_only_when_that_is_wanted() {
        let check = |url: &str, allow_remote| check_target(&url.parse().unwrap(), allow_remote);
        for url in ["http://127.0.0.1:8090/hooks", "http://localhost:1", "http://[::1]:9/", "http://127.9.9.9/"] {
            check(url, false).unwrap();
        }
        for url in ["http://10.0.0.1/", "http://hooks.example/", "http://localhost.example/", "http://[::]/"] {
            assert!(check(url, false).unwrap_err().to_string().contains("--allow-remote"), "{url}");
            check(url, true).unwrap();
        }
        assert!(check("https://127.0.0.1/", true).is_err());
    }

    #[test]
    fn each_attempt_is_a_line() {
        let attempt =
            |number, answer, again_after| Attempt { number, answer, took: Duration::from_millis(3), again_after };
        let shown = |attempt| line("12:00:01", "tenant.registered", "7", &attempt);
        let begin = format!("12:00:01  {:<40}        7  ", "tenant.registered");
        assert_eq!(shown(attempt(1, Ok(StatusCode::NO_CONTENT), None)), format!("{begin}204      3 ms\n"));
        let again = Some(Duration::from_millis(500));
        let refused = shown(attempt(2, Err("nobody listens".to_owned()), again));
        assert_eq!(refused, format!("{begin}---      3 ms  nobody listens  attempt 2, again in 0.5 s\n"));
        let last = shown(attempt(10, Ok(StatusCode::BAD_REQUEST), None));
        assert_eq!(last, format!("{begin}400      3 ms  given up after 10 attempts\n"));
    }
}
