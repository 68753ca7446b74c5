//! What became of a webhook's deliveries: the log of attempts, how the endpoint stands, and what its filters would take.
//!
//! These are answers about this moment, from the tables of whoever delivers; they do not wait for read models, except to know the webhook.

use aide::transform::TransformOperation;
use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use hub_cloudevents::{Event, columns};
use hub_http::{
    Detail, Path, Problem, Query, ReadConsistency, ReadPosition, Routes, TenantCaller,
    openapi::described,
    page::{PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX},
};
use hub_projections::{
    model::ReadModel,
    webhook::{WebhookRow, Webhooks},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, types::Json};
use std::collections::BTreeMap;
use uuid::Uuid;

use crate::{
    failure::failed,
    reach::Reading,
    read::Sight,
    rows::{fetch, rows_of},
    state::Queries,
    statement::{Statement, statement},
    webhook::{DETAIL, TAG},
};

/// Attempts after a place in their order, oldest first.
pub(crate) const ATTEMPTS: Statement = statement!(
    "SELECT to_jsonb(a) - 'tenant_id' - 'webhook_id' AS attempt FROM webhook_attempts a \
     WHERE a.tenant_id = $1 AND a.webhook_id = $2 AND (a.at, a.id) > ($3, $4)",
    [" AND a.outcome = $6", " AND a.event_id = $7"],
    " ORDER BY a.at, a.id LIMIT $5",
);

/// How the endpoint has answered lately, and what waits for it.
pub(crate) const STANDING: &str = "SELECT coalesce(e.consecutive_failures, 0) AS consecutive_failures, e.failing_since, e.open_until, q.pending, q.oldest_pending_at, q.next_attempt_at \
     FROM (SELECT count(*) AS pending, min(created_at) AS oldest_pending_at, min(due_at) AS next_attempt_at FROM webhook_queue \
           WHERE tenant_id = $1 AND webhook_id = $2) AS q \
     LEFT JOIN webhook_health e ON e.tenant_id = $1 AND e.webhook_id = $2";

/// Attempts of a period, counted.
pub(crate) const COUNTS: &str = "SELECT count(*) AS attempts, count(*) FILTER (WHERE outcome = 'delivered') AS delivered, \
         count(*) FILTER (WHERE outcome = 'retrying') AS retrying, count(*) FILTER (WHERE outcome = 'given_up') AS given_up, \
         percentile_disc(0.5) WITHIN GROUP (ORDER BY latency_ms) AS latency_ms_p50, \
         percentile_disc(0.95) WITHIN GROUP (ORDER BY latency_ms) AS latency_ms_p95, \
         percentile_disc(0.99) WITHIN GROUP (ORDER BY latency_ms) AS latency_ms_p99 \
     FROM webhook_attempts WHERE tenant_id = $1 AND webhook_id = $2 AND at >= $3";

/// The same by status.
pub(crate) const STATUSES: &str = "SELECT coalesce(status::text, 'none') AS status, count(*) FROM webhook_attempts \
     WHERE tenant_id = $1 AND webhook_id = $2 AND at >= $3 GROUP BY 1";

/// The last events of a tenant.
pub(crate) const LAST_EVENTS: &str =
    concat!("SELECT ", columns!(), " FROM events WHERE tenant_id = $1 ORDER BY tenant_position DESC LIMIT $2");

/// A dry run looks at so many of the last events.
const DRY_RUN_EVENTS: i64 = 1_000;

/// And shows so many of those that would be delivered.
const DRY_RUN_SHOWN: usize = 20;

/// Longest period of counts, in hours.
const HOURS_MAX: i64 = 24 * 30;

pub(crate) fn routes() -> Routes<Queries> {
    let webhook = "/v1/tenants/{tenant_id}/webhooks/{webhook_id}";
    Routes::new()
        .get(&format!("{webhook}/attempts"), "webhook:read", attempts, describe_attempts)
        .get(&format!("{webhook}/stats"), "webhook:read", stats, describe_stats)
        .get(&format!("{webhook}/dry-run"), "webhook:read", dry_run, describe_dry_run)
}

