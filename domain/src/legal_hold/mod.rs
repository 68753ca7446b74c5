//! A legal hold: what keeps the personal data of one person, or of a whole tenant, from being erased while a matter is open.
//!
//! One stream per scope: its id is the data subject's, or the tenant's own id for a hold on everything of the tenant. Several matters may
//! hold the same scope; it is free when the last one is released. Life: absent, held or free, and again.
//! What is erased already cannot be held, which whoever places the hold is told.

pub mod decide;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::{
    aggregate,
    erasure::Scope,
    refusal::{Code, Kind, Refusal},
    role::Principal,
    text::{Key, Remark},
};

/// At most so many matters hold one scope.
pub const MATTER_COUNT_MAX: usize = 50;
/// At most so many scopes of a tenant are held; kept by the counter [`decide::HELD`].
pub const HELD_COUNT_MAX: i64 = 10_000;

/// What has happened to a scope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// A matter holds the scope from now on.
    Placed { scope: Scope, matter: Key, reason: Remark, by: Principal },
    /// It holds the scope no longer; `free` tells whether it was the last one.
    Released { scope: Scope, matter: Key, reason: Remark, by: Principal, free: bool },
}

/// What can be ordered.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `erased` tells whether the scope's key is destroyed, or its destruction has begun.
    Place {
        scope: Scope,
        matter: Key,
        reason: Remark,
        by: Principal,
        erased: bool,
    },
    Release {
        scope: Scope,
        matter: Key,
        reason: Remark,
        by: Principal,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("nothing was ever held there")]
    NotFound,
    #[error("a hold is placed, and released, with a reason")]
    ReasonMissing,
    #[error("what is erased cannot be held any more")]
    Erased,
    #[error("the matter {0} holds it already")]
    AlreadyPlaced(Key),
    #[error("the matter {0} does not hold it")]
    MatterUnknown(Key),
    #[error("at most {MATTER_COUNT_MAX} matters hold the same")]
    TooManyMatters,
}

/// The tenant has [`HELD_COUNT_MAX`] scopes that are held.
///
/// No state of one knows how many others there are: the store counts [`HELD`](decide::HELD) in the transaction that appends.
pub const LIMIT_REACHED: Code = Code {
    code: "legal_hold_limit_reached",
    kind: Kind::LimitReached,
    meaning: "As many people of the tenant are under legal hold as are allowed at a time; hold the whole tenant instead.",
};

/// Nobody is known under the id given: there is no key of a data subject with it.
pub const SUBJECT_UNKNOWN: Code = Code {
    code: "legal_hold_subject_unknown",
    kind: Kind::NotFound,
    meaning: "The tenant has no data subject with the id or e-mail address given.",
};

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code { code: "legal_hold_not_found", kind: Kind::NotFound, meaning: "Nothing was ever held under this id." },
    Code {
        code: "legal_hold_reason_missing",
        kind: Kind::Invalid,
        meaning: "A legal hold is placed, and released, with a reason.",
    },
    Code {
        code: "legal_hold_erased",
        kind: Kind::Conflict,
        meaning: "The personal data is erased, or is being erased at this moment, and cannot be held any more.",
    },
    Code {
        code: "legal_hold_already_placed",
        kind: Kind::Conflict,
        meaning: "The matter holds the same person or tenant already.",
    },
    Code {
        code: "legal_hold_matter_unknown",
        kind: Kind::Conflict,
        meaning: "The matter does not hold this person or tenant.",
    },
    Code {
        code: "legal_hold_too_many_matters",
        kind: Kind::LimitReached,
        meaning: "As many matters hold the same person or tenant as are allowed.",
    },
    LIMIT_REACHED,
    SUBJECT_UNKNOWN,
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "legal_hold_not_found",
            Self::ReasonMissing => "legal_hold_reason_missing",
            Self::Erased => "legal_hold_erased",
            Self::AlreadyPlaced(_) => "legal_hold_already_placed",
            Self::MatterUnknown(_) => "legal_hold_matter_unknown",
            Self::TooManyMatters => "legal_hold_too_many_matters",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::ReasonMissing => Kind::Invalid,
            Self::Erased | Self::AlreadyPlaced(_) | Self::MatterUnknown(_) => Kind::Conflict,
            Self::TooManyMatters => Kind::LimitReached,
        }
    }
}

/// A scope at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum LegalHold {
    /// Never held.
    #[default]
    Absent,
    /// Held by these matters; never empty.
    Held { matters: BTreeSet<Key> },
    /// Not held any more.
    Free,
}

impl LegalHold {
    /// The matters that hold the scope now.
    pub fn matters(&self) -> impl Iterator<Item = &Key> {
        let matters = match self {
            Self::Held { matters } => Some(matters),
            Self::Absent | Self::Free => None,
        };
        matters.into_iter().flatten()
    }

    /// Whether a matter holds the scope now.
    #[must_use]
    pub fn held(&self) -> bool {
        self.matters().next().is_some()
    }
}

impl Aggregate for LegalHold {
    const TYPE: &'static str = "legal_hold";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match (self, event) {
            (Self::Held { matters }, Event::Placed { matter, .. }) => drop(matters.insert(matter)),
            (state, Event::Placed { matter, .. }) => *state = Self::Held { matters: BTreeSet::from([matter]) },
            (state, Event::Released { free: true, .. }) => *state = Self::Free,
            (Self::Held { matters }, Event::Released { matter, .. }) => drop(matters.remove(&matter)),
            (Self::Absent | Self::Free, Event::Released { .. }) => {} // No such history is ever written.
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", LegalHold::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
