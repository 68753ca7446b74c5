//! Which things of a list a caller may see: what is left of the conditions when everything but the things is known.
//!
//! The result is a condition on attributes of rows, `{"equals": ..}`, `{"in": ..}`, `{"all": [..]}`, `{"any": [..]}`, `{"not": ..}`, which the
//! function `access_permits` of the database evaluates. It says of each row what Cedar would say of that one thing.

use hub_domain::role::{Clause, PermissionEffect, Value as Compared};
use serde_json::{Value, json};

use crate::{
    question::{Question, principal_facts, tenant_facts, time_facts},
    slice::Slice,
};

/// Which things may be seen.
#[derive(Debug, Clone, PartialEq)]
pub enum Visible {
    /// All of them.
    All,
    /// None of them.
    Nothing,
    /// Those for which the condition holds.
    Where(Value),
}

/// What a caller may see of the things that `question` is about, whose `resource_id` and `attributes` are not looked at.
#[must_use]
pub fn visible(slice: &Slice, question: &Question<'_>) -> Visible {
    let of = |effect| {
        let held = slice.held().iter().filter(move |held| held.holds(question.now) && held.permission.effect == effect);
        any(held.map(|held| match &held.permission.condition {
            Some(condition) => remainder(condition.clause(), question),
            None => Visible::All,
        }))
    };
    all([of(PermissionEffect::Allow), not(of(PermissionEffect::Deny))].into_iter())
}

fn remainder(clause: &Clause, question: &Question<'_>) -> Visible {
    match clause {
        Clause::Equals { attribute, value } => test(
            attribute,
            question,
            |found| same(found, value),
            |name| json!({ "equals": { "attribute": name, "value": value } }),
        ),
        Clause::In { attribute, values } => test(
            attribute,
            question,
            |found| values.iter().any(|value| same(found, value)),
            |name| json!({ "in": { "attribute": name, "values": values } }),
        ),
        Clause::All(clauses) => all(clauses.iter().map(|clause| remainder(clause, question))),
        Clause::Any(clauses) => any(clauses.iter().map(|clause| remainder(clause, question))),
        Clause::Not(clause) => not(remainder(clause, question)),
    }
}

fn test(
    attribute: &str,
    question: &Question<'_>,
    holds: impl Fn(&Value) -> bool,
    left: impl Fn(&str) -> Value,
) -> Visible {
    let known = |facts: Vec<(&'static str, Value)>, name: &str| {
        let holds = facts.iter().any(|(known, value)| *known == name && holds(value));
        if holds { Visible::All } else { Visible::Nothing }
    };
    match attribute.split_once('.') {
        Some(("resource", "kind")) => known(vec![("kind", question.permission.resource.into())], "kind"),
        Some(("resource", name)) => Visible::Where(left(name)),
        Some(("principal", name)) => known(principal_facts(question.principal, question.scope), name),
        Some(("time", name)) => known(time_facts(question.now), name),
        Some(("tenant", name)) => known(tenant_facts(question.tenant_id), name),
        // Policies with other attributes are not built, and then nothing is decided at all.
        Some(_) | None => Visible::Nothing,
    }
}

fn same(found: &Value, value: &Compared) -> bool {
    match value {
        Compared::Bool(value) => found.as_bool() == Some(*value),
        Compared::Integer(value) => found.as_i64() == Some(*value),
        Compared::Text(text) => found.as_str() == Some(text),
    }
}

fn any(parts: impl Iterator<Item = Visible>) -> Visible {
    let mut left = Vec::new();
    for part in parts {
        match part {
            Visible::All => return Visible::All,
            Visible::Nothing => {}
            Visible::Where(condition) => left.push(condition),
        }
    }
    if left.is_empty() { Visible::Nothing } else { Visible::Where(json!({ "any": left })) }
}

fn all(parts: impl Iterator<Item = Visible>) -> Visible {
    let mut left = Vec::new();
    for part in parts {
        match part {
            Visible::All => {}
            Visible::Nothing => return Visible::Nothing,
            Visible::Where(condition) => left.push(condition),
        }
    }
    if left.is_empty() { Visible::All } else { Visible::Where(json!({ "all": left })) }
}

fn not(part: Visible) -> Visible {
    match part {
        Visible::All => Visible::Nothing,
        Visible::Nothing => Visible::All,
        Visible::Where(condition) => Visible::Where(json!({ "not": condition })),
    }
}
