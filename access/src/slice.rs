//! All that speaks for or against one principal doing one thing in one tenant, made into policies once.
//!
//! A slice holds only the permissions that name the action; Cedar would pass over all others, so leaving them out changes no answer. It
//! stands for as long as the principal holds the same.

use std::sync::{PoisonError, RwLock};

use cedar_policy::{Authorizer, Decision as CedarDecision, PolicySet};
use chrono::{DateTime, Utc};
use hub_domain::{
    fact::{GrantSource, Home},
    id::{RoleId, TenantId},
    role::{KeyPattern, Permission as RolePermission, SystemRole, system_role_id},
};
use hub_http::{Permission, Scope};
use uuid::Uuid;

use crate::{
    facts::TenantFacts,
    permission_uses::Noted,
    policy::{Place, policy_of},
    question::{Question, principal_name},
    rules,
};

/// A slice with more policies is not judged: everything is denied.
pub const POLICY_COUNT_MAX: usize = 5_000;

/// One permission that reaches the principal, and the way it comes.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// The tenant whose role it is; the platform's own roles reach into every tenant.
    pub tenant_id: Uuid,
    /// The aggregate that the grant comes from: the role, the key, the request.
    pub granted_by: Uuid,
    /// What kind of grant it is.
    pub source: GrantSource,
    /// The role that was granted.
    pub granted_role: RoleId,
    /// The role that has the permission: the granted one, or one that it inherits from.
    pub role_id: RoleId,
    /// The key of that role.
    pub role_key: String,
    /// The grant holds from this time on.
    pub from: DateTime<Utc>,
    /// And until this time, which is no longer included.
    pub until: Option<DateTime<Utc>>,
    /// The permission.
    pub permission: RolePermission,
}

impl Held {
    /// Whether the grant holds at `now`.
    #[must_use]
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        self.from <= now && self.until.is_none_or(|until| now < until)
    }
}

/// Whose rights are looked for, and where.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The principal.
    pub principal: &'a str,
    /// Where it is at home.
    pub scope: Scope,
    /// Where it wants to do something.
    pub tenant_id: Uuid,
}

/// The facts that a decision rests on.
#[derive(Debug, Clone, Copy)]
pub struct Grounds<'a> {
    /// Of the tenant in question.
    pub tenant: &'a TenantFacts,
    /// Of the platform, for principals of the platform; the same as `tenant` when that is the platform.
    pub platform: Option<&'a TenantFacts>,
}

/// What the policies say.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Whether it may be done.
    pub allowed: bool,
    /// Places in `Slice::held` of what decided: the denials if there is one, else the permissions.
    pub reasons: Vec<usize>,
    /// What went wrong while it was decided; then nothing is allowed.
    pub errors: Vec<String>,
}

/// See the module.
#[derive(Debug)]
pub struct Slice {
    held: Vec<Held>,
    policies: PolicySet,
    /// Whether an answer depends on more than the time.
    conditional: bool,
    /// What could not be made a policy.
    errors: Vec<String>,
    settled: RwLock<Option<Settled>>,
    /// When the principal last used the permission.
    pub(crate) noted: Noted,
}

/// An answer that holds from one time to another, because nothing but time can change it.
#[derive(Debug, Clone)]
struct Settled {
    from: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    verdict: Verdict,
}

impl Slice {
    /// The policies of what the subject holds that names `permission`, which is what `held_for` answers.
    #[must_use]
    pub fn of(grounds: Grounds<'_>, subject: Subject<'_>, permission: Permission, held: Vec<Held>) -> Self {
        let mut slice = Self {
            conditional: held.iter().any(|held| held.permission.condition.is_some()),
            policies: PolicySet::new(),
            errors: Vec::new(),
            settled: RwLock::default(),
            noted: Noted::default(),
            held,
        };
        if slice.held.len() > POLICY_COUNT_MAX {
            slice.errors.push(format!("more than {POLICY_COUNT_MAX} policies speak to {permission}"));
            return slice;
        }
        let principal = principal_name(subject.scope, subject.principal);
        let action = permission.to_string();
        for (place, held) in slice.held.iter().enumerate() {
            let tenant_id = (Some(held.tenant_id) != grounds.platform.map(|_| PLATFORM)).then_some(held.tenant_id);
            let at = Place { principal: &principal, action: &action, tenant_id };
            let built = policy_of(&place.to_string(), at, &held.permission, held.from, held.until)
                .map_err(|error| error.to_string())
                .and_then(|policy| slice.policies.add(policy).map_err(|error| error.to_string()));
            if let Err(error) = built {
                slice.errors.push(format!("permission {}: {error}", held.permission.id));
            }
        }
        slice
    }

    /// What speaks for or against it, in the order that verdicts name.
    #[must_use]
    pub fn held(&self) -> &[Held] {
        &self.held
    }

    /// What could not be made a policy; then everything is denied.
    #[must_use]
    pub fn errors(&self) -> &[String] {
        &self.errors
    }

