//! An access request: a principal asks for a role for some time, and somebody else decides.
//!
//! Life: absent, open, approved or closed without a grant, and, when approved, over at its end or before. An open request that nobody decides
//! upon expires. The grant begins with the approval; decisions read it as a fact of this stream, so nothing needs to be assigned.

pub mod decide;
#[cfg(test)]
mod tests;

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::{
    aggregate,
    fact::GrantFact,
    id::RoleId,
    refusal::{Code, Kind, Refusal},
    role::Principal,
    text::Remark,
};

/// At most so many requests a tenant that are open or approved; held by the counter [`decide::REQUESTS`].
pub const REQUEST_COUNT_MAX: i64 = 1_000;
/// Access is asked for at least for so many seconds: 5 minutes.
pub const DURATION_SECONDS_MIN: u32 = 5 * 60;
/// Access is asked for at most for so many seconds: 30 days.
pub const DURATION_SECONDS_MAX: u32 = 30 * 24 * 60 * 60;
/// A request waits so long for a decision.
pub const OPEN_FOR: TimeDelta = TimeDelta::days(7);

/// What has happened to an access request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// `by` asks to hold the role for so many seconds; nobody decides upon it from `expires_at` on.
    Submitted { by: Principal, role_id: RoleId, reason: Remark, duration_seconds: u32, expires_at: DateTime<Utc> },
    /// The requester holds the role from `from` (included) until `until` (excluded).
    Approved { by: Principal, remark: Remark, from: DateTime<Utc>, until: DateTime<Utc> },
    /// The requester does not get the role.
    Denied { by: Principal, remark: Remark },
    /// The requester no longer asks.
    Withdrawn {},
    /// Nobody decided in time.
    Expired {},
    /// The requester holds the role no longer, before the end.
    Revoked { by: Principal, remark: Remark },
    /// The end of what was approved has come.
    Finished {},
}

/// What an access request can be ordered to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `role_live` tells whether the tenant has such a role.
    Submit {
        by: Principal,
        role_id: RoleId,
        role_live: bool,
        reason: Remark,
        duration_seconds: u32,
        now: DateTime<Utc>,
    },
    /// `role_live` tells whether the tenant still has the role.
    Approve {
        by: Principal,
        role_live: bool,
        remark: Remark,
        now: DateTime<Utc>,
    },
    Deny {
        by: Principal,
        remark: Remark,
        now: DateTime<Utc>,
    },
    Withdraw {
        by: Principal,
        now: DateTime<Utc>,
    },
    Expire {
        now: DateTime<Utc>,
    },
    Revoke {
        by: Principal,
        remark: Remark,
        now: DateTime<Utc>,
    },
    Finish {
        now: DateTime<Utc>,
    },
}

/// Why an access request refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no such access request")]
    NotFound,
    #[error("the access request is already submitted")]
    AlreadySubmitted,
    #[error("the tenant has no live role with this id")]
    RoleUnknown,
    #[error("access is asked for with a reason")]
    ReasonMissing,
    #[error("access is asked for from {DURATION_SECONDS_MIN} to {DURATION_SECONDS_MAX} seconds")]
    DurationOutOfBounds,
    #[error("nobody approves an access request of their own")]
    Own,
    #[error("only the requester withdraws an access request")]
    NotRequester,
    #[error("the access request is no longer open")]
    NotOpen,
    #[error("the access request gives no access now")]
    NotApproved,
    #[error("the time of the access request has not come")]
    NotDue,
}

