//! Monthly recurring revenue at the end of each day, and how it moved on it, per currency.

use aide::transform::TransformOperation;
use axum::extract::State;
use chrono::NaiveDate;
use hub_http::{Caller, Page, PageQuery, PlatformCaller, Problem, ReadConsistency, TenantCaller, openapi::described};
use hub_projections::{analytics::MrrMovements, model::ReadModel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use super::{TAG, days::Days};
use crate::{failure::failed, read::Sight, rows::known_or_filled, state::Queries};

/// Every day of the range for every currency that has moved until its end; `$1` is the tenant, or null for all of them together.
macro_rules! revenue {
    ($first:literal) => {
        concat!(
            "SELECT r.currency, r.day, r.mrr_minor, r.new_minor, r.expansion_minor, r.contraction_minor, r.churn_minor, \
             r.reactivation_minor, r.net_minor \
             FROM ( \
                 SELECT c.currency, d.day, \
                        (c.before_minor + sum(coalesce(m.net_minor, 0)) OVER (PARTITION BY c.currency ORDER BY d.day))::bigint \
                            AS mrr_minor, \
                        coalesce(m.new_minor, 0)::bigint AS new_minor, \
                        coalesce(m.expansion_minor, 0)::bigint AS expansion_minor, \
                        coalesce(m.contraction_minor, 0)::bigint AS contraction_minor, \
                        coalesce(m.churn_minor, 0)::bigint AS churn_minor, \
                        coalesce(m.reactivation_minor, 0)::bigint AS reactivation_minor, \
                        coalesce(m.net_minor, 0)::bigint AS net_minor \
                 FROM ( \
                     SELECT currency, coalesce(sum(net_minor) FILTER (WHERE day < $2), 0) AS before_minor \
                     FROM mrr_movements WHERE ",
            $first,
            " AND day <= $3 AND ($4::text IS NULL OR currency = $4) \
                     GROUP BY currency \
                 ) c \
                 CROSS JOIN (SELECT $2::date + n AS day FROM generate_series(0, $3::date - $2::date) n) d \
                 LEFT JOIN ( \
                     SELECT currency, day, sum(new_minor) AS new_minor, sum(expansion_minor) AS expansion_minor, \
                            sum(contraction_minor) AS contraction_minor, sum(churn_minor) AS churn_minor, \
                            sum(reactivation_minor) AS reactivation_minor, sum(net_minor) AS net_minor \
                     FROM mrr_movements WHERE ",
            $first,
            " AND day BETWEEN $2 AND $3 AND ($4::text IS NULL OR currency = $4) \
                     GROUP BY currency, day \
                 ) m ON m.currency = c.currency AND m.day = d.day \
             ) r \
             WHERE $5::text IS NULL OR (r.currency, r.day) > ($5, $6::date) \
             ORDER BY r.currency, r.day LIMIT $7"
        )
    };
}

/// The revenue from one tenant.
pub(crate) const OF_TENANT: &str = revenue!("tenant_id = $1");

/// The revenue from all tenants.
pub(crate) const OF_PLATFORM: &str = revenue!("$1::uuid IS NULL");

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevenueFilter {
    /// The first day, in UTC.
    from: NaiveDate,
    /// The last day, in UTC; at most 400 days at once.
    to: NaiveDate,
    /// Only this currency, as its ISO 4217 code.
    currency: Option<String>,
}

/// Monthly recurring revenue of one currency on one day. Minor units; none is negative but `net_minor`.
#[derive(Debug, Serialize, JsonSchema, FromRow)]
pub(crate) struct RevenueDay {
    /// ISO 4217 code.
    currency: String,
    /// The day, in UTC.
    day: NaiveDate,
    /// The revenue at the end of the day.
    mrr_minor: i64,
    /// Gained on the day by subscriptions that became active for the first time.
    new_minor: i64,
    /// Gained by more seats or a dearer plan.
    expansion_minor: i64,
    /// Lost by fewer seats or a cheaper plan.
    contraction_minor: i64,
    /// Lost by pauses and cancellations.
    churn_minor: i64,
    /// Gained by the end of pauses.
    reactivation_minor: i64,
    /// Gains less losses of the day.
    net_minor: i64,
}

pub(crate) async fn of_tenant(
    TenantCaller { caller, tenant, .. }: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<RevenueFilter>,
    State(queries): State<Queries>,
) -> Result<Page<RevenueDay>, Problem> {
    revenue(OF_TENANT, tenant.into(), &queries, &caller, consistency, &query).await
}

pub(crate) async fn of_platform(
    PlatformCaller { caller, .. }: PlatformCaller,
    consistency: ReadConsistency,
    query: PageQuery<RevenueFilter>,
    State(queries): State<Queries>,
) -> Result<Page<RevenueDay>, Problem> {
    revenue(OF_PLATFORM, caller.platform()?.into(), &queries, &caller, consistency, &query).await
}

async fn revenue(
    text: &'static str,
    sight: Sight,
    queries: &Queries,
    caller: &Caller,
    consistency: ReadConsistency,
    query: &PageQuery<RevenueFilter>,
) -> Result<Page<RevenueDay>, Problem> {
    let RevenueFilter { from, to, currency } = &query.filter;
    let days = Days::new(*from, *to)?;
    let scope = sight.tenant();
    let after: Option<(String, NaiveDate)> = query.open(&queries.cursor_key, caller, scope)?;
    let mut reading = queries.reach_projection(sight, MrrMovements::NAME, consistency).await?;
    let (after_currency, after_day) = after.unzip();
    let rows: Vec<RevenueDay> = sqlx::query_as(text)
        .bind(scope.map(|tenant| tenant.id()))
        .bind(days.from)
        .bind(days.to)
        .bind(currency.as_deref())
        .bind(after_currency)
        .bind(after_day)
        .bind(query.fetch_limit())
        .fetch_all(&mut *reading.connection)
        .await
        .map_err(failed)?;
    if let Some(tenant) = scope {
        known_or_filled(tenant, &rows, &mut reading.connection).await?;
    }
    let place = |row: &RevenueDay| (row.currency.clone(), row.day);
    Ok(query.page(&queries.cursor_key, caller, scope, rows, place).at(reading.position))
}

pub(crate) fn describe_of_tenant(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Monthly recurring revenue from the tenant: for each currency and each day of the range what it is at the end of \
        the day, summed from the beginning, and how it moved on the day. Days without movement are there too. `from` and `to` are days \
        such as 2025-03-01, both included, at most 400.";
    described(operation, "getTenantRevenue", TAG, "Read the revenue from a tenant", description)
}

pub(crate) fn describe_of_platform(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Monthly recurring revenue from all tenants: for each currency and each day of the range what it is at the end \
        of the day, summed from the beginning, and how it moved on the day. Days without movement are there too. `from` and `to` are \
        days such as 2025-03-01, both included, at most 400. Needs a key of the platform.";
    described(operation, "getRevenue", TAG, "Read the revenue", description)
}
