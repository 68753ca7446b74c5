//! Why something is no filter.

use std::fmt::Display;

/// Something that is no filter: where, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", if .at.is_empty() { String::new() } else { format!("{at}: ") })]
pub struct Invalid {
    /// The JSON pointer of what is wrong within the filter, such as `/filters/0/sql`; empty for the filter as a whole.
    pub at: String,
    /// What is wrong, for people.
    pub reason: String,
}

impl Invalid {
    pub(crate) fn new(at: impl Into<String>, reason: impl Display) -> Self {
        Self { at: at.into(), reason: reason.to_string() }
    }
}

/// A text that is no pattern, or a list that is no list of patterns; the message says how one looks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPattern(pub(crate) String);

/// A member's name as a part of a JSON pointer.
pub(crate) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
