//! Commands on tenants: `POST /v1/tenants` and `POST /v1/tenants/{tenant_id}/<verb>`.

use axum::extract::State;
use cqrs_es::Aggregate as _;
use hub_domain::{
    money::Currency,
    tenant::{CODES, Command, Resource, SuspensionReason, Tenant, Tier, decide},
    text::{DomainName, Email, Key, Name, Remark, Slug, parsed},
};
use hub_event_store::repository::Prepared;
use hub_http::{
    Body, CommandHeaders, Created, Fingerprint, NoBody, PlatformCaller, Problem, Receipt, Routes, TenantCaller,
};
use hub_vault::Place;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::json;
use uuid::Uuid;

use crate::{
    Commands,
    dispatch::{Changed, Dispatch},
    documented::Documented,
};

/// What the log itself refuses for a tenant.
pub(crate) const CONDITIONS: &[(&str, &str)] =
    &[(decide::SLUG, "tenant_slug_taken"), (decide::DOMAIN, "tenant_domain_taken")];

const DOCUMENTED: Documented = Documented::new("tenants", CODES);

pub(crate) fn routes() -> Routes<Commands> {
    let tenant = "/v1/tenants/{tenant_id}";
    Routes::new()
        .post("/v1/tenants", "tenant:register", register, |op| {
            DOCUMENTED.command(
                op,
                "registerTenant",
                "Register a tenant",
                "Makes the organisation known; it is pending until activated. Every tenant has the system \
                     roles from the start.",
            )
        })
        .post(&format!("{tenant}/activate"), "tenant:activate", activate, |op| {
            DOCUMENTED.command(op, "activateTenant", "Activate a tenant", "Lets a pending tenant use services.")
        })
        .post(&format!("{tenant}/suspend"), "tenant:suspend", suspend, |op| {
            DOCUMENTED.command(
                op,
                "suspendTenant",
                "Suspend a tenant",
                "Adds a reason to the set that keeps the tenant suspended.",
            )
        })
        .post(&format!("{tenant}/resume"), "tenant:resume", resume, |op| {
            DOCUMENTED.command(
                op,
                "resumeTenant",
                "Clear a reason for suspension",
                "The tenant is active again when the last reason is cleared.",
            )
        })
        .post(&format!("{tenant}/change-contact"), "tenant:change-contact", change_contact, |op| {
            DOCUMENTED.command(
                op,
                "changeTenantContact",
                "Change whom to write to",
                "The mail address is sealed with a key of whoever has it, like the first one.",
            )
        })
        .post(&format!("{tenant}/rename"), "tenant:rename", rename, |op| {
            DOCUMENTED.command(op, "renameTenant", "Rename a tenant", "Changes the display name; the slug stays.")
        })
        .post(&format!("{tenant}/change-tier"), "tenant:change-tier", change_tier, |op| {
            DOCUMENTED.command(op, "changeTenantTier", "Change a tenant's tier", "Moves the tenant to another tier.")
        })
        .post(&format!("{tenant}/set-quota"), "tenant:set-quota", set_quota, |op| {
            DOCUMENTED.command(
                op,
                "setTenantQuota",
                "Set a quota",
                "Sets the limit of one resource; what is used above it already stays.",
            )
        })
        .post(&format!("{tenant}/add-domain"), "tenant:add-domain", add_domain, |op| {
            DOCUMENTED.command(
                op,
                "addTenantDomain",
                "Add a domain",
                "Answers the token to publish as the TXT record that proves the domain is the tenant's.",
            )
        })
        .post(&format!("{tenant}/verify-domain"), "tenant:verify-domain", verify_domain, |op| {
            DOCUMENTED.command(
                op,
                "verifyTenantDomain",
                "Verify a domain",
                "Takes the token found in the domain's DNS; from then on no other tenant can verify the \
                     domain.",
            )
        })
        .post(&format!("{tenant}/remove-domain"), "tenant:remove-domain", remove_domain, |op| {
            DOCUMENTED.command(op, "removeTenantDomain", "Remove a domain", "Gives the domain back.")
        })
        .post(&format!("{tenant}/set-primary-domain"), "tenant:set-primary-domain", set_primary_domain, |op| {
            DOCUMENTED.command(
                op,
                "setTenantPrimaryDomain",
                "Set the primary domain",
                "Only a verified domain can be the primary one.",
            )
        })
        .post(&format!("{tenant}/archive"), "tenant:archive", archive, |op| {
            DOCUMENTED.command(
                op,
                "archiveTenant",
                "Archive a tenant",
                "The end: the tenant accepts nothing any more and its domains are given back; its slug \
                     stays taken.",
            )
        })
}

