//! CESQL, the expression language of CloudEvents, version 1.0.
//!
//! An expression is parsed once, into a tree of bounded size and depth, and evaluated in the mode that the specification calls fail fast: whatever
//! goes wrong (an attribute that is missing, a cast that is impossible, arithmetic that leaves 32 bits, texts or patterns beyond the effort that one
//! event is worth) ends the evaluation, and the event is not wanted. What can be known without an event is refused when the expression is parsed: unknown functions, and expressions that are
//! never true or false.
//!
//! Where the specification's text and the grammar beside it differ the text holds: `AND`, `OR` and `XOR` bind equally and are taken from left to
//! right, and `NOT` binds closer than `LIKE`, `IN` and comparisons.

mod evaluate;
mod function;
mod hint;
mod like;
mod node;
mod parse;
mod token;

#[cfg(test)]
mod random;

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use self::node::Node;
use crate::{
    attribute::{Attributes, Value},
    effort::Effort,
    invalid::Invalid,
};

/// At most so many characters an expression.
pub const SQL_LENGTH_MAX: usize = 4_096;
/// At most so many operators, calls, attributes and literals an expression.
pub const SQL_NODE_COUNT_MAX: usize = 1_024;
/// At most so deep an expression: parentheses, operators within operators, arguments of arguments. Chains of `AND`, or of `OR`, are one level.
pub const SQL_DEPTH_MAX: usize = 64;

/// A CESQL expression that says whether an event is wanted; cheap to clone.
#[derive(Clone)]
pub struct Sql(Arc<Parsed>);

struct Parsed {
    text: String,
    root: Node,
}

impl Sql {
    /// The text, as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether the expression is true for the event. It is not when the evaluation fails, nor when its result is no boolean.
    pub(crate) fn matches(&self, event: &impl Attributes, effort: &Effort) -> bool {
        evaluate::evaluate(&self.0.root, event, effort) == Ok(Value::Boolean(true))
    }
}

impl FromStr for Sql {
    type Err = Invalid;

    /// # Errors
    /// What is no expression, what is beyond the bounds, and what can be neither true nor false whatever the event is.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.contains('\0') {
            // It has no place in PostgreSQL's texts.
            return Err(Invalid::new("", "an expression has no NUL"));
        }
        let root = parse::parse(text).map_err(|reason| Invalid::new("", reason))?;
        if !root.maybe_boolean() {
            return Err(Invalid::new("", "the expression is never true or false; compare its result with something"));
        }
        Ok(Self(Arc::new(Parsed { text: text.to_owned(), root })))
    }
}

impl PartialEq for Sql {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Sql {}

impl fmt::Debug for Sql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sql").field(&self.0.text).finish()
    }
}

impl fmt::Display for Sql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl Serialize for Sql {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.text)
    }
}

impl JsonSchema for Sql {
    fn schema_name() -> Cow<'static, str> {
        "CesqlExpression".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A CESQL 1.0 expression over the attributes of an event. An event for which the evaluation fails is not wanted.",
            "type": "string",
            "minLength": 1,
            "maxLength": SQL_LENGTH_MAX,
        })
    }
}

#[cfg(test)]
mod tests;
