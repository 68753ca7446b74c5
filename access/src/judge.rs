//! One decision with its reason, for the gate and for those who ask how it comes to be.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use hub_http::{Permission, Problem, Resources, Scope};
use strum::{AsRefStr, IntoStaticStr};
use uuid::Uuid;

use crate::{
    filter::{Visible, visible},
    gate::{AccessGate, Facts},
    question::Question,
    rules,
    slice::{Held, Slice, Subject},
};

/// Why it is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsRefStr, IntoStaticStr, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    /// A role permits it and none denies it.
    Permitted,
    /// Everybody may who is let in.
    Everybody,
    /// A role denies it.
    Denied,
    /// No role that holds now permits it.
    NoRole,
    /// The key or token is over, revoked or unknown.
    Credential,
    /// The principal has ended.
    Ended,
    /// The key's scopes do not reach so far.
    Scope,
    /// No role can permit it to a principal that is at home there.
    Rule,
    /// The decision failed, which counts as a denial.
    Error,
}

/// A decision.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// Whether it may be done.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
    /// The permissions that decided: the denials if there is one, else those that permit.
    pub deciding: Vec<Held>,
    /// What was decided upon; `None` when it did not come to that.
    pub slice: Option<Arc<Slice>>,
}

/// Who wants to do what where.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Who.
    pub principal: &'a str,
    /// Where it is at home.
    pub scope: Scope,
    /// Where it wants to.
    pub tenant_id: Uuid,
    /// What.
    pub permission: Permission,
    /// To which thing.
    pub resource_id: Option<Uuid>,
}

impl Wish<'_> {
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject { principal: self.principal, scope: self.scope, tenant_id: self.tenant_id }
    }

    pub(crate) fn question(&self, now: DateTime<Utc>) -> Question<'_> {
        Question {
            principal: self.principal,
            scope: self.scope,
            permission: self.permission,
            tenant_id: self.tenant_id,
            resource_id: self.resource_id,
            attributes: None,
            now,
        }
    }
}

impl Judgement {
    fn without_roles(allowed: bool, reason: Reason) -> Self {
        Self { allowed, reason, deciding: Vec::new(), slice: None }
    }
}

impl AccessGate {
    /// What can be said before any role is looked at.
    pub(crate) fn before_roles(&self, wish: &Wish<'_>, facts: &Facts, now: DateTime<Utc>) -> Option<Judgement> {
        let denied = |reason| Some(Judgement::without_roles(false, reason));
        let home = facts.of_home();
        if home.ended.contains_key(wish.principal) {
            return denied(Reason::Ended);
        }
        if wish.principal.starts_with("key:") {
            let credential = home.credentials.get(wish.principal);
            match credential.filter(|credential| credential.expires_at.is_none_or(|end| end > now)) {
                None => return denied(Reason::Credential),
                Some(credential) if !within(&credential.scopes, wish.permission) => return denied(Reason::Scope),
                Some(_) => {}
            }
        }
        if !Self::provider_accepted(home, wish.principal) {
            return denied(Reason::Credential);
        }
        if rules::of_everybody(wish.permission) {
            return Some(Judgement::without_roles(true, Reason::Everybody));
        }
        if rules::forbidden(wish.scope, wish.permission) {
            return denied(Reason::Rule);
        }
        None
    }

    /// Whether the wish may be granted for some thing: `Some(true)` if that depends on the thing, `None` if for none.
    pub(crate) fn prospect(&self, wish: &Wish<'_>, facts: &Facts, now: DateTime<Utc>) -> Option<bool> {
        if let Some(judgement) = self.before_roles(wish, facts, now) {
            return judgement.allowed.then_some(false);
        }
        let slice = self.slice(facts, wish.subject(), wish.permission);
        let question = wish.question(now);
        if slice.conditional() && slice.errors().is_empty() {
            return match visible(&slice, &question) {
                Visible::All => Some(false),
                Visible::Where(_) => Some(true),
                Visible::Nothing => None,
            };
        }
        self.ask(&slice, &question).allowed.then_some(false)
    }

    /// Decides a wish on these facts, with what `resources` knows of the thing if that matters.
    ///
    /// # Errors
    /// When the thing cannot be read.
    pub async fn judge(&self, wish: &Wish<'_>, facts: &Facts, resources: &dyn Resources) -> Result<Judgement, Problem> {
        let now = self.now();
        if let Some(judgement) = self.before_roles(wish, facts, now) {
            return Ok(judgement);
        }
        let slice = self.slice(facts, wish.subject(), wish.permission);
        let attributes = match wish.resource_id {
            Some(id) if slice.conditional() => {
                resources.attributes(wish.tenant_id, wish.permission.resource, id).await?
            }
            Some(_) | None => None,
        };
        let question = Question { attributes: attributes.as_ref(), ..wish.question(now) };
        let verdict = self.ask(&slice, &question);
        let deciding: Vec<Held> =
            verdict.reasons.iter().filter_map(|place| slice.held().get(*place).cloned()).collect();
        let reason = match (verdict.allowed, verdict.errors.is_empty(), deciding.is_empty()) {
            (true, ..) => Reason::Permitted,
            (false, false, _) => Reason::Error,
            (false, true, false) => Reason::Denied,
            (false, true, true) => Reason::NoRole,
        };
        Ok(Judgement { allowed: verdict.allowed, reason, deciding, slice: Some(slice) })
    }
}

/// Whether one of a key's scopes covers the permission.
fn within(scopes: &std::collections::BTreeSet<String>, permission: Permission) -> bool {
    rules::of_everybody(permission)
        || scopes.iter().filter_map(|scope| scope.split_once(':')).any(|(resource, action)| {
            (resource == "*" || resource == permission.resource) && (action == "*" || action == permission.action)
        })
}
