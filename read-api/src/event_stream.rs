//! A tenant's log as server-sent events: what was missed, then what comes, until one of the two sides ends it.
//!
//! The id of each event is its position in the tenant's log, so a client that reconnects with `Last-Event-ID` misses nothing and sees
//! nothing twice. The stream pulls from PostgreSQL, a bounded page at a time and only as fast as its client reads.

use std::{convert::Infallible, time::Duration};

use aide::{
    OperationOutput,
    generate::GenContext,
    openapi::{self, Operation, StatusCode},
    transform::TransformOperation,
};
use axum::{
    extract::State,
    http::HeaderName,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::{Stream, StreamExt};
use hub_http::{
    LastEventId, Pass, Problem, Query, ReadConsistency, ReadPosition, TenantCaller, TenantScope,
    openapi::{described, header_documented, response_documented},
};
use schemars::{JsonSchema, json_schema};
use serde::Deserialize;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{sleep, timeout},
};

use crate::{
    events::{TAG, position_of},
    heads::tenant_head,
    reach::Source,
    read::{Database, Moment},
    recorded::{EventAnswer, Wanted, Window},
    state::Queries,
};

/// Gauge of the streams that are open.
pub const STREAMS_OPEN: &str = "hub_event_streams_open";

/// Counter of the events that were sent over streams.
pub const STREAMED_EVENTS: &str = "hub_event_stream_events_total";

/// So many events of one stream are in memory at once.
const PAGE_SIZE: i64 = 100;

/// A comment is sent after so much silence, so that nobody on the way takes the connection for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Without being woken a stream looks this often.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// A stream ends after so long at the latest: its client comes back, and its key is looked at again.
const LIFE_MAX: Duration = Duration::from_secs(3_600);

/// So often it is asked whether the caller may still follow: a right that has gone ends the stream within a second.
const RENEWAL_INTERVAL: Duration = Duration::from_millis(500);

/// So soon a client comes back after a stream has ended.
const RECONNECT_DELAY: Duration = Duration::from_secs(2);

/// So often in a row PostgreSQL may fail to answer, or the gate to decide, before the stream is ended.
const FAILURES_MAX: u32 = 5;

/// After the first failure; each further one waits twice as long.
const RETRY_DELAY: Duration = Duration::from_millis(200);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamQuery {
    /// Only events after this position; 0 for all of them. Absent: only what happens from now on. `Last-Event-ID` goes before it.
    after: Option<u64>,
}

pub(crate) async fn stream(
    TenantCaller { tenant, pass, .. }: TenantCaller,
    LastEventId(last_event_id): LastEventId,
    consistency: ReadConsistency,
    Query(query): Query<StreamQuery>,
    State(queries): State<Queries>,
) -> Result<EventStream, Problem> {
    let permit = queries.streams.clone().try_acquire_owned().map_err(|_| Problem::overloaded())?;
    let mut reading = queries.reach(tenant, Source::Log, consistency).await?;
    let head = tenant_head(tenant, &mut reading.connection).await?;
    drop(reading);
    let after = match (last_event_id, query.after) {
        (Some(position), _) if position > head => {
            return Err(Problem::invalid_event_id(format!("the log of the tenant ends at {head}")));
        }
        (Some(position), _) => position,
        (None, Some(after)) => position_of(after, head)?,
        (None, None) => head,
    };
    let follower = Follower {
        database: queries.database.clone(),
        tenant,
        cursor: after,
        head: queries.heads.follow(tenant.id()),
        _open: Open::new(permit),
    };
    let ended = queries.shutdown.clone();
    let end = async move {
        tokio::select! {
            () = ended.cancelled() => {}
            () = sleep(LIFE_MAX) => {}
            () = refused(pass) => {}
        }
    };
    let events = follower.events().take_until(Box::pin(end));
    let keep_alive = KeepAlive::new().interval(HEARTBEAT).text("heartbeat");
    Ok(EventStream { response: Sse::new(events).keep_alive(keep_alive).into_response(), head })
}

/// Ends when the caller may no longer follow, or when nobody has been able to say so for a while.
async fn refused(pass: Pass) {
    let mut failures = 0;
    while failures < FAILURES_MAX {
        sleep(RENEWAL_INTERVAL).await;
        failures = match pass.renew().await {
            Ok(()) => 0,
            Err(problem) if problem.status().is_server_error() => failures + 1,
            Err(_) => return,
        };
    }
}

/// One open stream: where it is, and what wakes it.
struct Follower {
    database: Database,
    tenant: TenantScope,
    cursor: i64,
    head: watch::Receiver<i64>,
    _open: Open,
}

