//! Sets of duties of a tenant: the list and one of them.

use aide::transform::TransformOperation;
use axum::extract::State;

use hub_http::{
    AsOf, Detail, IfNoneMatch, Page, PageQuery, Path, Problem, ReadConsistency, Routes, TenantCaller,
    openapi::described,
};
use hub_projections::duty_set::{DutySetRow, DutySets};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    attributes::permitted,
    rows::{Wanted, detail},
    state::Queries,
    statement::{Statement, statement},
};

/// The tag of the context.
pub(crate) const TAG: &str = "duty-sets";

/// Sets of duties of a tenant in the order of their ids.
pub(crate) const LIST: Statement = statement!(
    "SELECT to_jsonb(t) FROM duty_sets t WHERE t.tenant_id = $1",
    [" AND t.id > $3", " AND t.key = $4", permitted!("duty_sets", "$5")],
    " ORDER BY t.id LIMIT $2",
);

/// One set of duties.
pub(crate) const DETAIL: &str = detail!("duty_sets");

pub(crate) fn routes() -> Routes<Queries> {
    let all = "/v1/tenants/{tenant_id}/duty-sets";
    Routes::new().list(all, "duty_set:read", list, describe_list).get_as_of(
        &format!("{all}/{{duty_set_id}}"),
        "duty_set:read",
        detail,
        describe_detail,
    )
}

#[derive(Debug, Deserialize, JsonSchema)]
struct DutySetPath {
    /// The set of duties.
    duty_set_id: Uuid,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DutySetFilter {
    /// Only the one with this key.
    key: Option<String>,
}

async fn list(
    caller: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<DutySetFilter>,
    State(queries): State<Queries>,
) -> Result<Page<DutySetRow>, Problem> {
    let DutySetFilter { key } = &query.filter;
    queries.list::<DutySets, _>(LIST, caller, consistency, &query, std::slice::from_ref(key)).await
}

async fn detail(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(path): Path<DutySetPath>,
    consistency: ReadConsistency,
    known: IfNoneMatch,
    as_of: AsOf,
    State(queries): State<Queries>,
) -> Result<Detail<DutySetRow>, Problem> {
    let wanted =
        Wanted { tenant, id: path.duty_set_id, consistency, known: &known, past: as_of.0, aggregate_type: "duty_set" };
    queries.detail::<DutySets>(DETAIL, wanted, |row| row.sequence).await
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Sets of duties of a tenant in the order of their ids, without removed ones.";
    described(operation, "listDutySets", TAG, "List sets of duties", description)
}

fn describe_detail(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "One set of duties. `ETag` is the sequence of its stream, for `If-Match` on its commands.";
    described(operation, "getDutySet", TAG, "Read a set of duties", description)
}
