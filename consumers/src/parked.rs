//! `GET .../parked`, `POST .../parked/replay` and `POST .../parked/discard`: events that were put aside, until somebody decides.

use aide::transform::TransformOperation;
use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use hub_http::{Body, Page, PageQuery, Path, Problem, Routes, TenantCaller};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    ACK_COUNT_MAX, OUTSTANDING_MAX, PARKED_MAX, cursor::Locked, documented::operation, failure::failed, messages,
    state::Consumers, subscription::SubscriptionPath,
};

/// A page of what is parked, without what the events say.
pub(crate) const LIST: &str = "SELECT m.position, e.event_id, e.event_type, e.aggregate_type, e.aggregate_id, e.occurred_at, \
     m.deliveries, m.consumer, m.parked_at, m.parked_reason AS reason \
     FROM event_subscription_messages m JOIN events e ON e.tenant_id = m.tenant_id AND e.tenant_position = m.position \
     WHERE m.tenant_id = $1 AND m.subscription_id = $2 AND m.parked_at IS NOT NULL AND m.position > $3 \
     ORDER BY m.position LIMIT $4";

/// Lets parked messages be handed out again, as if for the first time: these, or all, at most so many.
pub(crate) const REPLAY: &str = "UPDATE event_subscription_messages \
     SET parked_at = NULL, parked_reason = NULL, deliveries = 0, lease = 0, available_at = $4 \
     WHERE tenant_id = $1 AND subscription_id = $2 AND position IN (SELECT p.position FROM event_subscription_messages p \
         WHERE p.tenant_id = $1 AND p.subscription_id = $2 AND p.parked_at IS NOT NULL \
         AND ($3::bigint[] IS NULL OR p.position = ANY($3)) ORDER BY p.position LIMIT $5)";

/// Parked messages are done with: these, or all.
pub(crate) const DISCARD: &str = "DELETE FROM event_subscription_messages \
     WHERE tenant_id = $1 AND subscription_id = $2 AND parked_at IS NOT NULL \
     AND ($3::bigint[] IS NULL OR position = ANY($3))";

pub(crate) fn routes() -> Routes<Consumers> {
    let parked = "/v1/tenants/{tenant_id}/event-subscriptions/{event_subscription_id}/parked";
    Routes::new()
        .get(parked, "event_subscription:read", list, describe_list)
        .post(&format!("{parked}/replay"), "event_subscription:consume", replay, describe_replay)
        .post(&format!("{parked}/discard"), "event_subscription:consume", discard, describe_discard)
}

/// An event that was put aside.
#[derive(Debug, Serialize, JsonSchema, FromRow)]
struct ParkedEvent {
    /// Its position in the tenant's log.
    position: i64,
    event_id: Uuid,
    event_type: String,
    aggregate_type: String,
    aggregate_id: Uuid,
    occurred_at: DateTime<Utc>,
    /// So often it was handed out.
    deliveries: i32,
    /// Who had it last.
    consumer: Option<String>,
    parked_at: DateTime<Utc>,
    /// Why.
    reason: Option<String>,
}

/// Which parked events: some, or all.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ParkedEventChoice")]
struct Choice {
    /// Up to 1,000 of them.
    #[serde(default, deserialize_with = "positions")]
    #[schemars(length(min = 1, max = ACK_COUNT_MAX))]
    positions: Option<Vec<i64>>,
    /// True for all that are parked.
    #[serde(default)]
    all: bool,
}

fn positions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<i64>>, D::Error> {
    let positions = Vec::deserialize(deserializer)?;
    if !(1..=ACK_COUNT_MAX).contains(&positions.len()) {
        return Err(D::Error::custom(format!("must be 1 to {ACK_COUNT_MAX} positions")));
    }
    Ok(Some(positions))
}

impl Choice {
    /// The positions; `None` for all.
    fn positions(self) -> Result<Option<Vec<i64>>, Problem> {
        match self {
            Self { positions: Some(positions), all: false } => Ok(Some(positions)),
            Self { positions: None, all: true } => Ok(None),
            Self { .. } => Err(Problem::invalid_body("", "is either `positions`, or `all` with `true`")),
        }
    }
}

/// What has become of parked events.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ReplayedEvents")]
struct Replayed {
    /// So many are handed out again.
    replayed: u64,
    /// So many are still parked.
    parked: i64,
}

