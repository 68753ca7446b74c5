//! Which events somebody wants: one language for streams, subscriptions and webhooks.
//!
//! A [`Filter`] has three parts, each of which may be missing: patterns of event types, patterns of subjects, and filter expressions in the
//! dialects of the CloudEvents Subscriptions API, among them CESQL. An event is wanted when every part that is there wants it. What is judged is
//! anything that can say its [`Attributes`], so no event has to become JSON for it.
//!
//! Everything is checked and compiled when a filter is read, in whichever way it is read; judging an event neither fails nor panics, and its cost
//! is bounded: by the bounds that are named next to what they limit, and for CESQL by [`EFFORT_MAX`].

mod attribute;
mod cesql;
mod effort;
mod expression;
mod filter;
mod hint;
mod invalid;
mod subject;
mod types;

pub use attribute::{Attributes, Value};
pub use cesql::{SQL_DEPTH_MAX, SQL_LENGTH_MAX, SQL_NODE_COUNT_MAX, Sql};
pub use effort::EFFORT_MAX;
pub use expression::{
    ATTRIBUTE_COUNT_MAX, ATTRIBUTE_NAME_LENGTH_MAX, DEPTH_MAX, EXPRESSION_COUNT_MAX, Expression, OPERAND_LENGTH_MAX,
    Texts,
};
pub use filter::{Filter, TEXT_LENGTH_MAX};
pub use hint::TypeHint;
pub use invalid::{Invalid, InvalidPattern};
pub use subject::{SUBJECT_COUNT_MAX, SubjectPattern, SubjectPatterns};
pub use types::{TYPE_COUNT_MAX, TypePattern, TypePatterns};
