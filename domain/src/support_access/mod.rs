//! Support access: a tenant lets somebody of the platform's staff hold one of its roles for a time.
//!
//! Life: absent, granted, over. While it is granted decisions read it as a fact of this stream, which names a principal of the platform.
//! Who may grant it in the tenant is decided where callers are known; the event keeps who it was.

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
    id::RoleId,
    refusal::{Code, Kind, Refusal},
    role::Principal,
    text::Remark,
};

/// At most so many a tenant that are granted; held by the counter [`decide::GRANTED`].
pub const GRANTED_COUNT_MAX: i64 = 100;
/// The access ends at most so long after it was granted.
pub const DURATION_MAX: TimeDelta = TimeDelta::days(30);

/// What has happened to a support access.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// `staff`, a principal of the platform, holds the role from `from` (included) until `until` (excluded).
    Granted {
        by: Principal,
        staff: Principal,
        role_id: RoleId,
        reason: Remark,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    },
    /// The access was taken away before its end.
    Revoked { by: Principal },
    /// The end of the access has come.
    Ended {},
}

/// What can be ordered.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `role_live` tells whether the tenant has such a role.
    Grant {
        by: Principal,
        staff: Principal,
        role_id: RoleId,
        role_live: bool,
        reason: Remark,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    },
    Revoke {
        by: Principal,
    },
    End {
        now: DateTime<Utc>,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no such support access")]
    NotFound,
    #[error("the support access is already granted")]
    AlreadyGranted,
    #[error("the tenant has no live role with this id")]
    RoleUnknown,
    #[error("support access is granted with a reason")]
    ReasonMissing,
    #[error("support access does not end in the past")]
    EndInThePast,
    #[error("support access ends within {} days", DURATION_MAX.num_days())]
    TooLong,
    #[error("the end of the support access has not come")]
    NotDue,
}

/// The tenant has [`GRANTED_COUNT_MAX`] support accesses.
///
/// No state of one knows how many others there are: the store counts [`GRANTED`](decide::GRANTED) in the transaction that appends.
pub const LIMIT_REACHED: Code = Code {
    code: "support_access_limit_reached",
    kind: Kind::LimitReached,
    meaning: "The tenant has granted as many support accesses as are allowed at a time.",
};

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code { code: "support_access_not_found", kind: Kind::NotFound, meaning: "There is no such support access." },
    Code {
        code: "support_access_already_granted",
        kind: Kind::Conflict,
        meaning: "A support access with this id exists already.",
    },
    Code {
        code: "support_access_role_unknown",
        kind: Kind::Conflict,
        meaning: "The tenant has no live role with the id given.",
    },
    Code {
        code: "support_access_reason_missing",
        kind: Kind::Invalid,
        meaning: "Support access is granted with a reason.",
    },
    Code {
        code: "support_access_end_in_the_past",
        kind: Kind::Invalid,
        meaning: "The end of the support access has already passed.",
    },
    Code {
        code: "support_access_too_long",
        kind: Kind::Invalid,
        meaning: "Support access ends at most thirty days after it was granted.",
    },
    Code {
        code: "support_access_not_due",
        kind: Kind::Conflict,
        meaning: "The end of the support access has not come yet.",
    },
    LIMIT_REACHED,
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "support_access_not_found",
            Self::AlreadyGranted => "support_access_already_granted",
            Self::RoleUnknown => "support_access_role_unknown",
            Self::ReasonMissing => "support_access_reason_missing",
            Self::EndInThePast => "support_access_end_in_the_past",
            Self::TooLong => "support_access_too_long",
            Self::NotDue => "support_access_not_due",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::ReasonMissing | Self::EndInThePast | Self::TooLong => Kind::Invalid,
            Self::AlreadyGranted | Self::RoleUnknown | Self::NotDue => Kind::Conflict,
        }
    }
}

/// A support access at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum SupportAccess {
    /// Not granted.
    #[default]
    Absent,
    /// Gives access until its end.
    Granted { until: DateTime<Utc> },
    /// Taken away, or at its end.
    Over,
}

impl SupportAccess {
    /// When the access ends; `None` when it is not granted.
    #[must_use]
    pub fn due_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Granted { until } => Some(*until),
            Self::Absent | Self::Over => None,
        }
    }

    /// The command whose time has come at `now`.
    #[must_use]
    pub fn due_command(&self, now: DateTime<Utc>) -> Option<Command> {
        self.due_at().filter(|due_at| *due_at <= now).map(|_| Command::End { now })
    }
}

impl Aggregate for SupportAccess {
    const TYPE: &'static str = "support_access";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        *self = match event {
            Event::Granted { until, .. } => Self::Granted { until },
            Event::Revoked { .. } | Event::Ended {} => Self::Over,
        };
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", SupportAccess::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
