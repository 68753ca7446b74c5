//! Commands on retention policies: `POST /v1/tenants/{tenant_id}/retention-policy/set-class`.

use axum::extract::State;
use hub_domain::{
    retention_policy::{CODES, Command},
    text::{Key, parsed},
};
use hub_http::{Body, CommandHeaders, Problem, Receipt, Routes, TenantCaller};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Commands,
    acting::acting,
    dispatch::{Changed, Dispatch},
    documented::Documented,
};

const DOCUMENTED: Documented = Documented::new("retention", CODES);

pub(crate) fn routes() -> Routes<Commands> {
    let policy = "/v1/tenants/{tenant_id}/retention-policy";
    Routes::new().post(&format!("{policy}/set-class"), "retention_policy:set-class", set_class, |op| {
        DOCUMENTED.command(
            op,
            "setRetentionClass",
            "Say how long a class of personal data is kept",
            "Personal data that belongs to nobody in particular is sealed under a key a month. So many days after the end of the month the key is \
             destroyed, and the data can be read by nobody any more.",
        )
    })
}

/// How long a class is kept.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SetRetentionClass")]
struct SetClass {
    /// A class that the policy lists, such as `access`.
    #[serde(deserialize_with = "parsed")]
    class: Key,
    /// Days after the end of the month; within the bounds that the policy lists.
    days: u32,
}

async fn set_class(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<SetClass>,
) -> Result<Receipt<Changed>, Problem> {
    let SetClass { class, days } = body.value;
    let tenant_id = caller.tenant.id();
    let command = Command::SetClass { class, days, by: acting(&caller)? };
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let done = dispatch.execute_in_tenant(&commands, &commands.retention_policies, tenant_id, command, &[]).await?;
    Ok(done.receipt())
}