#[derive(Debug, Deserialize, JsonSchema)]
struct WebhookPath {
    /// The webhook.
    webhook_id: Uuid,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AttemptQuery {
    /// Where to go on: `next` of the page before.
    after: Option<String>,
    /// Only attempts that ended then or later; without it and without `after`, those of the last hour.
    since: Option<DateTime<Utc>>,
    /// Most attempts of the page.
    #[schemars(with = "Option<u32>", range(min = 1, max = 500))]
    limit: Option<String>,
    /// Only attempts with this outcome.
    outcome: Option<AttemptOutcome>,
    /// Only attempts to deliver this event.
    event_id: Option<Uuid>,
}

/// What came of an attempt: the endpoint took it, it is tried again, or it is not.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum AttemptOutcome {
    Delivered,
    Retrying,
    GivenUp,
}

impl AttemptOutcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retrying => "retrying",
            Self::GivenUp => "given_up",
        }
    }
}

/// One attempt to deliver one event.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "WebhookAttempt")]
struct AttemptAnswer {
    /// Identifies the attempt.
    id: Uuid,
    /// When its end was written down; the order of attempts.
    at: DateTime<Utc>,
    /// The event's place in the tenant's log.
    position: i64,
    event_id: Uuid,
    event_type: String,
    /// The `webhook-id` that was sent: that of the event, or of its batch.
    message_id: String,
    /// Counted from 1.
    attempt: i32,
    outcome: AttemptOutcome,
    /// The HTTP status; null when there was no answer.
    status: Option<i32>,
    /// Why there was no answer, or no good one.
    error: Option<String>,
    /// From the first byte sent, or the lookup of the name, to the end of the answer.
    latency_ms: i32,
    /// Some headers of the answer.
    response_headers: BTreeMap<String, Value>,
    /// The first 512 bytes of the answer's body.
    response_body: String,
    /// When it is tried again; null when it is not.
    next_attempt_at: Option<DateTime<Utc>>,
}

/// A page of the log of attempts.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WebhookAttemptPage")]
struct AttemptPage {
    /// Attempts, oldest first.
    items: Vec<AttemptAnswer>,
    /// Where to go on, now or later: send it as `after`.
    next: String,
}

/// The webhook of that id, once its read model has got to what the caller asks for; 404 when there is none.
async fn known(
    queries: &Queries,
    sight: impl Into<Sight>,
    (tenant_id, webhook_id): (Uuid, Uuid),
    consistency: ReadConsistency,
) -> Result<(Reading, WebhookRow), Problem> {
    let mut reading = queries.reach_projection(sight, Webhooks::NAME, consistency).await?;
    let query = sqlx::query_as(DETAIL).bind(tenant_id).bind(webhook_id).bind(Webhooks::NAME);
    let row: (Option<i64>, Option<Json<WebhookRow>>) =
        query.fetch_one(&mut *reading.connection).await.map_err(failed)?;
    let Json(row) = row.1.ok_or_else(Problem::not_found)?;
    Ok((reading, row))
}

async fn attempts(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(WebhookPath { webhook_id }): Path<WebhookPath>,
    consistency: ReadConsistency,
    Query(query): Query<AttemptQuery>,
    State(queries): State<Queries>,
) -> Result<Detail<AttemptPage>, Problem> {
    let limit = limit_of(query.limit.as_deref())?;
    let after = query.after.as_deref().map(place).transpose()?;
    let (mut reading, _) = known(&queries, tenant, (tenant.id(), webhook_id), consistency).await?;
    let (at, id) = match (after, query.since) {
        (Some(place), _) => place,
        (None, Some(since)) => (since, Uuid::nil()),
        (None, None) => (moment(&mut reading).await? - TimeDelta::hours(1), Uuid::nil()),
    };
    let text = ATTEMPTS.with([query.outcome.is_some(), query.event_id.is_some()]);
    let rows = rows_of::<AttemptAnswer>(&text)
        .bind(tenant.id())
        .bind(webhook_id)
        .bind(at)
        .bind(id)
        .bind(limit)
        .bind(query.outcome.map(AttemptOutcome::name))
        .bind(query.event_id);
    let items = fetch(rows, &mut reading.connection).await?;
    let (at, id) = items.last().map_or((at, id), |last| (last.at, last.id));
    let page = AttemptPage { items, next: format!("{}-{}", at.timestamp_micros(), id.simple()) };
    Ok(Detail::unversioned(page, reading.position))
}

