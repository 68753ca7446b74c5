//! Facts made again from the log: compared with the table that decisions read, and put right.
//!
//! An append writes the facts of its own events only. Events that came in another way, or were appended by a program that knew other facts,
//! have theirs made here. A comparison reads one snapshot and stops nobody. A repair looks first and then takes the append lock for those
//! tenants that it must write, so nothing is appended between what it reads and what it writes.
//! Memory: the streams of one batch, a page of events, and one id per tenant.

mod fold;
mod source;
pub(crate) mod streams;

use std::collections::BTreeSet;

use serde::Serialize;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use self::streams::{Walk, bounded};

pub use self::source::{FactSource, FactSources};

/// At most so many differences, and as many unreadable streams, are listed; the count goes on.
pub const DIFFERENCE_COUNT_MAX: usize = 100;

/// Everything that is read is of one moment.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// One statement may take so long, also the one that waits for the append lock; and tables that have just been filled are read by their
/// indexes, without statements being compiled first.
pub(crate) const SETTINGS: &str = "SELECT set_config('statement_timeout', '60s', true), set_config('jit', 'off', true), \
     set_config('enable_seqscan', 'off', true)";

/// The one writer lock, as `append_events` takes it.
pub(crate) const LOCK: &str = "SELECT pg_advisory_xact_lock(7236831001)";

/// By which version of the rules the facts were made.
pub(crate) const VERSION: &str = "SELECT version FROM facts_state";

/// Says by which version they were made now.
pub(crate) const SET_VERSION: &str = "UPDATE facts_state SET version = $1 WHERE only_row";

/// Tells everybody who holds what was made of facts.
pub(crate) const REPAIRED: &str = "UPDATE facts_state SET repair_count = repair_count + 1 WHERE only_row";

/// The tenants with events of these types after a position.
pub(crate) const TOUCHED: &str =
    "SELECT DISTINCT tenant_id FROM events WHERE position > $1 AND aggregate_type = ANY($2)";

/// The facts of these tenants are of the end of the log.
pub(crate) const RAISE_HEADS: &str = "INSERT INTO fact_heads AS h (tenant_id, position) \
     SELECT t.tenant_id, l.position FROM log_head l, unnest($1::uuid[]) AS t (tenant_id) \
     ON CONFLICT (tenant_id) DO UPDATE SET position = greatest(h.position, EXCLUDED.position)";

/// A fact that is not what the log says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The tenant that the fact belongs to.
    pub tenant_id: Uuid,
    /// The type of its stream.
    pub aggregate_type: String,
    /// The id of its stream.
    pub aggregate_id: Uuid,
    /// Its name within the stream.
    pub part: String,
    /// The JSON text that the log leads to; nothing when there should be none.
    pub expected: Option<String>,
    /// The JSON text in the table; nothing when it is missing.
    pub found: Option<String>,
}

/// A stream whose facts cannot be told, because one of its events cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// The tenant that the stream belongs to.
    pub tenant_id: Uuid,
    /// Its type.
    pub aggregate_type: String,
    /// Its id.
    pub aggregate_id: Uuid,
    /// What is wrong with the event.
    pub what: String,
}

/// The result of a comparison, or what a repair found before it wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FactReport {
    /// The last position of the log at that moment.
    pub head: i64,
    /// How many streams were looked at.
    pub stream_count: usize,
    /// How many facts the log leads to.
    pub fact_count: usize,
    /// How many facts differ.
    pub difference_count: usize,
    /// The first of them.
    pub differences: Vec<Difference>,
    /// How many streams cannot be read.
    pub unreadable_count: usize,
    /// The first of them. A repair leaves their facts as they are.
    pub unreadable: Vec<Unreadable>,
    /// The tenants whose facts differ.
    #[serde(skip)]
    pub tenants: BTreeSet<Uuid>,
}

impl FactReport {
    /// Whether every fact is what the log leads to.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.difference_count == 0 && self.unreadable_count == 0
    }

    fn differs(&mut self, difference: Difference) {
        self.difference_count += 1;
        self.tenants.insert(difference.tenant_id);
        if self.differences.len() < DIFFERENCE_COUNT_MAX {
            self.differences.push(difference);
        }
    }

    fn cannot_read(&mut self, stream: Unreadable) {
        self.unreadable_count += 1;
        if self.unreadable.len() < DIFFERENCE_COUNT_MAX {
            self.unreadable.push(stream);
        }
    }
}

