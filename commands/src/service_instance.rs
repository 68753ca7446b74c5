//! Commands on service instances: `POST /v1/tenants/{tenant_id}/service-instances` and
//! `.../service-instances/{service_instance_id}/<verb>`; orders of the tenant and reports of the provider.

use axum::extract::State;
use hub_domain::{
    id::{OperationId, SubscriptionId},
    service_instance::{
        CODES, Command, Endpoint, Error, Health, Parameters, QUOTA_REACHED, SubscriptionFact, TenantFact, decide,
        parameters,
    },
    subscription::StageName,
    tenant::{Resource, Standing, Tenant},
    text::{Key, Remark, parsed, parsed_option},
};
use hub_event_store::{
    append::Guard,
    repository::{ExecuteError, Prepared},
};
use hub_http::{Body, CommandHeaders, Created, Fingerprint, NoBody, Path, Problem, Receipt, Routes, TenantCaller};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::{
    Commands,
    dispatch::{Changed, Dispatch, Done},
    documented::Documented,
    surroundings::look,
};

/// What the log itself refuses for a service instance.
pub(crate) const CONDITIONS: &[(&str, &str)] = &[(decide::INSTANCES, QUOTA_REACHED.code)];

const DOCUMENTED: Documented = Documented::new("service-instances", CODES);

pub(crate) fn routes() -> Routes<Commands> {
    let instances = "/v1/tenants/{tenant_id}/service-instances";
    let instance = "/v1/tenants/{tenant_id}/service-instances/{service_instance_id}";
    Routes::new()
        .post(instances, "service_instance:provision", provision, |op| {
            DOCUMENTED.creation(
                op,
                "provisionServiceInstance",
                "Provision a service",
                "Orders an instance of a service for an active tenant, within its quota of instances. The \
                     operation answered is in flight until its provider reports success or failure.",
            )
        })
        .post(&format!("{instance}/retry-provision"), "service_instance:retry-provision", retry_provision, |op| {
            DOCUMENTED.command(
                op,
                "retryServiceInstanceProvision",
                "Retry a failed provision",
                "Tries again as it was ordered, if the provider said that this may help.",
            )
        })
        .post(&format!("{instance}/configure"), "service_instance:configure", configure, |op| {
            DOCUMENTED.command(
                op,
                "configureServiceInstance",
                "Configure an instance",
                "Orders new parameters, all of them; the old ones hold until the provider reports \
                     success.",
            )
        })
        .post(&format!("{instance}/suspend"), "service_instance:suspend", suspend, |op| {
            DOCUMENTED.command(
                op,
                "suspendServiceInstance",
                "Suspend an instance",
                "The service is to stop without being lost.",
            )
        })
        .post(&format!("{instance}/resume"), "service_instance:resume", resume, |op| {
            DOCUMENTED.command(
                op,
                "resumeServiceInstance",
                "Resume an instance",
                "A suspended service is to run again; the tenant must be active.",
            )
        })
        .post(&format!("{instance}/deprovision"), "service_instance:deprovision", deprovision, |op| {
            DOCUMENTED.command(
                op,
                "deprovisionServiceInstance",
                "Deprovision an instance",
                "The service is to end for good; a provision that failed ends at once.",
            )
        })
        .post(&format!("{instance}/report-success"), "service_instance:report-success", report_success, |op| {
            DOCUMENTED.command(
                op,
                "reportServiceInstanceSuccess",
                "Report success",
                "The operation in flight is done; endpoint and outputs replace the old ones where they \
                     are given.",
            )
        })
        .post(&format!("{instance}/report-failure"), "service_instance:report-failure", report_failure, |op| {
            DOCUMENTED.command(
                op,
                "reportServiceInstanceFailure",
                "Report failure",
                "The operation in flight is over without having been done.",
            )
        })
        .post(&format!("{instance}/report-health"), "service_instance:report-health", report_health, |op| {
            DOCUMENTED.command(
                op,
                "reportServiceInstanceHealth",
                "Report health",
                "How well the service does, as its provider sees it.",
            )
        })
}

#[derive(Debug, Deserialize, JsonSchema)]
struct InstancePath {
    /// The service instance's id.
    service_instance_id: Uuid,
}