/// The time of PostgreSQL.
pub(crate) const NOW: &str = "SELECT now()";

async fn moment(reading: &mut Reading) -> Result<DateTime<Utc>, Problem> {
    sqlx::query_scalar(NOW).fetch_one(&mut *reading.connection).await.map_err(failed)
}

/// A place in the order of attempts, as `next` tells it.
fn place(text: &str) -> Result<(DateTime<Utc>, Uuid), Problem> {
    let parsed = text
        .split_once('-')
        .and_then(|(at, id)| Some((DateTime::from_timestamp_micros(at.parse().ok()?)?, Uuid::parse_str(id).ok()?)));
    parsed.ok_or_else(|| Problem::invalid_query(Some("after"), "must be `next` of an earlier page"))
}

fn limit_of(text: Option<&str>) -> Result<i64, Problem> {
    let limit = text.map_or(Some(PAGE_LIMIT_DEFAULT), |text| text.parse().ok());
    let limit = limit.filter(|limit| (1..=PAGE_LIMIT_MAX).contains(limit));
    limit.map(i64::from).ok_or_else(|| Problem::invalid_page_limit(PAGE_LIMIT_MAX))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StatsQuery {
    /// Attempts of so many hours are counted; 24 when it is not said.
    #[schemars(range(min = 1, max = HOURS_MAX))]
    hours: Option<i64>,
}

/// How an endpoint stands, and what it has answered lately.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WebhookStats")]
struct Stats {
    #[serde(flatten)]
    standing: Standing,
    /// Since when attempts are counted.
    since: DateTime<Utc>,
    #[serde(flatten)]
    counts: Counts,
    /// How many attempts were answered with which status; `none` for those without an answer.
    statuses: BTreeMap<String, i64>,
}

#[derive(Debug, Serialize, JsonSchema, FromRow)]
struct Standing {
    /// Events that are still to be delivered.
    pending: i64,
    /// Since when the oldest of them waits.
    oldest_pending_at: Option<DateTime<Utc>>,
    /// When the next attempt is due, or the lease of one that is under way is over.
    next_attempt_at: Option<DateTime<Utc>>,
    /// Attempts that have failed since the last one that did not.
    consecutive_failures: i32,
    failing_since: Option<DateTime<Utc>>,
    /// Nothing is sent before: the circuit breaker is open, or the endpoint asked to wait.
    open_until: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, JsonSchema, FromRow)]
struct Counts {
    attempts: i64,
    delivered: i64,
    retrying: i64,
    given_up: i64,
    latency_ms_p50: Option<i32>,
    latency_ms_p95: Option<i32>,
    latency_ms_p99: Option<i32>,
}

