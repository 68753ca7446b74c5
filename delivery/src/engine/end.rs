//! What follows from the end of a delivery: it is done, tried again or given up, and its endpoint is well or not.

use chrono::{DateTime, TimeDelta, Utc};
use hub_domain::webhook::{
    DisabledReason, Disablement,
    delivery::{Ordering, Retry},
};
use rand::RngExt as _;
use tokio::time::timeout;
use uuid::Uuid;

use super::{Ended, Engine, PINGED, RETRY_AFTER_MAX};
use crate::{
    REST,
    attempt::{ATTEMPTS, Attempt, LATENCY, Outcome},
    lane::{Lane, Unit},
    message::message_id,
    queue,
    send::Answer,
};

impl Engine<'_> {
    /// Takes in what came of a delivery.
    pub(super) fn end(&mut self, Ended { tenant_id, webhook_id, unit, answer }: Ended) {
        self.ready.extend(self.slots.give(tenant_id));
        let now = self.now();
        let Some(lane) = self.lanes.get_mut(&webhook_id) else { return };
        lane.ended(&unit.events);
        let outcome = if answer.succeeded() {
            self.succeeded(webhook_id, &unit, &answer, now)
        } else {
            self.failed(webhook_id, &unit, &answer, now)
        };
        self.record(webhook_id, &unit, &answer, outcome, now);
        if self.lanes.get(&webhook_id).is_some_and(Lane::runs_low) {
            self.looks.plan(webhook_id, now);
        }
        self.list(webhook_id);
    }

    fn succeeded(
        &mut self,
        webhook_id: Uuid,
        unit: &Unit,
        answer: &Answer,
        now: DateTime<Utc>,
    ) -> (Outcome, Option<DateTime<Utc>>) {
        let current = self.lanes.get_mut(&webhook_id).filter(|lane| *lane.endpoint.url() == unit.url);
        let verifies = current.is_some();
        if current.is_some_and(|lane| lane.health.succeeded(now)) {
            self.unhealthy.insert(webhook_id);
        }
        for waiting in &unit.events {
            self.changes.finish(webhook_id, waiting.event.position);
        }
        if verifies {
            self.verify(webhook_id, unit, answer);
        }
        (Outcome::Delivered, None)
    }

    fn failed(
        &mut self,
        webhook_id: Uuid,
        unit: &Unit,
        answer: &Answer,
        now: DateTime<Utc>,
    ) -> (Outcome, Option<DateTime<Utc>>) {
        let Some(lane) = self.lanes.get_mut(&webhook_id) else { return (Outcome::Retrying, None) };
        // Of an address that is not the endpoint's any more nothing follows but another attempt.
        let current = *lane.endpoint.url() == unit.url;
        let asked = (current && matches!(answer.status, Some(429 | 503))).then(|| retry_after(answer, now)).flatten();
        if current {
            match asked {
                Some(until) => lane.health.asked_to_wait(until),
                None => lane.health.failed(unit.openings, now),
            }
            self.unhealthy.insert(webhook_id);
        }
        let retry = &lane.delivery().retry;
        let attempts = unit.events.iter().map(|waiting| waiting.attempts).max().unwrap_or(0) + 1;
        // Asking for another time is asking for a later one.
        let next = (now + wait(retry, attempts)).max(asked.unwrap_or(now)).max(now + TimeDelta::seconds(1));
        let oldest = unit.events.iter().map(|waiting| waiting.created_at).min().unwrap_or(now);
        let gone = current && answer.status == Some(410);
        // What an endpoint that is gone did not take stays until the webhook is disabled, which notes that it was missed.
        let given_up = next > oldest + TimeDelta::hours(retry.age_max_hours.into());
        // What comes behind it must not pass it; and of an endpoint that fails little is kept in memory.
        let in_the_way = !given_up && lane.ordering() != Ordering::Parallel;
        let held_back = in_the_way || lane.health.closed_at(now).is_err();
        let since = lane.health.failing_since.unwrap_or(now);
        for waiting in &unit.events {
            let position = waiting.event.position;
            if given_up {
                self.changes.finish(webhook_id, position);
            } else {
                self.changes.retry(webhook_id, position, attempts, unit.batch_id, next);
            }
        }
        if held_back {
            self.release(webhook_id, now);
        }
        if !given_up {
            self.looks.plan(webhook_id, next);
        }
        let disabled_after = TimeDelta::from_std(self.given.settings.disabled_after).unwrap_or(TimeDelta::MAX);
        if gone || current && now - since >= disabled_after {
            let reason = if gone { DisabledReason::Gone } else { DisabledReason::Failing };
            self.disable(webhook_id, reason, since, unit);
        }
        if given_up { (Outcome::GivenUp, None) } else { (Outcome::Retrying, Some(next)) }
    }

    /// Orders that the webhook be disabled, with the first position that it may have missed.
    fn disable(&mut self, webhook_id: Uuid, reason: DisabledReason, failing_since: DateTime<Utc>, unit: &Unit) {
        let Some(lane) = self.lanes.get(&webhook_id) else { return };
        let tenant_id = lane.endpoint.tenant_id;
        let tried = unit.events.iter().map(|waiting| waiting.event.position).min().unwrap_or(1);
        let (pool, orders) = (self.given.pool.clone(), self.given.orders.clone());
        self.orders.spawn(async move {
            let first = timeout(REST, queue::first(&pool, tenant_id, webhook_id)).await;
            let missed_from = match first.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
                Ok(first) => first.map_or(tried, |first| first.min(tried)),
                Err(error) => {
                    tracing::warn!(%error, %webhook_id, "what a webhook misses is not known; the next failure disables it");
                    return;
                }
            };
            let disablement = Disablement { reason, failing_since, missed_from };
            if let Err(error) = orders.disable(tenant_id, webhook_id, disablement).await {
                tracing::warn!(error, %webhook_id, "a webhook could not be disabled; the next failure tries again");
            }
        });
    }

    fn verify(&mut self, webhook_id: Uuid, unit: &Unit, answer: &Answer) {
        let Some(lane) = self.lanes.get(&webhook_id) else { return };
        let pinged = unit
            .events
            .iter()
            .filter(|waiting| waiting.event.event_type == PINGED && waiting.event.aggregate_id == webhook_id);
        for waiting in pinged {
            #[derive(serde::Deserialize)]
            struct Pinged {
                challenge: String,
            }
            let Ok(Pinged { challenge }) = serde_json::from_str(waiting.event.data.get()) else { continue };
            if !answer.body.contains(&challenge) {
                continue;
            }
            let verified = self.given.orders.verify(lane.endpoint.tenant_id, webhook_id, challenge);
            self.orders.spawn(async move {
                if let Err(error) = verified.await {
                    tracing::warn!(error, %webhook_id, "a webhook could not be marked as verified");
                }
            });
        }
    }

    fn record(
        &mut self,
        webhook_id: Uuid,
        unit: &Unit,
        answer: &Answer,
        (outcome, next_attempt_at): (Outcome, Option<DateTime<Utc>>),
        now: DateTime<Utc>,
    ) {
        let id = message_id(&unit.events, unit.batch_id.is_some());
        for waiting in &unit.events {
            metrics::counter!(ATTEMPTS, "outcome" => outcome.name()).increment(1);
            if waiting.attempts == 0 {
                let age = (now - waiting.event.occurred_at).to_std().unwrap_or_default();
                metrics::histogram!(LATENCY).record(age.as_secs_f64());
            }
            self.attempts.push(Attempt {
                webhook_id,
                event: waiting.event.clone(),
                message_id: id.clone(),
                attempt: i32::try_from(waiting.attempts + 1).unwrap_or(i32::MAX),
                outcome,
                status: answer.status.map(i32::from),
                error: answer.error.clone(),
                latency_ms: i32::try_from(answer.latency.as_millis()).unwrap_or(i32::MAX),
                headers: answer.headers.clone(),
                body: answer.body.clone(),
                next_attempt_at,
            });
        }
    }
}

/// How long after so many attempts the next one is made: as the schedule says, give or take a fifth.
fn wait(retry: &Retry, attempts: u32) -> TimeDelta {
    let seconds = f64::from(retry.wait_seconds(attempts)) * rand::rng().random_range(0.8..1.2);
    TimeDelta::milliseconds((seconds * 1_000.0) as i64)
}

/// When the endpoint wants to be asked again, by seconds or by a date; none when that is now or was already.
fn retry_after(answer: &Answer, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let text = answer.header("retry-after")?;
    let until = match text.parse::<u32>() {
        Ok(seconds) => now + TimeDelta::seconds(seconds.into()),
        Err(_) => DateTime::parse_from_rfc2822(text).ok()?.to_utc(),
    };
    Some(until.min(now + RETRY_AFTER_MAX)).filter(|until| *until > now)
}
