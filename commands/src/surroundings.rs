//! What a command depends on beside its own aggregate, each with the guard that lets it still hold at the append.

use std::sync::Arc;

use hub_domain::{
    aggregate::Decide,
    duty_set::Change,
    id::{PLATFORM_TENANT, RoleId},
    tenant::{self, Standing, Tenant},
};
use hub_event_store::{
    append::Guard,
    event::StreamId,
    repository::{ExecuteError, Loaded, Prepared},
};
use hub_http::Problem;
use uuid::Uuid;

use crate::{
    Commands,
    dispatch::{Dispatch, Done, PrepareError, unread},
    outcome::Refused,
    room::Context,
};

/// An aggregate of another stream, as it is known at the first attempt and as it is at every later one.
///
/// # Errors
/// When the store does not answer or the stream cannot be read.
pub(crate) async fn look<A, E>(
    context: &Context<A>,
    tenant_id: Uuid,
    id: Uuid,
    attempt: u32,
) -> Result<(Arc<Loaded<A>>, Guard), ExecuteError<E>>
where
    A: Decide + Clone + 'static,
    E: std::error::Error + 'static,
{
    let loaded = if attempt == 0 {
        context.repository.load(tenant_id, id).await
    } else {
        context.repository.load_latest(tenant_id, id).await
    };
    let loaded = loaded.map_err(unread)?;
    let guard = Guard { stream: StreamId::of::<A>(tenant_id, id), sequence: loaded.sequence };
    Ok((loaded, guard))
}

impl Commands {
    /// The tenant that something is made or changed in.
    ///
    /// # Errors
    /// `tenant_not_found` and `tenant_archived`; both are for good, whatever is cached.
    pub(crate) async fn living_tenant<E>(
        &self,
        tenant_id: Uuid,
        attempt: u32,
    ) -> Result<(Arc<Loaded<Tenant>>, Guard), PrepareError<E>>
    where
        E: std::error::Error + 'static,
    {
        let (tenant, guard) = look(&self.tenants, tenant_id, tenant_id, attempt).await?;
        match tenant.state.standing() {
            // The platform is no customer, and always there.
            Standing::Absent if tenant_id == PLATFORM_TENANT.0 => Ok((tenant, guard)),
            Standing::Absent => Err(PrepareError::Refused(Refused::of(&tenant::Error::NotFound))),
            Standing::Archived => Err(PrepareError::Refused(Refused::of(&tenant::Error::Archived))),
            Standing::Pending | Standing::Active | Standing::Suspended => Ok((tenant, guard)),
        }
    }

    /// Whether the tenant has a live role with this id.
    ///
    /// # Errors
    /// When the store does not answer or the role's stream cannot be read.
    pub(crate) async fn role_live<E>(
        &self,
        tenant_id: Uuid,
        RoleId(role_id): RoleId,
        attempt: u32,
    ) -> Result<(bool, Guard), ExecuteError<E>>
    where
        E: std::error::Error + 'static,
    {
        let (role, guard) = look(&self.roles, tenant_id, role_id, attempt).await?;
        Ok((role.state.live(), guard))
    }
}

impl Dispatch {
    /// Executes a command that makes or changes something in the tenant, which must be there and not archived; `maxima` are those of
    /// the tenant's counters.
    ///
    /// # Errors
    /// The refusal as a problem.
    pub(crate) async fn execute_in_tenant<A>(
        self,
        commands: &Commands,
        context: &Context<A>,
        id: Uuid,
        command: A::Command,
        maxima: &[(&'static str, i64)],
    ) -> Result<Done, Problem>
    where
        A: Decide<Command: Clone + Send + Sync> + Clone + 'static,
    {
        self.execute_granting(commands, context, id, command, maxima, &[]).await
    }

    /// The same for a command that gives somebody more, as `changes` say: it is refused when somebody would hold too many roles of a set of
    /// duties.
    ///
    /// # Errors
    /// The refusal as a problem.
    pub(crate) async fn execute_granting<A>(
        self,
        commands: &Commands,
        context: &Context<A>,
        id: Uuid,
        command: A::Command,
        maxima: &[(&'static str, i64)],
        changes: &[Change],
    ) -> Result<Done, Problem>
    where
        A: Decide<Command: Clone + Send + Sync> + Clone + 'static,
    {
        let tenant_id = self.tenant_id();
        self.execute_prepared(context, id, |attempt| {
            let command = command.clone();
            async move {
                let (_, guard) = commands.living_tenant(tenant_id, attempt).await?;
                let expected_counters = commands.duties_kept(tenant_id, changes).await?;
                let maxima = maxima.to_vec();
                Ok(Prepared { guards: vec![guard], maxima, expected_counters, ..Prepared::new(command) })
            }
        })
        .await
    }

    /// Executes a command that makes something about a role of the tenant, which must be there and not archived; `command` is told whether the
    /// role is live.
    ///
    /// # Errors
    /// The refusal as a problem.
    pub(crate) async fn execute_about_role<A>(
        self,
        commands: &Commands,
        context: &Context<A>,
        role_id: RoleId,
        maxima: &[(&'static str, i64)],
        changes: &[Change],
        command: impl Fn(bool) -> A::Command + Send + Sync,
    ) -> Result<Done, Problem>
    where
        A: Decide<Command: Clone + Send + Sync> + Clone + 'static,
    {
        let tenant_id = self.tenant_id();
        self.execute_prepared(context, Uuid::now_v7(), |attempt| {
            let command = &command;
            async move {
                let (_, tenant_guard) = commands.living_tenant(tenant_id, attempt).await?;
                let (role_live, role_guard) = commands.role_live(tenant_id, role_id, attempt).await?;
                let guards = vec![tenant_guard, role_guard];
                let expected_counters = commands.duties_kept(tenant_id, changes).await?;
                Ok(Prepared { guards, maxima: maxima.to_vec(), expected_counters, ..Prepared::new(command(role_live)) })
            }
        })
        .await
    }
}
