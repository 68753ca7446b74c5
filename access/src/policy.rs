//! One permission of one grant as a Cedar policy.
//!
//! Policies are built from Cedar's syntax tree, so no text of anybody is ever parsed as policy. A guard asks with `has` before it reads an
//! attribute, so it does not err on what is not there. Names in policies: the principal is `Principal::"<home>/<name>"`, the action
//! `Action::"<resource>:<action>"`, the resource `Resource::"<kind>/<id>"` within `Tenant::"<id>"`.

use std::sync::Arc;

use cedar_policy::{
    Policy,
    pst::{
        ActionConstraint, BinaryOp, Clause as PolicyClause, Effect, EntityOrSlot, EntityType, EntityUID, Expr, Literal,
        Name, NonEmpty, Policy as SyntaxTree, PolicyID, PrincipalConstraint, PstConstructionError, ResourceConstraint,
        SmolStr, StaticPolicy, Template, UnaryOp, Var,
    },
};
use chrono::{DateTime, Utc};
use hub_domain::role::{Clause, Permission, PermissionEffect, Value};
use uuid::Uuid;

/// The roots of attributes, and where a policy finds each.
const ROOTS: &[(&str, Var)] = &[("principal", Var::Principal), ("resource", Var::Resource)];

/// The roots below the context.
const CONTEXT_ROOTS: &[&str] = &["tenant", "time"];

/// The attribute of the context with the time, in milliseconds since 1970.
pub(crate) const NOW: &str = "now_ms";

/// What a policy is made for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The name of the principal's entity.
    pub(crate) principal: &'a str,
    /// The name of the action's entity.
    pub(crate) action: &'a str,
    /// `None` on the platform, whose grants reach into every tenant.
    pub(crate) tenant_id: Option<Uuid>,
}

/// The policy that says what `permission` does at `place` between two times.
///
/// # Errors
/// When an attribute's root is unknown, so that nobody can say what the condition means.
pub(crate) fn policy_of(
    id: &str,
    place: Place<'_>,
    permission: &Permission,
    from: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
) -> Result<Policy, Misbuilt> {
    let effect = match permission.effect {
        PermissionEffect::Allow => Effect::Permit,
        PermissionEffect::Deny => Effect::Forbid,
    };
    let principal = EntityOrSlot::Entity(entity("Principal", place.principal)?);
    let resource = match place.tenant_id {
        Some(tenant_id) => ResourceConstraint::In(EntityOrSlot::Entity(entity("Tenant", &tenant_id.to_string())?)),
        None => ResourceConstraint::Any,
    };
    let action = ActionConstraint::Eq(entity("Action", place.action)?);
    let mut clauses = vec![PolicyClause::When(window(from, until))];
    if let Some(condition) = &permission.condition {
        clauses.push(PolicyClause::When(guard(condition.clause())?));
    }
    let id = PolicyID(SmolStr::new(id));
    let template = Template::new(id, effect, PrincipalConstraint::Eq(principal), action, resource);
    let policy = StaticPolicy::try_from(template.try_with_clauses(clauses)?).map_err(|_| Misbuilt::Slot)?;
    Ok(Policy::from_pst(SyntaxTree::Static(policy))?)
}

/// Why a policy could not be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Misbuilt {
    #[error("nobody knows the attribute {0}")]
    UnknownAttribute(String),
    #[error("a policy has a slot")]
    Slot,
    #[error(transparent)]
    Cedar(#[from] PstConstructionError),
}

pub(crate) fn entity(kind: &str, id: &str) -> Result<EntityUID, PstConstructionError> {
    Ok(EntityUID { ty: EntityType::from_name(Name::unqualified(kind)?), eid: SmolStr::new(id) })
}

