//! Legal holds of a tenant: the list and those on one person or on the tenant itself.

use aide::transform::TransformOperation;
use axum::extract::State;

use hub_http::{
    AsOf, Detail, IfNoneMatch, Page, PageQuery, Path, Problem, ReadConsistency, Routes, TenantCaller,
    openapi::described,
};
use hub_projections::legal_hold::{LegalHoldRow, LegalHoldStatus, LegalHolds};
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
pub(crate) const TAG: &str = "legal-holds";

/// Legal holds of a tenant in the order of their ids.
pub(crate) const LIST: Statement = statement!(
    "SELECT to_jsonb(t) FROM legal_holds t WHERE t.tenant_id = $1",
    [" AND t.id > $3", " AND t.status = $4", permitted!("legal_holds", "$5")],
    " ORDER BY t.id LIMIT $2",
);

/// The holds on one person or on the tenant.
pub(crate) const DETAIL: &str = detail!("legal_holds");

pub(crate) fn routes() -> Routes<Queries> {
    let all = "/v1/tenants/{tenant_id}/legal-holds";
    Routes::new().list(all, "legal_hold:read", list, describe_list).get_as_of(
        &format!("{all}/{{legal_hold_id}}"),
        "legal_hold:read",
        detail,
        describe_detail,
    )
}

#[derive(Debug, Deserialize, JsonSchema)]
struct LegalHoldPath {
    /// The data subject's id, or the tenant's own for a hold on everything.
    legal_hold_id: Uuid,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LegalHoldFilter {
    /// Only those in this status.
    status: Option<LegalHoldStatus>,
}

async fn list(
    caller: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<LegalHoldFilter>,
    State(queries): State<Queries>,
) -> Result<Page<LegalHoldRow>, Problem> {
    let LegalHoldFilter { status } = &query.filter;
    queries.list::<LegalHolds, _>(LIST, caller, consistency, &query, &[name_of(status.as_ref())]).await
}

async fn detail(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(path): Path<LegalHoldPath>,
    consistency: ReadConsistency,
    known: IfNoneMatch,
    as_of: AsOf,
    State(queries): State<Queries>,
) -> Result<Detail<LegalHoldRow>, Problem> {
    let wanted = Wanted {
        tenant,
        id: path.legal_hold_id,
        consistency,
        known: &known,
        past: as_of.0,
        aggregate_type: "legal_hold",
    };
    queries.detail::<LegalHolds>(DETAIL, wanted, |row| row.sequence).await
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description =
        "Whom and what legal holds keep from being erased, in the order of ids; what is free again stays listed.";
    described(operation, "listLegalHolds", TAG, "List legal holds", description)
}

fn describe_detail(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "The matters that hold one person, or the whole tenant. `ETag` is the sequence of the stream, for `If-Match` on its \
                       commands.";
    described(operation, "getLegalHold", TAG, "Read the holds on somebody", description)
}
