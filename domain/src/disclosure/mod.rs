//! Disclosures: what was taken out of a log, by whom, and how far it reached, so that an audit finds it in the log itself.
//!
//! Each disclosure is a stream of one event that the program writes before anything leaves it. Life: absent, made; it never changes.

pub mod decide;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};
use uuid::Uuid;

use crate::{
    aggregate,
    fact::Home,
    id::TenantId,
    refusal::{Kind, Refusal},
    role::Principal,
};

/// The actor of what is done with the program's verbs: which person it was is not known to the program.
pub const OPERATOR: &str = "operator:cli";

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// Events are about to be written out of the platform.
    Exported {
        recipient: Recipient,
        form: ExportForm,
        /// Whose events; those of all tenants when absent.
        tenant_id: Option<TenantId>,
        /// In the tenant's own positions; in those of the whole log when there is no tenant.
        range: Range,
        /// What was left out of the range.
        filter: Option<ExportFilter>,
        /// How many events the range has; unknown beforehand when some are left out.
        entry_count: Option<u64>,
        /// What the exported events are proven with.
        checkpoint: Option<CheckpointRef>,
        /// Whether events that are not as they were sealed are exported all the same.
        as_is: bool,
    },
    /// What there is about a data subject is about to be handed over, opened.
    SubjectExported { recipient: Recipient, subject_id: Uuid, record_count: u64 },
    /// A report is about to be handed over.
    ReportRun {
        recipient: Recipient,
        report: ReportKind,
        scope: ReportScope,
        /// In the tenant's own positions.
        range: Range,
        format: ReportFormat,
        row_count: u64,
        /// Whether these rows are all there are.
        complete: bool,
        /// The last one that was signed when the report was made.
        checkpoint: Option<CheckpointRef>,
    },
}

/// Who is given something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Recipient {
    /// A caller of the API.
    Principal { principal: Principal, home: Home },
    /// Whoever runs the program's verbs with access to the database, by the login that PostgreSQL knows him by.
    Operator { database_login: String },
}

impl Recipient {
    /// The name that events bear as their actor.
    #[must_use]
    pub fn actor(&self) -> &str {
        match self {
            Self::Principal { principal, .. } => principal.as_str(),
            Self::Operator { .. } => OPERATOR,
        }
    }
}

/// The positions of the first and the last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Range {
    pub from: u64,
    pub to: u64,
}

/// A signed checkpoint, by its size and its root in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckpointRef {
    pub size: u64,
    pub root: String,
}

/// What an export is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportForm {
    /// A directory with the entries and their proofs.
    Bundle,
    /// One entry with its proof.
    Proof,
    /// Lines of JSON.
    Events,
}

/// Which events of a range are exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportFilter {
    pub event_type: Option<String>,
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
}

/// What a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportKind {
    /// Who had access to what when.
    Access,
    /// What a principal did.
    Activity,
    /// How an aggregate became what it is.
    History,
    /// Emergency and support access, and what was done with it.
    Emergency,
}

/// What a report was narrowed to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportScope {
    pub principal: Option<String>,
    pub aggregate_type: Option<String>,
    pub aggregate_id: Option<Uuid>,
}

/// What a report is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportFormat {
    Csv,
    Ndjson,
}

/// What can be ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Writes down one disclosure.
    Record(Box<Event>),
}

/// Why a command is refused; only the platform itself sends one, so no client meets these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the disclosure is recorded already")]
    Recorded,
}

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Recorded => "disclosure_recorded",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Recorded => Kind::Conflict,
        }
    }
}

/// A disclosure at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Disclosure {
    /// Not recorded.
    #[default]
    Absent,
    /// Recorded.
    Recorded,
}

impl Aggregate for Disclosure {
    const TYPE: &'static str = "disclosure";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Exported { .. } | Event::SubjectExported { .. } | Event::ReportRun { .. } => *self = Self::Recorded,
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", Disclosure::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
