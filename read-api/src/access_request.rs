//! Access requests of a tenant: the list and one of them.

use aide::transform::TransformOperation;
use axum::extract::State;
use hub_http::{
    AsOf, Detail, IfNoneMatch, Page, PageQuery, Path, Problem, ReadConsistency, Routes, TenantCaller,
    openapi::described,
};
use hub_projections::access_request::{AccessRequestRow, AccessRequestStatus, AccessRequests};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    attributes::permitted,
    rows::{Wanted, detail, name_of},
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
    caller: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<AccessRequestFilter>,
    State(queries): State<Queries>,
) -> Result<Page<AccessRequestRow>, Problem> {
    let AccessRequestFilter { status, requested_by } = &query.filter;
    queries
        .list::<AccessRequests, _>(LIST, caller, consistency, &query, &[name_of(status.as_ref()), requested_by.clone()])
        .await
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