impl Follower {
    fn events(mut self) -> impl Stream<Item = Result<Event, Infallible>> + Send {
        async_stream::stream! {
            // An id without data is remembered by the client, so even one that has seen no event yet comes back to the same place.
            let at = self.cursor.to_string();
            yield Ok(Event::default().id(at).retry(RECONNECT_DELAY).comment("following"));
            let mut failures = 0;
            while failures < FAILURES_MAX {
                match self.page().await {
                    Err(error) => {
                        failures += 1;
                        tracing::warn!(%error, failures, "an event stream cannot read the log");
                        sleep(RETRY_DELAY * 2_u32.pow(failures - 1)).await;
                    }
                    Ok(page) if page.is_empty() => {
                        failures = 0;
                        self.grown().await;
                    }
                    Ok(page) => {
                        failures = 0;
                        for event in page {
                            self.cursor = event.position;
                            yield Ok(frame(&event));
                        }
                    }
                }
            }
        }
    }

    /// The next events; the connection is given back before any of them is sent.
    async fn page(&self) -> Result<Vec<EventAnswer>, sqlx::Error> {
        let window = Window { tenant_id: self.tenant.id(), after: self.cursor, until: i64::MAX };
        let mut reading = self.database.read(self.tenant.into(), Moment::OfStatement).await?;
        window.read(&mut reading, &Wanted::default(), PAGE_SIZE).await
    }

    /// Waits until there may be something after the cursor.
    async fn grown(&mut self) {
        let cursor = self.cursor;
        // Neither the end of the wait nor a sender that is gone is worth more than another look.
        let _ = timeout(POLL_INTERVAL, async {
            if self.head.wait_for(|head| *head > cursor).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await;
    }
}

fn frame(event: &EventAnswer) -> Event {
    metrics::counter!(STREAMED_EVENTS).increment(1);
    let frame = Event::default().id(event.position.to_string()).event(&event.event_type);
    frame.json_data(event).expect("a recorded event is plain json")
}

/// Counts an open stream for as long as it lives.
struct Open {
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        metrics::gauge!(STREAMS_OPEN).increment(1.0);
        Self { _permit: permit }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!(STREAMS_OPEN).decrement(1.0);
    }
}

/// Tells the metrics recorder what the metrics of this crate are; call it once, after installing the recorder.
pub fn describe_metrics() {
    metrics::describe_gauge!(STREAMS_OPEN, "Event streams that are open.");
    metrics::describe_counter!(STREAMED_EVENTS, "Events sent over event streams.");
}

/// The answer of a stream: `text/event-stream` without an end of its own.
pub(crate) struct EventStream {
    response: Response,
    head: i64,
}

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        // Some proxies gather an answer before they pass it on, unless they are told not to.
        const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
        (ReadPosition(self.head), [(BUFFERING, "no")], self.response).into_response()
    }
}

impl OperationOutput for EventStream {
    type Inner = Self;

    fn operation_response(ctx: &mut GenContext, _operation: &mut Operation) -> Option<openapi::Response> {
        // Named here, so that the document has it: each event's data is one of these.
        let data = ctx.schema.subschema_for::<EventAnswer>();
        let schema = json_schema!({
            "type": "string",
            "description": "Server-sent events: `id` is the position, `event` the event's type, `data` the event.",
            "contentMediaType": "text/event-stream",
            "contentSchema": data,
        });
        let mut response = response_documented("The stream; it stays open.", "text/event-stream", schema);
        let head = "Position of the tenant's last event when the stream began.";
        response.headers.insert("Projection-Position".into(), header_documented(head, "integer"));
        Some(response)
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<StatusCode>, openapi::Response)> {
        let response = Self::operation_response(ctx, operation);
        response.map(|response| (Some(StatusCode::Code(200)), response)).into_iter().collect()
    }
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Server-sent events, oldest first: `id` is the position in the tenant's log, `event` the type, `data` the same \
        JSON as in the pages. Begins after `Last-Event-ID` or `after`; `after=0` sends the whole log first; without either, only \
        what happens from now on is sent. A comment comes after 15 s of silence. A stream ends when the server stops, after an hour, \
        when the caller may no longer follow it, or when the database stays away; clients come back by themselves with the last id and miss nothing. A `Last-Event-ID` ahead \
        of the log is refused with `invalid_event_id`; beyond the bound on open streams the answer is `overloaded`.";
    described(operation, "streamEvents", TAG, "Follow a tenant's events", description)
}
