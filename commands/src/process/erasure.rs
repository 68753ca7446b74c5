//! Executes erasures when their grace period is over: looks for legal holds, begins, destroys the key, and says that it is done.
//!
//! Each step leaves the erasure where the next one goes on, whoever takes it: a begun erasure destroys the key once more, which changes
//! nothing, before it says so. While a hold is in the way it says by which, looks again now and then, and at once when the hold is released.

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate as _;
use hub_domain::erasure::{Command, Erasure, Scope};
use hub_event_store::repository::{Order, Prepared};
use hub_vault::Vault;
use uuid::Uuid;

use crate::Commands;

use super::{ProcessError, order_of};

/// Between two looks at an erasure that is deferred; its release wakes it, too.
pub(super) const LOOK_INTERVAL: TimeDelta = TimeDelta::hours(1);

/// From a request that is due to its end there are two steps.
const STEP_COUNT_MAX: usize = 3;

const ACTOR: &str = "process:erasure";

/// Namespace of this process's command ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x8e1d_54b0_2f6a_4c37_9b9e_3a70_c6d5_1f42);

/// Counts what nobody can bring back.
pub(crate) const EXECUTED: &str = "hub_erasures_executed_total";

/// How an erasure stands after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing is due any more, or not yet.
    Over,
    /// Legal holds are in the way.
    Deferred,
}

/// Does what is due at `now`.
pub(super) async fn act(
    commands: &Commands,
    tenant_id: Uuid,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Look, ProcessError> {
    for _ in 0..STEP_COUNT_MAX {
        let loaded = commands.erasures.repository.load_latest(tenant_id, id).await;
        let loaded = loaded.map_err(|error| ProcessError::Read(error.to_string()))?;
        match &loaded.state {
            Erasure::Open { scope, due_at, .. } if *due_at <= now => {
                begin(commands, tenant_id, id, *scope, now).await?;
                let after = commands.erasures.repository.load_latest(tenant_id, id).await;
                let after = after.map_err(|error| ProcessError::Read(error.to_string()))?;
                if matches!(after.state, Erasure::Open { .. }) {
                    return Ok(Look::Deferred);
                }
            }
            Erasure::Begun { scope } => {
                let vault = commands.vault.as_ref();
                let vault = vault.ok_or_else(|| ProcessError::Command("this process has no keys".to_owned()))?;
                destroy(vault, tenant_id, *scope, id, now).await?;
                complete(commands, (tenant_id, id, loaded.sequence), now).await?;
                metrics::counter!(EXECUTED).increment(1);
            }
            Erasure::Absent | Erasure::Open { .. } | Erasure::Executed | Erasure::Cancelled => return Ok(Look::Over),
        }
    }
    Ok(Look::Over)
}

type Place = (Uuid, Uuid, i64);

async fn begin(
    commands: &Commands,
    tenant_id: Uuid,
    id: Uuid,
    scope: Scope,
    now: DateTime<Utc>,
) -> Result<(), ProcessError> {
    // A look that finds the same holds leads to nothing, and that must not be the answer to the next one: each is a command of its own.
    let order = order_of(ACTOR, Uuid::now_v7(), None);
    let begun = commands.erasures.repository.execute(tenant_id, id, &order, |_| async move {
        let found = commands.in_the_way(tenant_id, scope, id).await?;
        let command = Command::Begin { holds: found.holds, now };
        Ok(Prepared { guards: found.guards, expected_counters: found.expected_counters, ..Prepared::new(command) })
    });
    begun.await.map(|_| ()).map_err(|error| ProcessError::Command(error.to_string()))
}

async fn destroy(
    vault: &Vault,
    tenant_id: Uuid,
    scope: Scope,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<(), ProcessError> {
    let destroyed = match scope {
        Scope::Subject => vault.destroy_key(tenant_id, id, now).await,
        Scope::Tenant => vault.destroy_tenant(tenant_id, now).await,
    };
    destroyed.map_err(|error| ProcessError::Command(format!("a key was not destroyed: {error}")))
}

async fn complete(
    commands: &Commands,
    (tenant_id, id, sequence): Place,
    destroyed_at: DateTime<Utc>,
) -> Result<(), ProcessError> {
    let order = completion(tenant_id, id, sequence);
    let completed = commands.erasures.repository.execute(tenant_id, id, &order, |_| async move {
        Ok(Prepared::new(Command::Complete { key_id: id, destroyed_at }))
    });
    completed.await.map(|_| ()).map_err(|error| ProcessError::Command(error.to_string()))
}

fn completion(tenant_id: Uuid, id: Uuid, sequence: i64) -> Order {
    let name = format!("{tenant_id}/{}/{id}/complete/{sequence}", Erasure::TYPE);
    order_of(ACTOR, Uuid::new_v5(&NAMESPACE, name.as_bytes()), None)
}