/// A new tenant.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RegisterTenant")]
struct Register {
    /// Short name in addresses; made lower case; unique on the platform for ever.
    #[serde(deserialize_with = "parsed")]
    slug: Slug,
    /// Display name.
    #[serde(deserialize_with = "parsed")]
    name: Name,
    /// Whom to write to.
    #[serde(deserialize_with = "parsed")]
    contact_email: Email,
    tier: Tier,
    /// Where the tenant's data lives, such as `eu-central`.
    #[serde(deserialize_with = "parsed")]
    region: Key,
    /// The currency in which the tenant is billed.
    currency: Currency,
}

/// A reason for suspension.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SuspendTenant")]
struct Suspend {
    reason: SuspensionReason,
    /// For the record.
    #[serde(default, deserialize_with = "parsed")]
    note: Remark,
}

/// The reason that no longer holds.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ResumeTenant")]
struct Resume {
    reason: SuspensionReason,
}

/// Somebody else to write to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ChangeTenantContact")]
struct ChangeContact {
    #[serde(deserialize_with = "parsed")]
    contact_email: Email,
}

/// A new display name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RenameTenant")]
struct Rename {
    #[serde(deserialize_with = "parsed")]
    name: Name,
}

/// Another tier.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ChangeTenantTier")]
struct ChangeTier {
    tier: Tier,
}

/// The limit of one resource.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SetTenantQuota")]
struct SetQuota {
    resource: Resource,
    /// In the unit that the resource's name ends with.
    #[schemars(range(max = LIMIT_MAX))]
    #[serde(deserialize_with = "limit")]
    limit: u64,
}

/// The largest whole number that every JSON reader understands.
const LIMIT_MAX: u64 = 9_007_199_254_740_991;

fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let limit = u64::deserialize(deserializer)?;
    if limit > LIMIT_MAX {
        return Err(D::Error::custom(format!("a limit is at most {LIMIT_MAX}")));
    }
    Ok(limit)
}

/// A domain of the tenant's.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TenantDomain")]
struct Domain {
    #[serde(deserialize_with = "parsed")]
    domain: DomainName,
}

/// A domain and the token found in its DNS.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "VerifyTenantDomain")]
struct VerifyDomain {
    #[serde(deserialize_with = "parsed")]
    domain: DomainName,
    #[schemars(length(max = 200))]
    token: String,
}

/// How to prove that a domain is the tenant's.
#[derive(Debug, Serialize, JsonSchema)]
struct DomainChallenge {
    #[serde(flatten)]
    changed: Changed,
    /// The name of the TXT record.
    record_name: String,
    /// Its value.
    token: String,
}

