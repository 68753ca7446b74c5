//! A tenant's log as it grows, by server-sent events and by WebSocket: what was missed, then what comes, until one of the two sides ends it.
//!
//! PostgreSQL is the truth. Each stream pulls what comes after its own position, a bounded page at a time and only as fast as its client
//! reads: from memory when it is near the end of the log (`tails`), else from PostgreSQL (`reader`).

pub(crate) mod cursor;
mod follower;
mod message;
mod places;
mod reader;
mod rights;
mod ring;
pub(crate) mod socket;
pub(crate) mod sse;
pub(crate) mod tails;

use std::time::Duration;

use hub_http::{Problem, ReadConsistency, TenantCaller};
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use self::{
    cursor::Cursor,
    follower::Follower,
    places::{Place, Places},
    reader::Reader,
    rights::Rights,
    tails::Tails,
};
use crate::{reach::Source, recorded::FilterQuery, recorded::Wanted, state::Queries};

/// Gauge of the streams that are open.
pub const STREAMS_OPEN: &str = "hub_event_streams_open";

/// Counter of the events that were sent over streams.
pub const STREAMED_EVENTS: &str = "hub_event_stream_events_total";

/// Counter of streams that have ended, by reason.
pub const ENDS: &str = "hub_event_stream_ends_total";

/// Counter of the times that the gate was asked whether somebody may still follow.
pub const RENEWALS: &str = "hub_event_stream_renewals_total";

/// Gauge of what the newest events of followed tenants take in memory.
pub const RING_BYTES: &str = "hub_event_stream_ring_bytes";

/// Tells the metrics recorder what the metrics of this crate are; call it once, after installing the recorder.
pub fn describe_metrics() {
    metrics::describe_gauge!(STREAMS_OPEN, "Event streams that are open.");
    metrics::describe_counter!(STREAMED_EVENTS, "Events sent over event streams.");
    metrics::describe_counter!(ENDS, "Event streams that have ended, by reason.");
    metrics::describe_counter!(RENEWALS, "Times the gate was asked whether streams may go on.");
    metrics::describe_gauge!(RING_BYTES, metrics::Unit::Bytes, "Newest events of followed tenants, in memory.");
}

/// How streams behave.
#[derive(Clone, Copy, Debug)]
pub struct StreamSettings {
    /// So many streams of one tenant are open at once in a process at most; further ones get 503 `overloaded`.
    pub of_tenant_max: usize,
    /// A reader may begin so many events before the end of the log at most; further back it gets 410 `position_expired`. `None`: anywhere.
    pub history_max: Option<i64>,
    /// After so much silence a sign of life is sent, so that nobody on the way takes the connection for dead.
    pub heartbeat: Duration,
    /// When nothing was wanted for so long, the client is told how far the log has been looked at.
    pub checkpoint_after: Duration,
    /// A client that takes nothing for so long is too slow.
    pub patience: Duration,
    /// A stream ends after so long at the latest: its client comes back, and its key is looked at again.
    pub life_max: Duration,
}

impl Default for StreamSettings {
    /// Half of the default places; no bound on history; 15 s, 10 s, 30 s, an hour.
    fn default() -> Self {
        Self {
            of_tenant_max: 2_000,
            history_max: None,
            heartbeat: Duration::from_secs(15),
            checkpoint_after: Duration::from_secs(10),
            patience: Duration::from_secs(30),
            life_max: Duration::from_secs(3_600),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamQuery {
    /// Where to begin: behind a position (0 for the whole log), before the first event of a time (RFC 3339) or later, `earliest` or `latest`.
    /// Absent: `latest`. `Last-Event-ID` goes before it.
    after: Option<String>,
    /// Only events of these types, with commas between: `tenant.suspended`, `subscription.*`.
    types: Option<String>,
    /// Only events about these subjects, with commas between: `subscription/*`, `tenant/<id>`.
    subjects: Option<String>,
    /// Only events for which this CESQL expression holds: `type LIKE 'tenant.%' AND EXISTS traceparent`.
    filter: Option<String>,
    /// Only events that all of these filters want: a JSON array in the dialects of CloudEvents subscriptions.
    filters: Option<String>,
}

impl StreamQuery {
    fn wanted(&self) -> Result<Wanted, Problem> {
        let Self { after: _, types, subjects, filter, filters } = self;
        let query = FilterQuery {
            types: types.as_deref(),
            subjects: subjects.as_deref(),
            filter: filter.as_deref(),
            filters: filters.as_deref(),
        };
        query.parse()
    }
}

impl Queries {
    /// Takes a place for one more stream of the tenant.
    pub(crate) fn place(&self, tenant_id: uuid::Uuid) -> Result<Place, Problem> {
        self.streams.take(tenant_id, self.stream_settings.of_tenant_max)
    }

    /// Begins a stream: everything that can be refused is refused here.
    async fn follow(
        &self,
        TenantCaller { tenant, pass, .. }: TenantCaller,
        last_event_id: Option<i64>,
        consistency: ReadConsistency,
        query: &StreamQuery,
    ) -> Result<Follower, Problem> {
        let wanted = query.wanted()?;
        let after = query.after.as_deref().map(Cursor::parse).transpose()?;
        let begin = last_event_id.map(Cursor::LastEventId).or(after).unwrap_or(Cursor::Latest);
        let place = self.place(tenant.id())?;
        let mut reading = self.reach(tenant, Source::Log, consistency).await?;
        let servable = self.servable(tenant, &mut reading.connection).await?;
        let cursor = begin.resolve(tenant, servable, &mut reading.connection).await?;
        drop(reading);
        let reader = Reader {
            database: self.database.clone(),
            tenant,
            wanted,
            cursor,
            told: cursor,
            head: servable.head,
            following: self.tails.follow(tenant.id()),
        };
        let right = self.rights.follow(pass);
        Ok(Follower { reader, settings: self.stream_settings, right, shutdown: self.shutdown.clone(), place })
    }
}
