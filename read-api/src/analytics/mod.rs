//! Analytics: tenants, events, revenue and service instances in numbers, for the platform and for one tenant.

pub(crate) mod days;
pub(crate) mod events;
pub(crate) mod instances;
pub(crate) mod revenue;
pub(crate) mod tenants;

use aide::axum::{ApiRouter, routing::get_with};

use crate::state::Queries;

/// The tag of the context.
pub(crate) const TAG: &str = "analytics";

pub(crate) fn routes() -> ApiRouter<Queries> {
    let tenant = "/v1/tenants/{tenant_id}/analytics";
    ApiRouter::new()
        .api_route("/v1/analytics/tenants", get_with(tenants::count, tenants::describe))
        .api_route("/v1/analytics/events", get_with(events::of_platform, events::describe_of_platform))
        .api_route("/v1/analytics/revenue", get_with(revenue::of_platform, revenue::describe_of_platform))
        .api_route("/v1/analytics/service-instances", get_with(instances::of_platform, instances::describe_of_platform))
        .api_route(&format!("{tenant}/events"), get_with(events::of_tenant, events::describe_of_tenant))
        .api_route(&format!("{tenant}/revenue"), get_with(revenue::of_tenant, revenue::describe_of_tenant))
        .api_route(
            &format!("{tenant}/service-instances"),
            get_with(instances::of_tenant, instances::describe_of_tenant),
        )
}
