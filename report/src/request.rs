//! What is asked for.

use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::ReportError;

/// The longest principal or aggregate type that is looked for, in bytes.
const TEXT_BYTES_MAX: usize = 200;

/// What a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Who had access to what when.
    Access,
    /// What a principal did.
    Activity,
    /// How an aggregate became what it is.
    History,
    /// Emergency and support access, and what was done with it.
    Emergency,
}

impl Kind {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Activity => "activity",
            Self::History => "history",
            Self::Emergency => "emergency",
        }
    }
}

/// Where a period begins or ends: with this place in the tenant's log, or with the first event from this moment on, or the last before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// From 1.
    Position(u64),
    /// RFC 3339.
    Time(DateTime<Utc>),
}

impl FromStr for Bound {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(position));
        }
        let time: Result<DateTime<Utc>, _> = text.parse();
        time.map(Self::Time).map_err(|_| "neither a place in the log nor a moment such as 2026-01-31T00:00:00Z")
    }
}

impl Bound {
    /// As it is written.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Position(position) => position.to_string(),
            Self::Time(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        }
    }
}

/// How much is read and made at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// So many positions the period has at most; a longer one is refused.
    pub position_count_max: u64,
    /// So many rows the report has at most; then it is cut, and says so.
    pub row_count_max: usize,
}

/// A report that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Of whose log.
    pub tenant_id: Uuid,
    /// Of what.
    pub kind: Kind,
    /// The beginning of the period; that of the log when absent.
    pub from: Option<Bound>,
    /// The end of the period; that of the log when absent.
    pub to: Option<Bound>,
    /// Whose activity, or only whose access.
    pub principal: Option<String>,
    /// With the id: whose history.
    pub aggregate_type: Option<String>,
    /// See `aggregate_type`.
    pub aggregate_id: Option<Uuid>,
    /// How much.
    pub limits: Limits,
}

impl Request {
    /// Refuses what makes no sense, by the parameter that is to be changed.
    pub(crate) fn check(&self) -> Result<(), ReportError> {
        let refused = |parameter, detail: &str| Err(ReportError::Invalid { parameter, detail: detail.to_owned() });
        for (parameter, text) in [("principal", &self.principal), ("aggregate_type", &self.aggregate_type)] {
            if text.as_ref().is_some_and(|text| text.is_empty() || text.len() > TEXT_BYTES_MAX || text.contains('\0')) {
                return Err(ReportError::Invalid { parameter, detail: format!("has 1 to {TEXT_BYTES_MAX} bytes") });
            }
        }
        match self.kind {
            Kind::Activity if self.principal.is_none() => {
                refused("principal", "an activity report is of one principal")
            }
            Kind::History if self.principal.is_some() => refused("principal", "a history is of all who changed it"),
            Kind::History if self.aggregate_type.is_none() => {
                refused("aggregate_type", "a history is of one aggregate")
            }
            Kind::History if self.aggregate_id.is_none() => refused("aggregate_id", "a history is of one aggregate"),
            Kind::Access | Kind::Activity | Kind::Emergency if self.aggregate_type.is_some() => {
                refused("aggregate_type", "only a history is of one aggregate")
            }
            Kind::Access | Kind::Activity | Kind::Emergency if self.aggregate_id.is_some() => {
                refused("aggregate_id", "only a history is of one aggregate")
            }
            Kind::Access | Kind::Activity | Kind::Emergency | Kind::History => Ok(()),
        }
    }
}
