//! Asking about rights: `/v1/tenants/{tenant_id}/authorization/...`, `.../principals/{principal}/permissions` and `.../me`.
//!
//! Every answer is made by the same judge as the gate's own decisions, on facts that are at least as new as the caller's consistency token.

mod answers;
mod report;
mod review;
mod unused_grants;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aide::{axum::ApiRouter, transform::TransformOperation};
use axum::{
    Json,
    extract::{FromRef, State},
};
use hub_domain::{fact::Home, id::PLATFORM_TENANT, role::Principal};
use hub_http::{
    Access, Body, Path, Permission, Problem, Query, ReadConsistency, Resources, Routes, Scope, TenantCaller,
    openapi::described, routes::Entry,
};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    gate::{AccessGate, Facts},
    judge::{Judgement, Wish},
    slice::all_held,
};

use self::answers::{Answer, CheckAnswers, Explanation, MeAnswer, PermissionAnswer, PermissionsAnswer, WhoCanAnswer};

/// The tag of these operations.
pub const TAG: &str = "authorization";

/// So many questions one request may ask.
pub const CHECK_COUNT_MAX: usize = 100;

/// So many principals are looked at for one report.
const PRINCIPAL_COUNT_MAX: usize = 2_000;

/// What these routes work with; cheap to clone.
#[derive(Clone, Debug)]
pub struct Authorization {
    gate: AccessGate,
    access: Access,
    /// Every permission that a route asks for, each once.
    catalogue: Arc<[Permission]>,
}

impl Authorization {
    /// Answers about the permissions of these routes and its own.
    pub fn new(gate: AccessGate, resources: Arc<dyn Resources>, entries: &[Entry]) -> Self {
        let all = entries.iter().chain(all().entries()).map(|entry| entry.permission).collect::<BTreeSet<_>>();
        let access = Access::new(Arc::new(gate.clone()), resources);
        Self { gate, access, catalogue: all.into_iter().collect() }
    }

    fn permission(&self, text: &str) -> Option<Permission> {
        let (resource, action) = text.split_once(':')?;
        self.catalogue.iter().find(|known| known.resource == resource && known.action == action).copied()
    }
}

impl FromRef<Authorization> for Access {
    fn from_ref(authorization: &Authorization) -> Self {
        authorization.access.clone()
    }
}

fn all() -> Routes<Authorization> {
    let tenant = "/v1/tenants/{tenant_id}";
    Routes::new()
        .post(&format!("{tenant}/authorization/check"), "authorization:check", check, describe_check)
        .post(&format!("{tenant}/authorization/explain"), "authorization:check", explain, describe_explain)
        .get(&format!("{tenant}/authorization/who-can"), "authorization:read", who_can, describe_who_can)
        .get(&format!("{tenant}/authorization/review"), "authorization:read", review::review, review::describe)
        .get(
            &format!("{tenant}/authorization/unused-grants"),
            "authorization:read",
            unused_grants::unused_grants,
            unused_grants::describe,
        )
        .get(
            &format!("{tenant}/principals/{{principal}}/permissions"),
            "authorization:read",
            permissions,
            describe_permissions,
        )
        .get(&format!("{tenant}/me"), "self:read", me, describe_me)
}

/// The routes.
pub fn routes(authorization: Authorization) -> ApiRouter {
    all().into_router().with_state(authorization)
}

/// What these routes ask permission for.
#[must_use]
pub fn catalogue() -> Vec<Entry> {
    all().entries().to_vec()
}

/// One question: may this principal do this, to this thing?
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// `<resource>:<action>`, as operations name it in `x-permission`.
    permission: String,
    /// Who; the caller when absent.
    #[serde(default)]
    principal: Option<Principal>,
    /// Where the principal is at home: in the tenant, or on the platform as its staff are. The tenant when absent.
    #[serde(default)]
    home: Option<Home>,
    /// To which thing; when absent, conditions on the thing do not hold.
    #[serde(default)]
    resource_id: Option<Uuid>,
}

/// Questions to be answered together, 1 to 100.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Check {
    #[schemars(length(min = 1, max = 100))]
    checks: Vec<Question>,
}

