//! Destroys the keys of classes of personal data whose time is over: one look a day at every tenant, a page of tenants at a time.
//!
//! That a key expires is written first, guarded by the stream of holds on the tenant; then the key is destroyed, and that is written, too.
//! What was interrupted is finished at the next look.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use cqrs_es::Aggregate as _;
use hub_domain::{
    retention_policy::{CLASSES, Command, Error, RetentionPolicy, kept_from},
    text::Key,
};
use hub_event_store::repository::{ExecuteError, Prepared};
use hub_vault::Vault;
use tokio::time::Instant;
use uuid::Uuid;

use crate::Commands;

use super::{ProcessError, order_of};

/// A page of tenants in the order of their ids.
pub(super) const TENANTS: &str = "SELECT tenant_id FROM tenant_heads WHERE tenant_id > $1 ORDER BY tenant_id LIMIT $2";

/// So many tenants are looked at in one turn.
const TENANT_COUNT_MAX: i64 = 200;

/// So many keys of one class and tenant are destroyed in one look; there is one a month.
const KEY_COUNT_MAX: i64 = 100;

/// After keys could not be reached.
const RETRY_AFTER: Duration = Duration::from_secs(60);

const ACTOR: &str = "process:retention";

/// Namespace of this process's command ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x1b7c_e3f4_6a05_4d29_8c11_95ab_40fe_7d63);

/// How far today's look has got.
#[derive(Debug, Default)]
pub(super) struct Retention {
    day: Option<NaiveDate>,
    /// The tenant before the next one; nothing when all were looked at.
    after: Option<Uuid>,
    /// The next attempt after one that failed.
    resume_at: Option<Instant>,
}

impl Retention {
    /// Looks at the next tenants, if today's look is not over.
    pub(super) async fn act(&mut self, commands: &Commands) -> Result<(), ProcessError> {
        let Some(vault) = &commands.vault else { return Ok(()) };
        if self.resume_at.is_some_and(|resume_at| Instant::now() < resume_at) {
            return Ok(());
        }
        let now = commands.store.now();
        if self.day != Some(now.date_naive()) {
            (self.day, self.after) = (Some(now.date_naive()), Some(Uuid::nil()));
        }
        let Some(after) = self.after else { return Ok(()) };
        let query = sqlx::query_scalar(TENANTS).bind(after).bind(TENANT_COUNT_MAX);
        let tenants: Vec<Uuid> = query.fetch_all(commands.store.pool()).await?;
        for tenant_id in &tenants {
            if let Err(error) = look(commands, vault, *tenant_id, now).await {
                tracing::warn!(%error, %tenant_id, "keys whose time is over could not be destroyed, trying again");
                self.resume_at = Some(Instant::now() + RETRY_AFTER);
                return Ok(());
            }
            self.after = Some(*tenant_id);
        }
        self.resume_at = None;
        if (tenants.len() as i64) < TENANT_COUNT_MAX {
            self.after = None;
        }
        Ok(())
    }
}

async fn look(commands: &Commands, vault: &Vault, tenant_id: Uuid, now: DateTime<Utc>) -> Result<(), ProcessError> {
    let policy = commands.retention_policies.repository.load_latest(tenant_id, tenant_id).await;
    let policy = policy.map_err(|error| ProcessError::Read(error.to_string()))?;
    for key_id in policy.state.expired() {
        destroy(commands, vault, tenant_id, key_id, now).await?;
    }
    for class in CLASSES {
        let before = kept_from(now, policy.state.days(class));
        let keys = vault.class_keys_before(tenant_id, class.name, before, KEY_COUNT_MAX).await.map_err(unreachable)?;
        for key in keys {
            if !expire(commands, tenant_id, class.name, (key.key_id, key.period), now).await? {
                break;
            }
            destroy(commands, vault, tenant_id, key.key_id, now).await?;
        }
    }
    Ok(())
}

/// Writes that the key expires; answers false when it does not, because the tenant is held or wants it kept longer since a moment.
async fn expire(
    commands: &Commands,
    tenant_id: Uuid,
    class: &str,
    (key_id, period): (Uuid, NaiveDate),
    now: DateTime<Utc>,
) -> Result<bool, ProcessError> {
    let name: Key = class.parse().map_err(|_| ProcessError::Read(format!("`{class}` is no class")))?;
    let order = order_of(ACTOR, command_id(tenant_id, "expire", key_id), None);
    let (name, commands) = (&name, commands);
    let expired = commands.retention_policies.repository.execute(tenant_id, tenant_id, &order, |_| async move {
        // Nobody knows whose such data is, so only a hold on the whole tenant counts.
        let (held, guard) = commands.tenant_held(tenant_id).await?;
        let command = Command::Expire { class: name.clone(), period, key_id, held, now };
        Ok(Prepared { guards: vec![guard], ..Prepared::new(command) })
    });
    match expired.await {
        Ok(_) => Ok(true),
        Err(ExecuteError::Refused(Error::Held | Error::NotDue)) => Ok(false),
        Err(error) => Err(ProcessError::Command(error.to_string())),
    }
}

async fn destroy(
    commands: &Commands,
    vault: &Vault,
    tenant_id: Uuid,
    key_id: Uuid,
    now: DateTime<Utc>,
) -> Result<(), ProcessError> {
    vault.destroy_key(tenant_id, key_id, now).await.map_err(unreachable)?;
    let order = order_of(ACTOR, command_id(tenant_id, "complete", key_id), None);
    let completed = commands.retention_policies.repository.execute(tenant_id, tenant_id, &order, |_| async move {
        Ok(Prepared::new(Command::Complete { key_id, destroyed_at: now }))
    });
    completed.await.map(|_| ()).map_err(|error| ProcessError::Command(error.to_string()))
}

fn command_id(tenant_id: Uuid, verb: &str, key_id: Uuid) -> Uuid {
    let name = format!("{tenant_id}/{}/{key_id}/{verb}", RetentionPolicy::TYPE);
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

fn unreachable(error: hub_vault::VaultError) -> ProcessError {
    ProcessError::Command(format!("the keys: {error}"))
}
