//! Templates of roles, which are the platform's: the list for the platform, and the same for a tenant that makes roles from them.

use aide::transform::TransformOperation;
use axum::extract::State;
use hub_http::{Page, PageQuery, PlatformCaller, Problem, ReadConsistency, Routes, TenantCaller, openapi::described};
use hub_projections::{
    model::ReadModel,
    role_template::{RoleTemplateRow, RoleTemplateStatus, RoleTemplates},
};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    attributes::permitted,
    rows::{fetch, known_or_filled, name_of, rows_of},
    state::Queries,
    statement::{Statement, statement},
};

/// The tag of the context.
pub(crate) const TAG: &str = "role-templates";

/// All templates in the order of their ids.
pub(crate) const LIST: Statement = statement!(
    "SELECT to_jsonb(t) FROM role_templates t WHERE true",
    [" AND t.id > $2", " AND t.status = $3", permitted!("role_templates", "$4")],
    " ORDER BY t.id LIMIT $1",
);

pub(crate) fn routes() -> Routes<Queries> {
    Routes::new().get("/v1/role-templates", "role_template:read", of_platform, describe_platform).list(
        "/v1/tenants/{tenant_id}/role-templates",
        "role_template:read",
        of_tenant,
        describe_tenant,
    )
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RoleTemplateFilter {
    /// Only those in this status.
    status: Option<RoleTemplateStatus>,
}

async fn of_platform(
    PlatformCaller { caller, .. }: PlatformCaller,
    consistency: ReadConsistency,
    query: PageQuery<RoleTemplateFilter>,
    State(queries): State<Queries>,
) -> Result<Page<RoleTemplateRow>, Problem> {
    let after: Option<Uuid> = query.open(&queries.cursor_key, &caller, None)?;
    let mut reading = queries.reach_projection(caller.platform()?, RoleTemplates::NAME, consistency).await?;
    let RoleTemplateFilter { status } = &query.filter;
    let text = LIST.with([after.is_some(), status.is_some(), false]);
    // The text may be the same as a tenant's, so as many values are bound.
    let nothing = None::<&serde_json::Value>;
    let rows = rows_of(&text).bind(query.fetch_limit()).bind(after).bind(name_of(status.as_ref())).bind(nothing);
    let rows = fetch(rows, &mut reading.connection).await?;
    Ok(query.page(&queries.cursor_key, &caller, None, rows, |row: &RoleTemplateRow| row.id).at(reading.position))
}

async fn of_tenant(
    TenantCaller { caller, tenant, filter, .. }: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<RoleTemplateFilter>,
    State(queries): State<Queries>,
) -> Result<Page<RoleTemplateRow>, Problem> {
    let after: Option<Uuid> = query.open(&queries.cursor_key, &caller, Some(tenant))?;
    let mut reading = queries.reach_projection(tenant, RoleTemplates::NAME, consistency).await?;
    let RoleTemplateFilter { status } = &query.filter;
    let text = LIST.with([after.is_some(), status.is_some(), filter.is_some()]);
    let rows =
        rows_of(&text).bind(query.fetch_limit()).bind(after).bind(name_of(status.as_ref())).bind(filter.as_deref());
    let rows = fetch(rows, &mut reading.connection).await?;
    known_or_filled(tenant, &rows, &mut reading.connection).await?;
    let page = query.page(&queries.cursor_key, &caller, Some(tenant), rows, |row: &RoleTemplateRow| row.id);
    Ok(page.at(reading.position))
}

fn describe_platform(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description =
        "All templates in the order of their ids, each with its latest version. Needs a key of the platform.";
    described(operation, "listRoleTemplates", TAG, "List templates of roles", description)
}

fn describe_tenant(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description =
        "The templates that a tenant can make roles from, in the order of their ids, each with its latest version.";
    described(operation, "listRoleTemplatesForTenant", TAG, "List templates for a tenant", description)
}
