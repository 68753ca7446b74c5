//! For how long a tenant keeps the personal data of each class of events.

use aide::transform::TransformOperation;
use axum::extract::State;
use hub_http::{Detail, Problem, ReadConsistency, Routes, TenantCaller, openapi::described};
use hub_projections::{
    model::ReadModel,
    retention_policy::{RetainedClass, RetentionClassRow, RetentionClasses, retained},
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    rows::{fetch, known_or_filled, rows_of},
    state::Queries,
};

/// The tag of the context.
pub(crate) const TAG: &str = "retention";

/// What a tenant has ordered, and what became of it; at most one row a class.
pub(crate) const OF_TENANT: &str =
    "SELECT to_jsonb(t) FROM retention_classes t WHERE t.tenant_id = $1 ORDER BY t.class LIMIT 100";

pub(crate) fn routes() -> Routes<Queries> {
    Routes::new().get("/v1/tenants/{tenant_id}/retention-policy", "retention_policy:read", policy, describe)
}

/// How long a tenant keeps what.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RetentionPolicy")]
struct Policy {
    /// Every class that there is.
    classes: Vec<RetainedClass>,
}

async fn policy(
    TenantCaller { tenant, .. }: TenantCaller,
    consistency: ReadConsistency,
    State(queries): State<Queries>,
) -> Result<Detail<Policy>, Problem> {
    let mut reading = queries.reach_projection(tenant, RetentionClasses::NAME, consistency).await?;
    let rows: Vec<RetentionClassRow> = fetch(rows_of(OF_TENANT).bind(tenant.id()), &mut reading.connection).await?;
    known_or_filled(tenant, &rows, &mut reading.connection).await?;
    Ok(Detail::unversioned(Policy { classes: retained(&rows) }, reading.position))
}

fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "For how long the tenant keeps the personal data of each class of events, within which bounds, and until which month \
                       it is destroyed already.";
    described(operation, "getRetentionPolicy", TAG, "Read how long what is kept", description)
}