/// A service to be provisioned.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ProvisionServiceInstance")]
struct Provision {
    /// The service's key in the catalogue, such as `mail`.
    #[serde(deserialize_with = "parsed")]
    service: Key,
    /// The service's plan, such as `business`.
    #[serde(deserialize_with = "parsed")]
    plan: Key,
    /// What the service is made with; never a secret.
    #[serde(default, deserialize_with = "parameters::parsed")]
    parameters: Parameters,
    /// The tenant's subscription that the instance is ordered under: trialing, active or past due.
    #[serde(default)]
    subscription_id: Option<SubscriptionId>,
}

/// New parameters of an instance.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ConfigureServiceInstance")]
struct Configure {
    /// They replace the old ones as a whole; never a secret.
    #[serde(deserialize_with = "parameters::parsed")]
    parameters: Parameters,
}

/// An operation that is done.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReportServiceInstanceSuccess")]
struct ReportSuccess {
    /// The operation in flight.
    operation_id: OperationId,
    /// Where the service is reached.
    #[serde(default, deserialize_with = "parsed_option")]
    endpoint: Option<Endpoint>,
    /// What the provider tells about the service; never a secret.
    #[serde(default, deserialize_with = "parameters::parsed_option")]
    outputs: Option<Parameters>,
}

/// An operation that failed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReportServiceInstanceFailure")]
struct ReportFailure {
    /// The operation in flight.
    operation_id: OperationId,
    #[serde(deserialize_with = "parsed")]
    reason: Remark,
    /// Whether trying again may help.
    retryable: bool,
}

/// How well a service does.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReportServiceInstanceHealth")]
struct ReportHealth {
    health: Health,
    #[serde(default, deserialize_with = "parsed")]
    detail: Remark,
}

/// The receipt of an order that takes time.
#[derive(Debug, Serialize, JsonSchema)]
struct OperationStarted {
    #[serde(flatten)]
    changed: Changed,
    /// What the provider's report names; null when all was so already and nothing was started.
    operation_id: Option<OperationId>,
}

async fn provision(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Provision>,
) -> Result<Created<OperationStarted>, Problem> {
    let Provision { service, plan, parameters, subscription_id } = body.value;
    let tenant_id = caller.tenant.id();
    let (dispatch, operation_id) = begin(&commands, &caller, headers, body.fingerprint)?;
    let done = dispatch
        .execute_prepared(&commands.service_instances, Uuid::now_v7(), |attempt| {
            let (commands, service, plan, parameters) = (&commands, service.clone(), plan.clone(), parameters.clone());
            async move {
                let (tenant, tenant_guard) = commands.living_tenant(tenant_id, attempt).await?;
                let (subscription, subscription_guard) =
                    subscription_of(commands, tenant_id, subscription_id, attempt).await?;
                let tenant_active = fact_of(&tenant.state);
                let command =
                    Command::Provision { service, plan, parameters, subscription, operation_id, tenant_active };
                Ok(Prepared {
                    guards: [Some(tenant_guard), subscription_guard].into_iter().flatten().collect(),
                    maxima: quota_of(&tenant.state).map(|quota| (decide::INSTANCES, quota)).into_iter().collect(),
                    ..Prepared::new(command)
                })
            }
        })
        .await?;
    let location = format!("/v1/tenants/{tenant_id}/service-instances/{}", done.accepted.aggregate_id);
    let started = started(&done)?;
    Ok(done.receipt_with(started).created(location))
}