/// What is wanted to be known of a permission.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WhoCan {
    /// `<resource>:<action>`, as operations name it in `x-permission`.
    permission: String,
    /// To which thing; when absent, conditions on the thing do not hold.
    resource_id: Option<Uuid>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct PrincipalPath {
    /// `user:`, `key:` or `service:` and a name.
    principal: String,
}

/// Everything that one request's answers rest on.
struct Asking<'a> {
    authorization: &'a Authorization,
    tenant_id: Uuid,
    at_least: Option<i64>,
}

impl Asking<'_> {
    async fn facts(&self, scope: Scope) -> Result<Facts, Problem> {
        self.authorization.gate.facts_for(scope, self.tenant_id, self.at_least).await
    }

    /// Who a question is about.
    fn about(&self, question: &Question, caller: &TenantCaller) -> (String, Scope) {
        match &question.principal {
            None => (caller.caller.principal.clone(), caller.caller.scope),
            Some(principal) => (principal.as_str().to_owned(), scope_of(self.tenant_id, question.home)),
        }
    }

    async fn judge(&self, question: &Question, caller: &TenantCaller, place: &str) -> Result<Judgement, Problem> {
        let permission = self.authorization.permission(&question.permission).ok_or_else(|| {
            Problem::invalid_body(format!("{place}/permission"), "no operation asks for this permission")
        })?;
        let (principal, scope) = self.about(question, caller);
        let facts = self.facts(scope).await?;
        let wish = Wish {
            principal: &principal,
            scope,
            tenant_id: self.tenant_id,
            permission,
            resource_id: question.resource_id,
        };
        let resources = self.authorization.access.resources();
        self.authorization.gate.judge(&wish, &facts, &**resources).await
    }
}

fn scope_of(tenant_id: Uuid, home: Option<Home>) -> Scope {
    match home.unwrap_or(Home::Tenant) {
        Home::Tenant if tenant_id != PLATFORM_TENANT.0 => Scope::Tenant(tenant_id),
        Home::Tenant | Home::Platform => Scope::Platform,
    }
}

async fn check(
    caller: TenantCaller,
    consistency: ReadConsistency,
    State(authorization): State<Authorization>,
    body: Body<Check>,
) -> Result<Json<CheckAnswers>, Problem> {
    let questions = body.value.checks;
    if !(1..=CHECK_COUNT_MAX).contains(&questions.len()) {
        let detail = format!("expected 1 to {CHECK_COUNT_MAX} questions");
        return Err(Problem::invalid_body("/checks", detail));
    }
    let asking =
        Asking { authorization: &authorization, tenant_id: caller.tenant.id(), at_least: consistency.at_least };
    let mut results = Vec::with_capacity(questions.len());
    for (place, question) in questions.iter().enumerate() {
        let judgement = asking.judge(question, &caller, &format!("/checks/{place}")).await?;
        results.push(Answer::of(&judgement));
    }
    Ok(Json(CheckAnswers { results }))
}

async fn explain(
    caller: TenantCaller,
    consistency: ReadConsistency,
    State(authorization): State<Authorization>,
    body: Body<Question>,
) -> Result<Json<Explanation>, Problem> {
    let asking =
        Asking { authorization: &authorization, tenant_id: caller.tenant.id(), at_least: consistency.at_least };
    let judgement = asking.judge(&body.value, &caller, "").await?;
    Ok(Json(Explanation::of(&judgement, authorization.gate.now())))
}

async fn permissions(
    caller: TenantCaller,
    Path(PrincipalPath { principal }): Path<PrincipalPath>,
    consistency: ReadConsistency,
    State(authorization): State<Authorization>,
) -> Result<Json<PermissionsAnswer>, Problem> {
    let principal: Principal =
        principal.parse().map_err(|error| Problem::invalid_path("principal", format!("{error}")))?;
    let asking =
        Asking { authorization: &authorization, tenant_id: caller.tenant.id(), at_least: consistency.at_least };
    let scope = scope_of(asking.tenant_id, None);
    Ok(Json(asking.permissions_of(principal.as_str(), scope).await?))
}

