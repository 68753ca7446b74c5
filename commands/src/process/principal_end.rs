//! Takes away what an ended principal holds: roles, approved or open requests for access, emergency access, and support access in all tenants.
//!
//! Nothing depends on how soon this is done, because decisions refuse an ended principal whatever it holds; but it must be done before the
//! principal can be reinstated, which is then left with nothing. What was granted after the end is somebody's new decision and stays.

use std::collections::BTreeSet;

use cqrs_es::Aggregate;
use hub_domain::{
    access_request::{self, AccessRequest},
    aggregate::Decide,
    break_glass::{self, BreakGlass},
    id::PLATFORM_TENANT,
    principal::{Ending, Standing},
    role::{Principal, Role, Unassignment},
    support_access::{self, SupportAccess},
};
use hub_event_store::{
    event::Recorded,
    repository::{ExecuteError, Prepared, Repository},
};
use sqlx::PgPool;
use uuid::Uuid;

use crate::Commands;

use super::{ProcessError, order_of, passed_over};

/// What a principal at home in a tenant was granted up to a position: in its own tenant and, for staff of the platform, in all others.
pub(super) const HELD: &str = "SELECT DISTINCT tenant_id, aggregate_type, aggregate_id FROM facts \
     WHERE fact->>'kind' = 'grant' AND fact->>'principal' = $1 AND position <= $3 \
     AND ((tenant_id = $2 AND fact->>'home' = 'tenant') OR ($4 AND fact->>'home' = 'platform'))";

/// The event that this begins with.
const ENDED: &str = "principal.ended";

/// Namespace of this process's command ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x2f4c_91d7_8a36_4e0d_b7c5_60e1_94ab_3d28);

/// Why a request is revoked.
const REMARK: &str = "the principal has ended";

/// What brings a grant: tenant, aggregate type, aggregate.
pub(crate) type Holding = (Uuid, String, Uuid);

/// What a principal holds that it was granted up to a position of the log.
pub(crate) async fn holds_from_before(
    pool: &PgPool,
    home: Uuid,
    principal: &Principal,
    position: i64,
) -> Result<Vec<Holding>, sqlx::Error> {
    let query = sqlx::query_as(HELD).bind(principal.as_str()).bind(home).bind(position).bind(home == PLATFORM_TENANT.0);
    query.fetch_all(pool).await
}

pub(super) fn concerns(event: &Recorded) -> bool {
    event.event_type == ENDED
}

pub(super) async fn follow(commands: &Commands, page: &[Recorded]) -> Result<(), ProcessError> {
    for event in page.iter().filter(|event| concerns(event)) {
        let ending = match commands.principals.repository.load_latest(event.tenant_id, event.aggregate_id).await {
            Ok(standing) => standing.state.ending().cloned(),
            Err(error) => {
                passed_over(error, Standing::TYPE, event.aggregate_id)?;
                None
            }
        };
        if let Some(ending) = ending {
            wind_up(commands, event, &ending).await?;
        }
    }
    Ok(())
}

async fn wind_up(commands: &Commands, cause: &Recorded, ending: &Ending) -> Result<(), ProcessError> {
    let Ending { principal, by } = ending;
    let now = commands.store.now();
    let revoke = || {
        let remark = REMARK.parse().expect("the remark is short");
        access_request::Command::Revoke { by: by.clone(), remark, now }
    };
    for id in requests_of(commands, cause.tenant_id, principal).await? {
        let requests = &commands.access_requests.repository;
        let withdraw = access_request::Command::Withdraw { by: principal.clone(), now };
        send(requests, cause, (cause.tenant_id, id, "withdraw"), withdraw).await?;
        // Or it was approved before, or just now.
        send(requests, cause, (cause.tenant_id, id, "revoke"), revoke()).await?;
    }
    for (tenant_id, aggregate_type, id) in
        holds_from_before(commands.store.pool(), cause.tenant_id, principal, cause.position).await?
    {
        match aggregate_type.as_str() {
            Role::TYPE => {
                let prepare = |_| {
                    let which = Unassignment::Principal(principal.clone());
                    commands.unassigning(tenant_id, id, which, now)
                };
                send_prepared(&commands.roles.repository, cause, (tenant_id, id, "unassign"), prepare).await?;
            }
            BreakGlass::TYPE => {
                let command = break_glass::Command::Close { by: by.clone() };
                send(&commands.break_glasses.repository, cause, (tenant_id, id, "close"), command).await?;
            }
            SupportAccess::TYPE => {
                let command = support_access::Command::Revoke { by: by.clone() };
                send(&commands.support_accesses.repository, cause, (tenant_id, id, "revoke"), command).await?;
            }
            AccessRequest::TYPE => {
                send(&commands.access_requests.repository, cause, (tenant_id, id, "revoke"), revoke()).await?;
            }
            // API keys hold roles of their own.
            _ => {}
        }
    }
    Ok(())
}

/// Every request of the principal, whatever has become of it.
async fn requests_of(
    commands: &Commands,
    tenant_id: Uuid,
    principal: &Principal,
) -> Result<BTreeSet<Uuid>, ProcessError> {
    let requests = &commands.access_requests.repository;
    let found = requests.fold_all(tenant_id, &["submitted"], BTreeSet::new(), |ids, id, event| {
        if matches!(&event, access_request::Event::Submitted { by, .. } if by == principal) {
            ids.insert(id);
        }
    });
    match found.await {
        Ok(ids) => Ok(ids),
        Err(error) => passed_over(error, AccessRequest::TYPE, tenant_id).map(|()| BTreeSet::new()),
    }
}

async fn send<A>(
    repository: &Repository<A>,
    cause: &Recorded,
    place: (Uuid, Uuid, &str),
    command: A::Command,
) -> Result<(), ProcessError>
where
    A: Decide<Command: Clone + Send + Sync> + Clone + 'static,
{
    let prepare = |_| {
        let prepared = Prepared::new(command.clone());
        async { Ok(prepared) }
    };
    send_prepared(repository, cause, place, prepare).await
}

async fn send_prepared<A, P, F>(
    repository: &Repository<A>,
    cause: &Recorded,
    (tenant_id, id, verb): (Uuid, Uuid, &str),
    prepare: P,
) -> Result<(), ProcessError>
where
    A: Decide + Clone + 'static,
    P: Fn(u32) -> F + Send + Sync,
    F: Future<Output = Result<Prepared<A::Command>, ExecuteError<A::Error>>> + Send,
{
    let name = format!("{tenant_id}/{}/{id}/{verb}/{}", A::TYPE, cause.event_id);
    let order = order_of("process:principal_end", Uuid::new_v5(&NAMESPACE, name.as_bytes()), Some(cause.event_id));
    match repository.execute(tenant_id, id, &order, prepare).await {
        Ok(_) => Ok(()),
        Err(error) => passed_over(error, A::TYPE, id),
    }
}
