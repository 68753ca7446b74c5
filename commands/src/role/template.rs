//! Roles made from templates of the platform: `POST .../roles/from-template` and `.../roles/{role_id}/apply-template`.

use axum::extract::State;
use hub_domain::{
    id::{PLATFORM_TENANT, RoleTemplateId},
    role::{CODES, Command, Permission},
    role_template,
    text::{Key, Name, Remark, parsed},
};
use hub_event_store::{
    append::Guard,
    repository::{ExecuteError, Prepared},
};
use hub_http::{Body, CommandHeaders, Created, Granting, Path, Problem, Receipt, Routes, TenantCaller};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use super::{MAXIMA, RolePath, location};
use crate::{
    Commands,
    dispatch::{Changed, Dispatch, PrepareError, problem_of},
    documented::Documented,
    outcome::Refused,
    surroundings::look,
};

const DOCUMENTED: Documented = Documented::new("roles", CODES);

pub(super) fn routes() -> Routes<Commands> {
    Routes::new()
        .post("/v1/tenants/{tenant_id}/roles/from-template", "role:create-from-template", create, |op| {
            DOCUMENTED.creation(
                op,
                "createRoleFromTemplate",
                "Make a role from a template",
                "A role with the permissions of the template's latest version. Nobody grants what he does not hold.",
            )
        })
        .post("/v1/tenants/{tenant_id}/roles/{role_id}/apply-template", "role:apply-template", apply, |op| {
            DOCUMENTED.creation(
                op,
                "applyRoleTemplate",
                "Follow a template",
                "The template's latest version takes the place of the one that the role was made from; permissions that the tenant granted \
                 itself stay. Nobody grants what he does not hold.",
            )
        })
}

/// A new role.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CreateRoleFromTemplate")]
struct Create {
    /// A template that is not retired.
    role_template_id: RoleTemplateId,
    /// Unique among the live roles of the tenant; the keys of system roles are reserved.
    #[serde(deserialize_with = "parsed")]
    key: Key,
    #[serde(deserialize_with = "parsed")]
    name: Name,
    #[serde(default, deserialize_with = "parsed")]
    description: Remark,
}

/// The template that the role was made from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ApplyRoleTemplate")]
struct Apply {
    role_template_id: RoleTemplateId,
}

/// The latest version of a template, which must not have moved at the append.
struct Latest {
    version: u32,
    permissions: Vec<Permission>,
    guard: Guard,
}

async fn create(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Create>,
) -> Result<Created<Changed>, Problem> {
    let Create { role_template_id: template_id, key, name, description } = body.value;
    let tenant_id = caller.tenant.id();
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let judged = commands.may_take(&dispatch, &caller, template_id).await?;
    let done = dispatch
        .execute_prepared(&commands.roles, Uuid::now_v7(), |attempt| {
            let (commands, key, name, description) = (&commands, key.clone(), name.clone(), description.clone());
            async move {
                let (_, tenant_guard) = commands.living_tenant(tenant_id, attempt).await?;
                let Latest { version, permissions, guard } =
                    commands.latest_version(template_id, judged, attempt).await?;
                let command = Command::CreateFromTemplate { key, name, description, template_id, version, permissions };
                let guards = vec![tenant_guard, guard];
                Ok(Prepared { guards, maxima: MAXIMA.to_vec(), ..Prepared::new(command) })
            }
        })
        .await?;
    let location = location(tenant_id, done.accepted.aggregate_id);
    Ok(done.receipt().created(location))
}

async fn apply(
    caller: TenantCaller,
    Path(RolePath { role_id }): Path<RolePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Apply>,
) -> Result<Receipt<Changed>, Problem> {
    let Apply { role_template_id: template_id } = body.value;
    let tenant_id = caller.tenant.id();
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let judged = commands.may_take(&dispatch, &caller, template_id).await?;
    let done = dispatch
        .execute_prepared(&commands.roles, role_id, |attempt| {
            let commands = &commands;
            async move {
                let (_, tenant_guard) = commands.living_tenant(tenant_id, attempt).await?;
                let Latest { version, permissions, guard } =
                    commands.latest_version(template_id, judged, attempt).await?;
                let command = Command::ApplyTemplate { template_id, version, permissions };
                Ok(Prepared { guards: vec![tenant_guard, guard], ..Prepared::new(command) })
            }
        })
        .await?;
    Ok(done.receipt())
}

impl Commands {
    /// Whether the caller may give away what the template permits; answers the version that was judged. A template that is not there, or is
    /// retired, has none, and is told by the command itself.
    async fn may_take(
        &self,
        dispatch: &Dispatch,
        caller: &TenantCaller,
        RoleTemplateId(id): RoleTemplateId,
    ) -> Result<Option<u32>, Problem> {
        let template = self.role_templates.repository.load_latest(PLATFORM_TENANT.0, id).await;
        let template = template.map_err(|error| problem_of(&error))?;
        let Ok(latest) = template.state.latest() else { return Ok(None) };
        let value = |permission| serde_json::to_value(permission).expect("a permission has text keys only");
        let permissions = latest.permissions.iter().map(value).collect();
        dispatch.granting(&caller.pass, Granting { permissions, ..Granting::default() }).await?;
        Ok(Some(latest.version))
    }

    /// # Errors
    /// `role_template_not_found` and `role_template_retired`; `concurrent_change` when another version than the judged one has come meanwhile.
    async fn latest_version<E>(
        &self,
        RoleTemplateId(id): RoleTemplateId,
        judged: Option<u32>,
        attempt: u32,
    ) -> Result<Latest, PrepareError<E>>
    where
        E: std::error::Error + 'static,
    {
        let (template, guard) = look(&self.role_templates, PLATFORM_TENANT.0, id, attempt.max(1)).await?;
        let latest = template.state.latest();
        let role_template::Version { version, permissions, .. } =
            latest.map_err(|refusal: role_template::Error| PrepareError::Refused(Refused::of(&refusal)))?;
        // What nobody has judged is given to nobody.
        if judged != Some(*version) {
            return Err(ExecuteError::Contended.into());
        }
        Ok(Latest { version: *version, permissions: permissions.clone(), guard })
    }
}
