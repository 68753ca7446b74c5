//! Which event types an expression can be true for at all.

use super::{
    Sql,
    node::{Comparison, Node},
};
use crate::hint::{TypeHint, narrowest};

/// The attribute that this is about.
const TYPE: &str = "type";

impl Sql {
    /// The event types outside which the expression is not true; `None` when it may be for any type.
    pub(crate) fn types_hint(&self) -> Option<Vec<TypeHint>> {
        hint(&self.0.root)
    }
}

fn hint(node: &Node) -> Option<Vec<TypeHint>> {
    match node {
        Node::All(inner) => narrowest(inner.iter().filter_map(hint)),
        Node::Any(inner) => inner.iter().map(hint).collect::<Option<Vec<_>>>().map(|hints| hints.concat()),
        Node::Compare(Comparison::Equal, sides) => match &**sides {
            [Node::Attribute(name), Node::Text(text)] | [Node::Text(text), Node::Attribute(name)] if name == TYPE => {
                Some(vec![TypeHint::Exact(text.clone())])
            }
            _ => None,
        },
        Node::In { value, set, negated: false } if is_type(value) => set
            .iter()
            .map(|element| match element {
                Node::Text(text) => Some(TypeHint::Exact(text.clone())),
                _ => None,
            })
            .collect(),
        Node::Like { value, pattern, negated: false } if is_type(value) => {
            let start = pattern.start();
            (!start.is_empty()).then(|| vec![TypeHint::Prefix(start)])
        }
        _ => None,
    }
}

fn is_type(node: &Node) -> bool {
    matches!(node, Node::Attribute(name) if name == TYPE)
}