async fn stats(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(WebhookPath { webhook_id }): Path<WebhookPath>,
    consistency: ReadConsistency,
    Query(StatsQuery { hours }): Query<StatsQuery>,
    State(queries): State<Queries>,
) -> Result<Detail<Stats>, Problem> {
    let hours = hours.unwrap_or(24);
    if !(1..=HOURS_MAX).contains(&hours) {
        return Err(Problem::invalid_query(Some("hours"), format!("hours is 1 to {HOURS_MAX}")));
    }
    let (mut reading, _) = known(&queries, tenant, (tenant.id(), webhook_id), consistency).await?;
    let since = moment(&mut reading).await? - TimeDelta::hours(hours);
    let connection = &mut *reading.connection;
    let standing = sqlx::query_as(STANDING).bind(tenant.id()).bind(webhook_id);
    let standing: Standing = standing.fetch_one(&mut *connection).await.map_err(failed)?;
    let counts = sqlx::query_as(COUNTS).bind(tenant.id()).bind(webhook_id).bind(since);
    let counts: Counts = counts.fetch_one(&mut *connection).await.map_err(failed)?;
    let statuses = sqlx::query_as(STATUSES).bind(tenant.id()).bind(webhook_id).bind(since);
    let statuses: Vec<(String, i64)> = statuses.fetch_all(connection).await.map_err(failed)?;
    let stats = Stats { standing, since, counts, statuses: statuses.into_iter().collect() };
    Ok(Detail::unversioned(stats, reading.position))
}

/// What a webhook's filters would have taken lately. Nothing is sent.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WebhookDryRun")]
struct DryRun {
    /// So many of the tenant's last events were looked at.
    examined: usize,
    /// So many of them the webhook wants.
    wanted: usize,
    /// The latest of those.
    latest: Vec<Wanted>,
}

/// An event that would be delivered.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WebhookDryRunEvent")]
struct Wanted {
    position: i64,
    event_id: Uuid,
    event_type: String,
    occurred_at: DateTime<Utc>,
}

async fn dry_run(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(WebhookPath { webhook_id }): Path<WebhookPath>,
    consistency: ReadConsistency,
    State(queries): State<Queries>,
) -> Result<Detail<DryRun>, Problem> {
    let (mut reading, webhook) = known(&queries, tenant, (tenant.id(), webhook_id), consistency).await?;
    let query = sqlx::query_as(LAST_EVENTS).bind(tenant.id()).bind(DRY_RUN_EVENTS);
    let events: Vec<Event> = query.fetch_all(&mut *reading.connection).await.map_err(failed)?;
    let position: ReadPosition = reading.position;
    drop(reading);
    let wants = |event: &&Event| webhook.filters.matches(&event.event_type) && webhook.filter.matches(*event);
    let wanted: Vec<&Event> = events.iter().filter(wants).collect();
    let shown = |event: &&Event| Wanted {
        position: event.position,
        event_id: event.event_id,
        event_type: event.event_type.clone(),
        occurred_at: event.occurred_at,
    };
    let latest = wanted.iter().take(DRY_RUN_SHOWN).map(shown).collect();
    Ok(Detail::unversioned(DryRun { examined: events.len(), wanted: wanted.len(), latest }, position))
}

fn describe_attempts(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Every attempt to deliver to the webhook's endpoint, oldest first, with what the endpoint answered: status, latency, some \
        headers and the first bytes, never a secret. `next` may be asked for again and again to follow attempts as they happen. Attempts are \
        kept for 30 days.";
    described(operation, "listWebhookAttempts", TAG, "List attempts", description)
}

fn describe_stats(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description =
        "How the webhook's endpoint stands (what waits for it, whether it fails) and what it has answered lately.";
    described(operation, "getWebhookStats", TAG, "Read how an endpoint stands", description)
}

fn describe_dry_run(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description =
        "Which of the tenant's last 1,000 events the webhook's filters want, the latest first. Nothing is sent.";
    described(operation, "dryRunWebhook", TAG, "Try a webhook's filters", description)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::place;

    #[test]
    fn a_place_is_what_a_page_told() {
        let (at, id) = place(&format!("1700000000000001-{}", Uuid::from_u128(7).simple())).unwrap();
        assert_eq!((at.timestamp_micros(), id), (1_700_000_000_000_001, Uuid::from_u128(7)));
        for bad in ["", "-", "x-y", "1700000000000001", "1-2"] {
            assert_eq!(place(bad).unwrap_err().code(), "invalid_query", "{bad}");
        }
    }
}
