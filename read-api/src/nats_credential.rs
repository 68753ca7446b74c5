//! NATS credentials that were issued for a tenant: the list and one of them, never the credential itself.

use aide::transform::TransformOperation;
use axum::extract::State;
use hub_http::{
    AsOf, Detail, IfNoneMatch, Page, PageQuery, Path, Problem, ReadConsistency, Routes, TenantCaller,
    openapi::described,
};
use hub_projections::nats_credential::{NatsCredentialRow, NatsCredentials};
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
pub(crate) const TAG: &str = "nats-credentials";

/// NATS credentials of a tenant in the order of their ids.
pub(crate) const LIST: Statement = statement!(
    "SELECT to_jsonb(t) FROM nats_credentials t WHERE t.tenant_id = $1",
    [" AND t.id > $3", " AND t.public_key = $4", permitted!("nats_credentials", "$5")],
    " ORDER BY t.id LIMIT $2",
);

/// One NATS credential.
pub(crate) const DETAIL: &str = detail!("nats_credentials");

pub(crate) fn routes() -> Routes<Queries> {
    let all = "/v1/tenants/{tenant_id}/nats-credentials";
    Routes::new().list(all, "nats_credential:read", list, describe_list).get_as_of(
        &format!("{all}/{{nats_credential_id}}"),
        "nats_credential:read",
        detail,
        describe_detail,
    )
}

#[derive(Debug, Deserialize, JsonSchema)]
struct NatsCredentialPath {
    /// The credential.
    nats_credential_id: Uuid,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NatsCredentialFilter {
    /// Only the one with this public key.
    public_key: Option<String>,
}

async fn list(
    caller: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<NatsCredentialFilter>,
    State(queries): State<Queries>,
) -> Result<Page<NatsCredentialRow>, Problem> {
    let NatsCredentialFilter { public_key } = &query.filter;
    queries.list::<NatsCredentials, _>(LIST, caller, consistency, &query, std::slice::from_ref(public_key)).await
}

async fn detail(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(path): Path<NatsCredentialPath>,
    consistency: ReadConsistency,
    known: IfNoneMatch,
    as_of: AsOf,
    State(queries): State<Queries>,
) -> Result<Detail<NatsCredentialRow>, Problem> {
    let wanted = Wanted {
        tenant,
        id: path.nats_credential_id,
        consistency,
        known: &known,
        past: as_of.0,
        aggregate_type: "nats_credential",
    };
    queries.detail::<NatsCredentials>(DETAIL, wanted, |row| row.sequence).await
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "What was issued for a tenant, in the order of ids, which is that of time; expired ones, too. None is the credential itself.";
    described(operation, "listNatsCredentials", TAG, "List NATS credentials", description)
}

fn describe_detail(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "To whom it was issued, by whom, and until when; not the credential itself.";
    described(operation, "getNatsCredential", TAG, "Read a NATS credential", description)
}
