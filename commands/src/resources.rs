//! What conditions of permissions may look at, taken from the aggregates that commands are about.

use hub_domain::{aggregate::Decide, role::Role, service_instance::ServiceInstance, subscription::Subscription};
use hub_event_store::repository::Repository;
use hub_http::{Attributes, Problem, Resources, access::BoxFuture};
use uuid::Uuid;

/// The aggregates that have attributes.
#[derive(Clone)]
pub(crate) struct OfAggregates {
    pub(crate) roles: Repository<Role>,
    pub(crate) service_instances: Repository<ServiceInstance>,
    pub(crate) subscriptions: Repository<Subscription>,
}

impl Resources for OfAggregates {
    fn attributes<'a>(
        &'a self,
        tenant_id: Uuid,
        resource: &'a str,
        id: Uuid,
    ) -> BoxFuture<'a, Result<Option<Attributes>, Problem>> {
        Box::pin(async move {
            match resource {
                "role" => load(&self.roles, tenant_id, id, of_role).await,
                "service_instance" => load(&self.service_instances, tenant_id, id, of_service_instance).await,
                "subscription" => load(&self.subscriptions, tenant_id, id, of_subscription).await,
                _ => Ok(None),
            }
        })
    }
}

/// The state as the log has it now: what another process has just changed counts.
async fn load<A: Decide + Clone + 'static>(
    repository: &Repository<A>,
    tenant_id: Uuid,
    id: Uuid,
    attributes: fn(&A) -> Option<Attributes>,
) -> Result<Option<Attributes>, Problem> {
    let loaded = repository.load_latest(tenant_id, id).await.map_err(|error| {
        tracing::warn!(%error, "the thing that a decision is about could not be read");
        Problem::store_unavailable()
    })?;
    Ok(attributes(&loaded.state))
}

fn of_role(role: &Role) -> Option<Attributes> {
    let (key, system) = match role {
        Role::Absent | Role::Archived => return None,
        Role::System(role) => (&role.key, true),
        Role::Custom(role) => (&role.key, false),
    };
    Some(Attributes::from([("key", key.as_str().into()), ("system", system.into())]))
}

fn of_service_instance(instance: &ServiceInstance) -> Option<Attributes> {
    match instance {
        ServiceInstance::Absent | ServiceInstance::Deprovisioned { .. } => None,
        ServiceInstance::Live(live) => {
            Some(Attributes::from([("plan", live.plan.as_str().into()), ("service", live.service.as_str().into())]))
        }
    }
}

fn of_subscription(subscription: &Subscription) -> Option<Attributes> {
    match subscription {
        Subscription::Absent | Subscription::Cancelled => None,
        Subscription::Live(contract) => {
            let stage = subscription.stage().map(|stage| serde_json::json!(stage)).unwrap_or_default();
            Some(Attributes::from([("plan", contract.plan.code.as_str().into()), ("stage", stage)]))
        }
    }
}
