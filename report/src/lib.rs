//! Reports for auditors: made of one tenant's log and nothing else, as tables that say what they are of.
//!
//! A report reads the events of a range of positions, and of those before it what it needs to know at the beginning (`source`), leads them through a
//! fold of its kind, and says at its head what it was asked for, up to which position it knows the log, and which signed checkpoint was the last one
//! (`head`). It is made in memory, so it has a bound, and says when it was cut. What a value shows is decided in one place (`shown`).

mod access;
mod activity;
mod emergency;
mod form;
mod head;
mod history;
mod request;
mod shown;
mod source;

use hub_event_store::{event::Recorded, upcast::Upcasters};
use serde_json::Value;
use sqlx::PgConnection;

pub use self::{
    form::Format,
    head::{Head, LastCheckpoint},
    request::{Bound, Kind, Limits, Request},
};

use self::{head::Begun, source::Source};

/// Every SQL text of this crate, for the test that prepares each against the migrated schema.
pub const QUERIES: &[&str] = &[
    head::CHECKPOINT_LAST,
    head::FIRST_AT,
    head::HEAD,
    head::LAST_BEFORE,
    source::PAGE_OF_STREAM,
    source::PAGE_OF_TENANT,
];

/// A report that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What it is of.
    pub head: Head,
    /// The names of what a row may have, in the order of a table.
    pub columns: &'static [&'static str],
    /// Objects.
    pub rows: Vec<Value>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// PostgreSQL does not answer.
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    /// The tenant has no events.
    #[error("the tenant has no events")]
    NoEvents,
    /// What was asked for makes no sense.
    #[error("{parameter}: {detail}")]
    Invalid {
        /// The parameter that is to be changed.
        parameter: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// An event is not what this program can read.
    #[error("the event {position} cannot be read: {reason}")]
    Unreadable {
        /// Its place in the tenant's log.
        position: i64,
        /// What is wrong with it.
        reason: String,
    },
}

/// One kind of report under way.
trait Fold: Send {
    /// Takes the next event in, and answers the rows that it alone leads to. An event before the period is only to be known.
    fn take(&mut self, event: &Recorded, within: bool) -> Result<Vec<Value>, String>;

    /// The rows that only the end of the period leads to.
    fn end(self: Box<Self>) -> Vec<Value>;
}

/// Makes a report of what the connection sees.
///
/// # Errors
/// See `ReportError`.
pub async fn make(
    connection: &mut PgConnection,
    request: &Request,
    upcasters: &Upcasters,
) -> Result<Report, ReportError> {
    request.check()?;
    let begun = Begun::read(connection, request).await?;
    let (mut fold, columns): (Box<dyn Fold>, _) = match request.kind {
        Kind::Access => (Box::new(access::Access::new(request.principal.clone(), begun.from)), access::COLUMNS),
        Kind::Activity => (Box::new(activity::Activity), activity::COLUMNS),
        Kind::Emergency => {
            (Box::new(emergency::Emergency::new(request.principal.clone(), begun.from)), emergency::COLUMNS)
        }
        Kind::History => (Box::new(history::History::default()), history::COLUMNS),
    };
    let mut rows = Vec::new();
    let mut continue_from = None;
    let mut source = Source::of(request, &begun);
    'pages: while let Some(page) = source.next(connection).await? {
        for event in page {
            let position = event.tenant_position;
            let unreadable = |reason| ReportError::Unreadable { position, reason };
            let event = upcasters.apply(event).map_err(|error| unreadable(error.to_string()))?;
            let made = fold.take(&event, position >= begun.from).map_err(unreadable)?;
            // An event's rows are kept together, unless they are more than a report has.
            if rows.len() + made.len() > request.limits.row_count_max && !rows.is_empty() {
                continue_from = Some(position);
                break 'pages;
            }
            rows.extend(made);
        }
    }
    if continue_from.is_none() {
        rows.extend(fold.end());
    }
    let complete = continue_from.is_none() && rows.len() <= request.limits.row_count_max;
    rows.truncate(request.limits.row_count_max);
    let head = begun.head(request, rows.len(), complete, continue_from);
    Ok(Report { head, columns, rows })
}

/// Who caused an event, what it says, and where and when it stands, as reports show it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Moment {
    by: String,
    at: chrono::DateTime<chrono::Utc>,
    position: i64,
}

impl Moment {
    fn of(event: &Recorded) -> Result<Self, String> {
        let metadata = event.metadata().map_err(|error| error.to_string())?;
        Ok(Self { by: metadata.actor, at: event.occurred_at, position: event.tenant_position })
    }
}
