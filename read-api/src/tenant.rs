//! Tenants: the list for the platform, and one tenant for whoever may see it.

use aide::transform::TransformOperation;
use axum::extract::State;
use hub_http::{
    AsOf, Detail, IfNoneMatch, Page, PageQuery, PlatformCaller, Problem, ReadConsistency, Routes, TenantCaller,
    openapi::described,
};
use hub_projections::{
    model::ReadModel,
    tenant::{TenantRow, TenantStatus, Tenants},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    rows::{Wanted, detail, fetch, name_of, rows_of},
    state::Queries,
    statement::{Statement, statement},
};

/// The tag of the context.
pub(crate) const TAG: &str = "tenants";

/// Tenants in the order of their ids.
pub(crate) const LIST: Statement = statement!(
    "SELECT to_jsonb(t) FROM tenants t WHERE true",
    [" AND t.tenant_id > $2", " AND t.status = $3", " AND t.tier = $4", " AND t.region = $5", " AND t.slug = $6",],
    " ORDER BY t.tenant_id LIMIT $1",
);

/// One tenant.
pub(crate) const DETAIL: &str = detail!("tenants");

pub(crate) fn routes() -> Routes<Queries> {
    Routes::new().get("/v1/tenants", "tenant:read", list, describe_list).get_as_of(
        "/v1/tenants/{tenant_id}",
        "tenant:read",
        detail,
        describe_detail,
    )
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TenantFilter {
    /// Only tenants in this status.
    status: Option<TenantStatus>,
    /// Only tenants of this tier.
    tier: Option<TierFilter>,
    /// Only tenants of this region.
    region: Option<String>,
    /// Only the tenant with this slug.
    slug: Option<String>,
}

/// The tiers that tenants can be looked for by.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum TierFilter {
    Starter,
    Professional,
    Enterprise,
}

async fn list(
    PlatformCaller { caller, .. }: PlatformCaller,
    consistency: ReadConsistency,
    query: PageQuery<TenantFilter>,
    State(queries): State<Queries>,
) -> Result<Page<TenantRow>, Problem> {
    let after: Option<Uuid> = query.open(&queries.cursor_key, &caller, None)?;
    let mut reading = queries.reach_projection(caller.platform()?, Tenants::NAME, consistency).await?;
    let TenantFilter { status, tier, region, slug } = &query.filter;
    let text = LIST.with([after.is_some(), status.is_some(), tier.is_some(), region.is_some(), slug.is_some()]);
    let rows = rows_of(&text)
        .bind(query.fetch_limit())
        .bind(after)
        .bind(name_of(status.as_ref()))
        .bind(name_of(tier.as_ref()))
        .bind(region.as_deref())
        .bind(slug.as_deref());
    let mut rows = fetch(rows, &mut reading.connection).await?;
    queries.open::<Tenants>(&mut rows).await?;
    Ok(query.page(&queries.cursor_key, &caller, None, rows, |row: &TenantRow| row.id).at(reading.position))
}

async fn detail(
    TenantCaller { tenant, .. }: TenantCaller,
    consistency: ReadConsistency,
    known: IfNoneMatch,
    as_of: AsOf,
    State(queries): State<Queries>,
) -> Result<Detail<TenantRow>, Problem> {
    let wanted =
        Wanted { tenant, id: tenant.id(), consistency, known: &known, past: as_of.0, aggregate_type: "tenant" };
    queries.detail::<Tenants>(DETAIL, wanted, |row| row.sequence).await
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "All tenants in the order of their ids, which is about the order in which they registered. Needs a key of the \
        platform.";
    described(operation, "listTenants", TAG, "List tenants", description)
}

fn describe_detail(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "One tenant. `ETag` is the sequence of its stream, for `If-Match` on its commands.";
    described(operation, "getTenant", TAG, "Read a tenant", description)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::testing::same_names;

    #[test]
    fn tiers_are_looked_for_by_the_names_they_are_kept_under() {
        same_names(&[TierFilter::Starter, TierFilter::Professional, TierFilter::Enterprise], |row: &TenantRow| {
            &row.tier
        });
    }
}