/// The tenant has [`REQUEST_COUNT_MAX`] requests that are open or approved.
///
/// No state of one request knows how many others there are: the store counts [`REQUESTS`](decide::REQUESTS) in the transaction that appends.
pub const LIMIT_REACHED: Code = Code {
    code: "access_request_limit_reached",
    kind: Kind::LimitReached,
    meaning: "The tenant has as many open and approved access requests as are allowed.",
};

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code { code: "access_request_not_found", kind: Kind::NotFound, meaning: "There is no such access request." },
    Code {
        code: "access_request_already_submitted",
        kind: Kind::Conflict,
        meaning: "An access request with this id exists already.",
    },
    Code {
        code: "access_request_role_unknown",
        kind: Kind::Conflict,
        meaning: "The tenant has no live role with the id asked for.",
    },
    Code { code: "access_request_reason_missing", kind: Kind::Invalid, meaning: "Access is asked for with a reason." },
    Code {
        code: "access_request_duration_out_of_bounds",
        kind: Kind::Invalid,
        meaning: "Access is asked for from five minutes to thirty days.",
    },
    Code {
        code: "access_request_own",
        kind: Kind::Forbidden,
        meaning: "Whoever asks for access cannot approve the request.",
    },
    Code {
        code: "access_request_not_requester",
        kind: Kind::Forbidden,
        meaning: "Only whoever asked for access can withdraw the request.",
    },
    Code {
        code: "access_request_not_open",
        kind: Kind::Conflict,
        meaning: "The request was decided upon, was withdrawn or has expired.",
    },
    Code {
        code: "access_request_not_approved",
        kind: Kind::Conflict,
        meaning: "The request gives no access now: it was not approved, or its access is over.",
    },
    Code {
        code: "access_request_not_due",
        kind: Kind::Conflict,
        meaning: "The time to expire or to finish the request has not come.",
    },
    LIMIT_REACHED,
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "access_request_not_found",
            Self::AlreadySubmitted => "access_request_already_submitted",
            Self::RoleUnknown => "access_request_role_unknown",
            Self::ReasonMissing => "access_request_reason_missing",
            Self::DurationOutOfBounds => "access_request_duration_out_of_bounds",
            Self::Own => "access_request_own",
            Self::NotRequester => "access_request_not_requester",
            Self::NotOpen => "access_request_not_open",
            Self::NotApproved => "access_request_not_approved",
            Self::NotDue => "access_request_not_due",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::ReasonMissing | Self::DurationOutOfBounds => Kind::Invalid,
            Self::Own | Self::NotRequester => Kind::Forbidden,
            Self::AlreadySubmitted | Self::RoleUnknown | Self::NotOpen | Self::NotApproved | Self::NotDue => {
                Kind::Conflict
            }
        }
    }
}

/// An access request at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum AccessRequest {
    /// Not submitted.
    #[default]
    Absent,
    /// Waits for a decision.
    Open(Request),
    /// Gives access until its end.
    Approved(Grant),
    /// Nobody got access by it.
    Closed(Closing),
    /// Gave access, and does no longer.
    Over(Ending),
}

/// Who asks for what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub by: Principal,
    pub role_id: RoleId,
    pub duration_seconds: u32,
    pub expires_at: DateTime<Utc>,
}

/// Who has what, and until when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    pub principal: Principal,
    pub role_id: RoleId,
    pub until: DateTime<Utc>,
}

/// How a request ended without access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Closing {
    Denied,
    Withdrawn,
    Expired,
}

/// How access ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    Revoked,
    Finished,
}

impl AccessRequest {
    /// The role that is asked for or held; `None` when it is neither.
    #[must_use]
    pub fn role_id(&self) -> Option<RoleId> {
        match self {
            Self::Open(request) => Some(request.role_id),
            Self::Approved(grant) => Some(grant.role_id),
            Self::Absent | Self::Closed(_) | Self::Over(_) => None,
        }
    }

    /// What an approval at `now` would grant; `None` when there is nothing to approve.
    #[must_use]
    pub fn prospective_grant(&self, now: DateTime<Utc>) -> Option<GrantFact> {
        match self {
            Self::Open(request) => {
                Some(request.grant(now, now + TimeDelta::seconds(i64::from(request.duration_seconds))))
            }
            Self::Absent | Self::Approved(_) | Self::Closed(_) | Self::Over(_) => None,
        }
    }

    /// When the request expires or its access ends; `None` when neither is to come.
    #[must_use]
    pub fn due_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Open(request) => Some(request.expires_at),
            Self::Approved(grant) => Some(grant.until),
            Self::Absent | Self::Closed(_) | Self::Over(_) => None,
        }
    }

    /// The command whose time has come at `now`.
    #[must_use]
    pub fn due_command(&self, now: DateTime<Utc>) -> Option<Command> {
        self.due_at().filter(|due_at| *due_at <= now)?;
        match self {
            Self::Open(_) => Some(Command::Expire { now }),
            Self::Approved(_) => Some(Command::Finish { now }),
            Self::Absent | Self::Closed(_) | Self::Over(_) => None,
        }
    }
}

impl Aggregate for AccessRequest {
    const TYPE: &'static str = "access_request";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Submitted { by, role_id, reason: _, duration_seconds, expires_at } => {
                *self = Self::Open(Request { by, role_id, duration_seconds, expires_at });
            }
            Event::Approved { until, .. } => {
                if let Self::Open(Request { by, role_id, .. }) = self {
                    *self = Self::Approved(Grant { principal: by.clone(), role_id: *role_id, until });
                }
            }
            Event::Denied { .. } => *self = Self::Closed(Closing::Denied),
            Event::Withdrawn {} => *self = Self::Closed(Closing::Withdrawn),
            Event::Expired {} => *self = Self::Closed(Closing::Expired),
            Event::Revoked { .. } => *self = Self::Over(Ending::Revoked),
            Event::Finished {} => *self = Self::Over(Ending::Finished),
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", AccessRequest::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
