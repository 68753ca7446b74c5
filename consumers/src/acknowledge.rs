//! `POST .../acknowledge`: what was handed out is done with. Acknowledging twice is fine.

use std::collections::BTreeMap;

use aide::transform::TransformOperation;
use axum::{Json, extract::State};
use hub_domain::text::{Name, parsed_option};
use hub_http::{Body, Path, Problem, Routes, TenantCaller};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::{
    ACK_COUNT_MAX, ACKNOWLEDGED,
    ack_id::AckId,
    cursor::Locked,
    documented::operation,
    failure::failed,
    messages::{self, split},
    state::Consumers,
    subscription::SubscriptionPath,
};

pub(crate) fn routes() -> Routes<Consumers> {
    let path = "/v1/tenants/{tenant_id}/event-subscriptions/{event_subscription_id}/acknowledge";
    Routes::new().post(path, "event_subscription:consume", acknowledge, describe)
}

/// What is done with: either some events, or all up to a position.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AcknowledgeEvents")]
struct Acknowledge {
    /// Up to 1,000, each as a pull has answered it.
    #[serde(default, deserialize_with = "ids_option")]
    #[schemars(length(min = 1, max = ACK_COUNT_MAX))]
    ack_ids: Option<Vec<AckId>>,
    /// Everything that is handed out up to this position of the tenant's log.
    up_to: Option<i64>,
    /// With `up_to`: only what was handed out to this consumer.
    #[serde(default, deserialize_with = "parsed_option")]
    consumer: Option<Name>,
    /// With `up_to`: refused when the subscription was reset since a pull answered this epoch.
    epoch: Option<i64>,
}

/// What was acknowledged.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AcknowledgedEvents")]
struct Acknowledged {
    /// So many events are done with by this request.
    acknowledged: u64,
    /// Those that this request could not acknowledge, and why. What was acknowledged before is not among them.
    refused: Vec<Refused>,
}

/// An ack id that names nothing that is handed out.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RefusedAckId")]
pub(crate) struct Refused {
    pub(crate) ack_id: AckId,
    pub(crate) reason: Reason,
}

/// Why an ack id is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "AckRefusal")]
pub(crate) enum Reason {
    /// The subscription was reset after the event had been handed out.
    Reset,
    /// The lease ended, or the event was given back; it was, or will be, handed out again.
    LeaseOver,
    /// The event is parked.
    Parked,
    /// The event is done with.
    Done,
}

/// Reads 1 to 1,000 ack ids.
pub(crate) fn ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<AckId>, D::Error> {
    let mut ids = Vec::<AckId>::deserialize(deserializer)?;
    if !(1..=ACK_COUNT_MAX).contains(&ids.len()) {
        return Err(D::Error::custom(format!("must be 1 to {ACK_COUNT_MAX} ack ids")));
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

fn ids_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<AckId>>, D::Error> {
    ids(deserializer).map(Some)
}

/// Tells apart the ids of this epoch and those from before.
pub(crate) fn of_epoch(ids: Vec<AckId>, epoch: i64) -> (Vec<AckId>, Vec<Refused>) {
    let (current, old): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| id.epoch == epoch);
    (current, old.into_iter().map(|ack_id| Refused { ack_id, reason: Reason::Reset }).collect())
}

impl Locked<'_> {
    /// Why each of these ids, which named nothing that is handed out, did not.
    pub(crate) async fn reasons(&mut self, ids: &[AckId]) -> Result<Vec<Refused>, sqlx::Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let (positions, _) = split(ids);
        let standing: BTreeMap<i64, bool> = self.standing(&positions).await?.into_iter().collect();
        let reason = |id: &AckId| match standing.get(&id.position) {
            None => Reason::Done,
            Some(true) => Reason::Parked,
            Some(false) => Reason::LeaseOver,
        };
        Ok(ids.iter().map(|id| Refused { ack_id: *id, reason: reason(id) }).collect())
    }

    async fn acknowledge_ids(&mut self, ids: Vec<AckId>) -> Result<Acknowledged, sqlx::Error> {
        let (current, mut refused) = of_epoch(ids, self.cursor.epoch);
        let (positions, leases) = split(&current);
        let done: Vec<i64> = sqlx::query_scalar(messages::ACKNOWLEDGE)
            .bind(self.subscription.tenant.id())
            .bind(self.subscription.id)
            .bind(&positions)
            .bind(&leases)
            .fetch_all(&mut *self.transaction)
            .await?;
        let left: Vec<_> = current.into_iter().filter(|id| !done.contains(&id.position)).collect();
        // What is done with already is what the consumer wants.
        refused.extend(self.reasons(&left).await?.into_iter().filter(|refused| refused.reason != Reason::Done));
        Ok(Acknowledged { acknowledged: done.len() as u64, refused })
    }

    async fn acknowledge_up_to(&mut self, position: i64, consumer: Option<Name>) -> Result<Acknowledged, sqlx::Error> {
        let done = sqlx::query(messages::ACKNOWLEDGE_UP_TO)
            .bind(self.subscription.tenant.id())
            .bind(self.subscription.id)
            .bind(position)
            .bind(consumer.as_ref().map(Name::as_str))
            .execute(&mut *self.transaction)
            .await?;
        Ok(Acknowledged { acknowledged: done.rows_affected(), refused: Vec::new() })
    }
}

async fn acknowledge(
    caller: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    State(consumers): State<Consumers>,
    body: Body<Acknowledge>,
) -> Result<Json<Acknowledged>, Problem> {
    let subscription = consumers.subscription(caller.tenant, path).await?;
    let mut locked = consumers.lock(&subscription).await.map_err(failed)?;
    let acknowledged = match body.value {
        Acknowledge { ack_ids: Some(ids), up_to: None, consumer: None, epoch: None } => {
            locked.acknowledge_ids(ids).await.map_err(failed)?
        }
        Acknowledge { ack_ids: None, up_to: Some(position), consumer, epoch } => {
            locked.same_epoch(epoch)?;
            locked.acknowledge_up_to(position, consumer).await.map_err(failed)?
        }
        Acknowledge { .. } => {
            let detail = "is either `ack_ids`, or `up_to` with `consumer` and `epoch` if they are wanted";
            return Err(Problem::invalid_body("", detail));
        }
    };
    locked.commit().await.map_err(failed)?;
    consumers.bells.freed(caller.tenant.id());
    metrics::counter!(ACKNOWLEDGED).increment(acknowledged.acknowledged);
    Ok(Json(acknowledged))
}

fn describe(op: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Events that are acknowledged are handed out no more. It can be done more than once, and also after the lease has \
        ended, as long as nobody else was handed the event. `refused` names what is still to be done with by somebody; the rest of the \
        request is done all the same.";
    operation(op, "acknowledgeEvents", "Acknowledge events", description, &["event_subscription_reset"])
}
