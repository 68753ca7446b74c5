//! The end of a principal: somebody who has left, or must not come in, is let in nowhere from the moment on, and loses what roles gave.
//!
//! A principal has no beginning here: it is known by its credential. Life: absent, ended, reinstated, ended again. It ends where it is at home,
//! in a tenant or, as staff, on the platform. While it is ended decisions read that as a fact of this stream. Its roles are taken away
//! afterwards, so a reinstated principal begins with nothing. API keys are principals that end by their own revocation.

pub mod decide;
#[cfg(test)]
mod tests;

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::{
    aggregate,
    refusal::{Code, Kind, Refusal},
    role::Principal,
    text::Remark,
};

pub use self::decide::stream_id;

/// At most so many ended principals a tenant; held by the counter [`decide::ENDED_COUNT`].
pub const ENDED_COUNT_MAX: i64 = 10_000;

/// What has happened to a principal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// The principal is let in no longer.
    Ended { principal: Principal, by: Principal, reason: Remark },
    /// It is let in again, without the roles that it had.
    Reinstated { principal: Principal, by: Principal, reason: Remark },
}

/// What can be ordered.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `last_owner` tells whether nobody else owns the tenant for good.
    End { principal: Principal, by: Principal, reason: Remark, last_owner: bool },
    /// `wound_up` tells whether all that the principal held when it ended was taken away.
    Reinstate { principal: Principal, by: Principal, reason: Remark, wound_up: bool },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("no such principal has ended")]
    NotFound,
    #[error("an API key ends by its revocation")]
    Key,
    #[error("a principal ends, or is reinstated, with a reason")]
    ReasonMissing,
    #[error("nobody else owns the tenant for good")]
    LastOwner,
    #[error("what the principal held is still being taken away")]
    NotWoundUp,
}

/// The tenant has [`ENDED_COUNT_MAX`] ended principals.
///
/// No state of one knows how many others there are: the store counts [`ENDED_COUNT`](decide::ENDED_COUNT) in the transaction that appends.
pub const LIMIT_REACHED: Code = Code {
    code: "principal_limit_reached",
    kind: Kind::LimitReached,
    meaning: "The tenant has as many ended principals as are allowed.",
};

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code { code: "principal_not_found", kind: Kind::NotFound, meaning: "No principal of this name has ended." },
    Code {
        code: "principal_key",
        kind: Kind::Invalid,
        meaning: "An API key ends by its revocation and in no other way.",
    },
    Code {
        code: "principal_reason_missing",
        kind: Kind::Invalid,
        meaning: "A principal ends, or is reinstated, with a reason.",
    },
    Code {
        code: "principal_last_owner",
        kind: Kind::Conflict,
        meaning: "The principal is the last that owns the tenant for good; somebody else must own it first.",
    },
    Code {
        code: "principal_not_wound_up",
        kind: Kind::Conflict,
        meaning: "What the principal held when it ended is still being taken away; it can be reinstated after that.",
    },
    LIMIT_REACHED,
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "principal_not_found",
            Self::Key => "principal_key",
            Self::ReasonMissing => "principal_reason_missing",
            Self::LastOwner => "principal_last_owner",
            Self::NotWoundUp => "principal_not_wound_up",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::Key | Self::ReasonMissing => Kind::Invalid,
            Self::LastOwner | Self::NotWoundUp => Kind::Conflict,
        }
    }
}

/// A principal at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum Standing {
    /// Never ended.
    #[default]
    Absent,
    /// Let in nowhere.
    Ended(Ending),
    /// Let in again; this is how it had ended.
    Reinstated(Ending),
}

/// Who has ended, and who did that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    pub principal: Principal,
    pub by: Principal,
}

impl Standing {
    /// Whether the principal is let in nowhere.
    #[must_use]
    pub const fn ended(&self) -> bool {
        matches!(self, Self::Ended(_))
    }

    /// Its last end.
    #[must_use]
    pub const fn ending(&self) -> Option<&Ending> {
        match self {
            Self::Absent => None,
            Self::Ended(ending) | Self::Reinstated(ending) => Some(ending),
        }
    }
}

impl Aggregate for Standing {
    const TYPE: &'static str = "principal";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Ended { principal, by, .. } => *self = Self::Ended(Ending { principal, by }),
            Event::Reinstated { .. } => {
                if let Self::Ended(ending) = self {
                    *self = Self::Reinstated(ending.clone());
                }
            }
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", Standing::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
