//! What an event takes, gives back or shows beside its stream: unique names, counted places, and facts that decisions read.
//!
//! The store checks effects in the same transaction that appends the event, so they hold at the same instant for everybody.

use crate::fact::Fact;

/// Who shares one set of unique names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The name is unique among all tenants.
    Platform,
    /// The name is unique within its tenant.
    Tenant,
}

/// One thing that an event takes, gives back or shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The stream takes a name; refused when another stream holds it.
    Take { reach: Reach, scope: &'static str, key: String },
    /// The stream gives a name back.
    Release { reach: Reach, scope: &'static str, key: String },
    /// A counter of the tenant moves; whoever sends the command may set a maximum for it.
    Count { counter: &'static str, delta: i64 },
    /// A fact of the stream holds from now on, in place of the one that had the name.
    Show { part: String, fact: Fact },
    /// The fact of this name holds no longer.
    Hide { part: String },
}
