//! `POST .../reset`: the subscription begins again elsewhere in the log, and what is handed out is dropped.

use aide::transform::TransformOperation;
use axum::{Json, extract::State};
use hub_domain::event_subscription::Start;
use hub_event_store::moment::position_before;
use hub_http::{Body, Path, Problem, Routes, TenantCaller};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    cursor::{Cursor, Locked},
    documented::operation,
    failure::failed,
    messages,
    state::Consumers,
    subscription::SubscriptionPath,
};

pub(crate) fn routes() -> Routes<Consumers> {
    let path = "/v1/tenants/{tenant_id}/event-subscriptions/{event_subscription_id}/reset";
    Routes::new().post(path, "event_subscription:consume", reset, describe)
}

/// Where the subscription begins again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ResetEventSubscription")]
struct Reset {
    to: Start,
}

/// Where it is now.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EventSubscriptionReset")]
struct Answer {
    /// Events after this position of the tenant's log are handed out.
    position: i64,
    /// What was handed out in an epoch before cannot be acknowledged.
    epoch: i64,
}

impl Locked<'_> {
    async fn position_of(&mut self, start: Start) -> Result<i64, Problem> {
        match start {
            Start::Earliest => Ok(0),
            Start::Latest => self.head().await.map_err(failed),
            Start::Position(position) => self.within(position).await,
            Start::Time(time) => {
                let head = self.head().await.map_err(failed)?;
                let tenant_id = self.subscription.tenant.id();
                position_before(&mut self.transaction, tenant_id, time, head).await.map_err(failed)
            }
        }
    }

    async fn drop_messages(&mut self, position: i64) -> Result<(), sqlx::Error> {
        let query =
            sqlx::query(messages::DROP).bind(self.subscription.tenant.id()).bind(self.subscription.id).bind(position);
        query.execute(&mut *self.transaction).await.map(|_| ())
    }
}

async fn reset(
    caller: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    State(consumers): State<Consumers>,
    body: Body<Reset>,
) -> Result<Json<Answer>, Problem> {
    let subscription = consumers.subscription(caller.tenant, path).await?;
    let mut locked = consumers.lock(&subscription).await.map_err(failed)?;
    let position = locked.position_of(body.value.to).await?;
    locked.drop_messages(position).await.map_err(failed)?;
    let Cursor { epoch, lease, skipped, .. } = locked.cursor;
    locked.cursor = Cursor { position, epoch: epoch + 1, lease, holder: None, holder_until: None, skipped };
    let Cursor { position, epoch, .. } = locked.commit().await.map_err(failed)?;
    consumers.bells.freed(caller.tenant.id());
    Ok(Json(Answer { position, epoch }))
}

fn describe(op: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Drops everything that is handed out or waits, and goes on behind the position. What was handed out before can be \
        acknowledged no more: its ack ids are refused with the reason `reset`. What is parked stays if it lies before the position; \
        what lies after it is looked at again. Nobody has an exclusive subscription afterwards.";
    operation(
        op,
        "resetEventSubscription",
        "Reset an event subscription",
        description,
        &["event_subscription_position_ahead"],
    )
}
