//! How many tenants there are, by status and tier.

use aide::transform::TransformOperation;
use axum::extract::State;
use hub_http::{Detail, PlatformCaller, Problem, ReadConsistency, openapi::described};
use hub_projections::{model::ReadModel, tenant::Tenants};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;

use super::TAG;
use crate::{failure::failed, state::Queries};

/// Tenants by status and tier.
pub(crate) const COUNT: &str =
    "SELECT t.status, t.tier, count(*) AS count FROM tenants t GROUP BY t.status, t.tier ORDER BY t.status, t.tier";

/// Tenants by status and tier.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TenantCounts {
    /// One for each status and tier that a tenant has.
    items: Vec<TenantCount>,
    /// All of them.
    total: i64,
}

/// How many tenants have one status and tier.
#[derive(Debug, Serialize, JsonSchema, FromRow)]
pub(crate) struct TenantCount {
    status: String,
    tier: String,
    count: i64,
}

pub(crate) async fn count(
    PlatformCaller { caller, .. }: PlatformCaller,
    consistency: ReadConsistency,
    State(queries): State<Queries>,
) -> Result<Detail<TenantCounts>, Problem> {
    let mut reading = queries.reach_projection(caller.platform()?, Tenants::NAME, consistency).await?;
    let items: Vec<TenantCount> = sqlx::query_as(COUNT).fetch_all(&mut *reading.connection).await.map_err(failed)?;
    let total = items.iter().map(|item| item.count).sum();
    Ok(Detail::unversioned(TenantCounts { items, total }, reading.position))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description =
        "How many tenants there are now by status and tier, archived ones included. Needs a key of the platform.";
    described(operation, "countTenants", TAG, "Count tenants", description)
}