async fn me(
    caller: TenantCaller,
    consistency: ReadConsistency,
    State(authorization): State<Authorization>,
) -> Result<Json<MeAnswer>, Problem> {
    let asking =
        Asking { authorization: &authorization, tenant_id: caller.tenant.id(), at_least: consistency.at_least };
    let held = asking.permissions_of(&caller.caller.principal, caller.caller.scope).await?;
    let home = if caller.caller.scope == Scope::Platform { Home::Platform } else { Home::Tenant };
    Ok(Json(MeAnswer { principal: caller.caller.principal.clone(), home, held }))
}

impl Asking<'_> {
    async fn permissions_of(&self, principal: &str, scope: Scope) -> Result<PermissionsAnswer, Problem> {
        let Authorization { gate, catalogue, .. } = self.authorization;
        let facts = self.facts(scope).await?;
        let now = gate.now();
        let mut allowed = Vec::new();
        for permission in catalogue.iter().copied() {
            let wish = Wish { principal, scope, tenant_id: self.tenant_id, permission, resource_id: None };
            if let Some(conditional) = gate.prospect(&wish, &facts, now) {
                allowed.push(PermissionAnswer { permission: permission.to_string(), conditional });
            }
        }
        let mut roles = BTreeMap::new();
        let subject = Wish { principal, scope, tenant_id: self.tenant_id, permission: catalogue[0], resource_id: None };
        for held in all_held(facts.grounds(), subject.subject()).into_iter().filter(|held| held.holds(now)) {
            roles.entry(held.role_id).or_insert(held.role_key);
        }
        Ok(PermissionsAnswer { roles: answers::roles(roles), permissions: allowed })
    }
}

async fn who_can(
    caller: TenantCaller,
    consistency: ReadConsistency,
    Query(WhoCan { permission, resource_id }): Query<WhoCan>,
    State(authorization): State<Authorization>,
) -> Result<Json<WhoCanAnswer>, Problem> {
    let permission = authorization
        .permission(&permission)
        .ok_or_else(|| Problem::invalid_query(Some("permission"), "no operation asks for this permission"))?;
    let asking =
        Asking { authorization: &authorization, tenant_id: caller.tenant.id(), at_least: consistency.at_least };
    let facts = asking.facts(scope_of(asking.tenant_id, None)).await?;
    let resources = authorization.access.resources();
    let mut holders: Vec<(Home, &String)> = facts.tenant.grants.keys().map(|(home, name)| (*home, name)).collect();
    holders.sort_by(|left, right| left.1.cmp(right.1));
    let complete = holders.len() <= PRINCIPAL_COUNT_MAX;
    let mut principals = Vec::new();
    for (home, principal) in holders.into_iter().take(PRINCIPAL_COUNT_MAX) {
        let scope = scope_of(asking.tenant_id, Some(home));
        let facts = asking.facts(scope).await?;
        let wish = Wish { principal, scope, tenant_id: asking.tenant_id, permission, resource_id };
        let judgement = authorization.gate.judge(&wish, &facts, &**resources).await?;
        if judgement.allowed {
            principals.push(answers::holder(principal, home, &judgement));
        }
    }
    Ok(Json(WhoCanAnswer { permission: permission.to_string(), principals, complete }))
}

fn describe_check(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Answers up to 100 questions whether somebody may do something, in their order, all by the rules that requests are \
                       decided by.";
    described(operation, "checkAuthorization", TAG, "Ask who may do what", description)
}

fn describe_explain(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description =
        "Says which role, permission and guard decided a question, and what else speaks for or against it.";
    described(operation, "explainAuthorization", TAG, "Explain a decision", description)
}

fn describe_who_can(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Every principal with a grant in the tenant that may do something now, with the roles that permit it. The platform's \
                       own administrators are not among them. `complete` is false when there are more than 2,000 principals.";
    described(operation, "whoCan", TAG, "Report who can do something", description)
}

fn describe_permissions(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "The roles that a principal of the tenant holds now, and every permission that follows; `conditional` ones depend on \
                       the thing.";
    described(operation, "getPrincipalPermissions", TAG, "Read what a principal may do", description)
}

fn describe_me(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Who the caller is, and what he may do in the tenant now.";
    described(operation, "getMe", TAG, "Read what the caller may do", description)
}
