//! Service instances of a tenant: the list and one of them.

use aide::transform::TransformOperation;
use axum::extract::State;
use hub_http::{
    AsOf, Detail, IfNoneMatch, Page, PageQuery, Path, Problem, ReadConsistency, Routes, TenantCaller,
    openapi::described,
};
use hub_projections::{
    model::ReadModel,
    service_instance::{ServiceInstanceRow, ServiceInstances},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    attributes::permitted,
    rows::{Wanted, detail, fetch, known_or_filled, name_of, rows_of},
    state::Queries,
    statement::{Statement, statement},
};

/// The tag of the context.
pub(crate) const TAG: &str = "service-instances";

/// Service instances of a tenant in the order of their ids.
pub(crate) const LIST: Statement = statement!(
    "SELECT to_jsonb(t) FROM service_instances t WHERE t.tenant_id = $1",
    [
        " AND t.id > $3",
        " AND t.service = $4",
        " AND t.status = $5",
        " AND t.health = $6",
        " AND t.subscription_id = $7",
        permitted!("service_instances", "$8"),
    ],
    " ORDER BY t.id LIMIT $2",
);

/// One service instance.
pub(crate) const DETAIL: &str = detail!("service_instances");

pub(crate) fn routes() -> Routes<Queries> {
    Routes::new()
        .list("/v1/tenants/{tenant_id}/service-instances", "service_instance:read", list, describe_list)
        .get_as_of(
            "/v1/tenants/{tenant_id}/service-instances/{service_instance_id}",
            "service_instance:read",
            detail,
            describe_detail,
        )
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ServiceInstancePath {
    /// The service instance.
    service_instance_id: Uuid,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ServiceInstanceFilter {
    /// Only instances of this service.
    service: Option<String>,
    /// Only instances in this status.
    status: Option<InstanceStatusFilter>,
    /// Only instances whose last report told this health.
    health: Option<HealthFilter>,
    /// Only instances that belong to this subscription.
    subscription_id: Option<Uuid>,
}

/// The statuses that service instances can be looked for by.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum InstanceStatusFilter {
    Provisioning,
    ProvisionFailed,
    Ready,
    Suspended,
    Deprovisioned,
}

/// The healths that service instances can be looked for by.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum HealthFilter {
    Healthy,
    Degraded,
    Down,
}

async fn list(
    TenantCaller { caller, tenant, filter, .. }: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<ServiceInstanceFilter>,
    State(queries): State<Queries>,
) -> Result<Page<ServiceInstanceRow>, Problem> {
    let after: Option<Uuid> = query.open(&queries.cursor_key, &caller, Some(tenant))?;
    let mut reading = queries.reach_projection(tenant, ServiceInstances::NAME, consistency).await?;
    let ServiceInstanceFilter { service, status, health, subscription_id } = &query.filter;
    let text = LIST.with([
        after.is_some(),
        service.is_some(),
        status.is_some(),
        health.is_some(),
        subscription_id.is_some(),
        filter.is_some(),
    ]);
    let rows = rows_of(&text)
        .bind(tenant.id())
        .bind(query.fetch_limit())
        .bind(after)
        .bind(service.as_deref())
        .bind(name_of(status.as_ref()))
        .bind(name_of(health.as_ref()))
        .bind(subscription_id)
        .bind(filter.as_deref());
    let rows = fetch(rows, &mut reading.connection).await?;
    known_or_filled(tenant, &rows, &mut reading.connection).await?;
    Ok(query
        .page(&queries.cursor_key, &caller, Some(tenant), rows, |row: &ServiceInstanceRow| row.id)
        .at(reading.position))
}

async fn detail(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(path): Path<ServiceInstancePath>,
    consistency: ReadConsistency,
    known: IfNoneMatch,
    as_of: AsOf,
    State(queries): State<Queries>,
) -> Result<Detail<ServiceInstanceRow>, Problem> {
    let wanted = Wanted {
        tenant,
        id: path.service_instance_id,
        consistency,
        known: &known,
        past: as_of.0,
        aggregate_type: "service_instance",
    };
    queries.detail::<ServiceInstances>(DETAIL, wanted, |row| row.sequence).await
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "A tenant's service instances in the order of their ids, deprovisioned ones included.";
    described(operation, "listServiceInstances", TAG, "List service instances", description)
}

fn describe_detail(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "One service instance. `ETag` is the sequence of its stream, for `If-Match` on its commands.";
    described(operation, "getServiceInstance", TAG, "Read a service instance", description)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::testing::same_names;

    #[test]
    fn instances_are_looked_for_by_the_names_they_are_kept_under() {
        use InstanceStatusFilter::{Deprovisioned, ProvisionFailed, Provisioning, Ready, Suspended};
        same_names(&[Provisioning, ProvisionFailed, Ready, Suspended, Deprovisioned], |row: &ServiceInstanceRow| {
            &row.status
        });
        let healths = [Some(HealthFilter::Healthy), Some(HealthFilter::Degraded), Some(HealthFilter::Down)];
        same_names(&healths, |row: &ServiceInstanceRow| &row.health);
    }
}
