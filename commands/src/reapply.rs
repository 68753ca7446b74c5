//! Destroys again what the log says was destroyed: a restored backup brings keys back, and nothing is served before they are gone.

use chrono::{DateTime, Utc};
use hub_vault::{Vault, VaultError};
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

/// A page of the events after which a key must be gone; the types are those of the index.
pub(crate) const DESTRUCTIONS: &str = "
SELECT position, tenant_id, aggregate_id, (payload->>'key_id')::uuid AS key_id
FROM events
WHERE event_type IN ('erasure.begun', 'retention_policy.key_expired') AND position > $1
ORDER BY position
LIMIT $2";

/// So many events are in memory at once.
const PAGE_SIZE: i64 = 1_000;

/// Why not everything that was destroyed is known to be gone.
#[derive(Debug, thiserror::Error)]
pub enum ReapplyError {
    #[error("the log cannot be read: {0}")]
    Log(#[from] sqlx::Error),
    #[error("a destroyed key could not be destroyed again: {0}")]
    Vault(#[from] VaultError),
}

#[derive(Debug, FromRow)]
struct Destruction {
    position: i64,
    tenant_id: Uuid,
    aggregate_id: Uuid,
    /// Of a class; an erasure bears the id of its key.
    key_id: Option<Uuid>,
}

/// Destroys every key that the log says is destroyed and the vault still has; answers how many those were.
///
/// # Errors
/// When the log or the vault does not answer.
pub async fn reapply_erasures(pool: &PgPool, vault: &Vault, now: DateTime<Utc>) -> Result<u64, ReapplyError> {
    let (mut position, mut count) = (0, 0);
    loop {
        let query = sqlx::query_as(DESTRUCTIONS).bind(position).bind(PAGE_SIZE);
        let page: Vec<Destruction> = query.fetch_all(pool).await?;
        for one in &page {
            count += u64::from(again(vault, one, now).await?);
        }
        position = page.last().map_or(position, |last| last.position);
        if (page.len() as i64) < PAGE_SIZE {
            break;
        }
    }
    if count > 0 {
        tracing::warn!(count, "keys that were destroyed had come back, and are destroyed again");
    }
    Ok(count)
}

/// Answers whether there was a key to destroy; what is gone already is not put on the list of destroyed keys once more.
async fn again(vault: &Vault, one: &Destruction, now: DateTime<Utc>) -> Result<bool, VaultError> {
    let Destruction { tenant_id, aggregate_id, .. } = *one;
    let key_id = one.key_id.unwrap_or(aggregate_id);
    if key_id == tenant_id {
        let live = vault.tenant_key_live(tenant_id).await?;
        if live {
            vault.destroy_tenant(tenant_id, now).await?;
        }
        return Ok(live);
    }
    let live = vault.key_state(tenant_id, key_id).await?.is_some_and(|state| state.destroyed_at.is_none());
    if live {
        vault.destroy_key(tenant_id, key_id, now).await?;
    }
    Ok(live)
}
