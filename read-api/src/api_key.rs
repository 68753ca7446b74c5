//! API keys of a tenant: the list and one of them, with when they were last used, never a secret.

use aide::transform::TransformOperation;
use axum::extract::State;
use chrono::{DateTime, Utc};
use hub_http::{
    AsOf, Detail, IfNoneMatch, Page, PageQuery, Path, Problem, ReadConsistency, Routes, TenantCaller,
    openapi::described,
};
use hub_projections::{
    api_key::{ApiKeyRow, ApiKeyStatus, ApiKeys},
    model::ReadModel,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    attributes::permitted,
    rows::{Wanted, fetch, known_or_filled, name_of, rows_of},
    state::Queries,
    statement::{Statement, statement},
};

/// The tag of the context.
pub(crate) const TAG: &str = "api-keys";

/// A row `t` with the last uses of its secrets, `u` and `p`.
macro_rules! with_uses {
    () => {
        "to_jsonb(t) || jsonb_build_object('last_used_at', GREATEST(u.last_used_at, p.last_used_at), \
         'previous_secret_last_used_at', p.last_used_at)"
    };
}

/// Keys with the last uses of the current secret and of the one before it.
macro_rules! keys_and_uses {
    () => {
        "api_keys t \
         LEFT JOIN api_key_uses u ON u.tenant_id = t.tenant_id AND u.secret_id = t.secret_id \
         LEFT JOIN api_key_uses p ON p.tenant_id = t.tenant_id AND p.secret_id = t.previous_secret_id"
    };
}

/// API keys of a tenant in the order of their ids.
pub(crate) const LIST: Statement = statement!(
    concat!("SELECT ", with_uses!(), " FROM ", keys_and_uses!(), " WHERE t.tenant_id = $1"),
    [" AND t.id > $3", " AND t.status = $4", permitted!("api_keys", "$5")],
    " ORDER BY t.id LIMIT $2",
);

/// One API key, null when there is none, with the checkpoint of its projection at the same moment.
pub(crate) const DETAIL: &str = concat!(
    "SELECT (SELECT min(c.position) FROM projection_checkpoints c WHERE c.projection = $3), (SELECT ",
    with_uses!(),
    " FROM ",
    keys_and_uses!(),
    " WHERE t.tenant_id = $1 AND t.id = $2)"
);

pub(crate) fn routes() -> Routes<Queries> {
    let all = "/v1/tenants/{tenant_id}/api-keys";
    Routes::new().list(all, "api_key:read", list, describe_list).get_as_of(
        &format!("{all}/{{api_key_id}}"),
        "api_key:read",
        detail,
        describe_detail,
    )
}

/// One API key and when it was used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ApiKeyWithUse")]
struct ApiKeyAnswer {
    #[serde(flatten)]
    key: ApiKeyRow,
    /// When a request with the key's secret, or the one before it, was last accepted, to some ten seconds; null when no such request is
    /// known.
    last_used_at: Option<DateTime<Utc>>,
    /// The same for the secret before the last rotation alone: it tells whether some program still has to follow.
    previous_secret_last_used_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ApiKeyPath {
    /// The key's id, which is not the id in its text.
    api_key_id: Uuid,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ApiKeyFilter {
    /// Only keys in this status.
    status: Option<ApiKeyStatus>,
}

async fn list(
    TenantCaller { caller, tenant, filter, .. }: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<ApiKeyFilter>,
    State(queries): State<Queries>,
) -> Result<Page<ApiKeyAnswer>, Problem> {
    let after: Option<Uuid> = query.open(&queries.cursor_key, &caller, Some(tenant))?;
    let mut reading = queries.reach_projection(tenant, ApiKeys::NAME, consistency).await?;
    let ApiKeyFilter { status } = &query.filter;
    let text = LIST.with([after.is_some(), status.is_some(), filter.is_some()]);
    let rows = rows_of(&text)
        .bind(tenant.id())
        .bind(query.fetch_limit())
        .bind(after)
        .bind(name_of(status.as_ref()))
        .bind(filter.as_deref());
    let rows = fetch(rows, &mut reading.connection).await?;
    known_or_filled(tenant, &rows, &mut reading.connection).await?;
    Ok(query
        .page(&queries.cursor_key, &caller, Some(tenant), rows, |answer: &ApiKeyAnswer| answer.key.id)
        .at(reading.position))
}

async fn detail(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(path): Path<ApiKeyPath>,
    consistency: ReadConsistency,
    known: IfNoneMatch,
    as_of: AsOf,
    State(queries): State<Queries>,
) -> Result<Detail<ApiKeyAnswer>, Problem> {
    let wanted =
        Wanted { tenant, id: path.api_key_id, consistency, known: &known, past: as_of.0, aggregate_type: "api_key" };
    queries.detail_as::<ApiKeys, ApiKeyAnswer>(DETAIL, wanted, |answer| answer.key.sequence).await
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "A tenant's API keys in the order of their ids, revoked ones included, without their secrets.";
    described(operation, "listApiKeys", TAG, "List API keys", description)
}

fn describe_detail(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "One API key, without its secret, which was answered once when it was made. `ETag` is the sequence of its stream, for \
                       `If-Match` on its commands; a use does not change it.";
    described(operation, "getApiKey", TAG, "Read an API key", description)
}
