//! What taking the owner role away must know of the owners who would be left.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use hub_domain::{
    id::TenantId,
    principal::stream_id,
    role::{Command, Principal, SystemRole, Unassignment, system_role_id},
};
use hub_event_store::{
    append::Guard,
    repository::{ExecuteError, Prepared},
};
use uuid::Uuid;

use crate::{Commands, surroundings::look};

/// What is known at the first attempt may be old, and a refusal would be final.
const LATEST: u32 = 1;

/// Some principals as they stand.
#[derive(Debug, Default)]
pub(crate) struct Standings {
    /// Those who have ended, of all or of those before the first who has not.
    pub(crate) ended: BTreeSet<Principal>,
    /// The stream of the first who has not ended, which must not move before the append; none when all have.
    pub(crate) first: Option<Guard>,
}

impl Commands {
    /// The command that takes assignments of a role away. Of those who would be left to own the tenant, one who has not ended must still be
    /// there at the append.
    ///
    /// # Errors
    /// When the store does not answer or a stream cannot be read.
    pub(crate) async fn unassigning<E>(
        &self,
        tenant_id: Uuid,
        role_id: Uuid,
        which: Unassignment,
        now: DateTime<Utc>,
    ) -> Result<Prepared<Command>, ExecuteError<E>>
    where
        E: std::error::Error + 'static,
    {
        if role_id != system_role_id(TenantId(tenant_id), SystemRole::Owner).0 {
            return Ok(Prepared::new(Command::Unassign { which, ended: BTreeSet::new(), now }));
        }
        let (role, _) = look(&self.roles, tenant_id, role_id, LATEST).await?;
        let left = role.state.lasting_holders_without(&which, now);
        let Standings { ended, first } = self.standings(tenant_id, left).await?;
        // Who would be left is known of the role as it is here, and of no other.
        Ok(Prepared {
            guards: first.into_iter().collect(),
            sequence: Some(role.sequence),
            ..Prepared::new(Command::Unassign { which, ended, now })
        })
    }

    /// How these principals of the tenant stand.
    ///
    /// # Errors
    /// When the store does not answer or a stream cannot be read.
    pub(crate) async fn standings<E>(
        &self,
        tenant_id: Uuid,
        principals: BTreeSet<&Principal>,
    ) -> Result<Standings, ExecuteError<E>>
    where
        E: std::error::Error + 'static,
    {
        let mut standings = Standings::default();
        for principal in principals {
            let id = stream_id(TenantId(tenant_id), principal);
            let (standing, guard) = look(&self.principals, tenant_id, id, LATEST).await?;
            if !standing.state.ended() {
                standings.first = Some(guard);
                break;
            }
            standings.ended.insert(principal.clone());
        }
        Ok(standings)
    }
}
