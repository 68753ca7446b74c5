//! Inbound sources of a tenant: the list and one of them, never a secret.

use aide::transform::TransformOperation;
use axum::extract::State;
use hub_http::{
    AsOf, Detail, IfNoneMatch, Page, PageQuery, Path, Problem, ReadConsistency, Routes, TenantCaller,
    openapi::described,
};
use hub_projections::inbound_source::{InboundSourceRow, InboundSourceStatus, InboundSources};
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
pub(crate) const TAG: &str = "inbound-sources";

/// Inbound sources of a tenant in the order of their ids.
pub(crate) const LIST: Statement = statement!(
    "SELECT to_jsonb(t) FROM inbound_sources t WHERE t.tenant_id = $1",
    [" AND t.id > $3", " AND t.status = $4", permitted!("inbound_sources", "$5")],
    " ORDER BY t.id LIMIT $2",
);

/// One inbound source.
pub(crate) const DETAIL: &str = detail!("inbound_sources");

pub(crate) fn routes() -> Routes<Queries> {
    let all = "/v1/tenants/{tenant_id}/inbound-sources";
    Routes::new().list(all, "inbound_source:read", list, describe_list).get_as_of(
        &format!("{all}/{{inbound_source_id}}"),
        "inbound_source:read",
        detail,
        describe_detail,
    )
}

#[derive(Debug, Deserialize, JsonSchema)]
struct InboundSourcePath {
    /// The inbound source.
    inbound_source_id: Uuid,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct InboundSourceFilter {
    /// Only sources in this status.
    status: Option<InboundSourceStatus>,
}

async fn list(
    caller: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<InboundSourceFilter>,
    State(queries): State<Queries>,
) -> Result<Page<InboundSourceRow>, Problem> {
    let InboundSourceFilter { status } = &query.filter;
    queries.list::<InboundSources, _>(LIST, caller, consistency, &query, &[name_of(status.as_ref())]).await
}

async fn detail(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(path): Path<InboundSourcePath>,
    consistency: ReadConsistency,
    known: IfNoneMatch,
    as_of: AsOf,
    State(queries): State<Queries>,
) -> Result<Detail<InboundSourceRow>, Problem> {
    let wanted = Wanted {
        tenant,
        id: path.inbound_source_id,
        consistency,
        known: &known,
        past: as_of.0,
        aggregate_type: "inbound_source",
    };
    queries.detail::<InboundSources>(DETAIL, wanted, |row| row.sequence).await
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "A tenant's inbound sources in the order of their ids, without removed ones.";
    described(operation, "listInboundSources", TAG, "List inbound sources", description)
}

fn describe_detail(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description =
        "One inbound source, without its secret. `ETag` is the sequence of its stream, for `If-Match` on its commands.";
    described(operation, "getInboundSource", TAG, "Read an inbound source", description)
}
