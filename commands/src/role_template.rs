//! Commands on templates of roles, which are the platform's: `POST /v1/role-templates` and `.../role-templates/{role_template_id}/<verb>`.

use axum::extract::State;
use hub_domain::{
    attribute,
    id::PLATFORM_TENANT,
    role::{
        Actions, Condition, KeyPattern, Permission, PermissionEffect, PermissionId, parsed_actions, parsed_condition,
    },
    role_template::{CODES, Command, LIMIT_REACHED, TEMPLATE_COUNT_MAX, decide},
    text::{Key, Name, Remark, parsed},
};
use hub_event_store::repository::Prepared;
use hub_http::{Body, CommandHeaders, Created, NoBody, Path, PlatformCaller, Problem, Receipt, Routes};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    Commands,
    dispatch::{Changed, Dispatch},
    documented::Documented,
};

/// What the log itself refuses for a template.
pub(crate) const CONDITIONS: &[(&str, &str)] =
    &[(decide::KEY, "role_template_key_taken"), (decide::TEMPLATES, LIMIT_REACHED.code)];

const DOCUMENTED: Documented = Documented::new("role-templates", CODES);

/// So many templates that are not retired.
const MAXIMA: &[(&str, i64)] = &[(decide::TEMPLATES, TEMPLATE_COUNT_MAX)];

pub(crate) fn routes() -> Routes<Commands> {
    let templates = "/v1/role-templates";
    let template = "/v1/role-templates/{role_template_id}";
    Routes::new()
        .post(templates, "role_template:create", create, |op| {
            DOCUMENTED.command(
                op,
                "createRoleTemplate",
                "Create a template of roles",
                "Tenants make roles from it. These permissions are version 1; its key is unique among the templates.",
            )
        })
        .post(&format!("{template}/publish"), "role_template:publish", publish, |op| {
            DOCUMENTED.command(
                op,
                "publishRoleTemplate",
                "Publish a version",
                "These are all the permissions of the next version. Roles follow when their tenant says so.",
            )
        })
        .post(&format!("{template}/retire"), "role_template:retire", retire, |op| {
            DOCUMENTED.command(
                op,
                "retireRoleTemplate",
                "Retire a template",
                "No role is made from it any more; those that were stay as they are.",
            )
        })
}

#[derive(Debug, Deserialize, JsonSchema)]
struct RoleTemplatePath {
    /// The template's id.
    role_template_id: Uuid,
}

/// A new template.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CreateRoleTemplate")]
struct Create {
    #[serde(deserialize_with = "parsed")]
    key: Key,
    #[serde(deserialize_with = "parsed")]
    name: Name,
    #[serde(default, deserialize_with = "parsed")]
    description: Remark,
    /// At least one, and at most as many as a role has.
    permissions: Vec<TemplatePermission>,
}

/// A new version.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PublishRoleTemplate")]
struct Publish {
    /// At least one, and at most as many as a role has.
    permissions: Vec<TemplatePermission>,
}

/// A permission of a template.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RoleTemplatePermission")]
struct TemplatePermission {
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

/// Each gets an id of its own.
fn permissions_of(permissions: Vec<TemplatePermission>) -> Result<Vec<Permission>, Problem> {
    let permissions = permissions.into_iter().enumerate();
    let checked = permissions.map(|(place, TemplatePermission { resource, actions, effect, condition })| {
        if let Some(unknown) = condition.as_ref().and_then(|condition| attribute::unknown(&resource, condition)) {
            let pointer = format!("/permissions/{place}/condition");
            return Err(Problem::invalid_body(&pointer, format!("a {resource} has no attribute {unknown}")));
        }
        Ok(Permission { id: PermissionId(Uuid::now_v7()), resource, actions, effect, condition })
    });
    checked.collect()
}

async fn create(
    caller: PlatformCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Create>,
) -> Result<Created<Changed>, Problem> {
    let Create { key, name, description, permissions } = body.value;
    let permissions = permissions_of(permissions)?;
    let dispatch = Dispatch::begin(&commands, &caller.caller, PLATFORM_TENANT.0, headers, body.fingerprint)?;
    let done = dispatch
        .execute_prepared(&commands.role_templates, Uuid::now_v7(), |_| {
            let (key, name, description) = (key.clone(), name.clone(), description.clone());
            let command = Command::Create { key, name, description, permissions: permissions.clone() };
            async { Ok(Prepared { maxima: MAXIMA.to_vec(), ..Prepared::new(command) }) }
        })
        .await?;
    let location = format!("/v1/role-templates/{}", done.accepted.aggregate_id);
    Ok(done.receipt().created(location))
}

async fn publish(
    caller: PlatformCaller,
    Path(RoleTemplatePath { role_template_id }): Path<RoleTemplatePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Publish>,
) -> Result<Receipt<Changed>, Problem> {
    let Publish { permissions } = body.value;
    let command = Command::Publish { permissions: permissions_of(permissions)? };
    let dispatch = Dispatch::begin(&commands, &caller.caller, PLATFORM_TENANT.0, headers, body.fingerprint)?;
    Ok(dispatch.execute(&commands.role_templates, role_template_id, command).await?.receipt())
}

async fn retire(
    caller: PlatformCaller,
    Path(RoleTemplatePath { role_template_id }): Path<RoleTemplatePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    let dispatch = Dispatch::begin(&commands, &caller.caller, PLATFORM_TENANT.0, headers, body.fingerprint)?;
    Ok(dispatch.execute(&commands.role_templates, role_template_id, Command::Retire).await?.receipt())
}
