//! Commands on sets of duties: `POST /v1/tenants/{tenant_id}/duty-sets` and `.../duty-sets/{duty_set_id}/<verb>`.

use std::collections::BTreeSet;

use axum::extract::State;
use hub_domain::{
    duty_set::{CODES, Change, Command, DutySet, Error, LIMIT_REACHED, SET_COUNT_MAX, decide},
    fact::DutySetFact,
    id::RoleId,
    role::{Hierarchy, decide::HIERARCHY},
    text::{Key, Name, parsed},
};
use hub_event_store::repository::Prepared;
use hub_http::{Body, CommandHeaders, Created, NoBody, Path, Problem, Receipt, Routes, TenantCaller};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    Commands,
    dispatch::{Changed, Dispatch, Done},
    documented::Documented,
    surroundings::look,
};

/// What the log itself refuses for a set of duties.
pub(crate) const CONDITIONS: &[(&str, &str)] =
    &[(decide::KEY, "duty_set_key_taken"), (decide::SETS, LIMIT_REACHED.code)];

const DOCUMENTED: Documented = Documented::new("duty-sets", CODES);

/// So many sets a tenant.
const MAXIMA: &[(&str, i64)] = &[(decide::SETS, SET_COUNT_MAX)];

pub(crate) fn routes() -> Routes<Commands> {
    let sets = "/v1/tenants/{tenant_id}/duty-sets";
    let set = "/v1/tenants/{tenant_id}/duty-sets/{duty_set_id}";
    Routes::new()
        .post(sets, "duty_set:define", define, |op| {
            DOCUMENTED.creation(
                op,
                "defineDutySet",
                "Define a set of duties",
                "Nobody may hold more of its roles at a time than it allows, inherited roles included. Its key is unique in the tenant.",
            )
        })
        .post(&format!("{set}/change"), "duty_set:change", change, |op| {
            DOCUMENTED.creation(
                op,
                "changeDutySet",
                "Change a set of duties",
                "Replaces its name, its roles and its maximum.",
            )
        })
        .post(&format!("{set}/remove"), "duty_set:remove", remove, |op| {
            DOCUMENTED.creation(
                op,
                "removeDutySet",
                "Remove a set of duties",
                "Its roles may be held by one principal again, and its key is free.",
            )
        })
}

#[derive(Debug, Deserialize, JsonSchema)]
struct DutySetPath {
    /// The id of the set of duties.
    duty_set_id: Uuid,
}

/// A new set of duties.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DefineDutySet")]
struct Define {
    #[serde(deserialize_with = "parsed")]
    key: Key,
    #[serde(deserialize_with = "parsed")]
    name: Name,
    /// Two to twenty live roles of the tenant.
    role_ids: BTreeSet<RoleId>,
    /// So many of the roles may be held at a time; at least one, and fewer than there are.
    held_max: u32,
}

/// All that a set of duties is from now on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ChangeDutySet")]
struct Redefine {
    #[serde(deserialize_with = "parsed")]
    name: Name,
    /// Two to twenty live roles of the tenant.
    role_ids: BTreeSet<RoleId>,
    /// So many of the roles may be held at a time; at least one, and fewer than there are.
    held_max: u32,
}

async fn define(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Define>,
) -> Result<Created<Changed>, Problem> {
    let Define { key, name, role_ids, held_max } = body.value;
    let wanted = Wanted { key: Some(key.clone()), roles: role_ids.clone(), held_max: held_max as usize };
    let tenant_id = caller.tenant.id();
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let done = execute(dispatch, &commands, Uuid::now_v7(), MAXIMA, &wanted, |hierarchy| Command::Define {
        key: key.clone(),
        name: name.clone(),
        roles: role_ids.clone(),
        held_max: held_max as usize,
        hierarchy,
    })
    .await?;
    let location = format!("/v1/tenants/{tenant_id}/duty-sets/{}", done.accepted.aggregate_id);
    Ok(done.receipt().created(location))
}

async fn change(
    caller: TenantCaller,
    Path(DutySetPath { duty_set_id }): Path<DutySetPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Redefine>,
) -> Result<Receipt<Changed>, Problem> {
    let Redefine { name, role_ids, held_max } = body.value;
    let wanted = Wanted { key: None, roles: role_ids.clone(), held_max: held_max as usize };
    let dispatch = Dispatch::begin(&commands, &caller.caller, caller.tenant.id(), headers, body.fingerprint)?;
    let done = execute(dispatch, &commands, duty_set_id, &[], &wanted, |hierarchy| Command::Change {
        name: name.clone(),
        roles: role_ids.clone(),
        held_max: held_max as usize,
        hierarchy,
    })
    .await?;
    Ok(done.receipt())
}

async fn remove(
    caller: TenantCaller,
    Path(DutySetPath { duty_set_id }): Path<DutySetPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    let dispatch = Dispatch::begin(&commands, &caller.caller, caller.tenant.id(), headers, body.fingerprint)?;
    let done = dispatch.execute_in_tenant(&commands, &commands.duty_sets, duty_set_id, Command::Remove, &[]).await?;
    Ok(done.receipt())
}

/// What a set is to be, to be judged before it is.
struct Wanted {
    /// That of the set as it is when `None`.
    key: Option<Key>,
    roles: BTreeSet<RoleId>,
    held_max: usize,
}

impl Wanted {
    /// The change; `None` when there is no set that could be changed, which the command itself is told.
    fn change(&self, set: &DutySet) -> Option<Change> {
        let current = match set {
            DutySet::Defined(duties) => Some(duties.key.clone()),
            DutySet::Absent | DutySet::Removed => None,
        };
        let key = self.key.clone().or(current)?;
        Some(Change::Set(DutySetFact { key, roles: self.roles.clone(), held_max: self.held_max }))
    }
}

/// The way of every command that names roles: they are judged by the tenant's hierarchy, which must not have moved at the append.
async fn execute(
    dispatch: Dispatch,
    commands: &Commands,
    id: Uuid,
    maxima: &[(&'static str, i64)],
    wanted: &Wanted,
    command: impl Fn(Hierarchy) -> Command + Send + Sync,
) -> Result<Done, Problem> {
    let tenant_id = dispatch.tenant_id();
    dispatch
        .execute_prepared(&commands.duty_sets, id, |attempt| {
            let command = &command;
            async move {
                let (_, guard) = commands.living_tenant(tenant_id, attempt).await?;
                let (version, hierarchy) = commands.role_hierarchy(tenant_id).await?;
                let (set, _) = look::<_, Error>(&commands.duty_sets, tenant_id, id, attempt).await?;
                let change = wanted.change(&set.state);
                let mut expected_counters = commands.duties_kept(tenant_id, change.as_slice()).await?;
                expected_counters.push((HIERARCHY, version));
                Ok(Prepared {
                    guards: vec![guard],
                    maxima: maxima.to_vec(),
                    expected_counters,
                    ..Prepared::new(command(hierarchy))
                })
            }
        })
        .await
}
