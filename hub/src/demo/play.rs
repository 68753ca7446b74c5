//! Plays one story on a platform, step by step, and judges every answer.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use hub_domain::id::TenantId;
use hub_domain::role::{SystemRole, system_role_id};
use tokio::time::sleep;
use uuid::Uuid;

use super::client::{Answer, Client, Envelope};
use super::step::{Book, Expect, Order, Step};
use super::story::{EDITION, Life, Story};

/// How long the platform may take to open the periods of a subscription that have passed.
const SETTLE_LIMIT: Duration = Duration::from_secs(90);

/// How often it is looked at.
const SETTLE_POLL: Duration = Duration::from_millis(150);

/// A slug that is taken is tried in so many forms.
const SLUG_ATTEMPTS_MAX: u32 = 4;

/// A command that comes before something that is due is sent so many times.
const DUE_ATTEMPTS_MAX: u32 = 20;

/// How long what is due is waited for.
const DUE_WAIT: Duration = Duration::from_millis(500);

/// The refusal of a command that comes before something that is due.
const PERIOD_DUE: &str = "subscription_period_due";

/// Namespace of the demo's correlation ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x5d0b_71c4_9c1f_4b8e_8a17_1f35_60aa_9e02);

/// What became of one story.
#[derive(Clone, Debug)]
pub struct Played {
    /// The place in the cast, from 0.
    pub index: usize,
    /// Who it was about.
    pub tenant_id: Uuid,
    /// The name of the company.
    pub name: String,
    /// The slug that it got.
    pub slug: String,
    /// The way its year went.
    pub life: Life,
    /// When it was registered, to the minute.
    pub registered_at: DateTime<Utc>,
    /// How many commands were answered as they should be.
    pub command_count: u64,
    /// How many of them were known from an earlier time.
    pub replayed_count: u64,
    /// How many were refused, as they should be.
    pub refused_count: u64,
    /// How many events the commands led to this time.
    pub event_count: u64,
    /// How many events the tenant's log has at the end.
    pub logged_count: u64,
    /// What a query sends to see all of it.
    pub token: Option<String>,
    /// The first subscription and the first service instance, where there are some.
    pub subscription_id: Option<String>,
    /// See `subscription_id`.
    pub service_instance_id: Option<String>,
    /// Shared by the events of the first piece of work after the registration.
    pub correlation_id: Uuid,
}

/// Plays a story; calls `step_done` after each step.
///
/// # Errors
/// The first step whose answer is not what it should be, with status and code.
pub async fn play(client: &Client, seed: u64, story: &Story, step_done: impl Fn()) -> anyhow::Result<Played> {
    let mut player = Player::new(client, seed, story);
    for (place, step) in story.steps.iter().enumerate() {
        let what = match step {
            Step::Order(order) => order.what.as_str(),
            Step::Settle(_) => "wait for what is due",
        };
        player.step(place, step).await.with_context(|| format!("`{}`, {what}", story.company.name))?;
        step_done();
    }
    player.finish().await.with_context(|| format!("`{}`, count the events", story.company.name))
}

struct Player<'a> {
    client: &'a Client,
    story: &'a Story,
    /// What every idempotency key of this story begins with.
    prefix: String,
    /// What a taken slug is given at its end.
    suffix: String,
    book: Book,
    token: Option<String>,
    tenant_id: Uuid,
    command_count: u64,
    replayed_count: u64,
    refused_count: u64,
    event_count: u64,
}

impl<'a> Player<'a> {
    fn new(client: &'a Client, seed: u64, story: &'a Story) -> Self {
        let mut book = Book::new(DateTime::UNIX_EPOCH);
        book.note("slug", story.company.slug.as_str());
        Self {
            client,
            story,
            prefix: format!("demo-{EDITION}-{seed}-{}", story.index),
            suffix: format!("{seed:x}"),
            book,
            token: None,
            tenant_id: Uuid::nil(),
            command_count: 0,
            replayed_count: 0,
            refused_count: 0,
            event_count: 0,
        }
    }

