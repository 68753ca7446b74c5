//! One event with the proof that it is in its tenant's log.

use hub_event_store::log::Log;
use hub_evidence::{proof::EntryProof, tree::Hash};
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    EvidenceError, Fault, differs, entry,
    seals::{Seals, WAIT_MAX, signed, unusable},
};

/// The proof of the event at `position` of the tenant's log, from 1, in the last checkpoint, with the event itself.
///
/// # Errors
/// When there is no such event, it is not sealed or not the one that was, or PostgreSQL does not answer.
pub async fn prove(pool: &PgPool, tenant_id: Uuid, position: u64) -> Result<EntryProof, EvidenceError> {
    let seals = Seals(pool);
    let head = seals.head(tenant_id).await?;
    let sealed = seals.last(tenant_id).await?.map_or(0, |kept| kept.size());
    let Some(index) = position.checked_sub(1).filter(|index| *index < head.max(sealed)) else {
        return Err(EvidenceError::Range(format!("there is no event {position}: the tenant has {head}")));
    };
    let kept = seals.covering(tenant_id, position, WAIT_MAX).await?;
    let events = Log::new(pool.clone()).page_of_tenant(tenant_id, signed(index), 1).await?;
    let event = events.first().filter(|event| event.tenant_position == signed(position));
    let event = event.ok_or(EvidenceError::Fault(Fault::Missing(position)))?;
    let entry = entry(event);
    let leaves: Vec<Hash> = seals.leaves(tenant_id, index, position, kept.size()).await?;
    if leaves.first() != Some(&entry.leaf_hash()) {
        return Err(EvidenceError::Fault(differs(&entry)));
    }
    let line = entry.to_line().map_err(|source| EvidenceError::Entry { position, source })?;
    let hashes = seals.inclusion(tenant_id, index, kept.size()).await?;
    let (note, _) = kept.read().map_err(unusable)?;
    Ok(EntryProof { extra: Some(line.into_bytes()), index, hashes, note })
}
