//! The roles that every tenant has: made by commands with ids of their own, as often as anybody asks.

use hub_domain::{
    id::TenantId,
    role::{Command, Error, SystemRole, system_role_id},
};
use hub_event_store::{
    event::Metadata,
    repository::{ExecuteError, Order, Prepared},
};
use uuid::Uuid;

use crate::Commands;

/// Namespace of the ids of the commands that make system roles.
const NAMESPACE: Uuid = Uuid::from_u128(0x1b7e_54c2_0c1d_4f0e_a3d4_9a6f_2e58_7c15);

/// Who makes them.
const ACTOR: &str = "process:system_roles";

impl Commands {
    /// Makes the system roles that the tenant does not have yet.
    ///
    /// # Errors
    /// When the store does not answer; what is missing then is made by the next call.
    pub(crate) async fn ensure_system_roles(&self, tenant_id: Uuid) -> Result<(), ExecuteError<Error>> {
        for system in SystemRole::ALL {
            self.ensure_system_role(tenant_id, system).await?;
        }
        Ok(())
    }

    async fn ensure_system_role(&self, tenant_id: Uuid, system: SystemRole) -> Result<(), ExecuteError<Error>> {
        let role_id = system_role_id(TenantId(tenant_id), system).0;
        // A system role is never archived, so one that is known is there for good.
        if self.roles.repository.load(tenant_id, role_id).await?.sequence > 0 {
            return Ok(());
        }
        let prepare = |_| async move { Ok(Prepared::new(Command::CreateSystem { system })) };
        self.roles.repository.execute(tenant_id, role_id, &order(tenant_id, system), prepare).await?;
        Ok(())
    }
}

/// The same command every time.
fn order(tenant_id: Uuid, system: SystemRole) -> Order {
    let name = [tenant_id.as_bytes(), system.as_ref().as_bytes()].concat();
    Order {
        metadata: Metadata {
            actor: ACTOR.to_owned(),
            command_id: Uuid::new_v5(&NAMESPACE, &name),
            // All of a tenant's system roles are one piece of work.
            correlation_id: Uuid::new_v5(&NAMESPACE, tenant_id.as_bytes()),
            causation_id: None,
            traceparent: None,
        },
        fingerprint: [0; 32],
        repeatable: true,
        expected_sequence: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{SystemRole, Uuid, order};

    #[test]
    fn each_system_role_of_each_tenant_has_one_command() {
        let id = |tenant, system| order(Uuid::from_u128(tenant), system).metadata.command_id;
        let ids: BTreeSet<Uuid> =
            [1, 2].iter().flat_map(|tenant| SystemRole::ALL.map(|system| id(*tenant, system))).collect();
        assert_eq!(ids.len(), 10);
        assert_eq!(id(1, SystemRole::Owner), id(1, SystemRole::Owner));
    }
}