async fn register(
    caller: PlatformCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Register>,
) -> Result<Created<Changed>, Problem> {
    let Register { slug, name, contact_email, tier, region, currency } = body.value;
    let tenant_id = Uuid::now_v7();
    // The sender does not know the new tenant's id yet, so a repetition is recognised in the platform's realm.
    let dispatch = Dispatch::begin_platform(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let done = dispatch
        .execute_prepared(&commands.tenants, tenant_id, async |_| {
            let contact_email = commands.sealed_email(&contact_email, &contact_place(tenant_id, 1)).await?;
            let (slug, name, region) = (slug.clone(), name.clone(), region.clone());
            let command = Command::Register { slug, name, contact_email, tier, region, currency };
            Ok(Prepared { sequence: Some(0), ..Prepared::new(command) })
        })
        .await?;
    if let Err(error) = commands.ensure_system_roles(done.accepted.aggregate_id).await {
        tracing::warn!(%error, "the system roles of a new tenant are left to the process manager");
    }
    let location = format!("/v1/tenants/{}", done.accepted.aggregate_id);
    Ok(done.receipt().created(location))
}

async fn activate(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    order(&commands, &caller, headers, body.fingerprint, Command::Activate).await
}

async fn suspend(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Suspend>,
) -> Result<Receipt<Changed>, Problem> {
    let Suspend { reason, note } = body.value;
    order(&commands, &caller, headers, body.fingerprint, Command::Suspend { reason, note }).await
}

async fn resume(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Resume>,
) -> Result<Receipt<Changed>, Problem> {
    let Resume { reason } = body.value;
    order(&commands, &caller, headers, body.fingerprint, Command::Resume { reason }).await
}

async fn change_contact(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<ChangeContact>,
) -> Result<Receipt<Changed>, Problem> {
    let ChangeContact { contact_email } = body.value;
    let tenant_id = caller.tenant.id();
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let done = dispatch
        .execute_prepared(&commands.tenants, tenant_id, async |attempt| {
            let (tenant, _) = commands.living_tenant(tenant_id, attempt).await?;
            let place = contact_place(tenant_id, tenant.sequence + 1);
            let contact_email = commands.sealed_email(&contact_email, &place).await?;
            let guards = commands.erasure_guard(tenant_id, &contact_email).await?.into_iter().collect();
            let command = Command::ChangeContact { contact_email };
            Ok(Prepared { guards, sequence: Some(tenant.sequence), ..Prepared::new(command) })
        })
        .await?;
    Ok(done.receipt())
}

/// Where a tenant's contact stands in the log.
fn contact_place(tenant_id: Uuid, sequence: i64) -> Place<'static> {
    Place { tenant_id, aggregate_type: Tenant::TYPE, aggregate_id: tenant_id, sequence, field: "contact_email" }
}

async fn rename(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Rename>,
) -> Result<Receipt<Changed>, Problem> {
    let Rename { name } = body.value;
    order(&commands, &caller, headers, body.fingerprint, Command::Rename { name }).await
}

async fn change_tier(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<ChangeTier>,
) -> Result<Receipt<Changed>, Problem> {
    let ChangeTier { tier } = body.value;
    order(&commands, &caller, headers, body.fingerprint, Command::ChangeTier { tier }).await
}

async fn set_quota(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<SetQuota>,
) -> Result<Receipt<Changed>, Problem> {
    let SetQuota { resource, limit } = body.value;
    order(&commands, &caller, headers, body.fingerprint, Command::SetQuota { resource, limit }).await
}

async fn add_domain(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Domain>,
) -> Result<Receipt<DomainChallenge>, Problem> {
    let Domain { domain } = body.value;
    let tenant_id = caller.tenant.id();
    let record_name = format!("_service-hub.{domain}");
    let token: String = commands.random()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?
        .keeping(json!({ "record_name": record_name, "token": token }));
    let done = dispatch.execute(&commands.tenants, tenant_id, Command::AddDomain { domain, token }).await?;
    let (record_name, token) = (done.kept("record_name")?, done.kept("token")?);
    let challenge = DomainChallenge { changed: done.changed(), record_name, token };
    Ok(done.receipt_with(challenge))
}

async fn verify_domain(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<VerifyDomain>,
) -> Result<Receipt<Changed>, Problem> {
    let VerifyDomain { domain, token } = body.value;
    order(&commands, &caller, headers, body.fingerprint, Command::VerifyDomain { domain, token }).await
}

async fn remove_domain(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Domain>,
) -> Result<Receipt<Changed>, Problem> {
    let Domain { domain } = body.value;
    order(&commands, &caller, headers, body.fingerprint, Command::RemoveDomain { domain }).await
}

async fn set_primary_domain(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Domain>,
) -> Result<Receipt<Changed>, Problem> {
    let Domain { domain } = body.value;
    order(&commands, &caller, headers, body.fingerprint, Command::SetPrimaryDomain { domain }).await
}

async fn archive(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    order(&commands, &caller, headers, body.fingerprint, Command::Archive).await
}

/// The way of every command that the tenant decides alone.
async fn order(
    commands: &Commands,
    caller: &TenantCaller,
    headers: CommandHeaders,
    fingerprint: Fingerprint,
    command: Command,
) -> Result<Receipt<Changed>, Problem> {
    let tenant_id = caller.tenant.id();
    let dispatch = Dispatch::begin(commands, &caller.caller, tenant_id, headers, fingerprint)?;
    Ok(dispatch.execute(&commands.tenants, tenant_id, command).await?.receipt())
}
