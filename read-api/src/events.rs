//! A tenant's log, page by page: the same events in the same order for everybody who reads it.

use aide::transform::TransformOperation;
use axum::extract::State;
use hub_http::{
    Detail, Problem, Query, ReadConsistency, ReadPosition, Routes, TenantCaller,
    openapi::described,
    page::{PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    event_stream,
    event_type::EventTypeFilter,
    heads::tenant_head,
    reach::Source,
    recorded::{EventAnswer, Wanted, Window},
    state::Queries,
};

/// The tag of what reads the log.
pub(crate) const TAG: &str = "events";

/// A page looks at so many positions at most; with a filter that fits few events it may answer fewer than the limit, even none.
const WINDOW_SIZE: i64 = 20_000;

pub(crate) fn routes() -> Routes<Queries> {
    Routes::new().get("/v1/tenants/{tenant_id}/events", "event:read", list, describe_list).get(
        "/v1/tenants/{tenant_id}/events/stream",
        "event:read",
        event_stream::stream,
        event_stream::describe,
    )
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EventQuery {
    /// Only events after this position of the tenant's log; 0 or absent for the beginning.
    after: Option<u64>,
    /// Most events of the page.
    #[schemars(with = "Option<u32>", range(min = 1, max = 500))]
    limit: Option<String>,
    /// Only events of this type, or of all types of an aggregate: `tenant.suspended`, `tenant.*`.
    event_type: Option<String>,
    /// Only events of this aggregate.
    aggregate_id: Option<Uuid>,
}

/// A page of a tenant's log.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EventPage")]
struct EventPage {
    /// The events, in order. Fewer than the limit, or none, does not mean that there are no more: see `complete`.
    items: Vec<EventAnswer>,
    /// Where to go on: send it as `after`.
    next_after: i64,
    /// Whether everything up to the end of the log, as it was then, has been looked at.
    complete: bool,
}

async fn list(
    TenantCaller { tenant, .. }: TenantCaller,
    consistency: ReadConsistency,
    Query(query): Query<EventQuery>,
    State(queries): State<Queries>,
) -> Result<Detail<EventPage>, Problem> {
    let limit = limit_of(query.limit.as_deref())?;
    let event_type = query.event_type.as_deref().map(EventTypeFilter::parse).transpose()?;
    let mut reading = queries.reach(tenant, Source::Log, consistency).await?;
    let head = tenant_head(tenant, &mut reading.connection).await?;
    let after = position_of(query.after.unwrap_or(0), head)?;

    let until = head.min(after.saturating_add(WINDOW_SIZE));
    let window = Window { tenant_id: tenant.id(), after, until };
    let wanted = Wanted { event_type, aggregate_id: query.aggregate_id };
    let items = window.answer(&mut reading.connection, &wanted, limit).await?;

    let last = items.last().map_or(after, |event| event.position);
    let full = i64::try_from(items.len()).is_ok_and(|count| count >= limit);
    let next_after = if full { last } else { until };
    let page = EventPage { items, next_after, complete: next_after >= head };
    Ok(Detail::unversioned(page, ReadPosition(head)))
}

/// How many events a page may have.
fn limit_of(text: Option<&str>) -> Result<i64, Problem> {
    let limit = text.map_or(Some(PAGE_LIMIT_DEFAULT), |text| text.parse().ok());
    let limit = limit.filter(|limit| (1..=PAGE_LIMIT_MAX).contains(limit));
    limit.map(i64::from).ok_or_else(|| Problem::invalid_page_limit(PAGE_LIMIT_MAX))
}

/// A position that the caller gives as `after`; 400 `invalid_query` when the log has not got there, because whoever waits there would
/// miss what comes before.
pub(crate) fn position_of(after: u64, head: i64) -> Result<i64, Problem> {
    let position = i64::try_from(after).ok().filter(|position| *position <= head);
    position.ok_or_else(|| Problem::invalid_query(Some("after"), format!("the log of the tenant ends at {head}")))
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "The tenant's events in the order in which they were recorded, oldest first. Positions count the tenant's own \
        events without gaps, so a reader that goes on from `next_after` misses nothing and sees nothing twice, and whoever reads \
        again reads the same. Each page looks at a bounded part of the log: with a filter it may hold fewer events than asked for, or \
        none, and there may be more all the same; go on until `complete`. `Projection-Position` is the tenant's last position.";
    described(operation, "listEvents", TAG, "Read a tenant's events", description)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_bounded() {
        assert_eq!(limit_of(None).unwrap(), 50);
        assert_eq!(limit_of(Some("500")).unwrap(), 500);
        for bad in ["0", "501", "-1", "", "x"] {
            assert_eq!(limit_of(Some(bad)).unwrap_err().code(), "invalid_page_limit", "{bad}");
        }
    }

    #[test]
    fn a_position_ahead_of_the_log_is_refused() {
        assert_eq!(position_of(5, 5).unwrap(), 5);
        for ahead in [6, u64::MAX] {
            assert_eq!(position_of(ahead, 5).unwrap_err().code(), "invalid_query", "{ahead}");
        }
    }
}
