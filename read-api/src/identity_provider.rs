//! Identity providers of a tenant: the list and one of them.

use aide::transform::TransformOperation;
use axum::extract::State;

use hub_http::{
    AsOf, Detail, IfNoneMatch, Page, PageQuery, Path, Problem, ReadConsistency, Routes, TenantCaller,
    openapi::described,
};
use hub_projections::identity_provider::{IdentityProviderRow, IdentityProviderStatus, IdentityProviders};
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
pub(crate) const TAG: &str = "identity-providers";

/// Identity providers of a tenant in the order of their ids.
pub(crate) const LIST: Statement = statement!(
    "SELECT to_jsonb(t) FROM identity_providers t WHERE t.tenant_id = $1",
    [" AND t.id > $3", " AND t.status = $4", permitted!("identity_providers", "$5")],
    " ORDER BY t.id LIMIT $2",
);

/// One identity provider.
pub(crate) const DETAIL: &str = detail!("identity_providers");

pub(crate) fn routes() -> Routes<Queries> {
    let all = "/v1/tenants/{tenant_id}/identity-providers";
    Routes::new().list(all, "identity_provider:read", list, describe_list).get_as_of(
        &format!("{all}/{{identity_provider_id}}"),
        "identity_provider:read",
        detail,
        describe_detail,
    )
}

#[derive(Debug, Deserialize, JsonSchema)]
struct IdentityProviderPath {
    /// The identity provider.
    identity_provider_id: Uuid,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct IdentityProviderFilter {
    /// Only those in this status.
    status: Option<IdentityProviderStatus>,
}

async fn list(
    caller: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<IdentityProviderFilter>,
    State(queries): State<Queries>,
) -> Result<Page<IdentityProviderRow>, Problem> {
    let IdentityProviderFilter { status } = &query.filter;
    queries.list::<IdentityProviders, _>(LIST, caller, consistency, &query, &[name_of(status.as_ref())]).await
}

async fn detail(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(path): Path<IdentityProviderPath>,
    consistency: ReadConsistency,
    known: IfNoneMatch,
    as_of: AsOf,
    State(queries): State<Queries>,
) -> Result<Detail<IdentityProviderRow>, Problem> {
    let wanted = Wanted {
        tenant,
        id: path.identity_provider_id,
        consistency,
        known: &known,
        past: as_of.0,
        aggregate_type: "identity_provider",
    };
    queries.detail::<IdentityProviders>(DETAIL, wanted, |row| row.sequence).await
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Identity providers of a tenant in the order of their ids, without removed ones.";
    described(operation, "listIdentityProviders", TAG, "List identity providers", description)
}

fn describe_detail(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "One identity provider. `ETag` is the sequence of its stream, for `If-Match` on its commands.";
    described(operation, "getIdentityProvider", TAG, "Read an identity provider", description)
}