/// `context has now_ms && context.now_ms >= from && context.now_ms < until`.
fn window(from: DateTime<Utc>, until: Option<DateTime<Utc>>) -> Arc<Expr> {
    let now = || read(&Arc::new(Expr::Var(Var::Context)), NOW);
    let begun = binary(BinaryOp::GreaterEq, now(), long(from.timestamp_millis()));
    let within = match until {
        Some(until) => and(begun, binary(BinaryOp::Less, now(), long(until.timestamp_millis()))),
        None => begun,
    };
    and(has(&Arc::new(Expr::Var(Var::Context)), NOW), within)
}

fn guard(clause: &Clause) -> Result<Arc<Expr>, Misbuilt> {
    match clause {
        Clause::Equals { attribute, value } => test(attribute, std::iter::once(value)),
        Clause::In { attribute, values } => test(attribute, values.iter()),
        Clause::All(clauses) => joined(clauses, BinaryOp::And),
        Clause::Any(clauses) => joined(clauses, BinaryOp::Or),
        Clause::Not(clause) => Ok(Arc::new(Expr::UnaryOp { op: UnaryOp::Not, expr: guard(clause)? })),
    }
}

fn joined(clauses: &[Clause], op: BinaryOp) -> Result<Arc<Expr>, Misbuilt> {
    let mut guards = clauses.iter().map(guard);
    // None at all is what `all` and `any` mean of nothing; the gate of conditions lets no empty one pass.
    let first = guards.next().unwrap_or_else(|| Ok(boolean(op == BinaryOp::And)))?;
    guards.try_fold(first, |joined, guard| Ok(binary(op, joined, guard?)))
}

/// The attribute is there and has one of the values.
fn test<'a>(attribute: &str, values: impl Iterator<Item = &'a Value>) -> Result<Arc<Expr>, Misbuilt> {
    let unknown = || Misbuilt::UnknownAttribute(attribute.to_owned());
    let (root, path) = attribute.split_once('.').ok_or_else(unknown)?;
    let mut target = match ROOTS.iter().find(|(name, _)| *name == root) {
        Some((_, var)) => Arc::new(Expr::Var(var.clone())),
        None if CONTEXT_ROOTS.contains(&root) => Arc::new(Expr::Var(Var::Context)),
        None => return Err(unknown()),
    };
    let mut names: Vec<&str> = if CONTEXT_ROOTS.contains(&root) { vec![root] } else { Vec::new() };
    // Attributes are flat: what looks like a path is one name.
    names.push(path);
    let mut present = boolean(true);
    for name in names {
        present = and(present, has(&target, name));
        target = read(&target, name);
    }
    let equal = values.map(|value| binary(BinaryOp::Eq, target.clone(), literal(value)));
    let equal = equal.reduce(|either, or| binary(BinaryOp::Or, either, or)).unwrap_or_else(|| boolean(false));
    Ok(and(present, equal))
}

fn literal(value: &Value) -> Arc<Expr> {
    match value {
        Value::Bool(value) => boolean(*value),
        Value::Integer(value) => long(*value),
        Value::Text(text) => Arc::new(Expr::Literal(Literal::String(SmolStr::new(text)))),
    }
}

fn boolean(value: bool) -> Arc<Expr> {
    Arc::new(Expr::Literal(Literal::Bool(value)))
}

fn long(value: i64) -> Arc<Expr> {
    Arc::new(Expr::Literal(Literal::Long(value)))
}

fn and(left: Arc<Expr>, right: Arc<Expr>) -> Arc<Expr> {
    binary(BinaryOp::And, left, right)
}

fn binary(op: BinaryOp, left: Arc<Expr>, right: Arc<Expr>) -> Arc<Expr> {
    Arc::new(Expr::BinaryOp { op, left, right })
}

fn has(target: &Arc<Expr>, name: &str) -> Arc<Expr> {
    Arc::new(Expr::HasAttr { expr: target.clone(), attrs: NonEmpty::new(SmolStr::new(name)) })
}

fn read(target: &Arc<Expr>, name: &str) -> Arc<Expr> {
    Arc::new(Expr::GetAttr { expr: target.clone(), attr: SmolStr::new(name) })
}
