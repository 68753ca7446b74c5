//! Proving the log against itself: positions, sequences, heads, outcomes and leaf hashes.
//!
//! The heads are read in one snapshot and the log is then read up to the head of that snapshot, so commands may go on meanwhile.
//! Memory: one number per stream and per tenant, and some pages of events.

use std::collections::HashMap;

use hub_event_store::{event::Recorded, scan::Scan};
use serde::Serialize;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

/// The position of each tenant's last event.
pub(crate) const HEADS_OF_TENANTS: &str = "SELECT tenant_id, position FROM tenant_heads";

/// The sequence of each stream's last event.
pub(crate) const HEADS_OF_STREAMS: &str = "SELECT tenant_id, aggregate_type, aggregate_id, sequence FROM streams";

/// The position of the log's last event, and how many events all commands claim to have appended.
pub(crate) const OUTCOMES: &str = "SELECT (SELECT position FROM log_head), \
     coalesce((SELECT sum(event_count) FROM command_outcomes), 0)::bigint";

/// How many commands are answered with a place in the log at which their last event does not stand.
pub(crate) const MISPLACED: &str = "SELECT count(*) FROM command_outcomes o LEFT JOIN events e ON e.position = o.position \
     WHERE o.event_count > 0 AND (e.tenant_id, e.aggregate_id, e.sequence) IS DISTINCT FROM (o.tenant_id, o.aggregate_id, o.sequence)";

/// At most so many findings are listed; the count goes on.
pub const FINDING_COUNT_MAX: usize = 100;

/// What was found wrong at one place of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The position at which it was noticed; 0 when it concerns the log as a whole.
    pub position: i64,
    /// What is wrong, in words.
    pub what: String,
}

/// The result of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LogReport {
    /// The head up to which the log was read.
    pub head: i64,
    /// How many events were read.
    pub event_count: i64,
    /// How many streams they make.
    pub stream_count: usize,
    /// How many tenants they belong to.
    pub tenant_count: usize,
    /// How much was found wrong.
    pub finding_count: usize,
    /// The first of it.
    pub findings: Vec<Finding>,
}

impl LogReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.finding_count == 0
    }

    fn found(&mut self, position: i64, what: String) {
        self.finding_count += 1;
        if self.findings.len() < FINDING_COUNT_MAX {
            self.findings.push(Finding { position, what });
        }
    }
}

type StreamKey = (Uuid, String, Uuid);

/// What the heads said in one snapshot.
struct Heads {
    log: i64,
    claimed_event_count: i64,
    tenants: HashMap<Uuid, i64>,
    streams: HashMap<StreamKey, i64>,
}

/// Reads the whole log and checks it; `progress` is told how far of how much.
///
/// # Errors
/// When PostgreSQL does not answer; what is wrong with the log is in the report.
pub async fn verify_log(pool: &PgPool, mut progress: impl FnMut(i64, i64)) -> Result<LogReport, sqlx::Error> {
    let heads = read_heads(pool).await?;
    let mut report = LogReport { head: heads.log, ..LogReport::default() };
    let mut tenants: HashMap<Uuid, i64> = HashMap::new();
    let mut streams: HashMap<StreamKey, i64> = HashMap::new();
    let mut last = 0;
    let mut scan = Scan::of_damaged(pool, 0, heads.log);
    while let Some(page) = scan.next().await? {
        for event in &page.events {
            report.event_count += 1;
            check_event(event, &mut last, &mut tenants, &mut streams, &mut report);
        }
        progress(page.until, heads.log);
    }
    if last != heads.log {
        report.found(0, format!("the log ends at position {last}, its head says {}", heads.log));
    }
    if heads.claimed_event_count != report.event_count {
        let claimed = heads.claimed_event_count;
        report.found(0, format!("commands claim {claimed} events, the log has {}", report.event_count));
    }
    let misplaced: i64 = sqlx::query_scalar(MISPLACED).fetch_one(pool).await?;
    if misplaced > 0 {
        report.found(0, format!("{misplaced} commands are answered with places at which their events do not stand"));
    }
    compare_heads("tenant", &heads.tenants, &tenants, &mut report);
    compare_heads("stream", &heads.streams, &streams, &mut report);
    report.stream_count = streams.len();
    report.tenant_count = tenants.len();
    Ok(report)
}

async fn read_heads(pool: &PgPool) -> Result<Heads, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let mut snapshot =
        PgConnection::begin_with(&mut connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let (log, claimed_event_count) = sqlx::query_as(OUTCOMES).fetch_one(&mut *snapshot).await?;
    let tenants: Vec<(Uuid, i64)> = sqlx::query_as(HEADS_OF_TENANTS).fetch_all(&mut *snapshot).await?;
    let streams: Vec<(Uuid, String, Uuid, i64)> = sqlx::query_as(HEADS_OF_STREAMS).fetch_all(&mut *snapshot).await?;
    snapshot.commit().await?;
    Ok(Heads {
        log,
        claimed_event_count,
        tenants: tenants.into_iter().collect(),
        streams: streams.into_iter().map(|(tenant, kind, id, sequence)| ((tenant, kind, id), sequence)).collect(),
    })
}

fn check_event(
    event: &Recorded,
    last: &mut i64,
    tenants: &mut HashMap<Uuid, i64>,
    streams: &mut HashMap<StreamKey, i64>,
    report: &mut LogReport,
) {
    let position = event.position;
    if position != *last + 1 {
        report.found(position, format!("position {position} follows {last}"));
    }
    *last = position;
    let tenant_last = tenants.entry(event.tenant_id).or_insert(0);
    if event.tenant_position != *tenant_last + 1 {
        let found =
            format!("tenant position {} follows {tenant_last} of tenant {}", event.tenant_position, event.tenant_id);
        report.found(position, found);
    }
    *tenant_last = event.tenant_position;
    let stream = (event.tenant_id, event.aggregate_type.clone(), event.aggregate_id);
    let stream_last = streams.entry(stream).or_insert(0);
    if event.sequence != *stream_last + 1 {
        let (kind, id) = (&event.aggregate_type, event.aggregate_id);
        report.found(position, format!("sequence {} follows {stream_last} of {kind} {id}", event.sequence));
    }
    *stream_last = event.sequence;
    if event.leaf_hash != event.computed_leaf_hash() {
        report
            .found(position, "the event does not match its leaf hash: it was changed after it was appended".to_owned());
    }
}

fn compare_heads<K>(what: &str, kept: &HashMap<K, i64>, counted: &HashMap<K, i64>, report: &mut LogReport)
where
    K: std::hash::Hash + Eq + std::fmt::Debug,
{
    for (key, head) in kept {
        let found = counted.get(key).copied().unwrap_or(0);
        if found != *head {
            report.found(0, format!("the head of {what} {key:?} is {head}, its last event {found}"));
        }
    }
    for key in counted.keys().filter(|key| !kept.contains_key(key)) {
        report.found(0, format!("{what} {key:?} has events and no head"));
    }
}
