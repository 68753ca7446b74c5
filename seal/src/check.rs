//! Self-checks: events that are sealed are hashed anew and compared with what was sealed, a sample each hour and all of them each night.
//!
//! What a check found becomes an event of the platform, so it is sealed itself. It finds what was changed by mistake or by a disk, and an
//! intruder who did not know of the seals. One who changes events and seals together is found by whoever holds an older checkpoint.

use std::{fmt, time::Duration};

use chrono::{DateTime, Timelike as _, Utc};
use hub_event_store::{
    election::{bounded, elect},
    event::Recorded,
    log::Log,
};
use hub_evidence::tree::{Frontier, HASH_BYTES, Hash};
use sqlx::{Connection as _, PgPool};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{rows::signed, sealer::Clock, turn::PLATFORM_LOG};

/// Takes the lock of whoever checks by the clock, for as long as the connection lives.
pub(crate) const ELECT: &str = "SELECT pg_try_advisory_lock(7236831006)";

/// The logs after one, with how much of each is sealed.
pub(crate) const LOGS: &str =
    "SELECT tenant_id, size, root FROM sealed_trees WHERE tenant_id > $1 ORDER BY tenant_id LIMIT 100";

/// Some tiles of leaves, by chance.
pub(crate) const SOME: &str = "SELECT tenant_id, tile_index, hashes FROM sealed_tiles WHERE level = 0 AND tenant_id <> $1 ORDER BY random() LIMIT $2";

/// The tiles of leaves of a log between two indexes.
pub(crate) const TILES: &str = "
SELECT tile_index, hashes FROM sealed_tiles
WHERE tenant_id = $1 AND level = 0 AND tile_index >= $2 AND tile_index < $3 ORDER BY tile_index";

/// Gauge: how many events the last check found to be other ones than those that were sealed.
pub(crate) const FINDINGS: &str = "hub_seal_check_findings";

/// Leaves of one tile.
const TILE_SIZE: i64 = 256;

/// So many tiles are read at once.
const TILE_COUNT: i64 = 4;

/// So many tiles are a sample.
const SAMPLE_SIZE: i64 = 64;

/// So many findings are told one by one.
pub const FINDING_COUNT_MAX: usize = 20;

/// All is checked in the first hour of a day (UTC) from this one on.
const NIGHT: u32 = 2;

/// Between two looks at the clock.
const REST: Duration = Duration::from_secs(30);

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Some events of some logs.
    Sample,
    /// Everything that is sealed.
    Full,
}

/// An event, or a log, that is not as it was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whose.
    pub tenant_id: Uuid,
    /// The event's place in the tenant's log.
    pub position: i64,
    /// What is wrong with it.
    pub what: &'static str,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What was checked.
    pub kind: Kind,
    /// How many logs, whole or in part.
    pub log_count: u64,
    /// How many events.
    pub event_count: u64,
    /// How many findings.
    pub finding_count: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
}

impl Report {
    fn new(kind: Kind) -> Self {
        Self { kind, log_count: 0, event_count: 0, finding_count: 0, findings: Vec::new() }
    }

    fn find(&mut self, tenant_id: Uuid, position: i64, what: &'static str) {
        self.finding_count += 1;
        if self.findings.len() < FINDING_COUNT_MAX {
            self.findings.push(Finding { tenant_id, position, what });
        }
    }
}

/// Hashes some events anew.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn sample(pool: &PgPool) -> Result<Report, sqlx::Error> {
    let mut report = Report::new(Kind::Sample);
    let query = sqlx::query_as(SOME).bind(PLATFORM_LOG).bind(SAMPLE_SIZE);
    let tiles: Vec<(Uuid, i64, Vec<u8>)> = query.fetch_all(pool).await?;
    let log = Log::new(pool.clone());
    for (tenant_id, index, hashes) in tiles {
        let leaves = signed((hashes.len() / HASH_BYTES) as u64);
        let events = log.page_of_tenant(tenant_id, index * TILE_SIZE, leaves).await?;
        compare(&mut report, tenant_id, index * TILE_SIZE, leaves, &events, &[(index, hashes)]);
        report.log_count += 1;
    }
    Ok(report)
}

/// Hashes everything that is sealed anew; `progress` is told how many events were, after each part.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn full(pool: &PgPool, progress: impl Fn(u64)) -> Result<Report, sqlx::Error> {
    let mut report = Report::new(Kind::Full);
    // The platform's own log comes first, and has checkpoints instead of events.
    let mut after = PLATFORM_LOG;
    loop {
        let logs: Vec<(Uuid, i64, Vec<u8>)> = sqlx::query_as(LOGS).bind(after).fetch_all(pool).await?;
        let Some((last, ..)) = logs.last() else { return Ok(report) };
        after = *last;
        for (tenant_id, size, root) in logs {
            check_log(&mut report, pool, tenant_id, size, &root, &progress).await?;
        }
    }
}

