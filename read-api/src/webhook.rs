//! Webhooks of a tenant: the list and one of them, never a secret.

use aide::transform::TransformOperation;
use axum::extract::State;
use hub_http::{
    AsOf, Detail, IfNoneMatch, Page, PageQuery, Path, Problem, ReadConsistency, Routes, TenantCaller,
    openapi::described,
};
use hub_projections::webhook::{WebhookRow, WebhookStatus, Webhooks};
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
pub(crate) const TAG: &str = "webhooks";

/// Webhooks of a tenant in the order of their ids.
pub(crate) const LIST: Statement = statement!(
    "SELECT to_jsonb(t) FROM webhooks t WHERE t.tenant_id = $1",
    [" AND t.id > $3", " AND t.status = $4", permitted!("webhooks", "$5")],
    " ORDER BY t.id LIMIT $2",
);

/// One webhook.
pub(crate) const DETAIL: &str = detail!("webhooks");

pub(crate) fn routes() -> Routes<Queries> {
    Routes::new().list("/v1/tenants/{tenant_id}/webhooks", "webhook:read", list, describe_list).get_as_of(
        "/v1/tenants/{tenant_id}/webhooks/{webhook_id}",
        "webhook:read",
        detail,
        describe_detail,
    )
}

#[derive(Debug, Deserialize, JsonSchema)]
struct WebhookPath {
    /// The webhook.
    webhook_id: Uuid,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WebhookFilter {
    /// Only webhooks in this status.
    status: Option<WebhookStatus>,
}

async fn list(
    caller: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<WebhookFilter>,
    State(queries): State<Queries>,
) -> Result<Page<WebhookRow>, Problem> {
    let WebhookFilter { status } = &query.filter;
    queries.list::<Webhooks, _>(LIST, caller, consistency, &query, &[name_of(status.as_ref())]).await
}

async fn detail(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(path): Path<WebhookPath>,
    consistency: ReadConsistency,
    known: IfNoneMatch,
    as_of: AsOf,
    State(queries): State<Queries>,
) -> Result<Detail<WebhookRow>, Problem> {
    let wanted =
        Wanted { tenant, id: path.webhook_id, consistency, known: &known, past: as_of.0, aggregate_type: "webhook" };
    queries.detail::<Webhooks>(DETAIL, wanted, |row| row.sequence).await
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "A tenant's webhooks in the order of their ids, without deleted ones.";
    described(operation, "listWebhooks", TAG, "List webhooks", description)
}

fn describe_detail(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "One webhook, without its secret, which was answered once when it was made. `ETag` is the sequence of its stream, for `If-Match` on its commands.";
    described(operation, "getWebhook", TAG, "Read a webhook", description)
}
