//! `POST .../event-subscriptions/{event_subscription_id}/pull`: hands out events, and waits for them if there are none.

use std::time::Duration;

use aide::transform::TransformOperation;
use axum::{Json, extract::State};
use chrono::{DateTime, TimeDelta, Utc};
use hub_cloudevents::Event;
use hub_domain::text::{Name, parsed};
use hub_http::{Body, Path, Problem, Routes, TenantCaller, TenantScope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep_until},
};

use crate::{
    PULL_MAX, WAIT_SECONDS_MAX,
    ack_id::AckId,
    bell::Rung,
    documented::operation,
    round::{Ask, Handed, Round},
    shares::Share,
    state::Consumers,
    subscription::SubscriptionPath,
};

/// So many events when nothing else is said.
const MAX_DEFAULT: u32 = 100;

/// Without being woken a pull looks this often: another process may have set something free.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A pull that finds nothing and does not wait looks so often at most, each time further along the log.
const LOOK_COUNT_MAX: u32 = 4;

pub(crate) fn routes() -> Routes<Consumers> {
    let path = "/v1/tenants/{tenant_id}/event-subscriptions/{event_subscription_id}/pull";
    Routes::new().post(path, "event_subscription:consume", pull, describe)
}

/// What a consumer asks for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PullEvents")]
struct Pull {
    /// Who asks: the same name for the same consumer, each time. An exclusive subscription is his until his leases end.
    #[serde(deserialize_with = "parsed")]
    consumer: Name,
    /// So many events at most; 100 when it is absent.
    #[serde(default = "max_default", deserialize_with = "max")]
    #[schemars(range(min = 1, max = PULL_MAX))]
    max: u32,
    /// How long the answer waits for an event if there is none; the process may answer sooner. 0 when it is absent.
    #[serde(default, deserialize_with = "wait_seconds")]
    #[schemars(range(min = 0, max = WAIT_SECONDS_MAX))]
    wait_seconds: u32,
}

fn max_default() -> u32 {
    MAX_DEFAULT
}

fn max<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within(deserializer, 1, PULL_MAX)
}

fn wait_seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within(deserializer, 0, WAIT_SECONDS_MAX)
}

/// Reads a number between two others.
pub(crate) fn within<'de, D: serde::Deserializer<'de>>(deserializer: D, min: u32, max: u32) -> Result<u32, D::Error> {
    let number = u32::deserialize(deserializer)?;
    if (min..=max).contains(&number) {
        return Ok(number);
    }
    Err(serde::de::Error::custom(format!("must be {min} to {max}")))
}

/// What is handed out.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PulledEvents")]
struct Pulled {
    /// In the order of the log, so events of one aggregate in their order; empty when there was nothing.
    messages: Vec<Message>,
    /// Grows when the subscription is reset, from when on what was handed out before cannot be acknowledged.
    epoch: i64,
    /// Every event of the tenant up to here was looked at.
    position: i64,
    /// So many events of the tenant were not looked at yet; they need not all be wanted.
    behind: i64,
}

/// One event that is handed out.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PulledEvent")]
struct Message {
    /// Names this event in this delivery.
    ack_id: AckId,
    /// So often it was handed out, this time included.
    delivery: i32,
    /// It is handed out to nobody else before.
    lease_until: DateTime<Utc>,
    /// The event as a CloudEvent in JSON.
    #[schemars(with = "Map<String, Value>")]
    event: Event,
}

impl Pulled {
    fn of(round: Round) -> Self {
        let Round { handed, lease_until, lease, epoch, position, head, .. } = round;
        let message = |Handed { event, deliveries }| Message {
            ack_id: AckId { epoch, position: event.position, lease },
            delivery: deliveries,
            lease_until,
            event,
        };
        Self { messages: handed.into_iter().map(message).collect(), epoch, position, behind: (head - position).max(0) }
    }
}

async fn pull(
    caller: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    State(consumers): State<Consumers>,
    body: Body<Pull>,
) -> Result<Json<Pulled>, Problem> {
    let Pull { consumer, max, wait_seconds } = body.value;
    let waits = Duration::from_secs(wait_seconds.into()).min(consumers.wait_max);
    // Without a place among those who wait it is answered at once.
    let place = if waits.is_zero() { None } else { consumers.place(caller.tenant) };
    let end = Instant::now() + if place.is_some() { waits } else { Duration::ZERO };
    let mut bell = consumers.bells.hear(caller.tenant.id());
    let mut looks = 0;
    loop {
        if looks > 0 {
            // The right to consume may have gone meanwhile.
            caller.pass.renew().await?;
        }
        // What is set free from here on is not in what is looked at.
        let freed = bell.borrow_and_update().freed;
        let subscription = consumers.active_subscription(caller.tenant, path).await?;
        let left = end.saturating_duration_since(Instant::now());
        let waits = TimeDelta::from_std(left).unwrap_or_default();
        let ask = Ask { max: max as usize, consumer: consumer.as_str().to_owned(), waits };
        let round = consumers.look(&subscription, &ask).await?;
        looks += 1;
        let over = Instant::now() >= end || consumers.shutdown.is_cancelled();
        let more = round.more && (!over || looks < LOOK_COUNT_MAX);
        if !round.handed.is_empty() || (over && !more) {
            return Ok(Json(Pulled::of(round)));
        }
        if !more {
            consumers.wait(&mut bell, freed, &round, end).await;
        }
    }
}

impl Consumers {
    /// A place among those who wait, of which no tenant has all.
    fn place(&self, tenant: TenantScope) -> Option<(OwnedSemaphorePermit, Share)> {
        let of_tenant = self.waiting_of.take(tenant.id())?;
        Some((self.waiting.clone().try_acquire_owned().ok()?, of_tenant))
    }

    /// Waits until there may be something to hand out, at most until `end`.
    async fn wait(&self, bell: &mut watch::Receiver<Rung>, freed: u64, round: &Round, end: Instant) {
        let until_free = round.free_at.map(|free_at| (free_at - (self.clock)()).to_std().unwrap_or_default());
        let rest = until_free.map_or(POLL_INTERVAL, |until_free| until_free.min(POLL_INTERVAL));
        let next = end.min(Instant::now() + rest);
        let rung = async {
            if bell.wait_for(|rung| rung.head > round.head || rung.freed > freed).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = rung => {}
            () = sleep_until(next) => {}
            () = self.shutdown.cancelled() => {}
        }
    }
}

fn describe(op: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Each event is handed out under a lease: nobody else gets it until the lease ends. It has to be acknowledged before; \
        otherwise it is handed out again. While an event of an aggregate is not acknowledged, later ones of it are handed out to nobody, \
        except together with it in one answer; an exclusive subscription treats all events so. If there is nothing, the answer waits for \
        up to `wait_seconds`. Consumers have to expect an event more than once, and know it by its `id`.";
    operation(
        op,
        "pullEvents",
        "Hand out events",
        description,
        &["event_subscription_paused", "event_subscription_taken"],
    )
}
