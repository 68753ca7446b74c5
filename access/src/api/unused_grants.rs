//! Which grants nobody uses: for each that holds now, how much of what its role permits its principal has used.

use std::collections::HashMap;

use aide::transform::TransformOperation;
use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use hub_domain::{
    id::{RoleId, TenantId},
    role::{PermissionEffect, SystemRole, system_role_id},
};
use hub_http::{Permission, Problem, Query, ReadConsistency, Scope, TenantCaller, openapi::described};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    facts::{Granted, TenantFacts},
    permission_uses::{GrantUses, KEPT_DAYS, Used},
    rules,
    slice::names,
};

use super::{
    Asking, Authorization, TAG,
    answers::GrantAnswer,
    report::{Form, Report, Sheet},
    review::grants_of,
    scope_of,
};

const SHEET: Sheet = Sheet {
    name: "unused-grants",
    rows: "grants",
    columns: &[
        "principal",
        "home",
        "role_id",
        "role_key",
        "source",
        "granted_by_id",
        "from",
        "until",
        "permission_count",
        "used_permission_count",
        "last_used_at",
        "days",
        "recorded_since",
        "position",
        "made_at",
        "complete",
    ],
};

/// What time is looked at.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Time {
    /// So many days until now; 90 when absent.
    #[serde(default = "days_default")]
    #[schemars(range(min = 1, max = 400))]
    days: u16,
}

fn days_default() -> u16 {
    90
}

/// A grant that holds now, and what its principal has used of it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GrantUse")]
struct GrantUse {
    #[serde(flatten)]
    grant: GrantAnswer,
    /// So many permissions of operations the role permits, inherited ones included.
    permission_count: usize,
    /// So many of these the principal has used in the days asked for, by this grant or another one.
    used_permission_count: i64,
    /// When the principal last used one of them, to a minute; null when that was never seen.
    last_used_at: Option<DateTime<Utc>>,
}

/// What is used of the grants of a tenant.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UnusedGrants")]
pub(super) struct UnusedGrantsAnswer {
    /// The position of the log that the grants are of.
    position: i64,
    made_at: DateTime<Utc>,
    days: u16,
    /// Uses are recorded since then. A grant that was not used in a shorter time than that of interest may be needed all the same.
    recorded_since: DateTime<Utc>,
    /// Those never used first, then those used longest ago.
    grants: Vec<GrantUse>,
    /// Whether these are all.
    complete: bool,
}

pub(super) async fn unused_grants(
    caller: TenantCaller,
    form: Form,
    Query(Time { days }): Query<Time>,
    consistency: ReadConsistency,
    State(authorization): State<Authorization>,
) -> Result<Report<UnusedGrantsAnswer>, Problem> {
    if !(1..=KEPT_DAYS).contains(&days) {
        return Err(Problem::invalid_query(Some("days"), format!("expected 1 to {KEPT_DAYS}")));
    }
    let tenant_id = caller.tenant.id();
    let asking = Asking { authorization: &authorization, tenant_id, at_least: consistency.at_least };
    let facts = asking.facts(scope_of(tenant_id, None)).await?.tenant;
    let now = authorization.gate.now();
    let (granted, complete) = grants_of(&facts, |grant| grant.from <= now && grant.until.is_none_or(|end| now < end));
    let sets = Sets::of(&granted, &facts, tenant_id, &authorization.catalogue);
    let since = now - TimeDelta::days(i64::from(days));
    let uses = authorization.gate.permission_uses();
    let used = uses.of_grants(tenant_id, &sets.grants, &sets.permissions, since, now).await;
    let (used, recorded_since) = used.map_err(|error| {
        tracing::warn!(%error, "uses of permissions could not be read");
        Problem::store_unavailable()
    })?;
    let grant = |((granted, of), used): ((&&Granted, &GrantUses<'_>), Used)| GrantUse {
        grant: GrantAnswer::of(granted, &facts),
        permission_count: sets.permissions[of.permissions].len(),
        used_permission_count: used.permission_count,
        last_used_at: used.last_at,
    };
    let mut grants: Vec<GrantUse> = granted.iter().zip(&sets.grants).zip(used).map(grant).collect();
    // Stable: of those alike the order stays.
    grants.sort_by_key(|grant| grant.last_used_at);
    let position = facts.position;
    let report = UnusedGrantsAnswer { position, made_at: now, days, recorded_since, grants, complete };
    Ok(Report::new(form, &SHEET, tenant_id, position, &report))
}

/// What grants give, each set of permissions once.
struct Sets<'a> {
    grants: Vec<GrantUses<'a>>,
    permissions: Vec<Vec<Permission>>,
}