async fn retry_provision(
    caller: TenantCaller,
    Path(path): Path<InstancePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<OperationStarted>, Problem> {
    let command = |operation_id, tenant_active| Command::RetryProvision { operation_id, tenant_active };
    start_for_tenant(&commands, &caller, path, headers, body.fingerprint, command).await
}

async fn configure(
    caller: TenantCaller,
    Path(path): Path<InstancePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Configure>,
) -> Result<Receipt<OperationStarted>, Problem> {
    let Configure { parameters } = body.value;
    let command = |operation_id| Command::Configure { parameters, operation_id };
    start(&commands, &caller, path, headers, body.fingerprint, command).await
}

async fn suspend(
    caller: TenantCaller,
    Path(path): Path<InstancePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<OperationStarted>, Problem> {
    let command = |operation_id| Command::Suspend { operation_id };
    start(&commands, &caller, path, headers, body.fingerprint, command).await
}

async fn resume(
    caller: TenantCaller,
    Path(path): Path<InstancePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<OperationStarted>, Problem> {
    let command = |operation_id, tenant_active| Command::Resume { operation_id, tenant_active };
    start_for_tenant(&commands, &caller, path, headers, body.fingerprint, command).await
}

async fn deprovision(
    caller: TenantCaller,
    Path(path): Path<InstancePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<OperationStarted>, Problem> {
    let (dispatch, operation_id) = begin(&commands, &caller, headers, body.fingerprint)?;
    // Also in an archived tenant: what is left there must have an end.
    let command = Command::Deprovision { operation_id };
    let done = dispatch.execute(&commands.service_instances, path.service_instance_id, command).await?;
    let started = started(&done)?;
    Ok(done.receipt_with(started))
}

async fn report_success(
    caller: TenantCaller,
    Path(path): Path<InstancePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<ReportSuccess>,
) -> Result<Receipt<Changed>, Problem> {
    let ReportSuccess { operation_id, endpoint, outputs } = body.value;
    let command = Command::ReportSuccess { operation_id, endpoint, outputs };
    report(&commands, &caller, path, headers, body.fingerprint, command).await
}

async fn report_failure(
    caller: TenantCaller,
    Path(path): Path<InstancePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<ReportFailure>,
) -> Result<Receipt<Changed>, Problem> {
    let ReportFailure { operation_id, reason, retryable } = body.value;
    let command = Command::ReportFailure { operation_id, reason, retryable };
    report(&commands, &caller, path, headers, body.fingerprint, command).await
}

async fn report_health(
    caller: TenantCaller,
    Path(path): Path<InstancePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<ReportHealth>,
) -> Result<Receipt<Changed>, Problem> {
    let ReportHealth { health, detail } = body.value;
    report(&commands, &caller, path, headers, body.fingerprint, Command::ReportHealth { health, detail }).await
}

/// Begins an order that starts an operation, whose id is kept with it.
fn begin(
    commands: &Commands,
    caller: &TenantCaller,
    headers: CommandHeaders,
    fingerprint: Fingerprint,
) -> Result<(Dispatch, OperationId), Problem> {
    let operation_id = OperationId(Uuid::now_v7());
    let dispatch = Dispatch::begin(commands, &caller.caller, caller.tenant.id(), headers, fingerprint)?
        .keeping(json!({ "operation_id": operation_id }));
    Ok((dispatch, operation_id))
}

/// The way of an order that the instance decides alone, in a tenant that is not archived.
async fn start(
    commands: &Commands,
    caller: &TenantCaller,
    InstancePath { service_instance_id }: InstancePath,
    headers: CommandHeaders,
    fingerprint: Fingerprint,
    command: impl FnOnce(OperationId) -> Command,
) -> Result<Receipt<OperationStarted>, Problem> {
    let (dispatch, operation_id) = begin(commands, caller, headers, fingerprint)?;
    let command = command(operation_id);
    let instances = &commands.service_instances;
    let done = dispatch.execute_in_tenant(commands, instances, service_instance_id, command, &[]).await?;
    let started = started(&done)?;
    Ok(done.receipt_with(started))
}

/// The way of an order that depends on the tenant's stage of life, too.
async fn start_for_tenant(
    commands: &Commands,
    caller: &TenantCaller,
    InstancePath { service_instance_id }: InstancePath,
    headers: CommandHeaders,
    fingerprint: Fingerprint,
    command: fn(OperationId, TenantFact) -> Command,
) -> Result<Receipt<OperationStarted>, Problem> {
    let tenant_id = caller.tenant.id();
    let (dispatch, operation_id) = begin(commands, caller, headers, fingerprint)?;
    let done = dispatch
        .execute_prepared(&commands.service_instances, service_instance_id, |attempt| async move {
            let (tenant, guard) = look(&commands.tenants, tenant_id, tenant_id, attempt).await?;
            let command = command(operation_id, fact_of(&tenant.state));
            Ok(Prepared { guards: vec![guard], ..Prepared::new(command) })
        })
        .await?;
    let started = started(&done)?;
    Ok(done.receipt_with(started))
}

/// The way of a report, which starts nothing.
async fn report(
    commands: &Commands,
    caller: &TenantCaller,
    InstancePath { service_instance_id }: InstancePath,
    headers: CommandHeaders,
    fingerprint: Fingerprint,
    command: Command,
) -> Result<Receipt<Changed>, Problem> {
    let dispatch = Dispatch::begin(commands, &caller.caller, caller.tenant.id(), headers, fingerprint)?;
    Ok(dispatch.execute(&commands.service_instances, service_instance_id, command).await?.receipt())
}

/// The operation that waits for its report; an order that changed nothing started none.
fn started(done: &Done) -> Result<OperationStarted, Problem> {
    let changed = done.changed();
    let operation_id = if changed.event_count == 0 { None } else { Some(done.kept("operation_id")?) };
    Ok(OperationStarted { changed, operation_id })
}

fn fact_of(tenant: &Tenant) -> TenantFact {
    match tenant.standing() {
        Standing::Active => TenantFact::Active,
        Standing::Absent | Standing::Pending | Standing::Suspended | Standing::Archived => TenantFact::NotActive,
    }
}

/// So many instances the tenant may have; without a quota there is no maximum.
fn quota_of(tenant: &Tenant) -> Option<i64> {
    tenant.quota(Resource::Instances).map(|quota| i64::try_from(quota).unwrap_or(i64::MAX))
}

/// What is known of the subscription that an instance is ordered under, with its guard.
async fn subscription_of(
    commands: &Commands,
    tenant_id: Uuid,
    subscription_id: Option<SubscriptionId>,
    attempt: u32,
) -> Result<(SubscriptionFact, Option<Guard>), ExecuteError<Error>> {
    let Some(id) = subscription_id else { return Ok((SubscriptionFact::NotGiven, None)) };
    let (subscription, guard) = look(&commands.subscriptions, tenant_id, id.0, attempt).await?;
    let fact = match subscription.state.stage() {
        Some(StageName::Trialing | StageName::Active | StageName::PastDue) => SubscriptionFact::Usable(id),
        Some(StageName::Paused | StageName::Cancelled) | None => SubscriptionFact::NotUsable(id),
    };
    Ok((fact, Some(guard)))
}

#[cfg(test)]
mod tests {
    use cqrs_es::Aggregate;
    use hub_domain::{
        personal::Pii,
        tenant::{Event, SuspensionReason, Tier},
    };

    use super::{Resource, Tenant, TenantFact, fact_of, quota_of};

    fn tenant(events: impl IntoIterator<Item = Event>) -> Tenant {
        let registered = Event::Registered {
            slug: "acme".parse().unwrap(),
            name: "Acme".parse().unwrap(),
            contact_email: Pii::Clear("it@acme.example".parse().unwrap()),
            tier: Tier::Starter,
            region: "eu".parse().unwrap(),
            currency: "EUR".parse().unwrap(),
        };
        std::iter::once(registered).chain(events).fold(Tenant::default(), |mut tenant, event| {
            tenant.apply(event);
            tenant
        })
    }

    #[test]
    fn only_an_active_tenant_gets_services() {
        let suspended = Event::Suspended { reason: SuspensionReason::Payment, note: "".parse().unwrap() };
        assert_eq!(fact_of(&Tenant::Absent), TenantFact::NotActive);
        assert_eq!(fact_of(&tenant([])), TenantFact::NotActive);
        assert_eq!(fact_of(&tenant([Event::Activated {}])), TenantFact::Active);
        assert_eq!(fact_of(&tenant([Event::Activated {}, suspended])), TenantFact::NotActive);
        assert_eq!(fact_of(&tenant([Event::Archived {}])), TenantFact::NotActive);
    }

    #[test]
    fn without_a_quota_there_is_no_maximum() {
        assert_eq!(quota_of(&tenant([])), None);
        for (limit, maximum) in [(0, 0), (7, 7), (u64::MAX, i64::MAX)] {
            let set = Event::QuotaSet { resource: Resource::Instances, limit };
            assert_eq!(quota_of(&tenant([set])), Some(maximum));
        }
    }
}
