//! Evidence for frameworks: what they ask for, the controls that are evidence of it, what was found, and what is done about it.
//!
//! The texts are data of the program; what a control came to is a read model. All of it is the platform's, and every answer says what it is
//! not.

pub(crate) mod controls;
pub(crate) mod dashboard;
pub(crate) mod findings;
pub(crate) mod frameworks;
pub(crate) mod runs;
pub(crate) mod standing;

use hub_http::Routes;

use crate::state::Queries;

/// The tag of the context.
pub(crate) const TAG: &str = "compliance";

pub(crate) fn routes() -> Routes<Queries> {
    let finding = "/v1/compliance/findings/{finding_id}";
    Routes::new()
        .get("/v1/compliance/controls", "control:read", controls::list, controls::describe)
        .get("/v1/compliance/dashboard", "control:read", dashboard::dashboard, dashboard::describe)
        .get("/v1/compliance/frameworks", "control:read", frameworks::list, frameworks::describe_list)
        .get(
            "/v1/compliance/frameworks/{framework_id}",
            "control:read",
            frameworks::detail,
            frameworks::describe_detail,
        )
        .get("/v1/compliance/findings", "finding:read", findings::list, findings::describe_list)
        .get(finding, "finding:read", findings::detail, findings::describe_detail)
        .get("/v1/compliance/runs/{control_run_id}", "control_run:read", runs::detail, runs::describe)
}
