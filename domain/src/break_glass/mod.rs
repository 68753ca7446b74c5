//! Breaking the glass: a principal takes a role at once, for minutes, in an emergency, and somebody else judges it afterwards.
//!
//! Life: absent, open, to be reviewed once it was closed or its time is over, reviewed. While it is open decisions read the grant as a fact
//! of this stream. What nobody has reviewed counts against a maximum, so that reviews cannot be forgotten for ever.

pub mod decide;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::{
    aggregate,
    id::RoleId,
    refusal::{Code, Kind, Refusal},
    role::Principal,
    text::{Name, Remark},
};

/// At most so many a tenant that are not reviewed; held by the counter [`decide::UNREVIEWED`].
pub const UNREVIEWED_COUNT_MAX: i64 = 100;
/// The glass is broken at most for so many minutes.
pub const MINUTES_MAX: u32 = 60;

/// What has happened since the glass was broken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// `by` holds the role from `from` (included) until `until` (excluded).
    Opened { by: Principal, role_id: RoleId, reason: Remark, ticket: Name, from: DateTime<Utc>, until: DateTime<Utc> },
    /// The access was ended before its time.
    Closed { by: Principal },
    /// The time of the access is over.
    Ended {},
    /// Somebody else judged what was done.
    Reviewed { by: Principal, verdict: Verdict, remark: Remark },
}

/// What a reviewer finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, AsRefStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Verdict {
    Justified,
    NotJustified,
}

/// What can be ordered.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `role_live` tells whether the tenant has such a role.
    Open {
        by: Principal,
        role_id: RoleId,
        role_live: bool,
        reason: Remark,
        ticket: Name,
        minutes: u32,
        now: DateTime<Utc>,
    },
    Close {
        by: Principal,
    },
    End {
        now: DateTime<Utc>,
    },
    Review {
        by: Principal,
        verdict: Verdict,
        remark: Remark,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no such emergency access")]
    NotFound,
    #[error("the emergency access is already opened")]
    AlreadyOpened,
    #[error("the tenant has no live role with this id")]
    RoleUnknown,
    #[error("emergency access is opened with a reason")]
    ReasonMissing,
    #[error("emergency access is opened for 1 to {MINUTES_MAX} minutes")]
    MinutesOutOfBounds,
    #[error("the emergency access is still open")]
    StillOpen,
    #[error("nobody reviews an emergency access of their own")]
    OwnReview,
    #[error("the emergency access is already reviewed")]
    AlreadyReviewed,
    #[error("the end of the emergency access has not come")]
    NotDue,
}

/// The tenant has [`UNREVIEWED_COUNT_MAX`] emergency accesses that nobody has reviewed.
///
/// No state of one knows how many others there are: the store counts [`UNREVIEWED`](decide::UNREVIEWED) in the transaction that appends.
pub const LIMIT_REACHED: Code = Code {
    code: "break_glass_limit_reached",
    kind: Kind::LimitReached,
    meaning: "The tenant has as many unreviewed emergency accesses as are allowed.",
};

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code { code: "break_glass_not_found", kind: Kind::NotFound, meaning: "There is no such emergency access." },
    Code {
        code: "break_glass_already_opened",
        kind: Kind::Conflict,
        meaning: "An emergency access with this id exists already.",
    },
    Code {
        code: "break_glass_role_unknown",
        kind: Kind::Conflict,
        meaning: "The tenant has no live role with the id asked for.",
    },
    Code {
        code: "break_glass_reason_missing",
        kind: Kind::Invalid,
        meaning: "Emergency access is opened with a reason.",
    },
    Code {
        code: "break_glass_minutes_out_of_bounds",
        kind: Kind::Invalid,
        meaning: "Emergency access is opened for one to sixty minutes.",
    },
    Code {
        code: "break_glass_still_open",
        kind: Kind::Conflict,
        meaning: "An emergency access is reviewed once it was closed or its time is over.",
    },
    Code {
        code: "break_glass_own_review",
        kind: Kind::Forbidden,
        meaning: "Whoever had the emergency access cannot review it.",
    },
    Code {
        code: "break_glass_already_reviewed",
        kind: Kind::Conflict,
        meaning: "The emergency access was reviewed before.",
    },
    Code {
        code: "break_glass_not_due",
        kind: Kind::Conflict,
        meaning: "The end of the emergency access has not come yet.",
    },
    LIMIT_REACHED,
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "break_glass_not_found",
            Self::AlreadyOpened => "break_glass_already_opened",
            Self::RoleUnknown => "break_glass_role_unknown",
            Self::ReasonMissing => "break_glass_reason_missing",
            Self::MinutesOutOfBounds => "break_glass_minutes_out_of_bounds",
            Self::StillOpen => "break_glass_still_open",
            Self::OwnReview => "break_glass_own_review",
            Self::AlreadyReviewed => "break_glass_already_reviewed",
            Self::NotDue => "break_glass_not_due",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::ReasonMissing | Self::MinutesOutOfBounds => Kind::Invalid,
            Self::OwnReview => Kind::Forbidden,
            Self::AlreadyOpened | Self::RoleUnknown | Self::StillOpen | Self::AlreadyReviewed | Self::NotDue => {
                Kind::Conflict
            }
        }
    }
}

/// An emergency access at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum BreakGlass {
    /// Not opened.
    #[default]
    Absent,
    /// Gives access until its end.
    Open(Access),
    /// Over, and nobody has judged it yet.
    Unreviewed { by: Principal },
    /// Judged.
    Reviewed,
}

/// Who has access, and until when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Access {
    pub by: Principal,
    pub until: DateTime<Utc>,
}

impl BreakGlass {
    /// When the access ends; `None` when it is not open.
    #[must_use]
    pub fn due_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Open(access) => Some(access.until),
            Self::Absent | Self::Unreviewed { .. } | Self::Reviewed => None,
        }
    }

    /// The command whose time has come at `now`.
    #[must_use]
    pub fn due_command(&self, now: DateTime<Utc>) -> Option<Command> {
        self.due_at().filter(|due_at| *due_at <= now).map(|_| Command::End { now })
    }
}

impl Aggregate for BreakGlass {
    const TYPE: &'static str = "break_glass";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Opened { by, until, .. } => *self = Self::Open(Access { by, until }),
            Event::Closed { .. } | Event::Ended {} => {
                if let Self::Open(Access { by, .. }) = self {
                    *self = Self::Unreviewed { by: by.clone() };
                }
            }
            Event::Reviewed { .. } => *self = Self::Reviewed,
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", BreakGlass::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