async fn check_log(
    report: &mut Report,
    pool: &PgPool,
    tenant_id: Uuid,
    size: i64,
    root: &[u8],
    progress: &impl Fn(u64),
) -> Result<(), sqlx::Error> {
    let log = Log::new(pool.clone());
    let (mut tree, found_before) = (Frontier::new(), report.finding_count);
    for begin in (0..size).step_by(usize::try_from(TILE_SIZE * TILE_COUNT).expect("a small number")) {
        let leaves = (size - begin).min(TILE_SIZE * TILE_COUNT);
        let index = begin / TILE_SIZE;
        let query = sqlx::query_as(TILES).bind(tenant_id).bind(index).bind(index + TILE_COUNT);
        let tiles: Vec<(i64, Vec<u8>)> = query.fetch_all(pool).await?;
        let events = log.page_of_tenant(tenant_id, begin, leaves).await?;
        events.iter().for_each(|event| tree.append(Hash(event.computed_leaf_hash())));
        compare(report, tenant_id, begin, leaves, &events, &tiles);
        progress(report.event_count);
    }
    report.log_count += 1;
    if report.finding_count == found_before && tree.root().as_bytes() != root {
        report.find(tenant_id, size, "the events do not have the root that was signed");
    }
    Ok(())
}

/// Compares the events from one place on with the hashes that were sealed.
fn compare(
    report: &mut Report,
    tenant_id: Uuid,
    begin: i64,
    leaves: i64,
    events: &[Recorded],
    tiles: &[(i64, Vec<u8>)],
) {
    let sealed = |place: i64| {
        let (_, hashes) = tiles.iter().find(|(index, _)| *index == place / TILE_SIZE)?;
        let within = usize::try_from(place % TILE_SIZE).ok()?;
        hashes.as_chunks::<HASH_BYTES>().0.get(within)
    };
    let mut events = events.iter().peekable();
    for place in begin..begin + leaves {
        let position = place + 1;
        let event = events.next_if(|event| event.tenant_position == position);
        match (event, sealed(place)) {
            (Some(event), Some(hash)) if event.computed_leaf_hash() == *hash => {}
            (Some(_), Some(_)) => report.find(tenant_id, position, "the event is not the one that was sealed"),
            (Some(_), None) => report.find(tenant_id, position, "its hash is missing"),
            (None, _) => report.find(tenant_id, position, "the event is missing"),
        }
        report.event_count += 1;
    }
}

/// Checks by the clock.
pub struct SelfCheck {
    pool: PgPool,
    clock: Clock,
}

impl fmt::Debug for SelfCheck {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SelfCheck").finish_non_exhaustive()
    }
}

impl SelfCheck {
    /// One on this clock.
    #[must_use]
    pub fn new(pool: PgPool, clock: Clock) -> Self {
        Self { pool, clock }
    }

    /// Checks in every hour, and everything in the first one of the night, when no other process does, until `end`. What was found goes to
    /// `write`, which may fail.
    pub async fn run<W, F>(self, write: W, end: CancellationToken)
    where
        W: Fn(Report) -> F,
        F: Future<Output = ()>,
    {
        while !end.is_cancelled() {
            let led = tokio::select! {
                () = end.cancelled() => return,
                led = self.lead(&write) => led,
            };
            if let Err(error) = led {
                tracing::debug!(%error, "a self-check came to nothing, trying again");
            }
            tokio::select! {
                () = end.cancelled() => {}
                () = sleep(REST) => {}
            }
        }
    }

    async fn lead<W, F>(&self, write: &W) -> Result<(), sqlx::Error>
    where
        W: Fn(Report) -> F,
        F: Future<Output = ()>,
    {
        let Some(mut lock) = elect(&self.pool, ELECT).await? else { return Ok(()) };
        let mut last = (self.clock)();
        loop {
            sleep(REST).await;
            // Also proves that the connection, and with it the lock, still lives.
            bounded(lock.ping()).await?;
            let now = (self.clock)();
            let Some(kind) = due(last, now) else { continue };
            let report = match kind {
                Kind::Sample => sample(&self.pool).await?,
                Kind::Full => full(&self.pool, |_| {}).await?,
            };
            last = now;
            tell(&report);
            write(report).await;
        }
    }
}

/// What is to be checked at `now` when the last check began at `last`.
fn due(last: DateTime<Utc>, now: DateTime<Utc>) -> Option<Kind> {
    let night = now.date_naive().and_hms_opt(NIGHT, 0, 0).expect("there is such an hour").and_utc();
    if last < night && now >= night {
        return Some(Kind::Full);
    }
    ((last.date_naive(), last.hour()) != (now.date_naive(), now.hour()) && now > last).then_some(Kind::Sample)
}

fn tell(report: &Report) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    metrics::gauge!(FINDINGS).set(report.finding_count as f64);
    for Finding { tenant_id, position, what } in &report.findings {
        tracing::error!(%tenant_id, position, what, "the log is not what was sealed");
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, due};

    #[test]
    fn a_sample_is_due_each_hour_and_everything_each_night() {
        let at = |text: &str| format!("2026-01-{text}:00Z").parse().unwrap();
        for (last, now, expected) in [
            ("01T12:00", "01T12:59", None),
            ("01T12:59", "01T13:00", Some(Kind::Sample)),
            ("01T12:59", "01T12:10", None),
            ("01T01:59", "01T02:00", Some(Kind::Full)),
            ("01T02:00", "01T02:30", None),
            ("01T02:30", "01T03:00", Some(Kind::Sample)),
            ("01T12:00", "02T12:00", Some(Kind::Full)),
            ("01T23:59", "02T00:00", Some(Kind::Sample)),
        ] {
            assert_eq!(due(at(last), at(now)), expected, "{last} {now}");
        }
    }
}
