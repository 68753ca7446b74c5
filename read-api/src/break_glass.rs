//! Emergency accesses of a tenant: the list and one of them.

use aide::transform::TransformOperation;
use axum::extract::State;

use hub_http::{
    AsOf, Detail, IfNoneMatch, Page, PageQuery, Path, Problem, ReadConsistency, Routes, TenantCaller,
    openapi::described,
};
use hub_projections::break_glass::{BreakGlassRow, BreakGlassStatus, BreakGlasses};
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
pub(crate) const TAG: &str = "break-glass";

/// Emergency accesses of a tenant in the order of their ids.
pub(crate) const LIST: Statement = statement!(
    "SELECT to_jsonb(t) FROM break_glasses t WHERE t.tenant_id = $1",
    [" AND t.id > $3", " AND t.status = $4", permitted!("break_glasses", "$5")],
    " ORDER BY t.id LIMIT $2",
);

/// One emergency access.
pub(crate) const DETAIL: &str = detail!("break_glasses");

pub(crate) fn routes() -> Routes<Queries> {
    let all = "/v1/tenants/{tenant_id}/break-glass";
    Routes::new().list(all, "break_glass:read", list, describe_list).get_as_of(
        &format!("{all}/{{break_glass_id}}"),
        "break_glass:read",
        detail,
        describe_detail,
    )
}

#[derive(Debug, Deserialize, JsonSchema)]
struct BreakGlassPath {
    /// The emergency access.
    break_glass_id: Uuid,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BreakGlassFilter {
    /// Only those in this status.
    status: Option<BreakGlassStatus>,
}

async fn list(
    caller: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<BreakGlassFilter>,
    State(queries): State<Queries>,
) -> Result<Page<BreakGlassRow>, Problem> {
    let BreakGlassFilter { status } = &query.filter;
    queries.list::<BreakGlasses, _>(LIST, caller, consistency, &query, &[name_of(status.as_ref())]).await
}

async fn detail(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(path): Path<BreakGlassPath>,
    consistency: ReadConsistency,
    known: IfNoneMatch,
    as_of: AsOf,
    State(queries): State<Queries>,
) -> Result<Detail<BreakGlassRow>, Problem> {
    let wanted = Wanted {
        tenant,
        id: path.break_glass_id,
        consistency,
        known: &known,
        past: as_of.0,
        aggregate_type: "break_glass",
    };
    queries.detail::<BreakGlasses>(DETAIL, wanted, |row| row.sequence).await
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description =
        "Emergency accesses of a tenant in the order of their ids; those in the status `unreviewed` wait for a review.";
    described(operation, "listBreakGlass", TAG, "List emergency accesses", description)
}

fn describe_detail(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "One emergency access. `ETag` is the sequence of its stream, for `If-Match` on its commands.";
    described(operation, "getBreakGlass", TAG, "Read an emergency access", description)
}