/// Compares the facts of these tenants, or of all, with what the log leads to, in one snapshot; commands may go on meanwhile.
///
/// # Errors
/// When PostgreSQL does not answer; what is wrong with the facts is in the report.
pub async fn compare(
    pool: &PgPool,
    sources: &FactSources,
    tenants: Option<&BTreeSet<Uuid>>,
) -> Result<FactReport, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let mut snapshot = sqlx::Connection::begin_with(&mut *connection, SNAPSHOT).await?;
    bounded(sqlx::query(SETTINGS).execute(&mut *snapshot)).await?;
    let report = Walk { sources, tenants, writes: false }.run(&mut snapshot).await?;
    snapshot.rollback().await?;
    Ok(report)
}

/// Makes the facts of these tenants, or of all, what the log leads to; answers what was found wrong and is right now.
///
/// # Errors
/// When PostgreSQL does not answer or the append lock cannot be had in time; nothing was changed then.
pub async fn repair(
    pool: &PgPool,
    sources: &FactSources,
    tenants: Option<&BTreeSet<Uuid>>,
) -> Result<FactReport, sqlx::Error> {
    let found = compare(pool, sources, tenants).await?;
    if found.difference_count == 0 {
        return Ok(found);
    }
    let mut transaction = locked(pool).await?;
    let written = write(&mut transaction, sources, &found, tenants).await?;
    transaction.commit().await?;
    Ok(summed(found, written))
}

/// Makes all facts anew when they were made by an older version of the rules than `version`; nothing when they were not. Of several
/// processes that do this at once one does it, and the others wait for that one.
///
/// Facts of streams that cannot be read stay as they are, and the version as it was, so that the next start tries again.
///
/// # Errors
/// As [`repair`].
pub async fn catch_up(pool: &PgPool, sources: &FactSources, version: i32) -> Result<Option<FactReport>, sqlx::Error> {
    if sqlx::query_scalar::<_, i32>(VERSION).fetch_one(pool).await? >= version {
        return Ok(None);
    }
    let found = compare(pool, sources, None).await?;
    let mut transaction = locked(pool).await?;
    if sqlx::query_scalar::<_, i32>(VERSION).fetch_one(&mut *transaction).await? >= version {
        transaction.rollback().await?;
        return Ok(None);
    }
    let written = write(&mut transaction, sources, &found, None).await?;
    if found.unreadable_count == 0 && written.unreadable_count == 0 {
        sqlx::query(SET_VERSION).bind(version).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(Some(summed(found, written)))
}

/// What was written, among all that was looked at before.
fn summed(found: FactReport, written: FactReport) -> FactReport {
    let FactReport { stream_count, fact_count, unreadable_count, unreadable, .. } = found;
    FactReport { stream_count, fact_count, unreadable_count, unreadable, ..written }
}

/// A transaction that has the append lock.
async fn locked(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    bounded(sqlx::query(SETTINGS).execute(&mut *transaction)).await?;
    bounded(sqlx::query(LOCK).execute(&mut *transaction)).await?;
    Ok(transaction)
}

/// Under the lock: writes what differs, in the tenants where something was found and in those that have changed since.
async fn write(
    connection: &mut PgConnection,
    sources: &FactSources,
    found: &FactReport,
    wanted: Option<&BTreeSet<Uuid>>,
) -> Result<FactReport, sqlx::Error> {
    let query = sqlx::query_scalar(TOUCHED).bind(found.head).bind(sources.aggregate_types());
    let touched: Vec<Uuid> = bounded(query.fetch_all(&mut *connection)).await?;
    let mut tenants = found.tenants.clone();
    tenants.extend(touched.into_iter().filter(|tenant_id| wanted.is_none_or(|wanted| wanted.contains(tenant_id))));
    let report = Walk { sources, tenants: Some(&tenants), writes: true }.run(connection).await?;
    if report.difference_count > 0 {
        let changed: Vec<Uuid> = report.tenants.iter().copied().collect();
        bounded(sqlx::query(RAISE_HEADS).bind(changed).execute(&mut *connection)).await?;
        bounded(sqlx::query(REPAIRED).execute(&mut *connection)).await?;
    }
    Ok(report)
}
