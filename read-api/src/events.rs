//! A tenant's log, page by page and one by one: the same events in the same order for everybody who reads it.

mod answer;

use std::time::{Duration, Instant};

use aide::transform::TransformOperation;
use axum::extract::State;
use hub_http::{
    Path, Problem, Query, ReadConsistency, ReadPosition, Routes, TenantCaller,
    openapi::described,
    page::{PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX},
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::timeout;
use uuid::Uuid;

use self::answer::{Asked, EventPageAnswer, OneEventAnswer};
use crate::{
    event_stream::{Cursor, Reader, socket, sse},
    event_type::EventTypeFilter,
    failure::failed,
    reach::Source,
    recorded::{FilterQuery, Looked, Most, Positioned as _, Read, Wanted, Window},
    state::Queries,
};

/// The tag of what reads the log.
pub(crate) const TAG: &str = "events";

/// A page looks at so many positions at most; with a filter that fits few events it may answer fewer than the limit, even none.
const WINDOW_SIZE: i64 = 20_000;

/// So much is in memory at once while a filter looks for what it wants.
const READ: Most = Most { count: 500, bytes: 4 << 20 };

/// With so many bytes a page ends before its limit.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// Longest wait for an event.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// So long before the answer must have begun a wait ends.
const WAIT_MARGIN: Duration = Duration::from_secs(2);

/// After a look that failed while waiting.
const RETRY_DELAY: Duration = Duration::from_millis(500);

pub(crate) fn routes() -> Routes<Queries> {
    Routes::new()
        .get("/v1/tenants/{tenant_id}/events", "event:read", list, describe_list)
        .get("/v1/tenants/{tenant_id}/events/socket", "event:read", socket::socket, socket::describe)
        .get("/v1/tenants/{tenant_id}/events/stream", "event:read", sse::stream, sse::describe)
        .get("/v1/tenants/{tenant_id}/events/{position}", "event:read", one, describe_one)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EventQuery {
    /// Where the page begins: behind a position of the tenant's log, before the first event of a time (RFC 3339) or later, `earliest` or
    /// `latest`. Absent: `earliest`.
    after: Option<String>,
    /// Most events of the page.
    #[schemars(with = "Option<u32>", range(min = 1, max = 500))]
    limit: Option<String>,
    /// When there is nothing: so many seconds are waited for an event that is wanted.
    #[schemars(with = "Option<u32>", range(min = 0, max = 30))]
    wait: Option<String>,
    /// Only events of these types, with commas between: `tenant.suspended`, `subscription.*`.
    types: Option<String>,
    /// Only events about these subjects, with commas between: `subscription/*`, `tenant/<id>`.
    subjects: Option<String>,
    /// Only events for which this CESQL expression holds: `type LIKE 'tenant.%' AND EXISTS traceparent`.
    filter: Option<String>,
    /// Only events that all of these filters want: a JSON array in the dialects of CloudEvents subscriptions.
    filters: Option<String>,
    /// Only events of this type, or of all types of an aggregate: `tenant.suspended`, `tenant.*`.
    event_type: Option<String>,
    /// Only events of this aggregate.
    aggregate_id: Option<Uuid>,
}

impl EventQuery {
    fn wanted(&self) -> Result<Wanted, Problem> {
        let query = FilterQuery {
            types: self.types.as_deref(),
            subjects: self.subjects.as_deref(),
            filter: self.filter.as_deref(),
            filters: self.filters.as_deref(),
        };
        let event_type = self.event_type.as_deref().map(EventTypeFilter::parse).transpose()?;
        Ok(query.parse()?.and(event_type, self.aggregate_id))
    }
}

/// What a page came to.
#[derive(Debug)]
struct Found {
    items: Vec<Read>,
    next_after: i64,
    head: i64,
}

impl Found {
    fn complete(&self) -> bool {
        self.next_after >= self.head
    }
}

async fn list(
    caller: TenantCaller,
    consistency: ReadConsistency,
    Query(query): Query<EventQuery>,
    asked: Asked,
    State(queries): State<Queries>,
) -> Result<EventPageAnswer, Problem> {
    let limit = limit_of(query.limit.as_deref())?;
    let wait = wait_of(query.wait.as_deref())?;
    let wanted = query.wanted()?;
    let begin = query.after.as_deref().map_or(Ok(Cursor::Earliest), Cursor::parse)?;
    let mut found = queries.page(&caller, consistency, &wanted, begin, limit).await?;
    if found.items.is_empty() && found.complete() && !wait.is_zero() {
        let end = Instant::now() + wait;
        let end = asked
            .deadline
            .and_then(|deadline| deadline.checked_sub(WAIT_MARGIN))
            .map_or(end, |deadline| end.min(deadline));
        let from = found.next_after;
        let after = queries.await_wanted(&caller, wanted.clone(), from, found.head, end).await?;
        // Time has passed since the caller was let in.
        caller.pass.renew().await?;
        found = queries.page(&caller, consistency, &wanted, Cursor::Position(after), limit).await?;
    }
    Ok(asked.page(found))
}

impl Queries {
    /// Reads one page.
    async fn page(
        &self,
        caller: &TenantCaller,
        consistency: ReadConsistency,
        wanted: &Wanted,
        begin: Cursor,
        limit: usize,
    ) -> Result<Found, Problem> {
        let tenant = caller.tenant;
        let mut reading = self.reach(tenant, Source::Log, consistency).await?;
        let servable = self.servable(tenant, &mut reading.connection).await?;
        let mut after = begin.resolve(tenant, servable, &mut reading.connection).await?;
        let head = servable.head;
        let until = head.min(after.saturating_add(WINDOW_SIZE));
        let mut items: Vec<Read> = Vec::new();
        let mut room = Most { count: limit, bytes: PAGE_BYTES_MAX };
        while after < until && room.is_left() {
            let window = Window { tenant_id: tenant.id(), after, until };
            let most = if wanted.filters() { READ } else { room };
            let looked: Looked<Read> = window.read(&mut reading.connection, wanted, most).await.map_err(failed)?;
            after = looked.until;
            for read in looked.rows.into_iter().filter(|read| wanted.wants(&read.event)) {
                let position = read.position();
                room.take(read.size());
                items.push(read);
                if !room.is_left() {
                    after = position;
                    break;
                }
            }
        }
        Ok(Found { items, next_after: after, head })
    }

    /// Waits until something that is wanted comes after a position, or until the time is over; answers how far the log was looked at.
    async fn await_wanted(
        &self,
        caller: &TenantCaller,
        wanted: Wanted,
        after: i64,
        head: i64,
        end: Instant,
    ) -> Result<i64, Problem> {
        let tenant = caller.tenant;
        // Whoever waits is a stream as far as room is concerned.
        let _place = self.place(tenant.id())?;
        let (database, following) = (self.database.clone(), self.tails.follow(tenant.id()));
        let mut reader = Reader { database, tenant, wanted, cursor: after, told: after, head, following };
        let mut looked = after;
        let looking = async {
            loop {
                if reader.grown().await.is_err() {
                    return;
                }
                match reader.next().await {
                    Ok(events) if events.is_empty() => looked = reader.cursor,
                    Ok(_) => return,
                    Err(error) => {
                        tracing::warn!(%error, "a long poll cannot read the log");
                        tokio::time::sleep(RETRY_DELAY).await;
                    }
                }
            }
        };
        let left = end.saturating_duration_since(Instant::now());
        tokio::select! {
            // Whatever comes of it, the page is read again from where nothing was wanted.
            _ = timeout(left, looking) => {}
            () = self.shutdown.cancelled() => {}
        }
        Ok(looked)
    }
}

/// How many events a page may have.
fn limit_of(text: Option<&str>) -> Result<usize, Problem> {
    let limit = text.map_or(Some(PAGE_LIMIT_DEFAULT), |text| text.parse().ok());
    let limit = limit.filter(|limit| (1..=PAGE_LIMIT_MAX).contains(limit));
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    limit.ok_or_else(|| Problem::invalid_page_limit(PAGE_LIMIT_MAX))
}

/// How long may be waited.
fn wait_of(text: Option<&str>) -> Result<Duration, Problem> {
    let wait = text.map_or(Some(Duration::ZERO), |text| text.parse().ok().map(Duration::from_secs));
    wait.filter(|wait| *wait <= WAIT_MAX).ok_or_else(|| {
        let detail = format!("wait is a whole number of seconds between 0 and {}", WAIT_MAX.as_secs());
        Problem::invalid_query(Some("wait"), detail)
    })
}

#[derive(Debug, Deserialize, JsonSchema)]
struct EventPath {
    /// The event's place in the tenant's log, from 1.
    position: u64,
}

async fn one(
    TenantCaller { tenant, .. }: TenantCaller,
    consistency: ReadConsistency,
    Path(EventPath { position }): Path<EventPath>,
    asked: Asked,
    State(queries): State<Queries>,
) -> Result<OneEventAnswer, Problem> {
    let mut reading = queries.reach(tenant, Source::Log, consistency).await?;
    let servable = queries.servable(tenant, &mut reading.connection).await?;
    let position = i64::try_from(position).ok().filter(|position| (1..=servable.head).contains(position));
    let position = position.ok_or_else(Problem::not_found)?;
    const ONE: Most = Most { count: 1, bytes: 1 };
    let window = Window { tenant_id: tenant.id(), after: servable.check(position - 1)?, until: position };
    let looked: Looked<Read> = window.read(&mut reading.connection, &Wanted::default(), ONE).await.map_err(failed)?;
    let read = looked.rows.into_iter().next().ok_or_else(Problem::not_found)?;
    Ok(asked.one(read, ReadPosition(servable.head)))
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "The tenant's events in the order in which they were recorded, oldest first. Positions count the tenant's own \
        events without gaps, so a reader that goes on from `next_after` misses nothing and sees nothing twice, and whoever reads \
        again reads the same. Each page looks at a bounded part of the log, and ends when it has 4 MiB of events: it may hold fewer events than asked for, or \
        none, and there may be more all the same; go on until `complete`. With `Accept: application/cloudevents-batch+json` the page is an array of \
        CloudEvents; where to go on stands in `Link` and `Events-Next-After`, and whether the end was reached in `Events-Complete`, in both forms. \
        With `wait` an empty page at the end of the log waits for an event that is wanted. A place that is too far back to be served answers \
        410 `position_expired`. `Projection-Position` is the tenant's last position.";
    described(operation, "listEvents", TAG, "Read a tenant's events", description)
}

fn describe_one(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "The event at a position of the tenant's log. With `Accept: application/cloudevents+json` as a CloudEvent in structured mode; with \
        `Accept: application/json; mode=binary` in the binary mode of CloudEvents' HTTP binding: its data is the body, and its attributes are \
        the headers `ce-id`, `ce-type` and so on.";
    described(operation, "getEvent", TAG, "Read one event", description)
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
    fn the_wait_is_bounded() {
        assert_eq!(wait_of(None).unwrap(), Duration::ZERO);
        assert_eq!(wait_of(Some("30")).unwrap(), WAIT_MAX);
        for bad in ["31", "-1", "", "x", "1.5"] {
            assert_eq!(wait_of(Some(bad)).unwrap_err().code(), "invalid_query", "{bad}");
        }
    }
}