impl<'a> Sets<'a> {
    fn of(granted: &[&'a Granted], facts: &TenantFacts, tenant_id: Uuid, catalogue: &[Permission]) -> Self {
        let mut places = HashMap::new();
        let mut sets = Self { grants: Vec::with_capacity(granted.len()), permissions: Vec::new() };
        for granted in granted {
            let grant = &granted.grant;
            let scope = scope_of(tenant_id, Some(grant.home));
            let place = *places.entry((scope, grant.role_id)).or_insert_with(|| {
                sets.permissions.push(permitted(facts, tenant_id, scope, grant.role_id, catalogue));
                sets.permissions.len() - 1
            });
            sets.grants.push(GrantUses { scope, principal: grant.principal.as_str(), permissions: place });
        }
        sets
    }
}

/// What a role lets a principal of this scope do, perhaps under a condition; what everybody may do needs no role.
fn permitted(
    facts: &TenantFacts,
    tenant_id: Uuid,
    scope: Scope,
    role_id: RoleId,
    catalogue: &[Permission],
) -> Vec<Permission> {
    let owner = system_role_id(TenantId(tenant_id), SystemRole::Owner);
    let roles = facts.with_ancestors(role_id);
    let permits = |asked: &Permission| {
        let speaking = roles.iter().filter(|(id, _)| !rules::of_owner(*asked) || *id == owner);
        let naming = speaking.flat_map(|(_, role)| &role.permissions).filter(|permission| names(permission, *asked));
        let allowed = naming.clone().any(|permission| permission.effect == PermissionEffect::Allow);
        let mut denials = naming.filter(|permission| permission.effect == PermissionEffect::Deny);
        allowed && !denials.any(|permission| permission.condition.is_none())
    };
    let needs_a_role = |asked: &Permission| !rules::of_everybody(*asked) && !rules::forbidden(scope, *asked);
    catalogue.iter().copied().filter(needs_a_role).filter(permits).collect()
}

pub(super) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Every grant of the tenant that holds now, with how many of the permissions of its role the principal has used in the \
                       last days and when it last used one: never used ones first. Uses are written down some ten seconds late, and only since \
                       `recorded_since`. `complete` is false when there are more than 5,000 grants.";
    described(operation, "reportUnusedGrants", TAG, "Report unused grants", description)
}

#[cfg(test)]
mod tests {
    use hub_domain::{
        fact::{Fact, RoleFact},
        role::{Actions, Clause, Condition, Permission as RolePermission, PermissionId, Value},
    };

    use super::*;

    const TENANT: Uuid = Uuid::from_u128(7);

    fn catalogue() -> Vec<Permission> {
        ["self:read", "support_access:grant", "tenant:activate", "tenant:rename", "webhook:delete", "webhook:read"]
            .map(|text| Permission::parse(text).unwrap())
            .to_vec()
    }

    fn permission(resource: &str, action: &str, effect: PermissionEffect, conditional: bool) -> RolePermission {
        let clause = Clause::Equals { attribute: "time.weekend".to_owned(), value: Value::Bool(true) };
        RolePermission {
            id: PermissionId(Uuid::from_u128(1)),
            resource: resource.parse().unwrap(),
            actions: Actions::new([action.parse().unwrap()]).unwrap(),
            effect,
            condition: conditional.then(|| Condition::new(clause).unwrap()),
        }
    }

    fn role(facts: &mut TenantFacts, id: RoleId, permissions: &[RolePermission], parents: &[RoleId]) {
        let role = RoleFact {
            key: "a-role".parse().unwrap(),
            system: false,
            permissions: permissions.to_vec(),
            parents: parents.iter().copied().collect(),
        };
        facts.add(id.0, Fact::Role(role));
    }

    fn of(facts: &TenantFacts, scope: Scope, id: RoleId) -> Vec<String> {
        permitted(facts, TENANT, scope, id, &catalogue()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_role_permits_what_it_and_its_parents_allow_and_none_of_them_always_denies() {
        let (allow, deny) = (PermissionEffect::Allow, PermissionEffect::Deny);
        let (child, parent, own) = (RoleId(Uuid::from_u128(11)), RoleId(Uuid::from_u128(12)), Scope::Tenant(TENANT));
        let mut facts = TenantFacts::default();
        role(&mut facts, parent, &[permission("webhook", "*", allow, true)], &[]);
        role(&mut facts, child, &[permission("tenant", "rename", allow, false)], &[parent]);
        assert_eq!(of(&facts, own, child), ["tenant:rename", "webhook:delete", "webhook:read"]);
        assert_eq!(of(&facts, own, parent), ["webhook:delete", "webhook:read"]);
        let denials = [permission("webhook", "read", deny, true), permission("webhook", "delete", deny, false)];
        role(&mut facts, child, &denials, &[parent]);
        assert_eq!(of(&facts, own, child), ["webhook:read"]);
        assert_eq!(of(&facts, own, RoleId(Uuid::from_u128(13))), Vec::<String>::new(), "a role that is not live");
    }

    #[test]
    fn rules_above_roles_hold_and_what_everybody_may_is_of_no_role() {
        let everything = [permission("*", "*", PermissionEffect::Allow, false)];
        let (owner, other) = (system_role_id(TenantId(TENANT), SystemRole::Owner), RoleId(Uuid::from_u128(11)));
        let mut facts = TenantFacts::default();
        role(&mut facts, owner, &everything, &[]);
        role(&mut facts, other, &everything, &[]);
        let own = Scope::Tenant(TENANT);
        assert_eq!(of(&facts, own, owner), ["support_access:grant", "tenant:rename", "webhook:delete", "webhook:read"]);
        assert_eq!(of(&facts, own, other), ["tenant:rename", "webhook:delete", "webhook:read"]);
        assert_eq!(
            of(&facts, Scope::Platform, owner),
            ["tenant:activate", "tenant:rename", "webhook:delete", "webhook:read"]
        );
    }
}
