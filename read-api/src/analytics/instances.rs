//! How many service instances there are, by service, status and health.

use aide::transform::TransformOperation;
use axum::extract::State;
use hub_http::{Caller, Page, PageQuery, PlatformCaller, Problem, ReadConsistency, TenantCaller, openapi::described};
use hub_projections::{model::ReadModel, service_instance::ServiceInstances};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;

use super::TAG;
use crate::{
    failure::failed,
    read::Sight,
    rows::known_or_filled,
    state::Queries,
    statement::{Statement, statement},
};

macro_rules! counts {
    ($first:literal) => {
        statement!(
            concat!("SELECT i.service, i.status, i.health, count(*) AS count FROM service_instances i WHERE ", $first),
            [" AND (i.service, i.status, coalesce(i.health, '')) > ($3, $4, $5)"],
            " GROUP BY i.service, i.status, i.health ORDER BY i.service, i.status, coalesce(i.health, '') LIMIT $2",
        )
    };
}

/// Instances of one tenant.
pub(crate) const OF_TENANT: Statement = counts!("i.tenant_id = $1");

/// Instances of all tenants.
pub(crate) const OF_PLATFORM: Statement = counts!("$1::uuid IS NULL");

/// How many service instances have one service, status and health.
#[derive(Debug, Serialize, JsonSchema, FromRow)]
pub(crate) struct ServiceInstanceCount {
    service: String,
    status: String,
    /// Null for instances that no health was reported of.
    health: Option<String>,
    count: i64,
}

pub(crate) async fn of_tenant(
    TenantCaller { caller, tenant, .. }: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery,
    State(queries): State<Queries>,
) -> Result<Page<ServiceInstanceCount>, Problem> {
    count(&OF_TENANT, tenant.into(), &queries, &caller, consistency, &query).await
}

pub(crate) async fn of_platform(
    PlatformCaller { caller, .. }: PlatformCaller,
    consistency: ReadConsistency,
    query: PageQuery,
    State(queries): State<Queries>,
) -> Result<Page<ServiceInstanceCount>, Problem> {
    count(&OF_PLATFORM, caller.platform()?.into(), &queries, &caller, consistency, &query).await
}

async fn count(
    statement: &Statement,
    sight: Sight,
    queries: &Queries,
    caller: &Caller,
    consistency: ReadConsistency,
    query: &PageQuery,
) -> Result<Page<ServiceInstanceCount>, Problem> {
    let scope = sight.tenant();
    let after: Option<(String, String, String)> = query.open(&queries.cursor_key, caller, scope)?;
    let mut reading = queries.reach_projection(sight, ServiceInstances::NAME, consistency).await?;
    let text = statement.with([after.is_some()]);
    let (service, status, health) = after.map_or((None, None, None), |(a, b, c)| (Some(a), Some(b), Some(c)));
    let rows: Vec<ServiceInstanceCount> = sqlx::query_as(&text)
        .bind(scope.map(|tenant| tenant.id()))
        .bind(query.fetch_limit())
        .bind(service)
        .bind(status)
        .bind(health)
        .fetch_all(&mut *reading.connection)
        .await
        .map_err(failed)?;
    if let Some(tenant) = scope {
        known_or_filled(tenant, &rows, &mut reading.connection).await?;
    }
    let place =
        |row: &ServiceInstanceCount| (row.service.clone(), row.status.clone(), row.health.clone().unwrap_or_default());
    Ok(query.page(&queries.cursor_key, caller, scope, rows, place).at(reading.position))
}

pub(crate) fn describe_of_tenant(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description =
        "How many service instances the tenant has now by service, status and health, deprovisioned ones included.";
    described(operation, "countTenantServiceInstances", TAG, "Count a tenant's service instances", description)
}

pub(crate) fn describe_of_platform(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "How many service instances there are now by service, status and health, deprovisioned ones included. Needs a \
        key of the platform.";
    described(operation, "countServiceInstances", TAG, "Count service instances", description)
}
