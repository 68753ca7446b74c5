//! Importing a table of postgres-es: every row is checked, then appended in a fixed order, then compared with the log.
//!
//! Three passes over one snapshot of the source, each a page in memory at a time:
//! 1. *check*, in the order of the primary key: each row can be mapped, each stream begins with 1, has no gap and one tenant, and no
//!    stream is in the log that this import has not made. Nothing is written before all of it is right.
//! 2. *import*, in the same order, or in the order of the time that the rows have: what is not in the log yet is appended.
//!    Then the facts are made that decisions read and an append of an import does not write.
//! 3. *verify*: each event in the log has the bytes and the leaf hash that the source leads to, and there are as many as rows.
//!
//! What is in the log already is recognised by ids that are derived from the import, so a run that was killed is taken up by the same
//! command, and rows that were added to the source since are imported by one more run.

pub mod mapping;
pub(crate) mod source;
pub(crate) mod target;

use std::collections::{BTreeMap, BTreeSet};

use hub_event_store::{
    clock::Clock,
    facts::{self, FactSources},
    import::{self, BATCH_SIZE_MAX, Identity, Import, ImportEvent},
};
use sqlx::PgPool;
use uuid::Uuid;

use self::{
    mapping::{Mapping, NAMESPACE, RowError, SourceRow},
    source::{Order, Source},
};

/// Who the importer is in the metadata of the events.
const ACTOR: &str = "import:postgres-es";

/// At most so many differences are listed; the count goes on.
pub const FINDING_COUNT_MAX: usize = 100;

/// At most so many kinds of events may be in one source: kinds are names in a program.
const KIND_COUNT_MAX: usize = 10_000;

/// What is imported, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The database that has the table.
    pub source_url: String,
    /// The table, with its schema if that is not on the search path.
    pub table: String,
    /// How rows become events.
    pub mapping: Mapping,
    /// How many events are appended at once.
    pub batch_size: usize,
    /// Check only; write nothing.
    pub dry_run: bool,
    /// The aggregates whose events show facts.
    pub facts: FactSources,
}

/// Which pass is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Every row is checked.
    Check,
    /// What is missing is appended.
    Import,
    /// Everything is compared.
    Verify,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Report {
    /// What names this import for good.
    pub import_id: Uuid,
    /// How many rows the source has.
    pub row_count: i64,
    /// How many streams they make.
    pub stream_count: i64,
    /// Each event type of the log with the number of its rows, by what the source calls it: aggregate type and variant or tag.
    pub kinds: BTreeMap<(String, String), i64>,
    /// How many events were in the log before.
    pub present_count: i64,
    /// How many were appended now.
    pub imported_count: i64,
    /// How many facts were made of what was imported.
    pub fact_count: usize,
    /// How many are in the log as the source has them.
    pub verified_count: i64,
    /// How much was found different.
    pub finding_count: i64,
    /// The first of it.
    pub findings: Vec<Finding>,
}

/// An event that is not in the log as the source has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The aggregate's type in the log.
    pub aggregate_type: String,
    /// The aggregate's id in the log.
    pub aggregate_id: Uuid,
    /// The place in its stream.
    pub sequence: i64,
    /// What is wrong.
    pub what: String,
}

