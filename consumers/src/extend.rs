//! `POST .../extend`: a consumer that needs longer keeps what it was handed.

use aide::transform::TransformOperation;
use axum::{Json, extract::State};
use chrono::{DateTime, TimeDelta, Utc};
use hub_domain::event_subscription::LEASE_SECONDS_MAX;
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
    messages::{self, split},
    pull::within,
    state::Consumers,
    subscription::SubscriptionPath,
};

pub(crate) fn routes() -> Routes<Consumers> {
    let path = "/v1/tenants/{tenant_id}/event-subscriptions/{event_subscription_id}/extend";
    Routes::new().post(path, "event_subscription:consume", extend, describe)
}

/// What takes longer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ExtendLeases")]
struct Extend {
    /// Up to 1,000, each as a pull has answered it.
    #[serde(deserialize_with = "ids")]
    #[schemars(length(min = 1, max = ACK_COUNT_MAX))]
    ack_ids: Vec<AckId>,
    /// How long from now.
    #[serde(deserialize_with = "seconds")]
    #[schemars(range(min = 1, max = LEASE_SECONDS_MAX))]
    seconds: u32,
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within(deserializer, 1, LEASE_SECONDS_MAX)
}

/// Which leases are longer now.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ExtendedLeases")]
struct Extended {
    extended: usize,
    lease_until: DateTime<Utc>,
    /// Those that this request could not extend, and why.
    refused: Vec<Refused>,
}

impl Locked<'_> {
    async fn extend(&mut self, ids: Vec<AckId>, until: DateTime<Utc>) -> Result<Extended, sqlx::Error> {
        let (current, mut refused) = of_epoch(ids, self.cursor.epoch);
        let (positions, leases) = split(&current);
        let extended: Vec<i64> = sqlx::query_scalar(messages::EXTEND)
            .bind(self.subscription.tenant.id())
            .bind(self.subscription.id)
            .bind(&positions)
            .bind(&leases)
            .bind(until)
            .fetch_all(&mut *self.transaction)
            .await?;
        let left: Vec<_> = current.into_iter().filter(|id| !extended.contains(&id.position)).collect();
        refused.extend(self.reasons(&left).await?);
        if !extended.is_empty() && self.cursor.holder.is_some() {
            // Whoever has a lease of an exclusive subscription has the subscription.
            self.cursor.holder_until = self.cursor.holder_until.map(|held| held.max(until));
        }
        Ok(Extended { extended: extended.len(), lease_until: until, refused })
    }
}

async fn extend(
    caller: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    State(consumers): State<Consumers>,
    body: Body<Extend>,
) -> Result<Json<Extended>, Problem> {
    let Extend { ack_ids, seconds } = body.value;
    let subscription = consumers.subscription(caller.tenant, path).await?;
    let mut locked = consumers.lock(&subscription).await.map_err(failed)?;
    let until = (consumers.clock)() + TimeDelta::seconds(seconds.into());
    let extended = locked.extend(ack_ids, until).await.map_err(failed)?;
    locked.commit().await.map_err(failed)?;
    Ok(Json(extended))
}

fn describe(op: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "The leases end so many seconds from now, also if that is sooner. A lease that has ended can be extended as long as \
        the event was not handed out again.";
    operation(op, "extendLeases", "Extend leases", description, &[])
}
