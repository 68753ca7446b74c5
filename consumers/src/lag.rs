//! `GET .../lag`: how far the consumers of a subscription are.

use aide::transform::TransformOperation;
use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use hub_http::{Path, Problem, Routes, TenantCaller};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use crate::{
    cursor::{self, Cursor},
    documented::operation,
    failure::failed,
    state::Consumers,
    subscription::{Subscription, SubscriptionPath},
};

/// How many messages there are of each kind, and the first that is not done with.
pub(crate) const COUNTS: &str = "SELECT count(*) FILTER (WHERE parked_at IS NULL AND lease > 0 AND available_at > $3) AS in_flight, \
     count(*) FILTER (WHERE parked_at IS NULL AND NOT (lease > 0 AND available_at > $3)) AS waiting, \
     count(*) FILTER (WHERE parked_at IS NOT NULL) AS parked, min(position) FILTER (WHERE parked_at IS NULL) AS first \
     FROM event_subscription_messages WHERE tenant_id = $1 AND subscription_id = $2";

/// When an event happened.
pub(crate) const HAPPENED: &str = "SELECT occurred_at FROM events WHERE tenant_id = $1 AND tenant_position = $2";

pub(crate) fn routes() -> Routes<Consumers> {
    let path = "/v1/tenants/{tenant_id}/event-subscriptions/{event_subscription_id}/lag";
    Routes::new().get(path, "event_subscription:read", lag, describe)
}

/// How far the consumers are.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EventSubscriptionLag")]
struct Lag {
    /// Every event of the tenant up to here was looked at.
    position: i64,
    /// Every event of the tenant up to here is done with: acknowledged, parked, passed over or not wanted.
    done_position: i64,
    /// The end of the tenant's log.
    head: i64,
    /// So many events of the tenant were not looked at yet; they need not all be wanted.
    behind: i64,
    /// So many are handed out now.
    in_flight: i64,
    /// So many wait to be handed out again, or for others of their aggregate.
    waiting: i64,
    /// So many are put aside.
    parked: i64,
    /// So many were passed over after their last delivery, since the subscription began.
    skipped: i64,
    /// How old the first event is that is not done with; null when there is none.
    oldest_unacknowledged_seconds: Option<i64>,
    /// Who has the exclusive subscription, and until when unless it comes again; null when nobody has.
    holder: Option<Holder>,
    /// Grows with each reset, from 1.
    epoch: i64,
}

/// Who has an exclusive subscription.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EventSubscriptionHolder")]
struct Holder {
    consumer: String,
    until: DateTime<Utc>,
}

#[derive(Debug, FromRow)]
struct Counts {
    in_flight: i64,
    waiting: i64,
    parked: i64,
    first: Option<i64>,
}

async fn lag(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    State(consumers): State<Consumers>,
) -> Result<Json<Lag>, Problem> {
    let subscription = consumers.subscription(tenant, path).await?;
    let mut transaction = consumers.database.begin(tenant).await.map_err(failed)?;
    let lag = read(&subscription, &mut transaction, (consumers.clock)()).await.map_err(failed)?;
    Ok(Json(lag))
}

async fn read(
    subscription: &Subscription,
    connection: &mut PgConnection,
    now: DateTime<Utc>,
) -> Result<Lag, sqlx::Error> {
    let (tenant_id, id) = (subscription.tenant.id(), subscription.id);
    let cursor = sqlx::query_as(cursor::CURSOR).bind(tenant_id).bind(id).fetch_optional(&mut *connection).await?;
    let cursor = cursor.unwrap_or_else(|| Cursor::first(subscription));
    let Counts { in_flight, waiting, parked, first } =
        sqlx::query_as(COUNTS).bind(tenant_id).bind(id).bind(now).fetch_one(&mut *connection).await?;
    // Read last, so that it is not behind what was looked at.
    let head: Option<i64> = sqlx::query_scalar(cursor::HEAD).bind(tenant_id).fetch_optional(&mut *connection).await?;
    let head = head.unwrap_or(0).max(cursor.position);
    let oldest = first.or((head > cursor.position).then_some(cursor.position + 1));
    let happened: Option<DateTime<Utc>> = match oldest {
        Some(position) => {
            sqlx::query_scalar(HAPPENED).bind(tenant_id).bind(position).fetch_optional(&mut *connection).await?
        }
        None => None,
    };
    let held_until = cursor.holder_until.filter(|until| *until > now);
    Ok(Lag {
        position: cursor.position,
        done_position: first.map_or(cursor.position, |first| (first - 1).min(cursor.position)),
        head,
        behind: head - cursor.position,
        in_flight,
        waiting,
        parked,
        skipped: cursor.skipped,
        oldest_unacknowledged_seconds: happened.map(|happened| (now - happened).num_seconds().max(0)),
        holder: cursor.holder.zip(held_until).map(|(consumer, until)| Holder { consumer, until }),
        epoch: cursor.epoch,
    })
}

fn describe(op: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Where the subscription is in the tenant's log, what is handed out, what waits and what is parked. A paused \
        subscription answers as well.";
    operation(op, "getEventSubscriptionLag", "How far an event subscription is", description, &[])
}
