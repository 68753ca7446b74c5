//! Commands on roles: `POST /v1/tenants/{tenant_id}/roles` and `.../roles/{role_id}/<verb>`.

mod owner;
mod system;
mod template;

use axum::extract::State;
use hub_domain::{
    attribute,
    duty_set::Change,
    fact::{GrantFact, GrantSource, Home},
    id::RoleId,
    role::{
        Actions, AssignmentId, CODES, Command, Condition, Error, Hierarchy, KeyPattern, Permission, PermissionEffect,
        PermissionId, Principal, ROLE_COUNT_MAX, Unassignment, decide, parsed_actions, parsed_condition,
    },
    text::{Key, Name, Remark, parsed, parsed_option},
};
use hub_event_store::{
    append::AppendError,
    repository::{ExecuteError, Prepared},
};
use hub_http::{
    Body, CommandHeaders, Created, Fingerprint, Granting, NoBody, Path, Problem, Receipt, Routes, TenantCaller,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::{
    Commands,
    dispatch::{Changed, Dispatch, PrepareError, unread},
    documented::Documented,
    moment::Moment,
    surroundings::look,
};

/// What the log itself refuses for a role.
pub(crate) const CONDITIONS: &[(&str, &str)] =
    &[(decide::KEY, "role_key_taken"), (decide::ROLES, "role_too_many_roles")];

const DOCUMENTED: Documented = Documented::new("roles", CODES);

/// So many live roles a tenant, system roles included.
const MAXIMA: &[(&str, i64)] = &[(decide::ROLES, ROLE_COUNT_MAX)];

pub(crate) fn routes() -> Routes<Commands> {
    let roles = "/v1/tenants/{tenant_id}/roles";
    let role = "/v1/tenants/{tenant_id}/roles/{role_id}";
    Routes::new()
        .merge(template::routes())
        .post(roles, "role:create", create, |op| {
            DOCUMENTED.creation(
                op,
                "createRole",
                "Create a role",
                "A role without permissions; its key is unique among the live roles of the tenant.",
            )
        })
        .post(&format!("{role}/grant-permission"), "role:grant-permission", grant_permission, |op| {
            DOCUMENTED.command(
                op,
                "grantRolePermission",
                "Grant a permission",
                "The role allows, or denies, actions on a kind of resource; where both match, a denial \
                     wins.",
            )
        })
        .post(&format!("{role}/revoke-permission"), "role:revoke-permission", revoke_permission, |op| {
            DOCUMENTED.command(op, "revokeRolePermission", "Revoke a permission", "The role no longer has it.")
        })
        .post(&format!("{role}/add-parent"), "role:add-parent", add_parent, |op| {
            DOCUMENTED.command(
                op,
                "addRoleParent",
                "Add a parent",
                "The role inherits what the parent permits. The roles of a tenant never inherit in a \
                     circle, and no chain has more than 10.",
            )
        })
        .post(&format!("{role}/remove-parent"), "role:remove-parent", remove_parent, |op| {
            DOCUMENTED.command(op, "removeRoleParent", "Remove a parent", "The role no longer inherits from it.")
        })
        .post(&format!("{role}/assign"), "role:assign", assign, |op| {
            DOCUMENTED.command(
                op,
                "assignRole",
                "Assign a role",
                "The principal holds the role from a time until a time, or without end; the scheduler \
                     ends it.",
            )
        })
        .post(&format!("{role}/unassign"), "role:unassign", unassign, |op| {
            DOCUMENTED.command(
                op,
                "unassignRole",
                "Unassign a role",
                "Takes away one assignment, or all of a principal, those still to begin included.",
            )
        })
        .post(&format!("{role}/clone"), "role:clone", clone, |op| {
            DOCUMENTED.creation(
                op,
                "cloneRole",
                "Clone a role",
                "Makes a new role with the permissions that this one has now; parents and assignments are \
                     not copied. `If-Match` is about the role that is cloned.",
            )
        })
        .post(&format!("{role}/archive"), "role:archive", archive, |op| {
            DOCUMENTED.command(
                op,
                "archiveRole",
                "Archive a role",
                "The end of a role that nobody holds and no role inherits from; its key is free again.",
            )
        })
}

#[derive(Debug, Deserialize, JsonSchema)]
struct RolePath {
    /// The role's id.
    role_id: Uuid,
}

/// A new role.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CreateRole")]
struct Create {
    /// Unique among the live roles of the tenant; the keys of system roles are reserved.
    #[serde(deserialize_with = "parsed")]
    key: Key,
    #[serde(deserialize_with = "parsed")]
    name: Name,
    #[serde(default, deserialize_with = "parsed")]
    description: Remark,
}

/// A permission to be granted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "GrantRolePermission")]
struct GrantPermission {
    /// A kind of resource such as `subscription`, or `*` for every kind.
    #[serde(deserialize_with = "parsed")]
    resource: KeyPattern,
    /// Such as `read`, or `*` for every action.
    #[serde(deserialize_with = "parsed_actions")]
    actions: Actions,
    effect: PermissionEffect,
    /// When the permission holds; always when absent.
    #[serde(default, deserialize_with = "parsed_condition")]
    condition: Option<Condition>,
}

/// A permission to be revoked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RevokeRolePermission")]
struct RevokePermission {
    permission_id: PermissionId,
}

/// A role of the same tenant.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RoleParent")]
struct Parent {
    parent_id: RoleId,
}

/// Who holds the role, and when.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AssignRole")]
struct Assign {
    /// `user:`, `key:` or `service:` and a name.
    #[serde(deserialize_with = "parsed")]
    principal: Principal,
    /// From this time on; now when absent.
    #[serde(default, deserialize_with = "parsed_option")]
    from: Option<Moment>,
    /// Until this time, which is no longer included; without end when absent.
    #[serde(default, deserialize_with = "parsed_option")]
    until: Option<Moment>,
}

/// What is taken away: one assignment, or all of a principal.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "UnassignRole", extend("minProperties" = 1, "maxProperties" = 1))]
struct Unassign {
    #[serde(default)]
    assignment_id: Option<AssignmentId>,
    #[serde(default, deserialize_with = "parsed_option")]
    principal: Option<Principal>,
}

/// The receipt of a grant.
#[derive(Debug, Serialize, JsonSchema)]
struct PermissionGranted {
    #[serde(flatten)]
    changed: Changed,
    /// Names the permission within the role.
    permission_id: PermissionId,
}

/// The receipt of an assignment.
#[derive(Debug, Serialize, JsonSchema)]
struct RoleAssigned {
    #[serde(flatten)]
    changed: Changed,
    /// Names the assignment within the role.
    assignment_id: AssignmentId,
}

async fn create(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Create>,
) -> Result<Created<Changed>, Problem> {
    let Create { key, name, description } = body.value;
    let tenant_id = caller.tenant.id();
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let command = Command::Create { key, name, description };
    let done = dispatch.execute_in_tenant(&commands, &commands.roles, Uuid::now_v7(), command, MAXIMA).await?;
    let location = location(tenant_id, done.accepted.aggregate_id);
    Ok(done.receipt().created(location))
}

async fn grant_permission(
    caller: TenantCaller,
    Path(RolePath { role_id }): Path<RolePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<GrantPermission>,
) -> Result<Receipt<PermissionGranted>, Problem> {
    let GrantPermission { resource, actions, effect, condition } = body.value;
    if let Some(unknown) = condition.as_ref().and_then(|condition| attribute::unknown(&resource, condition)) {
        return Err(Problem::invalid_body("/condition", format!("a {resource} has no attribute {unknown}")));
    }
    let permission = Permission { id: PermissionId(Uuid::now_v7()), resource, actions, effect, condition };
    let granted = serde_json::to_value(&permission).expect("a permission has text keys only");
    let dispatch = Dispatch::begin(&commands, &caller.caller, caller.tenant.id(), headers, body.fingerprint)?
        .keeping(json!({ "permission_id": permission.id }));
    dispatch.granting(&caller.pass, Granting { permissions: vec![granted], ..Granting::default() }).await?;
    let done = dispatch
        .execute_in_tenant(&commands, &commands.roles, role_id, Command::GrantPermission { permission }, &[])
        .await?;
    let granted = PermissionGranted { changed: done.changed(), permission_id: done.kept("permission_id")? };
    Ok(done.receipt_with(granted))
}

async fn revoke_permission(
    caller: TenantCaller,
    Path(path): Path<RolePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<RevokePermission>,
) -> Result<Receipt<Changed>, Problem> {
    let RevokePermission { permission_id } = body.value;
    order(&commands, &caller, path, headers, body.fingerprint, Command::RevokePermission { permission_id }).await
}

async fn add_parent(
    caller: TenantCaller,
    Path(RolePath { role_id }): Path<RolePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Parent>,
) -> Result<Receipt<Changed>, Problem> {
    let Parent { parent_id: parent } = body.value;
    let tenant_id = caller.tenant.id();
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    dispatch.granting(&caller.pass, Granting { roles: vec![parent.0], ..Granting::default() }).await?;
    let done = dispatch
        .execute_prepared(&commands.roles, role_id, |_| {
            let commands = &commands;
            async move {
                let (version, hierarchy) = commands.role_hierarchy(tenant_id).await?;
                let change = Change::Parent { child: RoleId(role_id), parent };
                let mut expected_counters = commands.duties_kept(tenant_id, &[change]).await?;
                expected_counters.push((decide::HIERARCHY, version));
                let command = Command::AddParent { role_id: RoleId(role_id), parent, hierarchy };
                Ok(Prepared { expected_counters, ..Prepared::new(command) })
            }
        })
        .await?;
    Ok(done.receipt())
}

async fn remove_parent(
    caller: TenantCaller,
    Path(path): Path<RolePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Parent>,
) -> Result<Receipt<Changed>, Problem> {
    let Parent { parent_id: parent } = body.value;
    order(&commands, &caller, path, headers, body.fingerprint, Command::RemoveParent { parent }).await
}

async fn assign(
    caller: TenantCaller,
    Path(RolePath { role_id }): Path<RolePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Assign>,
) -> Result<Receipt<RoleAssigned>, Problem> {
    let Assign { principal, from, until } = body.value;
    let (from, until) = (from.map(|Moment(time)| time), until.map(|Moment(time)| time));
    let assignment_id = AssignmentId(Uuid::now_v7());
    let dispatch = Dispatch::begin(&commands, &caller.caller, caller.tenant.id(), headers, body.fingerprint)?
        .keeping(json!({ "assignment_id": assignment_id }));
    dispatch.granting(&caller.pass, Granting { roles: vec![role_id], ..Granting::default() }).await?;
    let now = commands.store.now();
    let grant = Change::Grant(GrantFact {
        principal: principal.clone(),
        home: Home::Tenant,
        role_id: RoleId(role_id),
        from: from.unwrap_or(now),
        until,
        source: GrantSource::Assignment,
    });
    let command = Command::Assign { assignment_id, principal, from, until, now };
    let done = dispatch.execute_granting(&commands, &commands.roles, role_id, command, &[], &[grant]).await?;
    let assigned = RoleAssigned { changed: done.changed(), assignment_id: done.kept("assignment_id")? };
    Ok(done.receipt_with(assigned))
}

async fn unassign(
    caller: TenantCaller,
    Path(RolePath { role_id }): Path<RolePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Unassign>,
) -> Result<Receipt<Changed>, Problem> {
    let which = match body.value {
        Unassign { assignment_id: Some(id), principal: None } => Unassignment::Assignment(id),
        Unassign { assignment_id: None, principal: Some(principal) } => Unassignment::Principal(principal),
        Unassign { .. } => return Err(Problem::invalid_body("", "expected either assignment_id or principal")),
    };
    let (tenant_id, now) = (caller.tenant.id(), commands.store.now());
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let done = dispatch
        .execute_prepared(&commands.roles, role_id, |attempt| {
            let (commands, which) = (&commands, which.clone());
            async move {
                let (_, tenant_guard) = commands.living_tenant(tenant_id, attempt).await?;
                let mut prepared = commands.unassigning(tenant_id, role_id, which, now).await?;
                prepared.guards.push(tenant_guard);
                Ok(prepared)
            }
        })
        .await?;
    Ok(done.receipt())
}

async fn clone(
    caller: TenantCaller,
    Path(RolePath { role_id: source_id }): Path<RolePath>,
    mut headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Create>,
) -> Result<Created<Changed>, Problem> {
    let Create { key, name, description } = body.value;
    let tenant_id = caller.tenant.id();
    // The sender has seen the source, not the role that comes to be.
    let expected = headers.expected_sequence();
    headers.if_match = headers.if_match.filter(|_| expected.is_none());
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let done = dispatch
        .execute_prepared(&commands.roles, Uuid::now_v7(), |attempt| {
            let (commands, key, name, description) = (&commands, key.clone(), name.clone(), description.clone());
            async move {
                let (_, tenant_guard) = commands.living_tenant(tenant_id, attempt).await?;
                // A sequence is compared with the latest one only.
                let source_attempt = if expected.is_some() { attempt.max(1) } else { attempt };
                let (source, source_guard) =
                    look::<_, Error>(&commands.roles, tenant_id, source_id, source_attempt).await?;
                if expected.is_some_and(|expected| expected != source.sequence) {
                    return Err(ExecuteError::VersionConflict { actual: source.sequence }.into());
                }
                let command = source.state.cloning(RoleId(source_id), key, name, description);
                let command = command.map_err(ExecuteError::Refused)?;
                Ok(Prepared {
                    guards: vec![tenant_guard, source_guard],
                    maxima: MAXIMA.to_vec(),
                    ..Prepared::new(command)
                })
            }
        })
        .await?;
    let location = location(tenant_id, done.accepted.aggregate_id);
    Ok(done.receipt().created(location))
}

async fn archive(
    caller: TenantCaller,
    Path(RolePath { role_id }): Path<RolePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    let tenant_id = caller.tenant.id();
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let done = dispatch
        .execute_prepared(&commands.roles, role_id, |_| {
            let commands = &commands;
            async move {
                let (version, hierarchy) = commands.role_hierarchy(tenant_id).await?;
                let children = hierarchy.children(RoleId(role_id));
                let command = Command::Archive { children, now: commands.store.now() };
                Ok(Prepared { expected_counters: vec![(decide::HIERARCHY, version)], ..Prepared::new(command) })
            }
        })
        .await?;
    Ok(done.receipt())
}

/// The way of every command that the role decides alone.
async fn order(
    commands: &Commands,
    caller: &TenantCaller,
    RolePath { role_id }: RolePath,
    headers: CommandHeaders,
    fingerprint: Fingerprint,
    command: Command,
) -> Result<Receipt<Changed>, Problem> {
    let dispatch = Dispatch::begin(commands, &caller.caller, caller.tenant.id(), headers, fingerprint)?;
    Ok(dispatch.execute_in_tenant(commands, &commands.roles, role_id, command, &[]).await?.receipt())
}

fn location(tenant_id: Uuid, role_id: Uuid) -> String {
    format!("/v1/tenants/{tenant_id}/roles/{role_id}")
}

impl Commands {
    /// Which role of the tenant inherits from which, and the value that the counter of its changes must still have.
    pub(crate) async fn role_hierarchy<E>(&self, tenant_id: Uuid) -> Result<(i64, Hierarchy), PrepareError<E>>
    where
        E: std::error::Error + 'static,
    {
        // The counter comes first: a change between the two costs an attempt then; the other way round it could cost
        // the rule.
        let version = self.store.log().counter(tenant_id, decide::HIERARCHY).await;
        let version = version.map_err(|error| ExecuteError::Append(AppendError::Unavailable(error.to_string())))?;
        let roles = &self.roles.repository;
        let hierarchy = roles
            .fold_all(tenant_id, Hierarchy::TAGS, Hierarchy::default(), |hierarchy, id, event| {
                hierarchy.apply(RoleId(id), &event);
            })
            .await
            .map_err(unread)?;
        Ok((version, hierarchy))
    }
}
