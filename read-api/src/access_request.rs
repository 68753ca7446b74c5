//! Access requests of a tenant: the list and one of them.

use aide::transform::TransformOperation;
use axum::extract::State;
use hub_http::{
    AsOf, Detail, IfNoneMatch, Page, PageQuery, Path, Problem, ReadConsistency, Routes, TenantCaller,
    openapi::described,
};
use hub_projections::{
    access_request::{AccessRequestRow, AccessRequestStatus, AccessRequests},
    model::ReadModel,
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
pub(crate) const TAG: &str = "access-requests";

/// Access requests of a tenant in the order of their ids.
pub(crate) const LIST: Statement = statement!(
    "SELECT to_jsonb(t) FROM access_requests t WHERE t.tenant_id = $1",
    [" AND t.id > $3", " AND t.status = $4", " AND t.requested_by = $5", permitted!("access_requests", "$6")],
    " ORDER BY t.id LIMIT $2",
);

/// One access request.
pub(crate) const DETAIL: &str = detail!("access_requests");

pub(crate) fn routes() -> Routes<Queries> {
    let all = "/v1/tenants/{tenant_id}/access-requests";
    Routes::new().list(all, "access_request:read", list, describe_list).get_as_of(
        &format!("{all}/{{access_request_id}}"),
        "access_request:read",
        detail,
        describe_detail,
    )
}

#[derive(Debug, Deserialize, JsonSchema)]
struct AccessRequestPath {
    /// The access request.
    access_request_id: Uuid,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AccessRequestFilter {
    /// Only those in this status.
    status: Option<AccessRequestStatus>,
    /// Only those of this principal.
    requested_by: Option<String>,
}

async fn list(
    TenantCaller { caller, tenant, filter, .. }: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<AccessRequestFilter>,
    State(queries): State<Queries>,
) -> Result<Page<AccessRequestRow>, Problem> {
    let after: Option<Uuid> = query.open(&queries.cursor_key, &caller, Some(tenant))?;
    let mut reading = queries.reach_projection(tenant, AccessRequests::NAME, consistency).await?;
    let AccessRequestFilter { status, requested_by } = &query.filter;
    let text = LIST.with([after.is_some(), status.is_some(), requested_by.is_some(), filter.is_some()]);
    let rows = rows_of(&text)
        .bind(tenant.id())
        .bind(query.fetch_limit())
        .bind(after)
        .bind(name_of(status.as_ref()))
        .bind(requested_by.as_deref())
        .bind(filter.as_deref());
    let rows = fetch(rows, &mut reading.connection).await?;
    known_or_filled(tenant, &rows, &mut reading.connection).await?;
    Ok(query
        .page(&queries.cursor_key, &caller, Some(tenant), rows, |row: &AccessRequestRow| row.id)
        .at(reading.position))
}

async fn detail(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(path): Path<AccessRequestPath>,
    consistency: ReadConsistency,
    known: IfNoneMatch,
    as_of: AsOf,
    State(queries): State<Queries>,
) -> Result<Detail<AccessRequestRow>, Problem> {
    let wanted = Wanted {
        tenant,
        id: path.access_request_id,
        consistency,
        known: &known,
        past: as_of.0,
        aggregate_type: "access_request",
    };
    queries.detail::<AccessRequests>(DETAIL, wanted, |row| row.sequence).await
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Access requests of a tenant in the order of their ids, with what became of each.";
    described(operation, "listAccessRequests", TAG, "List access requests", description)
}

fn describe_detail(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "One access request. `ETag` is the sequence of its stream, for `If-Match` on its commands.";
    described(operation, "getAccessRequest", TAG, "Read an access request", description)
}
