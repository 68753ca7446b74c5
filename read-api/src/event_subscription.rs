//! Event subscriptions of a tenant: the list and one of them. How far their consumers are is asked of those who hand events out.

use aide::transform::TransformOperation;
use axum::extract::State;
use hub_http::{
    AsOf, Detail, IfNoneMatch, Page, PageQuery, Path, Problem, ReadConsistency, Routes, TenantCaller,
    openapi::described,
};
use hub_projections::event_subscription::{EventSubscriptionRow, EventSubscriptionStatus, EventSubscriptions};
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
pub(crate) const TAG: &str = "event-subscriptions";

/// Event subscriptions of a tenant in the order of their ids.
pub(crate) const LIST: Statement = statement!(
    "SELECT to_jsonb(t) FROM event_subscriptions t WHERE t.tenant_id = $1",
    [" AND t.id > $3", " AND t.status = $4", " AND t.name = $5", permitted!("event_subscriptions", "$6")],
    " ORDER BY t.id LIMIT $2",
);

/// One event subscription.
pub(crate) const DETAIL: &str = detail!("event_subscriptions");

pub(crate) fn routes() -> Routes<Queries> {
    Routes::new()
        .list("/v1/tenants/{tenant_id}/event-subscriptions", "event_subscription:read", list, describe_list)
        .get_as_of(
            "/v1/tenants/{tenant_id}/event-subscriptions/{event_subscription_id}",
            "event_subscription:read",
            detail,
            describe_detail,
        )
}

#[derive(Debug, Deserialize, JsonSchema)]
struct EventSubscriptionPath {
    /// The event subscription.
    event_subscription_id: Uuid,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EventSubscriptionFilter {
    /// Only event subscriptions in this status.
    status: Option<EventSubscriptionStatus>,
    /// Only the one with this name.
    name: Option<String>,
}

async fn list(
    caller: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<EventSubscriptionFilter>,
    State(queries): State<Queries>,
) -> Result<Page<EventSubscriptionRow>, Problem> {
    let EventSubscriptionFilter { status, name } = &query.filter;
    let filters = [name_of(status.as_ref()), name.clone()];
    queries.list::<EventSubscriptions, _>(LIST, caller, consistency, &query, &filters).await
}

async fn detail(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(path): Path<EventSubscriptionPath>,
    consistency: ReadConsistency,
    known: IfNoneMatch,
    as_of: AsOf,
    State(queries): State<Queries>,
) -> Result<Detail<EventSubscriptionRow>, Problem> {
    let wanted = Wanted {
        tenant,
        id: path.event_subscription_id,
        consistency,
        known: &known,
        past: as_of.0,
        aggregate_type: "event_subscription",
    };
    queries.detail::<EventSubscriptions>(DETAIL, wanted, |row| row.sequence).await
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "A tenant's event subscriptions in the order of their ids, without deleted ones.";
    described(operation, "listEventSubscriptions", TAG, "List event subscriptions", description)
}

fn describe_detail(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "One event subscription. `ETag` is the sequence of its stream, for `If-Match` on its commands. How far its \
        consumers are is at `.../lag`.";
    described(operation, "getEventSubscription", TAG, "Read an event subscription", description)
}
