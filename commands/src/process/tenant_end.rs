//! Winds up what an archived tenant leaves behind: its subscriptions end at once and its instances are given back.
//!
//! Nothing new can appear meanwhile, because making anything in a tenant is guarded by the tenant's stream.

use std::collections::BTreeSet;

use cqrs_es::Aggregate;
use hub_domain::{
    aggregate::Decide,
    id::OperationId,
    refusal::{Kind, Refusal},
    service_instance::{self, ServiceInstance},
    subscription::{self, Timing},
    tenant::Standing,
};
use hub_event_store::{
    event::Recorded,
    repository::{ExecuteError, Prepared, Repository},
};
use uuid::Uuid;

use crate::Commands;

use super::{ProcessError, order_of};

/// The event that this begins with.
const ARCHIVED: &str = "tenant.archived";

/// Namespace of this process's command and operation ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x5d0b_62c5_3f0c_4b52_8d6a_9f0e_71ac_4c3d);

/// Why the subscriptions end.
const REASON: &str = "the tenant is archived";

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
        // An operation that was in flight when the tenant was archived has ended: now the instance can be given back.
        if event.aggregate_type == ServiceInstance::TYPE && !event.event_type.ends_with("_requested") {
            let tenant = commands.tenants.repository.load_latest(event.tenant_id, event.tenant_id).await;
            let tenant = tenant.map_err(|error| ProcessError::Read(error.to_string()))?;
            if tenant.state.standing() == Standing::Archived {
                deprovision(commands, event, event.aggregate_id).await?;
            }
        }
    }
    Ok(())
}

async fn cancel(commands: &Commands, cause: &Recorded, id: Uuid) -> Result<(), ProcessError> {
    let reason = REASON.parse().expect("the reason is short");
    let now = cause.occurred_at;
    let command = subscription::Command::Cancel { timing: Timing::Immediate, reason, now };
    send(&commands.subscriptions.repository, cause, id, command).await
}

async fn deprovision(commands: &Commands, cause: &Recorded, id: Uuid) -> Result<(), ProcessError> {
    let operation_id = OperationId(Uuid::new_v5(&NAMESPACE, id.as_bytes()));
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
    let command_id = Uuid::new_v5(&NAMESPACE, format!("{}/{}/{id}", cause.tenant_id, A::TYPE).as_bytes());
    let order = order_of("process:tenant_end", command_id, Some(cause.event_id));
    let prepare = |_| {
        let prepared = Prepared::new(command.clone());
        async { Ok(prepared) }
    };
    match repository.execute(cause.tenant_id, id, &order, prepare).await {
        Ok(_) => Ok(()),
        // Ended before, or an operation is in flight whose end is waited for.
        Err(ExecuteError::Refused(refusal)) if refusal.kind() == Kind::Conflict => Ok(()),
        Err(error) => Err(ProcessError::Command(error.to_string())),
    }
}

async fn ids_of<A>(repository: &Repository<A>, tenant_id: Uuid) -> Result<BTreeSet<Uuid>, ProcessError>
where
    A: Decide + Clone + 'static,
{
    let ids = repository.fold_all(tenant_id, BTreeSet::new(), |ids, id, _| {
        ids.insert(id);
    });
    let ids = ids.await;
    ids.map_err(|error| ProcessError::Read(error.to_string()))
}