/// Why an import ended early.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("the URL of the source cannot be read: {0}")]
    SourceUrl(#[source] sqlx::Error),
    #[error("cannot connect to the source: {0}")]
    SourceConnection(#[source] sqlx::Error),
    #[error("cannot read the source: {0}")]
    Source(#[from] sqlx::Error),
    #[error("cannot read the log: {0}")]
    Target(#[source] sqlx::Error),
    /// There is no such table, or it is something else.
    #[error("{0}")]
    Table(String),
    /// Nothing was written.
    #[error(transparent)]
    Row(#[from] RowError),
    #[error(
        "{aggregate_type} {aggregate_id} of tenant {tenant_id} is in the log already, and its event {sequence} is not of this import"
    )]
    Conflict { tenant_id: Uuid, aggregate_type: String, aggregate_id: Uuid, sequence: i64 },
    #[error(transparent)]
    Append(#[from] import::ImportError),
    /// Everything is in the log, but not in force.
    #[error("the facts cannot be made; the same import will try again: {0}")]
    Facts(String),
    /// Everything was appended that the source has, but the log has other events of this import.
    #[error("the import has appended {appended} events over all its runs, the source has {row_count} rows")]
    Count { appended: i64, row_count: i64 },
    #[error("{0}")]
    Options(String),
}

impl Report {
    /// Whether everything is in the log as the source has it; always so for a dry run that found nothing to complain of.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.finding_count == 0
    }

    fn found(&mut self, finding: Finding) {
        self.finding_count += 1;
        if self.findings.len() < FINDING_COUNT_MAX {
            self.findings.push(finding);
        }
    }
}

/// Imports a table of postgres-es into the log behind `target`, or goes on with it.
///
/// `admit` has a word about each event before anything is written; `progress` is told the pass and how far of how much.
///
/// # Errors
/// See [`ImportError`]; differences that the comparison finds are in the report.
pub async fn import_postgres_es(
    target: &PgPool,
    options: &Options,
    clock: &Clock,
    admit: &(dyn Fn(&ImportEvent) -> Result<(), String> + Send + Sync),
    progress: &(dyn Fn(Phase, i64, i64) + Send + Sync),
) -> Result<Report, ImportError> {
    if options.batch_size == 0 || options.batch_size > BATCH_SIZE_MAX {
        return Err(ImportError::Options(format!("the batch size is from 1 to {BATCH_SIZE_MAX}")));
    }
    let mut source = Source::open(&options.source_url, &options.table).await?;
    let import_id = import_id(&source, &options.mapping);
    let run = Run {
        target,
        identity: Identity { import_id, actor: ACTOR.to_owned() },
        description: format!("postgres-es {}.{}, {}", source.database, source.table(), options.mapping.describe()),
        options,
        clock,
        admit,
        progress,
    };
    let (mut report, bearing) = run.check(&mut source).await?;
    if !options.dry_run {
        run.append(&mut source, &mut report).await?;
        report.fact_count = run.make_facts(&bearing).await?;
        run.verify(&mut source, &mut report).await?;
    }
    source.close().await?;
    Ok(report)
}

/// The same database, table and tenant are the same import.
fn import_id(source: &Source, mapping: &Mapping) -> Uuid {
    let tenant = match &mapping.tenant {
        mapping::TenantOf::All(tenant) => tenant.to_string(),
        mapping::TenantOf::Key(key) => format!("key {key}"),
    };
    let name = format!("postgres-es/{}/{}/{tenant}", source.database, source.table());
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

/// Everything that the passes share.
struct Run<'a> {
    target: &'a PgPool,
    identity: Identity,
    description: String,
    options: &'a Options,
    clock: &'a Clock,
    admit: &'a (dyn Fn(&ImportEvent) -> Result<(), String> + Send + Sync),
    progress: &'a (dyn Fn(Phase, i64, i64) + Send + Sync),
}

impl Run<'_> {
    /// Checks every row; answers the report so far, and the tenants with events that show facts.
    async fn check(&self, source: &mut Source) -> Result<(Report, BTreeSet<Uuid>), ImportError> {
        let known = Import::look_up(self.target, self.identity.import_id).await.map_err(ImportError::Target)?;
        if let Some((known, ..)) = known.filter(|(known, ..)| *known != self.description) {
            return Err(import::ImportError::OtherSource { known, given: self.description.clone() }.into());
        }
        let row_count = source.count().await?;
        let mut report = Report {
            import_id: self.identity.import_id,
            row_count,
            stream_count: 0,
            kinds: BTreeMap::new(),
            present_count: 0,
            imported_count: 0,
            fact_count: 0,
            verified_count: 0,
            finding_count: 0,
            findings: Vec::new(),
        };
        let now = (self.clock)();
        let mut types = Types::default();
        let mut bearing = BTreeSet::new();
        let mut before: Option<(SourceRow, Uuid)> = None;
        let mut done = 0;
        let page = async |rows: Vec<SourceRow>| {
            let mut events = Vec::with_capacity(rows.len());
            for row in rows {
                let event = self.options.mapping.map(&row, now)?;
                types.check(&row, &event)?;
                if follows(before.as_ref(), &row, &event)? {
                    report.stream_count += 1;
                }
                (self.admit)(&event).map_err(|reason| RowError::of(&row, reason))?;
                let kind = (row.aggregate_type.clone(), event.event_type.clone());
                *report.kinds.entry(kind).or_insert(0) += 1;
                if report.kinds.len() > KIND_COUNT_MAX {
                    return Err(
                        RowError::of(&row, format!("there are more than {KIND_COUNT_MAX} kinds of events")).into()
                    );
                }
                if self.options.facts.bear(&event.aggregate_type) {
                    bearing.insert(event.tenant_id);
                }
                before = Some((row, event.tenant_id));
                events.push(event);
            }
            let count = length(&events);
            let missing = target::missing(self.target, &self.identity, events).await?;
            report.present_count += count - length(&missing);
            done += count;
            (self.progress)(Phase::Check, done, row_count);
            Ok(())
        };
        source.read(Order::Streams, self.options.batch_size, page).await?;
        Ok((report, bearing))
    }

    /// Makes the facts of these tenants what the log leads to, also when a run before this one was cut off in between.
    async fn make_facts(&self, tenants: &BTreeSet<Uuid>) -> Result<usize, ImportError> {
        if tenants.is_empty() {
            return Ok(0);
        }
        let made = facts::repair(self.target, &self.options.facts, Some(tenants)).await.map_err(ImportError::Target)?;
        match made.unreadable.first() {
            Some(stream) => Err(ImportError::Facts(stream.what.clone())),
            None => Ok(made.difference_count),
        }
    }

    async fn append(&self, source: &mut Source, report: &mut Report) -> Result<(), ImportError> {
        let now = (self.clock)();
        let mut import = Import::open(self.target, self.identity.clone(), &self.description, now).await?;
        let started_at = import.started_at();
        let mut done = 0;
        let page = async |rows: Vec<SourceRow>| {
            let events = self.map(&rows, started_at)?;
            let missing = target::missing(self.target, &self.identity, events).await?;
            if !missing.is_empty() {
                import.append(&missing, (self.clock)()).await?;
            }
            report.imported_count += length(&missing);
            done += length(&rows);
            (self.progress)(Phase::Import, done, report.row_count);
            Ok(())
        };
        source.read(self.order(), self.options.batch_size, page).await?;
        if import.event_count() != report.row_count {
            return Err(ImportError::Count { appended: import.event_count(), row_count: report.row_count });
        }
        import.close().await.map_err(ImportError::Target)
    }

    async fn verify(&self, source: &mut Source, report: &mut Report) -> Result<(), ImportError> {
        let state = Import::look_up(self.target, self.identity.import_id).await.map_err(ImportError::Target)?;
        let Some((_, _, started_at)) = state else {
            return Err(ImportError::Target(sqlx::Error::RowNotFound));
        };
        let mut done = 0;
        let page = async |rows: Vec<SourceRow>| {
            let events = self.map(&rows, started_at)?;
            let before = report.finding_count;
            target::compare(self.target, &self.identity, &events, |finding| report.found(finding)).await?;
            report.verified_count += length(&events) - (report.finding_count - before);
            done += length(&events);
            (self.progress)(Phase::Verify, done, report.row_count);
            Ok(())
        };
        source.read(Order::Streams, self.options.batch_size, page).await
    }

    fn map(&self, rows: &[SourceRow], started_at: chrono::DateTime<chrono::Utc>) -> Result<Vec<ImportEvent>, RowError> {
        rows.iter().map(|row| self.options.mapping.map(row, started_at)).collect()
    }

    fn order(&self) -> Order<'_> {
        self.options.mapping.time_key.as_deref().map_or(Order::Streams, Order::Time)
    }
}