/// What has become of parked events.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DiscardedEvents")]
struct Discarded {
    /// So many are done with.
    discarded: u64,
    /// So many are still parked.
    parked: i64,
}

impl Locked<'_> {
    async fn replay(&mut self, positions: Option<&[i64]>, now: DateTime<Utc>) -> Result<u64, sqlx::Error> {
        let room = (OUTSTANDING_MAX - self.outstanding().await?).max(0);
        let replayed = sqlx::query(REPLAY)
            .bind(self.subscription.tenant.id())
            .bind(self.subscription.id)
            .bind(positions)
            .bind(now)
            .bind(room)
            .execute(&mut *self.transaction)
            .await?;
        Ok(replayed.rows_affected())
    }

    async fn discard(&mut self, positions: Option<&[i64]>) -> Result<u64, sqlx::Error> {
        let query = sqlx::query(DISCARD).bind(self.subscription.tenant.id()).bind(self.subscription.id);
        Ok(query.bind(positions).execute(&mut *self.transaction).await?.rows_affected())
    }

    async fn parked_count(&mut self) -> Result<i64, sqlx::Error> {
        let query =
            sqlx::query_scalar(messages::PARKED_COUNT).bind(self.subscription.tenant.id()).bind(self.subscription.id);
        query.fetch_one(&mut *self.transaction).await
    }
}

async fn list(
    TenantCaller { caller, tenant, .. }: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    query: PageQuery,
    State(consumers): State<Consumers>,
) -> Result<Page<ParkedEvent>, Problem> {
    let after: Option<i64> = query.open(&consumers.cursor_key, &caller, Some(tenant))?;
    let subscription = consumers.subscription(tenant, path).await?;
    let mut transaction = consumers.database.begin(tenant).await.map_err(failed)?;
    let rows: Vec<ParkedEvent> = sqlx::query_as(LIST)
        .bind(tenant.id())
        .bind(subscription.id)
        .bind(after.unwrap_or(0))
        .bind(query.fetch_limit())
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed)?;
    Ok(query.page(&consumers.cursor_key, &caller, Some(tenant), rows, |row| row.position))
}

async fn replay(
    caller: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    State(consumers): State<Consumers>,
    body: Body<Choice>,
) -> Result<Json<Replayed>, Problem> {
    let positions = body.value.positions()?;
    let subscription = consumers.subscription(caller.tenant, path).await?;
    let mut locked = consumers.lock(&subscription).await.map_err(failed)?;
    let replayed = locked.replay(positions.as_deref(), (consumers.clock)()).await.map_err(failed)?;
    let parked = locked.parked_count().await.map_err(failed)?;
    locked.commit().await.map_err(failed)?;
    consumers.bells.freed(caller.tenant.id());
    Ok(Json(Replayed { replayed, parked }))
}

async fn discard(
    caller: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    State(consumers): State<Consumers>,
    body: Body<Choice>,
) -> Result<Json<Discarded>, Problem> {
    let positions = body.value.positions()?;
    let subscription = consumers.subscription(caller.tenant, path).await?;
    let mut locked = consumers.lock(&subscription).await.map_err(failed)?;
    let discarded = locked.discard(positions.as_deref()).await.map_err(failed)?;
    let parked = locked.parked_count().await.map_err(failed)?;
    locked.commit().await.map_err(failed)?;
    Ok(Json(Discarded { discarded, parked }))
}

fn describe_list(op: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = format!(
        "Events that were put aside, in the order of the log, and why; what they say is read with `event:read`. At most {PARKED_MAX} are \
         parked; beyond that, events go on being handed out.",
    );
    operation(op, "listParkedEvents", "List parked events", &description, &[])
}

fn describe_replay(op: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "The events are handed out again, as often as any other. They come after what was handed out meanwhile, also of \
        their own aggregates. If there is no room for all, the first ones are taken, and `parked` says how many are left.";
    operation(op, "replayParkedEvents", "Replay parked events", description, &[])
}

fn describe_discard(op: TransformOperation<'_>) -> TransformOperation<'_> {
    operation(
        op,
        "discardParkedEvents",
        "Discard parked events",
        "The events are done with, and never handed out again.",
        &[],
    )
}
