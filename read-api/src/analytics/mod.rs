//! Analytics: tenants, events, revenue and service instances in numbers, for the platform and for one tenant.

pub(crate) mod days;
pub(crate) mod events;
pub(crate) mod instances;
pub(crate) mod revenue;
pub(crate) mod tenants;

use hub_http::Routes;

use crate::state::Queries;

/// The tag of the context.
pub(crate) const TAG: &str = "analytics";

pub(crate) fn routes() -> Routes<Queries> {
    let tenant = "/v1/tenants/{tenant_id}/analytics";
    Routes::new()
        .get("/v1/analytics/tenants", "analytics:read", tenants::count, tenants::describe)
        .get("/v1/analytics/events", "analytics:read", events::of_platform, events::describe_of_platform)
        .get("/v1/analytics/revenue", "analytics:read", revenue::of_platform, revenue::describe_of_platform)
        .get(
            "/v1/analytics/service-instances",
            "analytics:read",
            instances::of_platform,
            instances::describe_of_platform,
        )
        .get(&format!("{tenant}/events"), "analytics:read", events::of_tenant, events::describe_of_tenant)
        .get(&format!("{tenant}/revenue"), "analytics:read", revenue::of_tenant, revenue::describe_of_tenant)
        .get(
            &format!("{tenant}/service-instances"),
            "analytics:read",
            instances::of_tenant,
            instances::describe_of_tenant,
        )
}