    /// Whether the answer depends on the thing or on anything else but time.
    #[must_use]
    pub fn conditional(&self) -> bool {
        self.conditional
    }

    /// Asks Cedar; every error is a denial.
    #[must_use]
    pub fn decide(&self, authorizer: &Authorizer, question: &Question<'_>) -> Verdict {
        if !self.conditional
            && let Some(settled) = &*self.settled.read().unwrap_or_else(PoisonError::into_inner)
            && settled.covers(question.now)
        {
            return settled.verdict.clone();
        }
        let verdict = self.ask(authorizer, question);
        if !self.conditional {
            let settled = Settled::at(&self.held, question.now, verdict.clone());
            *self.settled.write().unwrap_or_else(PoisonError::into_inner) = Some(settled);
        }
        verdict
    }

    fn ask(&self, authorizer: &Authorizer, question: &Question<'_>) -> Verdict {
        let denied = |errors| Verdict { allowed: false, reasons: Vec::new(), errors };
        if !self.errors.is_empty() {
            return denied(self.errors.clone());
        }
        let (request, entities) = match question.put() {
            Ok(put) => put,
            Err(error) => return denied(vec![error.to_string()]),
        };
        let response = authorizer.is_authorized(&request, &self.policies, &entities);
        let errors: Vec<String> = response.diagnostics().errors().map(ToString::to_string).collect();
        let mut reasons: Vec<usize> =
            response.diagnostics().reason().filter_map(|id| AsRef::<str>::as_ref(id).parse().ok()).collect();
        reasons.sort_unstable();
        Verdict { allowed: response.decision() == CedarDecision::Allow && errors.is_empty(), reasons, errors }
    }
}

impl Settled {
    /// Between the two ends of grants that are nearest to `now`.
    fn at(held: &[Held], now: DateTime<Utc>, verdict: Verdict) -> Self {
        let ends = || held.iter().flat_map(|held| [Some(held.from), held.until]).flatten();
        Self { from: ends().filter(|end| *end <= now).max(), until: ends().filter(|end| *end > now).min(), verdict }
    }

    fn covers(&self, now: DateTime<Utc>) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }
}

const PLATFORM: Uuid = hub_domain::id::PLATFORM_TENANT.0;

/// Every permission that reaches the principal in the tenant and names what is asked for.
#[must_use]
pub fn held_for(grounds: Grounds<'_>, subject: Subject<'_>, permission: Permission) -> Vec<Held> {
    let owner = system_role_id(TenantId(subject.tenant_id), SystemRole::Owner);
    held_that(grounds, subject, |role_id, held| {
        names(held, permission) && (!rules::of_owner(permission) || role_id == owner)
    })
}

/// Every permission that reaches the principal in the tenant, whatever it names.
#[must_use]
pub fn all_held(grounds: Grounds<'_>, subject: Subject<'_>) -> Vec<Held> {
    held_that(grounds, subject, |_, _| true)
}

/// Every permission that reaches the principal in the tenant and is wanted of the role that has it.
fn held_that(
    grounds: Grounds<'_>,
    subject: Subject<'_>,
    wanted: impl Fn(RoleId, &RolePermission) -> bool,
) -> Vec<Held> {
    let mut all = Vec::new();
    let mut collect = |facts, tenant_id, home| collect(facts, tenant_id, home, subject.principal, &wanted, &mut all);
    match (subject.scope, grounds.platform) {
        (Scope::Tenant(own), _) if own == subject.tenant_id => collect(grounds.tenant, own, Home::Tenant),
        (Scope::Platform, Some(platform)) => {
            collect(platform, PLATFORM, Home::Tenant);
            if subject.tenant_id != PLATFORM {
                collect(grounds.tenant, subject.tenant_id, Home::Platform);
            }
        }
        (Scope::Tenant(_), _) | (Scope::Platform, None) => {}
    }
    all
}

fn collect(
    facts: &TenantFacts,
    tenant_id: Uuid,
    home: Home,
    principal: &str,
    wanted: &impl Fn(RoleId, &RolePermission) -> bool,
    all: &mut Vec<Held>,
) {
    for granted in facts.grants_of(home, principal) {
        let grant = &granted.grant;
        for (role_id, role) in facts.with_ancestors(grant.role_id) {
            let permissions = role.permissions.iter().filter(|permission| wanted(role_id, permission));
            all.extend(permissions.map(|permission| Held {
                tenant_id,
                granted_by: granted.aggregate_id,
                source: grant.source,
                granted_role: grant.role_id,
                role_id,
                role_key: role.key.as_str().to_owned(),
                from: grant.from,
                until: grant.until,
                permission: permission.clone(),
            }));
        }
    }
}

/// Whether a role's permission names what a route asks for.
#[must_use]
pub fn names(permission: &RolePermission, asked: Permission) -> bool {
    let covers = |pattern: &KeyPattern, name: &str| matches!(pattern.as_str(), "*") || pattern.as_str() == name;
    covers(&permission.resource, asked.resource) && permission.actions.iter().any(|action| covers(action, asked.action))
}
