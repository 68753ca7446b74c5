//! `POST .../reject`: what was handed out could not be done, and is handed out again later, or put aside.

use aide::transform::TransformOperation;
use axum::{Json, extract::State};
use chrono::{DateTime, TimeDelta, Utc};
use hub_domain::{
    event_subscription::{Mode, OnExhausted},
    text::{Remark, parsed},
};
use hub_http::{Body, Path, Problem, Routes, TenantCaller};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    ACK_COUNT_MAX,
    ack_id::AckId,
    acknowledge::{Refused, ids, of_epoch},
    cursor::Locked,
    documented::operation,
    failure::failed,
    messages::{self, Rejected, split},
    pull::within,
    state::Consumers,
    subscription::SubscriptionPath,
};

/// An event rests at most so long.
const RETRY_AFTER_SECONDS_MAX: u32 = 86_400;

/// Why an event is parked when its consumer does not say it.
const REJECTED: &str = "it was rejected";

pub(crate) fn routes() -> Routes<Consumers> {
    let path = "/v1/tenants/{tenant_id}/event-subscriptions/{event_subscription_id}/reject";
    Routes::new().post(path, "event_subscription:consume", reject, describe)
}

/// What could not be done.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RejectEvents")]
struct Reject {
    /// Up to 1,000, each as a pull has answered it.
    #[serde(deserialize_with = "ids")]
    #[schemars(length(min = 1, max = ACK_COUNT_MAX))]
    ack_ids: Vec<AckId>,
    /// How long the events rest before they are handed out again; as the subscription says when it is absent.
    #[serde(default, deserialize_with = "seconds")]
    #[schemars(range(min = 0, max = RETRY_AFTER_SECONDS_MAX))]
    retry_after_seconds: Option<u32>,
    /// Puts the events aside at once.
    #[serde(default)]
    park: bool,
    /// Why, for whoever looks at what is parked.
    #[serde(default, deserialize_with = "parsed")]
    reason: Remark,
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    within(deserializer, 0, RETRY_AFTER_SECONDS_MAX).map(Some)
}

/// What has become of the events.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "RejectedEvents")]
struct Answer {
    /// So many rest, and are handed out again.
    retried: usize,
    /// So many are put aside.
    parked: usize,
    /// So many were handed out as often as allowed, and are passed over.
    skipped: usize,
    /// So many that were handed out together with those that rest, and come after them, were taken back and follow them again.
    taken_back: u64,
    /// Those that this request could not reject, and why.
    refused: Vec<Refused>,
}

impl Locked<'_> {
    async fn reject(&mut self, wanted: Reject, now: DateTime<Utc>) -> Result<Answer, sqlx::Error> {
        let Reject { ack_ids, retry_after_seconds, park, reason } = wanted;
        let (current, mut refused) = of_epoch(ack_ids, self.cursor.epoch);
        let (positions, leases) = split(&current);
        let rejected: Vec<Rejected> = sqlx::query_as(messages::REJECTED)
            .bind(self.subscription.tenant.id())
            .bind(self.subscription.id)
            .bind(&positions)
            .bind(&leases)
            .fetch_all(&mut *self.transaction)
            .await?;
        let left: Vec<_> = current
            .into_iter()
            .filter(|id| rejected.binary_search_by_key(&id.position, |one| one.position).is_err())
            .collect();
        refused.extend(self.reasons(&left).await?);

        let handling = self.subscription.definition.handling;
        let exhausted = |one: &Rejected| one.deliveries() >= handling.deliveries_max;
        let (ended, mut resting): (Vec<_>, Vec<_>) = rejected.into_iter().partition(|one| park || exhausted(one));
        let mut answer = Answer { refused, ..Answer::default() };
        let positions: Vec<i64> = ended.iter().map(|one| one.position).collect();
        if park || handling.on_exhausted == OnExhausted::Park {
            let reason = if reason.as_str().is_empty() { REJECTED } else { reason.as_str() };
            let beyond = self.park(positions, reason, now).await?;
            answer.parked = ended.len() - beyond.len();
            // What there is no room for is handed out again.
            resting.extend(ended.into_iter().filter(|one| beyond.contains(&one.position)));
        } else if !positions.is_empty() {
            self.skip(&positions).await?;
            answer.skipped = positions.len();
        }
        answer.retried = resting.len();
        let delay = |one: &Rejected| match retry_after_seconds {
            Some(seconds) => TimeDelta::seconds(seconds.into()),
            None => handling.retry.delay(one.deliveries()),
        };
        let until: Vec<_> = resting.iter().map(|one| now + delay(one)).collect();
        answer.taken_back = self.rest(&resting, &until, now).await?;
        Ok(answer)
    }

    /// Lets these rest; answers how many that follow them were taken back.
    async fn rest(
        &mut self,
        resting: &[Rejected],
        until: &[DateTime<Utc>],
        now: DateTime<Utc>,
    ) -> Result<u64, sqlx::Error> {
        if resting.is_empty() {
            return Ok(0);
        }
        let (tenant_id, id) = (self.subscription.tenant.id(), self.subscription.id);
        let positions: Vec<i64> = resting.iter().map(|one| one.position).collect();
        let query = sqlx::query(messages::REST).bind(tenant_id).bind(id).bind(&positions).bind(until);
        query.execute(&mut *self.transaction).await?;
        let taken_back = sqlx::query(messages::HAND_BACK)
            .bind(tenant_id)
            .bind(id)
            .bind(now)
            .bind(&positions)
            .bind(resting.iter().map(|one| one.lease).collect::<Vec<_>>())
            .bind(resting.iter().map(|one| one.aggregate_type.clone()).collect::<Vec<_>>())
            .bind(resting.iter().map(|one| one.aggregate_id).collect::<Vec<_>>())
            .bind(self.subscription.definition.handling.mode == Mode::Exclusive)
            .execute(&mut *self.transaction)
            .await?;
        Ok(taken_back.rows_affected())
    }
}

async fn reject(
    caller: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    State(consumers): State<Consumers>,
    body: Body<Reject>,
) -> Result<Json<Answer>, Problem> {
    let subscription = consumers.subscription(caller.tenant, path).await?;
    let mut locked = consumers.lock(&subscription).await.map_err(failed)?;
    let answer = locked.reject(body.value, (consumers.clock)()).await.map_err(failed)?;
    locked.commit().await.map_err(failed)?;
    consumers.bells.freed(caller.tenant.id());
    Ok(Json(answer))
}

fn describe(op: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Events that are rejected rest, and are then handed out again, until they were handed out as often as the \
        subscription allows; then they are parked or passed over. Later events of the same aggregate that were handed out in the same \
        answer are taken back, so that they come after it again: their ack ids are refused from then on. A parked event blocks no other.";
    operation(op, "rejectEvents", "Reject events", description, &[])
}
