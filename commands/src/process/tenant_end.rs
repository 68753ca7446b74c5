//! Winds up what an archived tenant leaves behind: its subscriptions end at once and its instances are given back.
//!
//! Nothing new can appear meanwhile, because making anything in a tenant is guarded by the tenant's stream.

use std::collections::BTreeSet;

use cqrs_es::Aggregate;
use hub_domain::{
    aggregate::Decide,
    id::OperationId,
    service_instance::{self, ServiceInstance},
    subscription::{self, Timing},
    tenant::{Standing, Tenant},
};
use hub_event_store::{
    event::Recorded,
    repository::{Prepared, Repository},
};
use uuid::Uuid;

use crate::Commands;

use super::{ProcessError, order_of, passed_over};

/// The event that this begins with.
const ARCHIVED: &str = "tenant.archived";

/// Namespace of this process's command and operation ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x5d0b_62c5_3f0c_4b52_8d6a_9f0e_71ac_4c3d);

/// Why the subscriptions end.
const REASON: &str = "the tenant is archived";

pub(super) fn concerns(event: &Recorded) -> bool {
    event.event_type == ARCHIVED || ends_operation(event)
}

pub(super) async fn follow(commands: &Commands, page: &[Recorded]) -> Result<(), ProcessError> {
    for event in page {
        if event.event_type == ARCHIVED {
            for id in ids_of(&commands.subscriptions.repository, event.tenant_id).await? {
                cancel(commands, event, id).await?;
            }
            for id in ids_of(&commands.service_instances.repository, event.tenant_id).await? {
                deprovision(commands, event, id).await?;
            }
        }
        if ends_operation(event) {
            match commands.tenants.repository.load_latest(event.tenant_id, event.tenant_id).await {
                // An operation that was in flight when the tenant was archived has ended: now the instance can be given back.
                Ok(tenant) if tenant.state.standing() == Standing::Archived => {
                    deprovision(commands, event, event.aggregate_id).await?;
                }
                Ok(_) => {}
                Err(error) => passed_over(error, Tenant::TYPE, event.tenant_id)?,
            }
        }
    }
    Ok(())
}

/// Whether an instance is free for another operation after the event. A failure that its provider calls final is left to people.
fn ends_operation(event: &Recorded) -> bool {
    match event.event_type.as_str() {
        "service_instance.provisioned"
        | "service_instance.configured"
        | "service_instance.suspended"
        | "service_instance.resumed" => true,
        failed if event.aggregate_type == ServiceInstance::TYPE && failed.ends_with("_failed") => {
            let payload = serde_json::from_str::<serde_json::Value>(event.payload.get());
            payload.is_ok_and(|payload| payload["retryable"] == true || failed != "service_instance.deprovision_failed")
        }
        _ => false,
    }
}

async fn cancel(commands: &Commands, cause: &Recorded, id: Uuid) -> Result<(), ProcessError> {
    let reason = REASON.parse().expect("the reason is short");
    let now = cause.occurred_at;
    let command = subscription::Command::Cancel { timing: Timing::Immediate, reason, now };
    send(&commands.subscriptions.repository, cause, id, command).await
}

async fn deprovision(commands: &Commands, cause: &Recorded, id: Uuid) -> Result<(), ProcessError> {
    let operation_id = OperationId(Uuid::new_v5(&NAMESPACE, format!("{id}/{}", cause.event_id).as_bytes()));
    let command = service_instance::Command::Deprovision { operation_id };
    send(&commands.service_instances.repository, cause, id, command).await
}

async fn send<A>(
    repository: &Repository<A>,
    cause: &Recorded,
    id: Uuid,
    command: A::Command,
) -> Result<(), ProcessError>
where
    A: Decide<Command: Clone + Send + Sync> + Clone + 'static,
{
    let command_id =
        Uuid::new_v5(&NAMESPACE, format!("{}/{}/{id}/{}", cause.tenant_id, A::TYPE, cause.event_id).as_bytes());
    let order = order_of("process:tenant_end", command_id, Some(cause.event_id));
    let prepare = |_| {
        let prepared = Prepared::new(command.clone());
        async { Ok(prepared) }
    };
    match repository.execute(cause.tenant_id, id, &order, prepare).await {
        Ok(_) => Ok(()),
        Err(error) => passed_over(error, A::TYPE, id),
    }
}

async fn ids_of<A>(repository: &Repository<A>, tenant_id: Uuid) -> Result<BTreeSet<Uuid>, ProcessError>
where
    A: Decide + Clone + 'static,
{
    let ids = repository.fold_all(tenant_id, &["created", "provision_requested"], BTreeSet::new(), |ids, id, _| {
        ids.insert(id);
    });
    match ids.await {
        Ok(ids) => Ok(ids),
        Err(error) => passed_over(error, A::TYPE, tenant_id).map(|()| BTreeSet::new()),
    }
}
