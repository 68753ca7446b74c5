//! Any moment of the log, rebuilt: read models and aggregates as they were, what came between two moments, and where the live tables are
//! not what the log leads to.
//!
//! The log is read a page at a time and folded in memory; the rows are written into a schema that exists in one transaction
//! (`hub_projections::history`), where PostgreSQL counts and compares them. A second pass over the log names the events behind a difference,
//! so it is made only when there is one.

pub mod aggregates;
mod between;
mod live;
pub(crate) mod moment;

use std::{fmt, ops::Range, sync::Arc};

use chrono::{DateTime, Utc};
use hub_event_store::{
    event::Recorded,
    log::{Log, PAGE_SIZE},
    upcast::Upcasters,
};
use hub_projections::{
    history::{Compared, Explainer, History, HistoryError, Model, Scratch},
    projection::Projection,
};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use self::aggregates::{AggregateReport, Aggregates, Selector};
pub use self::{
    between::{Change, ChangedModel, Changes, ExplainingEvent, Kind, Values, between},
    live::{Comparison, Deviation, LiveModel, LiveValues, Wrong, compare_live},
    moment::{Moment, Place},
};

/// At most so many rows of a read model are named; the count goes on.
pub const ROW_COUNT_MAX: i64 = 100;

/// Whose log is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One tenant's; positions are the tenant's own.
    Tenant(Uuid),
    /// All tenants'; positions are the platform's.
    Platform,
}

impl Scope {
    fn tenant_id(self) -> Option<Uuid> {
        match self {
            Self::Tenant(tenant_id) => Some(tenant_id),
            Self::Platform => None,
        }
    }

    /// The event's place in this log.
    fn place_of(self, event: &Recorded) -> i64 {
        match self {
            Self::Tenant(_) => event.tenant_position,
            Self::Platform => event.position,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(tenant_id) => write!(formatter, "tenant {tenant_id}"),
            Self::Platform => formatter.write_str("platform"),
        }
    }
}

/// What is replayed, and with what.
#[derive(Debug, Clone)]
pub struct Replay {
    /// Connections of the program.
    pub pool: PgPool,
    /// How old events are read.
    pub upcasters: Upcasters,
    /// The read models.
    pub projections: Vec<Arc<dyn Projection>>,
    /// Whose log.
    pub scope: Scope,
    /// Whether the schema stays.
    pub keep: bool,
}

/// Told of how many of how many events are done.
pub type Progress<'a> = &'a (dyn Fn(i64, i64) + Send + Sync);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log has no such moment.
    #[error("{0}")]
    Moment(String),
    /// Nothing has this name.
    #[error("{0}")]
    Unknown(String),
    /// The log cannot be folded, or not be written.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// PostgreSQL does not answer.
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
}

/// A moment, rebuilt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replayed {
    /// Whose log; nothing for the platform's.
    pub tenant_id: Option<Uuid>,
    /// The last event that is in it.
    pub as_of: Place,
    /// The schema, if it was kept.
    pub schema: Option<String>,
    /// The read models.
    pub read_models: Vec<RebuiltModel>,
    /// The aggregates that were asked for.
    pub aggregates: Option<AggregateReport>,
}

/// A read model of a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RebuiltModel {
    /// Its name.
    pub name: &'static str,
    /// Its table in the schema.
    pub table: String,
    /// How many rows it has.
    pub row_count: i64,
    /// How many events could not be taken in; their streams stand still from there on, as in a live read model.
    pub unreadable_count: usize,
    /// How many events were left out, because somebody has left them out for good.
    pub left_out_count: usize,
}

impl Replay {
    /// Rebuilds everything as it was at a moment.
    ///
    /// # Errors
    /// When the log has no such moment, or cannot be folded.
    pub async fn as_of(
        &self,
        moment: Moment,
        selector: Option<&Selector>,
        progress: Progress<'_>,
    ) -> Result<Replayed, ReplayError> {
        let as_of = self.place(moment).await?;
        let mut scratch = Scratch::begin(&self.pool).await?;
        let mut aggregates = selector.map(|selector| Aggregates::new(selector.clone(), &self.upcasters));
        let mut history = self.fold(&mut scratch, "", as_of.place, &mut aggregates, progress).await?;
        let aggregates = aggregates.map(|aggregates| aggregates.report(&history)).transpose()?;
        let read_models = write(&mut scratch, &mut history, "").await?;
        let about = format!("Service Hub: replay of the {} as of {as_of}", self.scope);
        let schema = self.ended(scratch, &about).await?;
        Ok(Replayed { tenant_id: self.scope.tenant_id(), as_of, schema, read_models, aggregates })
    }

