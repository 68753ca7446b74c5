//! The tree of an expression.

use super::{function::Function, like::Pattern};

/// One operator, call, attribute or literal, with what it works on.
#[derive(Debug)]
pub(super) enum Node {
    Boolean(bool),
    Integer(i32),
    Text(String),
    /// The value of an attribute, whose name is in lowercase.
    Attribute(String),
    Exists(String),
    Not(Box<Self>),
    Negate(Box<Self>),
    /// Two or more, joined by `AND`.
    All(Vec<Self>),
    /// Two or more, joined by `OR`.
    Any(Vec<Self>),
    Xor(Box<[Self; 2]>),
    Compare(Comparison, Box<[Self; 2]>),
    Calculate(Calculation, Box<[Self; 2]>),
    Like {
        value: Box<Self>,
        pattern: Pattern,
        negated: bool,
    },
    In {
        value: Box<Self>,
        set: Vec<Self>,
        negated: bool,
    },
    Call(Function, Vec<Self>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Calculation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Node {
    /// Whether the result can be a boolean; that of an attribute can be anything.
    pub(super) fn maybe_boolean(&self) -> bool {
        match self {
            Self::Integer(_) | Self::Text(_) | Self::Negate(_) | Self::Calculate(..) => false,
            Self::Call(function, _) => function.gives_boolean(),
            Self::Boolean(_)
            | Self::Attribute(_)
            | Self::Exists(_)
            | Self::Not(_)
            | Self::All(_)
            | Self::Any(_)
            | Self::Xor(_)
            | Self::Compare(..)
            | Self::Like { .. }
            | Self::In { .. } => true,
        }
    }
}
