//! What is answered about rights.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use hub_domain::{
    fact::{GrantSource, Home},
    id::RoleId,
    role::Permission,
};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    facts::{Granted, TenantFacts},
    judge::{Judgement, Reason},
    slice::Held,
};

/// So many permissions are named beside those that decided.
const CONSIDERED_MAX: usize = 100;

/// Whether something may be done, and why.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuthorizationAnswer")]
pub(super) struct Answer {
    allowed: bool,
    reason: Reason,
}

/// The answers in the order of the questions.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuthorizationAnswers")]
pub(super) struct CheckAnswers {
    pub(super) results: Vec<Answer>,
}

/// A decision and where it comes from.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuthorizationExplanation")]
pub(super) struct Explanation {
    allowed: bool,
    reason: Reason,
    /// The permissions that decided: the denials if there is one, else those that permit. Each with its guard.
    decided_by: Vec<HeldAnswer>,
    /// All that names what was asked for, whether it holds or not; at most 100.
    considered: Vec<HeldAnswer>,
}

/// One permission that reaches a principal, and the way it comes.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "HeldPermission")]
pub(super) struct HeldAnswer {
    /// The tenant of the role; the platform's own roles reach into every tenant.
    tenant_id: Uuid,
    /// The role that was granted.
    granted_role_id: RoleId,
    /// The role that has the permission: the granted one, or one that it inherits from.
    role_id: RoleId,
    role_key: String,
    /// What brought the grant.
    source: GrantSource,
    /// The aggregate that the grant comes from.
    granted_by_id: Uuid,
    from: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
    /// Whether the grant's time has come and is not over.
    holds: bool,
    permission: Permission,
}

/// A role that is held.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "HeldRole")]
pub(super) struct RoleAnswer {
    role_id: RoleId,
    key: String,
}

/// One permission that a principal has.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EffectivePermission")]
pub(super) struct PermissionAnswer {
    pub(super) permission: String,
    /// Whether it depends on the thing.
    pub(super) conditional: bool,
}

/// What a principal may do.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EffectivePermissions")]
pub(super) struct PermissionsAnswer {
    /// The roles held now, inherited ones included.
    pub(super) roles: Vec<RoleAnswer>,
    pub(super) permissions: Vec<PermissionAnswer>,
}

/// Who the caller is, and what he may do.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Me")]
pub(super) struct MeAnswer {
    pub(super) principal: String,
    /// Where the caller is at home.
    pub(super) home: Home,
    #[serde(flatten)]
    pub(super) held: PermissionsAnswer,
}

/// A principal that may do something.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PermissionHolder")]
pub(super) struct HolderAnswer {
    principal: String,
    home: Home,
    /// The roles that permit it.
    roles: Vec<RoleAnswer>,
}

/// Who may do something.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WhoCan")]
pub(super) struct WhoCanAnswer {
    pub(super) permission: String,
    pub(super) principals: Vec<HolderAnswer>,
    /// Whether every principal was looked at.
    pub(super) complete: bool,
}

/// One grant, for a review.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Grant")]
pub(super) struct GrantAnswer {
    principal: String,
    home: Home,
    role_id: RoleId,
    /// Null when the role is not live any more; then the grant gives nothing.
    role_key: Option<String>,
    source: GrantSource,
    /// The aggregate that the grant comes from.
    granted_by_id: Uuid,
    from: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
}

impl Answer {
    pub(super) fn of(judgement: &Judgement) -> Self {
        Self { allowed: judgement.allowed, reason: judgement.reason }
    }
}

impl Explanation {
    pub(super) fn of(judgement: &Judgement, now: DateTime<Utc>) -> Self {
        let held = judgement.slice.as_ref().map_or(&[][..], |slice| slice.held());
        Self {
            allowed: judgement.allowed,
            reason: judgement.reason,
            decided_by: judgement.deciding.iter().map(|held| HeldAnswer::of(held, now)).collect(),
            considered: held.iter().take(CONSIDERED_MAX).map(|held| HeldAnswer::of(held, now)).collect(),
        }
    }
}

impl HeldAnswer {
    fn of(held: &Held, now: DateTime<Utc>) -> Self {
        Self {
            tenant_id: held.tenant_id,
            granted_role_id: held.granted_role,
            role_id: held.role_id,
            role_key: held.role_key.clone(),
            source: held.source,
            granted_by_id: held.granted_by,
            from: held.from,
            until: held.until,
            holds: held.holds(now),
            permission: held.permission.clone(),
        }
    }
}

impl GrantAnswer {
    pub(super) fn of(granted: &Granted, facts: &TenantFacts) -> Self {
        let grant = &granted.grant;
        Self {
            principal: grant.principal.as_str().to_owned(),
            home: grant.home,
            role_id: grant.role_id,
            role_key: facts.roles.get(&grant.role_id).map(|role| role.key.as_str().to_owned()),
            source: grant.source,
            granted_by_id: granted.aggregate_id,
            from: grant.from,
            until: grant.until,
        }
    }
}

pub(super) fn roles(roles: BTreeMap<RoleId, String>) -> Vec<RoleAnswer> {
    roles.into_iter().map(|(role_id, key)| RoleAnswer { role_id, key }).collect()
}

pub(super) fn holder(principal: &str, home: Home, judgement: &Judgement) -> HolderAnswer {
    let deciding = judgement.deciding.iter().map(|held| (held.role_id, held.role_key.clone())).collect();
    HolderAnswer { principal: principal.to_owned(), home, roles: roles(deciding) }
}
