//! A finding: one thing that a control found not to be as demanded, and what people do about it.
//!
//! Life: open, acknowledged, in remediation, or its risk accepted until a date; resolved by a person; verified when the control does not find it
//! any more. A finding that comes back, that was resolved but is still found, or whose acceptance is over, is open again. Its id is derived
//! from the control and the thing ([`id_of`]), so nothing is opened twice. It is the platform's own, and names no person but those who
//! act on it.

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
    id::TenantId,
    refusal::{Code, Kind, Refusal},
    role::Principal,
    text::Remark,
};

/// A risk is accepted for so many days at most.
pub const ACCEPTANCE_DAYS_MAX: i64 = 366;

/// Namespace of the ids of findings.
const NAMESPACE: Uuid = Uuid::from_u128(0x2f3e_91d5_6a0b_4f7e_9d21_5ce8_70a4_be33);

/// The finding of a control about a thing of a tenant, or of the platform.
#[must_use]
pub fn id_of(control_id: &str, tenant_id: Option<TenantId>, about: &str) -> Uuid {
    let tenant_id = tenant_id.map(|tenant| tenant.0.to_string()).unwrap_or_default();
    Uuid::new_v5(&NAMESPACE, format!("{control_id}\0{tenant_id}\0{about}").as_bytes())
}

/// What has happened to a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// A control found it.
    Opened {
        control_id: String,
        severity: Severity,
        tenant_id: Option<TenantId>,
        about: String,
        what: String,
        run_id: Uuid,
    },
    /// It is found although it should not be any more.
    Reopened { cause: ReopenCause, what: String, run_id: Uuid },
    /// Somebody has seen it.
    Acknowledged { by: Principal, remark: Remark },
    /// Somebody does something about it.
    RemediationStarted { by: Principal, remark: Remark },
    /// Somebody says that it is done; the next run tells whether it is.
    Resolved { by: Principal, remark: Remark },
    /// It may stay so until then.
    RiskAccepted { by: Principal, reason: Remark, until: DateTime<Utc> },
    /// The control does not find it any more.
    Verified { run_id: Uuid },
}

/// What a failure of a control means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Untidy.
    Low,
    /// To be mended in its time.
    Medium,
    /// To be mended soon.
    High,
    /// To be mended now.
    Critical,
}

/// Why a finding is open again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReopenCause {
    /// It was gone, and is back.
    CameBack,
    /// Somebody said that it was done, and it is still so.
    NotResolved,
    /// The time for which its risk was accepted is over.
    AcceptanceOver,
}

/// What a finding can be ordered to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The control finds it at `now`.
    Find {
        control_id: String,
        severity: Severity,
        tenant_id: Option<TenantId>,
        about: String,
        what: String,
        run_id: Uuid,
        now: DateTime<Utc>,
    },
    /// The control does not find it.
    Miss {
        run_id: Uuid,
    },
    Acknowledge {
        by: Principal,
        remark: Remark,
    },
    StartRemediation {
        by: Principal,
        remark: Remark,
    },
    Resolve {
        by: Principal,
        remark: Remark,
    },
    AcceptRisk {
        by: Principal,
        reason: Remark,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    },
}

/// Why a finding refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no such finding")]
    NotFound,
    #[error("the finding is resolved")]
    Resolved,
    #[error("accepting a risk needs a reason")]
    ReasonMissing,
    #[error("a risk is accepted until a moment that is to come, in {ACCEPTANCE_DAYS_MAX} days at most")]
    UntilOutOfBounds,
}

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code { code: "finding_not_found", kind: Kind::NotFound, meaning: "There is no such finding." },
    Code {
        code: "finding_resolved",
        kind: Kind::Conflict,
        meaning: "The finding is resolved; it opens again by itself if the control still finds it.",
    },
    Code { code: "finding_reason_missing", kind: Kind::Invalid, meaning: "Accepting a risk needs a reason." },
    Code {
        code: "finding_until_out_of_bounds",
        kind: Kind::Invalid,
        meaning: "A risk is accepted until a moment that is to come, within a year.",
    },
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "finding_not_found",
            Self::Resolved => "finding_resolved",
            Self::ReasonMissing => "finding_reason_missing",
            Self::UntilOutOfBounds => "finding_until_out_of_bounds",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::Resolved => Kind::Conflict,
            Self::ReasonMissing | Self::UntilOutOfBounds => Kind::Invalid,
        }
    }
}

/// A finding at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finding {
    /// Never found.
    #[default]
    Absent,
    /// Nobody has said anything.
    Open,
    /// Seen.
    Acknowledged,
    /// Being mended.
    InRemediation,
    /// May stay so for a time.
    RiskAccepted { until: DateTime<Utc> },
    /// Somebody says that it is mended.
    Resolved,
    /// Not found any more.
    Verified,
}

impl Aggregate for Finding {
    const TYPE: &'static str = "finding";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        *self = match event {
            Event::Opened { .. } | Event::Reopened { .. } => Self::Open,
            Event::Acknowledged { .. } => Self::Acknowledged,
            Event::RemediationStarted { .. } => Self::InRemediation,
            Event::Resolved { .. } => Self::Resolved,
            Event::RiskAccepted { until, .. } => Self::RiskAccepted { until },
            Event::Verified { .. } => Self::Verified,
        };
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", Finding::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
