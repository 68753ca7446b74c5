//! Roles of a tenant: the list, those that a principal holds, and one of them.

use aide::transform::TransformOperation;
use axum::extract::State;
use hub_http::{
    AsOf, Detail, IfNoneMatch, Page, PageQuery, Path, Problem, ReadConsistency, Routes, TenantCaller,
    openapi::described,
};
use hub_projections::{
    model::ReadModel,
    role::{RoleRow, RoleStatus, Roles},
};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    attributes::permitted,
    rows::{Wanted, detail, fetch, known_or_filled, name_of, rows_of},
    state::Queries,
    statement::{Statement, statement},
};

/// The tag of the context.
pub(crate) const TAG: &str = "roles";

/// Roles of a tenant in the order of their ids.
pub(crate) const LIST: Statement = statement!(
    "SELECT to_jsonb(t) FROM roles t WHERE t.tenant_id = $1",
    [
        " AND t.id > $3",
        " AND t.status = $4",
        " AND t.system = $5",
        " AND t.key = $6",
        " AND t.assignments @> jsonb_build_array(jsonb_build_object('principal', $7::text))",
        permitted!("roles", "$8"),
    ],
    " ORDER BY t.id LIMIT $2",
);

/// One role.
pub(crate) const DETAIL: &str = detail!("roles");

pub(crate) fn routes() -> Routes<Queries> {
    Routes::new().list("/v1/tenants/{tenant_id}/roles", "role:read", list, describe_list).get_as_of(
        "/v1/tenants/{tenant_id}/roles/{role_id}",
        "role:read",
        detail,
        describe_detail,
    )
}

#[derive(Debug, Deserialize, JsonSchema)]
struct RolePath {
    /// The role.
    role_id: Uuid,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RoleFilter {
    /// Only roles in this status.
    status: Option<RoleStatus>,
    /// Only the roles that every tenant has (true), or only the others (false).
    system: Option<bool>,
    /// Only roles with this key.
    key: Option<String>,
    /// Only roles that are assigned to this principal, such as `user:ada`, whether or not the time of the assignment has come.
    principal: Option<String>,
}

async fn list(
    TenantCaller { caller, tenant, filter, .. }: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<RoleFilter>,
    State(queries): State<Queries>,
) -> Result<Page<RoleRow>, Problem> {
    let after: Option<Uuid> = query.open(&queries.cursor_key, &caller, Some(tenant))?;
    let mut reading = queries.reach_projection(tenant, Roles::NAME, consistency).await?;
    let RoleFilter { status, system, key, principal } = &query.filter;
    let text = LIST.with([
        after.is_some(),
        status.is_some(),
        system.is_some(),
        key.is_some(),
        principal.is_some(),
        filter.is_some(),
    ]);
    let rows = rows_of(&text)
        .bind(tenant.id())
        .bind(query.fetch_limit())
        .bind(after)
        .bind(name_of(status.as_ref()))
        .bind(system)
        .bind(key.as_deref())
        .bind(principal.as_deref())
        .bind(filter.as_deref());
    let rows = fetch(rows, &mut reading.connection).await?;
    known_or_filled(tenant, &rows, &mut reading.connection).await?;
    Ok(query.page(&queries.cursor_key, &caller, Some(tenant), rows, |row: &RoleRow| row.id).at(reading.position))
}

async fn detail(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(path): Path<RolePath>,
    consistency: ReadConsistency,
    known: IfNoneMatch,
    as_of: AsOf,
    State(queries): State<Queries>,
) -> Result<Detail<RoleRow>, Problem> {
    let wanted = Wanted { tenant, id: path.role_id, consistency, known: &known, past: as_of.0, aggregate_type: "role" };
    queries.detail::<Roles>(DETAIL, wanted, |row| row.sequence).await
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "A tenant's roles in the order of their ids, with permissions, parents and assignments; archived ones included.";
    described(operation, "listRoles", TAG, "List roles", description)
}

fn describe_detail(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "One role. `ETag` is the sequence of its stream, for `If-Match` on its commands.";
    described(operation, "getRole", TAG, "Read a role", description)
}
