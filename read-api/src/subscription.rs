//! Subscriptions of a tenant: the list and one of them.

use aide::transform::TransformOperation;
use axum::extract::State;
use hub_http::{
    AsOf, Detail, IfNoneMatch, Page, PageQuery, Path, Problem, ReadConsistency, Routes, TenantCaller,
    openapi::described,
};
use hub_projections::subscription::{SubscriptionRow, Subscriptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    attributes::permitted,
    rows::{Wanted, detail, name_of},
    state::Queries,
    statement::{Statement, statement},
};

/// The tag of the context.
pub(crate) const TAG: &str = "subscriptions";

/// Subscriptions of a tenant in the order of their ids.
pub(crate) const LIST: Statement = statement!(
    "SELECT to_jsonb(t) FROM subscriptions t WHERE t.tenant_id = $1",
    [" AND t.id > $3", " AND t.stage = $4", " AND t.plan_code = $5", permitted!("subscriptions", "$6")],
    " ORDER BY t.id LIMIT $2",
);

/// One subscription.
pub(crate) const DETAIL: &str = detail!("subscriptions");

pub(crate) fn routes() -> Routes<Queries> {
    Routes::new().list("/v1/tenants/{tenant_id}/subscriptions", "subscription:read", list, describe_list).get_as_of(
        "/v1/tenants/{tenant_id}/subscriptions/{subscription_id}",
        "subscription:read",
        detail,
        describe_detail,
    )
}

#[derive(Debug, Deserialize, JsonSchema)]
struct SubscriptionPath {
    /// The subscription.
    subscription_id: Uuid,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SubscriptionFilter {
    /// Only subscriptions in this stage.
    stage: Option<StageFilter>,
    /// Only subscriptions to the plan with this code.
    plan: Option<String>,
}

/// The stages that subscriptions can be looked for by.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum StageFilter {
    Trialing,
    Active,
    Paused,
    PastDue,
    Cancelled,
}

async fn list(
    caller: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<SubscriptionFilter>,
    State(queries): State<Queries>,
) -> Result<Page<SubscriptionRow>, Problem> {
    let SubscriptionFilter { stage, plan } = &query.filter;
    queries.list::<Subscriptions, _>(LIST, caller, consistency, &query, &[name_of(stage.as_ref()), plan.clone()]).await
}

async fn detail(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    consistency: ReadConsistency,
    known: IfNoneMatch,
    as_of: AsOf,
    State(queries): State<Queries>,
) -> Result<Detail<SubscriptionRow>, Problem> {
    let wanted = Wanted {
        tenant,
        id: path.subscription_id,
        consistency,
        known: &known,
        past: as_of.0,
        aggregate_type: "subscription",
    };
    queries.detail::<Subscriptions>(DETAIL, wanted, |row| row.sequence).await
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "A tenant's subscriptions in the order of their ids, cancelled ones included.";
    described(operation, "listSubscriptions", TAG, "List subscriptions", description)
}

fn describe_detail(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "One subscription. `ETag` is the sequence of its stream, for `If-Match` on its commands.";
    described(operation, "getSubscription", TAG, "Read a subscription", description)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::testing::same_names;

    #[test]
    fn stages_are_looked_for_by_the_names_they_are_kept_under() {
        use StageFilter::{Active, Cancelled, PastDue, Paused, Trialing};
        same_names(&[Trialing, Active, Paused, PastDue, Cancelled], |row: &SubscriptionRow| &row.stage);
    }
}
