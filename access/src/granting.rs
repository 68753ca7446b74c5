//! Nobody grants what he does not hold.
//!
//! What a role permits, its parents included, may be given away by one who holds as much now: for each permission one of his own that names
//! at least the same and has no condition, or the very same one, and no denial of his own that the role would leave behind.

use chrono::{DateTime, Utc};
use hub_domain::{
    id::RoleId,
    refusal::Refusal as _,
    role::{self, KeyPattern, Permission, PermissionEffect},
};
use hub_http::{Granting, Problem, RefusalKind};
use serde_json::Value;

use crate::{
    facts::TenantFacts,
    gate::Facts,
    slice::{Subject, all_held},
};

/// Whether the subject may give all of it away at `now`.
///
/// # Errors
/// 403 `forbidden` with what is missing; 404 `role_not_found` for a role that is not there.
pub fn grantable(facts: &Facts, subject: Subject<'_>, now: DateTime<Utc>, granting: &Granting) -> Result<(), Problem> {
    let held: Vec<Permission> = all_held(facts.grounds(), subject)
        .into_iter()
        .filter(|held| held.holds(now))
        .map(|held| held.permission)
        .collect();
    let bounds = bounds_of(facts, subject);
    let mut wanted = Vec::new();
    for role_id in &granting.roles {
        wanted.push(permissions_of(&facts.tenant, RoleId(*role_id))?);
    }
    for permission in &granting.permissions {
        let permission = serde_json::from_value(permission.clone()).map_err(|error| {
            tracing::error!(%error, "a permission to be granted cannot be read");
            Problem::internal()
        })?;
        wanted.push(vec![permission]);
    }
    for together in &wanted {
        if let Some(missing) = together.iter().find(|wanted| !covered(wanted, together, &held, &bounds)) {
            let actions: Vec<&str> = missing.actions.iter().map(KeyPattern::as_str).collect();
            let actions = actions.join(", ");
            return Err(Problem::forbidden(format!(
                "nobody grants what he does not hold, and the caller does not hold {}:{actions}",
                missing.resource
            )));
        }
    }
    Ok(())
}

/// What the role permits and denies, and all that it inherits from.
fn permissions_of(facts: &TenantFacts, role_id: RoleId) -> Result<Vec<Permission>, Problem> {
    let roles = facts.with_ancestors(role_id);
    if roles.is_empty() {
        let refusal = role::Error::NotFound;
        return Err(Problem::refusal(RefusalKind::NotFound, refusal.code(), refusal.to_string(), Value::Null));
    }
    Ok(roles.into_iter().flat_map(|(_, role)| role.permissions.iter().cloned()).collect())
}

/// The scopes of the key that grants; everything for whoever is no key.
fn bounds_of(facts: &Facts, subject: Subject<'_>) -> Vec<(String, String)> {
    let home = facts.platform.as_ref().unwrap_or(&facts.tenant);
    match home.credentials.get(subject.principal) {
        None => vec![("*".to_owned(), "*".to_owned())],
        Some(credential) => {
            let scopes = credential.scopes.iter().filter_map(|scope| scope.split_once(':'));
            scopes.map(|(resource, action)| (resource.to_owned(), action.to_owned())).collect()
        }
    }
}

fn covered(wanted: &Permission, together: &[Permission], held: &[Permission], bounds: &[(String, String)]) -> bool {
    if wanted.effect == PermissionEffect::Deny {
        return true;
    }
    wanted.actions.iter().all(|action| {
        let names_it = |own: &Permission| {
            wider(own.resource.as_str(), wanted.resource.as_str())
                && own.actions.iter().any(|own| wider(own.as_str(), action.as_str()))
        };
        let allowed = held.iter().any(|own| {
            own.effect == PermissionEffect::Allow
                && names_it(own)
                && (own.condition.is_none() || own.condition == wanted.condition)
        });
        let denied = held.iter().any(|own| {
            let meets = own.effect == PermissionEffect::Deny
                && meets(own.resource.as_str(), wanted.resource.as_str())
                && own.actions.iter().any(|own| meets(own.as_str(), action.as_str()));
            meets && !together.iter().any(|other| other.effect == PermissionEffect::Deny && says_as_much(other, own))
        });
        let within = bounds
            .iter()
            .any(|(resource, bound)| wider(resource, wanted.resource.as_str()) && wider(bound, action.as_str()));
        allowed && !denied && within
    })
}

/// Whether a denial keeps from all that another one keeps from.
fn says_as_much(denial: &Permission, other: &Permission) -> bool {
    wider(denial.resource.as_str(), other.resource.as_str())
        && other.actions.iter().all(|action| denial.actions.iter().any(|own| wider(own.as_str(), action.as_str())))
        && (denial.condition.is_none() || denial.condition == other.condition)
}

/// Whether one pattern names all that another one names.
fn wider(one: &str, other: &str) -> bool {
    one == "*" || one == other
}

/// Whether two patterns name something in common.
fn meets(one: &str, other: &str) -> bool {
    wider(one, other) || wider(other, one)
}
