//! Self-checks: what is sealed is hashed anew and compared with what was sealed, a sample each hour and all of it each night.
//!
//! Of a tenant's log the events must be those whose hashes were kept; of the platform's own log each leaf must be the checkpoint of a tenant
//! that is kept. The hashes must lead to every root that was signed, and a published key must have signed it. What a check found becomes
//! an event of the platform, so it is sealed itself. It finds what was changed by mistake or by a disk, and an intruder who did not
//! know of the seals. One who changes events and seals together and can sign is found by whoever holds an older checkpoint.

pub(crate) mod clock;
pub(crate) mod notes;
pub(crate) mod parts;
pub(crate) mod tree;

use hub_event_store::log::Log;
use sqlx::PgPool;
use uuid::Uuid;

pub use self::clock::SelfCheck;
use self::{notes::Published, parts::Part, tree::Tree};
use crate::turn::PLATFORM_LOG;

/// The logs from one on, with how much of each is sealed; of one log only if it is named.
pub(crate) const LOGS: &str = "
SELECT tenant_id, size, root FROM sealed_trees
WHERE ($1::uuid IS NULL OR tenant_id > $1) AND ($2::uuid IS NULL OR tenant_id = $2)
ORDER BY tenant_id LIMIT 100";

/// How much is sealed.
pub(crate) const TOTAL: &str =
    "SELECT coalesce(sum(size), 0)::bigint FROM sealed_trees WHERE $1::uuid IS NULL OR tenant_id = $1";

/// Some tiles of leaves, by chance: of one log, or of all but one.
pub(crate) const SOME: &str = "
SELECT t.tenant_id, t.tile_index, least(s.size - t.tile_index * 256, 256)
FROM sealed_tiles t
JOIN sealed_trees s ON s.tenant_id = t.tenant_id AND s.size > t.tile_index * 256
WHERE t.level = 0 AND ($1::uuid IS NULL OR t.tenant_id = $1) AND ($2::uuid IS NULL OR t.tenant_id <> $2)
ORDER BY random() LIMIT $3";

/// Leaves of one tile.
const TILE_SIZE: i64 = 256;

/// So many tiles are read at once.
const TILE_COUNT: i64 = 4;

/// So many tiles are a sample.
const SAMPLE_SIZE: i64 = 64;

/// So many of the platform's log are added to it.
const PLATFORM_SAMPLE_SIZE: i64 = 4;

/// So many findings are told one by one.
pub const FINDING_COUNT_MAX: usize = 20;

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Some events of some logs.
    Sample,
    /// Everything that is sealed.
    Full,
}

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// How much of it.
    pub kind: Kind,
    /// One tenant's log, with its checkpoints and their places in the platform's log; or else every log, that of the platform too.
    pub tenant_id: Option<Uuid>,
}

impl Scope {
    /// Every log, the platform's own too.
    #[must_use]
    pub fn of_all(kind: Kind) -> Self {
        Self { kind, tenant_id: None }
    }
}

/// An event, a checkpoint or a log that is not as it was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whose; the nil id is the platform's log of checkpoints.
    pub tenant_id: Uuid,
    /// The place in that log, from 1; of a checkpoint, how many it covers.
    pub position: i64,
    /// What is wrong with it.
    pub what: &'static str,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What was checked.
    pub scope: Scope,
    /// How many logs of tenants, whole or in part.
    pub log_count: u64,
    /// How many events.
    pub event_count: u64,
    /// How many checkpoints.
    pub checkpoint_count: u64,
    /// How many findings.
    pub finding_count: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
}

impl Report {
    fn new(scope: Scope) -> Self {
        Self { scope, log_count: 0, event_count: 0, checkpoint_count: 0, finding_count: 0, findings: Vec::new() }
    }

    fn find(&mut self, tenant_id: Uuid, position: i64, what: &'static str) {
        self.finding_count += 1;
        if self.findings.len() < FINDING_COUNT_MAX {
            self.findings.push(Finding { tenant_id, position, what });
        }
    }
}

