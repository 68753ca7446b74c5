//! How many events there were, by day and type.

use aide::transform::TransformOperation;
use axum::extract::State;
use chrono::NaiveDate;
use hub_http::{
    Caller, Page, PageQuery, PlatformCaller, Problem, ReadConsistency, ReadPosition, TenantCaller, TenantScope,
    openapi::described,
};
use hub_projections::{analytics::EventCounts, model::ReadModel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

use super::{TAG, days::Days};
use crate::{
    event_type::EventTypeFilter,
    failure::failed,
    read::Sight,
    rows::known_or_filled,
    state::Queries,
    statement::{Statement, statement},
};

macro_rules! counts {
    ($first:literal) => {
        statement!(
            concat!(
                "SELECT e.day, e.event_type, sum(e.count)::bigint AS count FROM event_counts e WHERE ",
                $first,
                " AND e.day BETWEEN $2 AND $3"
            ),
            [
                " AND e.tenant_id = $1",
                " AND e.event_type = $5",
                " AND starts_with(e.event_type, $6)",
                " AND (e.day, e.event_type) > ($7, $8)",
            ],
            " GROUP BY e.day, e.event_type ORDER BY e.day, e.event_type LIMIT $4",
        )
    };
}

/// Events of one tenant.
pub(crate) const OF_TENANT: Statement = counts!("e.tenant_id = $1");

/// Events of all tenants.
pub(crate) const OF_PLATFORM: Statement = counts!("true");

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventCountFilter {
    /// The first day, in UTC.
    from: NaiveDate,
    /// The last day, in UTC; at most 400 days are counted at once.
    to: NaiveDate,
    /// Only this type, or all types of an aggregate: `tenant.suspended`, `tenant.*`.
    event_type: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlatformEventCountFilter {
    /// The first day, in UTC.
    from: NaiveDate,
    /// The last day, in UTC; at most 400 days are counted at once.
    to: NaiveDate,
    /// Only events of this tenant.
    tenant_id: Option<Uuid>,
    /// Only this type, or all types of an aggregate: `tenant.suspended`, `tenant.*`.
    event_type: Option<String>,
}

/// How many events of one type there were on one day.
#[derive(Debug, Serialize, JsonSchema, FromRow)]
#[schemars(rename = "EventCount")]
pub(crate) struct EventCountAnswer {
    /// The day, in UTC.
    day: NaiveDate,
    event_type: String,
    count: i64,
}

pub(crate) async fn of_tenant(
    TenantCaller { caller, tenant, .. }: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<EventCountFilter>,
    State(queries): State<Queries>,
) -> Result<Page<EventCountAnswer>, Problem> {
    let EventCountFilter { from, to, event_type } = &query.filter;
    let count = Count {
        statement: &OF_TENANT,
        sight: tenant.into(),
        tenant_id: None,
        days: Days::new(*from, *to)?,
        event_type: event_type.as_deref(),
    };
    let (rows, position) = count.read(&queries, &caller, consistency, &query).await?;
    Ok(page(&query, &queries, &caller, Some(tenant), rows).at(position))
}

pub(crate) async fn of_platform(
    PlatformCaller { caller, .. }: PlatformCaller,
    consistency: ReadConsistency,
    query: PageQuery<PlatformEventCountFilter>,
    State(queries): State<Queries>,
) -> Result<Page<EventCountAnswer>, Problem> {
    let PlatformEventCountFilter { from, to, tenant_id, event_type } = &query.filter;
    let count = Count {
        statement: &OF_PLATFORM,
        sight: caller.platform()?.into(),
        tenant_id: *tenant_id,
        days: Days::new(*from, *to)?,
        event_type: event_type.as_deref(),
    };
    let (rows, position) = count.read(&queries, &caller, consistency, &query).await?;
    Ok(page(&query, &queries, &caller, None, rows).at(position))
}

fn page<F>(
    query: &PageQuery<F>,
    queries: &Queries,
    caller: &Caller,
    scope: Option<TenantScope>,
    rows: Vec<EventCountAnswer>,
) -> Page<EventCountAnswer> {
    query.page(&queries.cursor_key, caller, scope, rows, |row| (row.day, row.event_type.clone()))
}

struct Count<'a> {
    statement: &'static Statement,
    /// The tenant that the caller is bound to, with which the statement then begins, or the platform.
    sight: Sight,
    /// The tenant that the platform looks for.
    tenant_id: Option<Uuid>,
    days: Days,
    event_type: Option<&'a str>,
}

impl Count<'_> {
    async fn read<F>(
        &self,
        queries: &Queries,
        caller: &Caller,
        consistency: ReadConsistency,
        query: &PageQuery<F>,
    ) -> Result<(Vec<EventCountAnswer>, ReadPosition), Problem> {
        let after: Option<(NaiveDate, String)> = query.open(&queries.cursor_key, caller, self.sight.tenant())?;
        let event_type = self.event_type.map(EventTypeFilter::parse).transpose()?;
        let exact = EventTypeFilter::exact(event_type.as_ref());
        let prefix = EventTypeFilter::prefix(event_type.as_ref());
        let mut reading = queries.reach_projection(self.sight, EventCounts::NAME, consistency).await?;
        let text = self.statement.with([self.tenant_id.is_some(), exact.is_some(), prefix.is_some(), after.is_some()]);
        let (after_day, after_type) = after.unzip();
        let rows = sqlx::query_as(&text)
            .bind(self.sight.tenant().map(|tenant| tenant.id()).or(self.tenant_id))
            .bind(self.days.from)
            .bind(self.days.to)
            .bind(query.fetch_limit())
            .bind(exact)
            .bind(prefix)
            .bind(after_day)
            .bind(after_type)
            .fetch_all(&mut *reading.connection)
            .await
            .map_err(failed)?;
        if let Some(tenant) = self.sight.tenant() {
            known_or_filled(tenant, &rows, &mut reading.connection).await?;
        }
        Ok((rows, reading.position))
    }
}

pub(crate) fn describe_of_tenant(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "How many events of each type the tenant had on each day, oldest day first. Days without events are left out. \
        `from` and `to` are days such as 2025-03-01, both included, at most 400.";
    described(operation, "countTenantEvents", TAG, "Count a tenant's events", description)
}

pub(crate) fn describe_of_platform(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "How many events of each type there were on each day, over all tenants or in one of them, oldest day first. \
        Days without events are left out. `from` and `to` are days such as 2025-03-01, both included, at most 400. Needs a key of \
        the platform.";
    described(operation, "countEvents", TAG, "Count events", description)
}