    async fn step(&mut self, place: usize, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::Order(order) if place == 0 => self.register(order).await,
            Step::Order(order) => {
                let answer = self.send_when_due(place, order).await?;
                self.judge(order, &answer)
            }
            Step::Settle(subscription) => self.settle(subscription).await,
        }
    }

    /// Registers the tenant, under another slug where somebody else has the first one.
    async fn register(&mut self, order: &Order) -> anyhow::Result<()> {
        for attempt in 0..SLUG_ATTEMPTS_MAX {
            let answer = self.send(&format!("{}-0-{attempt}", self.prefix), order).await?;
            if answer.code() != Some("tenant_slug_taken") {
                self.judge(order, &answer)?;
                return self.settle_in(&answer).await;
            }
            let number = if attempt == 0 { String::new() } else { format!("-{attempt}") };
            self.book.note("slug", format!("{}-{}{number}", self.story.company.slug, self.suffix));
        }
        bail!("{SLUG_ATTEMPTS_MAX} slugs are taken, the last is `{}`", self.book.fact("slug").unwrap_or_default())
    }

    /// Learns who the tenant is and when it was registered, which is the same at every repetition.
    async fn settle_in(&mut self, answer: &Answer) -> anyhow::Result<()> {
        let id = answer.body["id"].as_str().context("the answer has no id")?;
        self.tenant_id = id.parse().context("the answer's id is no UUID")?;
        for system in SystemRole::ALL {
            self.book.note(system.as_ref(), system_role_id(TenantId(self.tenant_id), system).0.to_string());
        }
        let page = self.ask(&format!("/v1/tenants/{id}/events?limit=1")).await?;
        let first = page.body["items"][0]["occurred_at"].as_str();
        let registered_at: DateTime<Utc> =
            first.and_then(|text| text.parse().ok()).context("the tenant's first event has no time")?;
        self.book.set_anchor(registered_at);
        Ok(())
    }

    /// Sends an order; again, under another key, while something that is due stands in its way.
    async fn send_when_due(&mut self, place: usize, order: &Order) -> anyhow::Result<Answer> {
        let mut answer = self.send(&format!("{}-{place}", self.prefix), order).await?;
        for attempt in 1..DUE_ATTEMPTS_MAX {
            if answer.code() != Some(PERIOD_DUE) {
                break;
            }
            if !answer.replayed {
                sleep(DUE_WAIT).await;
            }
            answer = self.send(&format!("{}-{place}-{attempt}", self.prefix), order).await?;
        }
        Ok(answer)
    }

    async fn send(&self, key: &str, order: &Order) -> anyhow::Result<Answer> {
        let path = self.book.fill(&order.path)?;
        let body = self.book.fill_json(&order.body)?;
        let envelope = Envelope { idempotency_key: key.to_owned(), correlation_id: self.correlation_id(order.work) };
        self.client.order(&path, &envelope, &body).await
    }

    fn correlation_id(&self, work: u32) -> Uuid {
        Uuid::new_v5(&NAMESPACE, format!("{}-{work}", self.prefix).as_bytes())
    }

    fn judge(&mut self, order: &Order, answer: &Answer) -> anyhow::Result<()> {
        let code = answer.code();
        match order.expect {
            Expect::Done | Expect::DoneUnlessLate(_) if answer.succeeded() => {}
            Expect::DoneUnlessLate(late) if code == Some(late) => {}
            Expect::Refused(expected) if code == Some(expected) && !answer.succeeded() => self.refused_count += 1,
            Expect::Refused(expected) if answer.succeeded() => {
                bail!("it should be refused as {expected} and was accepted with {}", answer.status)
            }
            Expect::Refused(expected) => {
                bail!("it should be refused as {expected} and was answered {}", answer.problem())
            }
            Expect::Done | Expect::DoneUnlessLate(_) if code == Some("idempotency_key_reused") => {
                bail!("another edition of the demo has played this seed here; give another one with --seed")
            }
            Expect::Done | Expect::DoneUnlessLate(_) => bail!("it was answered {}", answer.problem()),
        }
        self.command_count += 1;
        if answer.replayed {
            self.replayed_count += 1;
        } else {
            self.event_count += answer.body["event_count"].as_u64().unwrap_or(0);
        }
        if let Some(name) = order.keep.as_deref().filter(|_| answer.succeeded()) {
            self.book.learn(name, &answer.body);
        }
        if answer.token.is_some() {
            self.token.clone_from(&answer.token);
        }
        Ok(())
    }

    /// A query that must be answered.
    async fn ask(&self, path: &str) -> anyhow::Result<Answer> {
        let answer = self.client.ask(path, self.token.as_deref()).await?;
        if !answer.succeeded() {
            bail!("GET {path} was answered {}", answer.problem());
        }
        Ok(answer)
    }

    /// Waits until nothing of a subscription is due any more.
    async fn settle(&self, subscription: &str) -> anyhow::Result<()> {
        let path = self.book.fill(&format!("/v1/tenants/{{tenant}}/subscriptions/{{{subscription}}}"))?;
        let started = Instant::now();
        loop {
            let answer = self.ask(&path).await?;
            let due_at: Option<DateTime<Utc>> = answer.body["next_due_at"].as_str().and_then(|text| text.parse().ok());
            if due_at.is_none_or(|due_at| due_at > self.book.anchor()) {
                return Ok(());
            }
            if started.elapsed() > SETTLE_LIMIT {
                bail!("after {} s {path} still has periods to open; does the scheduler run?", SETTLE_LIMIT.as_secs());
            }
            sleep(SETTLE_POLL).await;
        }
    }

    async fn finish(self) -> anyhow::Result<Played> {
        let page = self.ask(&format!("/v1/tenants/{}/events?limit=1", self.tenant_id)).await?;
        let first = |noun: &str| {
            let made = self.story.steps.iter().find_map(|step| match step {
                Step::Order(Order { path, keep: Some(name), .. }) if path.ends_with(noun) => Some(name),
                Step::Order(_) | Step::Settle(_) => None,
            });
            made.and_then(|name| self.book.fact(name)).map(str::to_owned)
        };
        Ok(Played {
            index: self.story.index,
            tenant_id: self.tenant_id,
            name: self.story.company.name.clone(),
            slug: self.book.fact("slug").unwrap_or_default().to_owned(),
            life: self.story.life,
            registered_at: self.book.anchor(),
            command_count: self.command_count,
            replayed_count: self.replayed_count,
            refused_count: self.refused_count,
            event_count: self.event_count,
            logged_count: page.position.and_then(|position| position.try_into().ok()).unwrap_or(0),
            subscription_id: first("/subscriptions"),
            service_instance_id: first("/service-instances"),
            correlation_id: self.correlation_id(1),
            token: self.token,
        })
    }
}