    /// Folds everything up to `until`.
    async fn fold(
        &self,
        scratch: &mut Scratch,
        suffix: &str,
        until: i64,
        aggregates: &mut Option<Aggregates>,
        progress: Progress<'_>,
    ) -> Result<History, ReplayError> {
        let mut history = History::begin(scratch.connection(), &self.projections, &self.upcasters).await?;
        let mut pages = self.pages(until);
        while let Some(page) = pages.next().await? {
            if let Some(aggregates) = aggregates {
                page.iter().for_each(|event| aggregates.take_in(&history, event));
            }
            history.take_in(&page)?;
            scratch.relieve(&mut history, suffix).await?;
            progress(pages.after, until);
        }
        Ok(history)
    }

    /// Leads the log up to the end of `steps` through those read models that have rows to explain, and keeps the last events behind its
    /// begin that changed each of these rows.
    async fn explained(
        &self,
        history: &History,
        found: &[Compared],
        steps: Range<i64>,
        step_count_max: usize,
        progress: Progress<'_>,
    ) -> Result<Vec<Option<Explainer>>, ReplayError> {
        let explainer = |(model, compared): (&Model, &Compared)| {
            let rows = compared.differences.iter().map(|row| (row.key.clone(), row.found.clone()));
            (compared.count > 0).then(|| history.explainer(model, rows.collect(), step_count_max))
        };
        let mut explainers: Vec<_> = history.models().iter().zip(found).map(explainer).collect();
        if explainers.iter().all(Option::is_none) {
            return Ok(explainers);
        }
        let mut pages = self.pages(steps.end);
        while let Some(page) = pages.next().await? {
            for explainer in explainers.iter_mut().flatten() {
                explainer.take_in(&page, |event| self.scope.place_of(event) > steps.start)?;
            }
            progress(pages.after, steps.end);
        }
        Ok(explainers)
    }

    /// Undoes the schema, or keeps it and answers its name.
    async fn ended(&self, scratch: Scratch, about: &str) -> Result<Option<String>, sqlx::Error> {
        if self.keep {
            return scratch.keep(about).await.map(Some);
        }
        scratch.end().await?;
        Ok(None)
    }

    fn pages(&self, until: i64) -> Pages {
        Pages { log: Log::new(self.pool.clone()), scope: self.scope, after: 0, until }
    }
}

/// A part of the log, a page at a time.
struct Pages {
    log: Log,
    scope: Scope,
    /// Every event up to and with this place was read.
    after: i64,
    until: i64,
}

impl Pages {
    async fn next(&mut self) -> Result<Option<Vec<Recorded>>, sqlx::Error> {
        let limit = PAGE_SIZE.min(self.until - self.after);
        if limit <= 0 {
            return Ok(None);
        }
        let page = match self.scope {
            Scope::Tenant(tenant_id) => self.log.page_of_tenant(tenant_id, self.after, limit).await?,
            Scope::Platform => self.log.page(self.after, limit).await?,
        };
        let Some(last) = page.last().map(|event| self.scope.place_of(event)) else { return Ok(None) };
        self.after = last;
        // A log with a hole is told of by others; nothing after the end is ever read.
        Ok(Some(page.into_iter().filter(|event| self.scope.place_of(event) <= self.until).collect()))
    }
}

async fn write(scratch: &mut Scratch, history: &mut History, suffix: &str) -> Result<Vec<RebuiltModel>, HistoryError> {
    let written = scratch.write(history, suffix).await?;
    let models = written.into_iter().zip(history.models());
    Ok(models
        .map(|(written, model)| RebuiltModel {
            name: written.projection,
            table: written.table,
            row_count: written.row_count,
            unreadable_count: model.unreadable_count(),
            left_out_count: model.left_out_count(),
        })
        .collect())
}

/// An event, named so that it can be found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventName {
    /// Its place in the tenant's log.
    pub position: i64,
    /// Its place in the platform's log.
    pub platform_position: i64,
    /// Its own id.
    pub event_id: Uuid,
    /// What happened.
    pub event_type: String,
    /// Who caused it.
    pub actor: String,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// What it happened to: the type and the id of its stream.
    pub aggregate_type: String,
    /// The id of its stream.
    pub aggregate_id: Uuid,
    /// Its place in its stream.
    pub sequence: i64,
}

impl EventName {
    fn of(event: &Recorded) -> Self {
        Self {
            position: event.tenant_position,
            platform_position: event.position,
            event_id: event.event_id,
            event_type: event.event_type.clone(),
            actor: event.metadata().map_or_else(|_| "unknown".to_owned(), |metadata| metadata.actor),
            occurred_at: event.occurred_at,
            aggregate_type: event.aggregate_type.clone(),
            aggregate_id: event.aggregate_id,
            sequence: event.sequence,
        }
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, event_type, actor, occurred_at, aggregate_type, aggregate_id, sequence, .. } = self;
        let at = occurred_at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
        write!(formatter, "{position} {event_type} by {actor} at {at} ({aggregate_type} {aggregate_id} #{sequence})")
    }
}
