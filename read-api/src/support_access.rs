//! Support accesses of a tenant: the list and one of them.

use aide::transform::TransformOperation;
use axum::extract::State;

use hub_http::{
    AsOf, Detail, IfNoneMatch, Page, PageQuery, Path, Problem, ReadConsistency, Routes, TenantCaller,
    openapi::described,
};
use hub_projections::support_access::{SupportAccessRow, SupportAccessStatus, SupportAccesses};
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
pub(crate) const TAG: &str = "support-access";

/// Support accesses of a tenant in the order of their ids.
pub(crate) const LIST: Statement = statement!(
    "SELECT to_jsonb(t) FROM support_accesses t WHERE t.tenant_id = $1",
    [" AND t.id > $3", " AND t.status = $4", permitted!("support_accesses", "$5")],
    " ORDER BY t.id LIMIT $2",
);

/// One support access.
pub(crate) const DETAIL: &str = detail!("support_accesses");

pub(crate) fn routes() -> Routes<Queries> {
    let all = "/v1/tenants/{tenant_id}/support-access";
    Routes::new().list(all, "support_access:read", list, describe_list).get_as_of(
        &format!("{all}/{{support_access_id}}"),
        "support_access:read",
        detail,
        describe_detail,
    )
}

#[derive(Debug, Deserialize, JsonSchema)]
struct SupportAccessPath {
    /// The support access.
    support_access_id: Uuid,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SupportAccessFilter {
    /// Only those in this status.
    status: Option<SupportAccessStatus>,
}

async fn list(
    caller: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<SupportAccessFilter>,
    State(queries): State<Queries>,
) -> Result<Page<SupportAccessRow>, Problem> {
    let SupportAccessFilter { status } = &query.filter;
    queries.list::<SupportAccesses, _>(LIST, caller, consistency, &query, &[name_of(status.as_ref())]).await
}

async fn detail(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(path): Path<SupportAccessPath>,
    consistency: ReadConsistency,
    known: IfNoneMatch,
    as_of: AsOf,
    State(queries): State<Queries>,
) -> Result<Detail<SupportAccessRow>, Problem> {
    let wanted = Wanted {
        tenant,
        id: path.support_access_id,
        consistency,
        known: &known,
        past: as_of.0,
        aggregate_type: "support_access",
    };
    queries.detail::<SupportAccesses>(DETAIL, wanted, |row| row.sequence).await
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description =
        "Support accesses of a tenant in the order of their ids: what the staff of the platform may do there.";
    described(operation, "listSupportAccess", TAG, "List support accesses", description)
}

fn describe_detail(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "One support access. `ETag` is the sequence of its stream, for `If-Match` on its commands.";
    described(operation, "getSupportAccess", TAG, "Read a support access", description)
}
