//! A set of duties: roles of which nobody may hold too many at a time, so that no single person does all of what they allow.
//!
//! Life: absent, defined, removed; a removed set accepts nothing and gives its key back. Whether the holders of roles keep to the sets is
//! judged by [`violations()`], over all of a tenant's grants at once.

pub mod decide;
#[cfg(test)]
mod tests;
pub mod violations;

use std::collections::BTreeSet;

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::{
    aggregate,
    id::RoleId,
    refusal::{Code, Kind, Refusal},
    role::Hierarchy,
    text::{Key, Name},
};

pub use self::violations::{Change, Picture, VIOLATION_COUNT_MAX, Violation, violations};

/// At most so many sets a tenant; held by the counter [`decide::SETS`].
pub const SET_COUNT_MAX: i64 = 100;
/// A set has at least so many roles.
pub const ROLE_COUNT_MIN: usize = 2;
/// A set has at most so many roles.
pub const ROLE_COUNT_MAX: usize = 20;

/// What has happened to a set of duties.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// Nobody may hold more than `held_max` of the roles at a time.
    Defined { key: Key, name: Name, roles: BTreeSet<RoleId>, held_max: usize },
    /// The set has another name, other roles or another maximum; these are all there are now.
    Changed { name: Name, roles: BTreeSet<RoleId>, held_max: usize },
    /// The end of the set.
    Removed {},
}

/// What a set of duties can be ordered to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `hierarchy` is the tenant's, which tells what roles there are.
    Define {
        key: Key,
        name: Name,
        roles: BTreeSet<RoleId>,
        held_max: usize,
        hierarchy: Hierarchy,
    },
    /// Replaces the name, the roles and the maximum.
    Change {
        name: Name,
        roles: BTreeSet<RoleId>,
        held_max: usize,
        hierarchy: Hierarchy,
    },
    Remove,
}

/// Why a set of duties refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no such set of duties")]
    NotFound,
    #[error("the set of duties is already defined")]
    AlreadyDefined,
    #[error("the set of duties is removed and accepts nothing")]
    Removed,
    #[error("a set of duties has {ROLE_COUNT_MIN} to {ROLE_COUNT_MAX} roles")]
    RolesOutOfBounds,
    #[error("a set of duties allows to hold at least one of its roles, and not all of them")]
    HeldMaxOutOfBounds,
    #[error("the tenant has no live role {}", .0.0)]
    RoleUnknown(RoleId),
}

/// The tenant has [`SET_COUNT_MAX`] sets of duties.
///
/// No state of one set knows how many others there are: the store counts [`SETS`](decide::SETS) in the transaction that appends.
pub const LIMIT_REACHED: Code = Code {
    code: "duty_set_limit_reached",
    kind: Kind::LimitReached,
    meaning: "The tenant has as many sets of duties as are allowed.",
};

/// Somebody would hold too many roles of a set: what [`violations()`] finds before a grant, a parent or a set comes to be.
pub const VIOLATED: Code = Code {
    code: "duty_set_violated",
    kind: Kind::Conflict,
    meaning: "Somebody would hold more roles of a set of duties at a time than it allows.",
};

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code { code: "duty_set_not_found", kind: Kind::NotFound, meaning: "There is no such set of duties." },
    Code {
        code: "duty_set_already_defined",
        kind: Kind::Conflict,
        meaning: "A set of duties with this id exists already.",
    },
    Code {
        code: "duty_set_removed",
        kind: Kind::Conflict,
        meaning: "The set of duties is removed and accepts no command.",
    },
    Code {
        code: "duty_set_key_taken",
        kind: Kind::Conflict,
        meaning: "Another set of duties of the tenant holds this key.",
    },
    Code {
        code: "duty_set_roles_out_of_bounds",
        kind: Kind::Invalid,
        meaning: "A set of duties has two to twenty roles.",
    },
    Code {
        code: "duty_set_held_max_out_of_bounds",
        kind: Kind::Invalid,
        meaning: "A set of duties allows to hold at least one of its roles, and fewer than it has.",
    },
    Code {
        code: "duty_set_role_unknown",
        kind: Kind::Conflict,
        meaning: "The tenant has no live role with one of the ids given.",
    },
    VIOLATED,
    LIMIT_REACHED,
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "duty_set_not_found",
            Self::AlreadyDefined => "duty_set_already_defined",
            Self::Removed => "duty_set_removed",
            Self::RolesOutOfBounds => "duty_set_roles_out_of_bounds",
            Self::HeldMaxOutOfBounds => "duty_set_held_max_out_of_bounds",
            Self::RoleUnknown(_) => "duty_set_role_unknown",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::RolesOutOfBounds | Self::HeldMaxOutOfBounds => Kind::Invalid,
            Self::AlreadyDefined | Self::Removed | Self::RoleUnknown(_) => Kind::Conflict,
        }
    }
}

/// A set of duties at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum DutySet {
    /// Not defined.
    #[default]
    Absent,
    /// Holds for everybody.
    Defined(Duties),
    /// Removed for ever.
    Removed,
}

/// What a set is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Duties {
    pub key: Key,
    pub name: Name,
    pub roles: BTreeSet<RoleId>,
    pub held_max: usize,
}

impl Aggregate for DutySet {
    const TYPE: &'static str = "duty_set";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Defined { key, name, roles, held_max } => {
                *self = Self::Defined(Duties { key, name, roles, held_max });
            }
            Event::Changed { name, roles, held_max } => {
                if let Self::Defined(duties) = self {
                    *duties = Duties { key: duties.key.clone(), name, roles, held_max };
                }
            }
            Event::Removed {} => *self = Self::Removed,
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", DutySet::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