/// Hashes what is in the scope anew; `progress` is told after each part how many leaves of how many were.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn check(pool: &PgPool, scope: Scope, progress: impl Fn(u64, u64)) -> Result<Report, sqlx::Error> {
    let published = Published::read(pool).await?;
    let log = Log::new(pool.clone());
    let checker = Checker { pool, log, published, report: Report::new(scope), leaf_count: 0 };
    match scope.kind {
        Kind::Sample => checker.sample(progress).await,
        Kind::Full => checker.full(progress).await,
    }
}

struct Checker<'a> {
    pool: &'a PgPool,
    log: Log,
    published: Published,
    report: Report,
    /// Leaves that were looked at, those of the platform's log too.
    leaf_count: u64,
}

impl Checker<'_> {
    async fn sample(mut self, progress: impl Fn(u64, u64)) -> Result<Report, sqlx::Error> {
        let mut parts = self.some(self.report.scope.tenant_id, Some(PLATFORM_LOG), SAMPLE_SIZE).await?;
        if self.report.scope.tenant_id.is_none() {
            parts.append(&mut self.some(Some(PLATFORM_LOG), None, PLATFORM_SAMPLE_SIZE).await?);
        }
        let all: i64 = parts.iter().map(|part| part.leaf_count).sum();
        for part in parts {
            self.compare(part).await?;
            let notes = notes::of(self.pool, part).await?;
            notes.iter().for_each(|note| drop(self.judge(part.log, note)));
            self.report.log_count += u64::from(part.log != PLATFORM_LOG);
            progress(self.leaf_count, all.unsigned_abs());
        }
        Ok(self.report)
    }

    async fn some(&self, of: Option<Uuid>, except: Option<Uuid>, count: i64) -> Result<Vec<Part>, sqlx::Error> {
        let query = sqlx::query_as(SOME).bind(of).bind(except).bind(count);
        let tiles: Vec<(Uuid, i64, i64)> = query.fetch_all(self.pool).await?;
        let part = |(log, index, leaf_count)| Part { log, begin: index * TILE_SIZE, leaf_count };
        Ok(tiles.into_iter().map(part).collect())
    }

    async fn full(mut self, progress: impl Fn(u64, u64)) -> Result<Report, sqlx::Error> {
        let of = self.report.scope.tenant_id;
        let all: i64 = sqlx::query_scalar(TOTAL).bind(of).fetch_one(self.pool).await?;
        let mut after: Option<Uuid> = None;
        loop {
            let query = sqlx::query_as(LOGS).bind(after).bind(of);
            let logs: Vec<(Uuid, i64, Vec<u8>)> = query.fetch_all(self.pool).await?;
            let Some((last, ..)) = logs.last() else { return Ok(self.report) };
            after = Some(*last);
            for (log, size, root) in logs {
                self.walk(log, size, &root, &|done| progress(done, all.unsigned_abs())).await?;
            }
        }
    }

    /// Hashes a whole log anew.
    async fn walk(&mut self, log: Uuid, size: i64, root: &[u8], progress: &impl Fn(u64)) -> Result<(), sqlx::Error> {
        let mut tree = Tree::new(log);
        let mut signed_size = 0;
        for begin in (0..size).step_by(usize::try_from(TILE_SIZE * TILE_COUNT).expect("a small number")) {
            let part = Part { log, begin, leaf_count: (size - begin).min(TILE_SIZE * TILE_COUNT) };
            let leaves = self.compare(part).await?;
            let notes = notes::of(self.pool, part).await?;
            let mut notes = notes.iter().peekable();
            for (place, leaf) in (begin + 1..).zip(leaves) {
                tree.append(leaf);
                if let Some(note) = notes.next_if(|note| note.size == place) {
                    signed_size = place;
                    if let Some(checkpoint) = self.judge(log, note) {
                        tree.hold_to(&mut self.report, place, checkpoint.root().as_bytes());
                    }
                }
            }
            tree.keep();
            progress(self.leaf_count);
        }
        if signed_size != size {
            self.report.find(log, size, "its checkpoint is missing");
        }
        tree.hold_to(&mut self.report, size, root);
        tree.compare_upper(self.pool, &mut self.report).await?;
        self.report.log_count += u64::from(log != PLATFORM_LOG);
        Ok(())
    }
}