/// Which aggregate type of the source each one in the log is.
#[derive(Default)]
struct Types {
    sources: BTreeMap<String, String>,
}

impl Types {
    /// Two types of the source must not become one, or two streams could.
    fn check(&mut self, row: &SourceRow, event: &ImportEvent) -> Result<(), RowError> {
        match self.sources.get(&event.aggregate_type) {
            Some(source) if *source == row.aggregate_type => Ok(()),
            Some(source) => {
                let name = &event.aggregate_type;
                Err(RowError::of(row, format!("its type would become `{name}`, which `{source}` is already")))
            }
            None => {
                self.sources.insert(event.aggregate_type.clone(), row.aggregate_type.clone());
                Ok(())
            }
        }
    }
}

/// Whether the row begins a stream; an error when it neither does nor continues the one before it.
fn follows(before: Option<&(SourceRow, Uuid)>, row: &SourceRow, event: &ImportEvent) -> Result<bool, RowError> {
    let same =
        before.filter(|(last, _)| last.aggregate_type == row.aggregate_type && last.aggregate_id == row.aggregate_id);
    let Some((last, tenant_id)) = same else {
        return if row.sequence == 1 { Ok(true) } else { Err(RowError::of(row, "the stream does not begin with 1")) };
    };
    if row.sequence != last.sequence + 1 {
        return Err(RowError::of(row, format!("it follows sequence {}", last.sequence)));
    }
    if event.tenant_id != *tenant_id {
        return Err(RowError::of(row, format!("the stream belongs to tenant {tenant_id} so far")));
    }
    Ok(false)
}

fn length<T>(list: &[T]) -> i64 {
    i64::try_from(list.len()).expect("a page is bounded")
}
