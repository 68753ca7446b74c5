//! What of an import is in the log already, and whether it is what the source says.

use std::collections::HashMap;

use hub_event_store::{
    event::Recorded,
    import::{Identity, ImportEvent},
};
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use super::{Finding, ImportError};

/// The head of each of these streams that exists, and the event at the place given or, if that is not reached, at the head.
pub(crate) const HEADS: &str = "SELECT s.place, h.sequence, e.event_id \
     FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::bigint[]) WITH ORDINALITY AS s (tenant_id, aggregate_type, aggregate_id, last, place) \
     JOIN streams h ON h.tenant_id = s.tenant_id AND h.aggregate_type = s.aggregate_type AND h.aggregate_id = s.aggregate_id \
     JOIN events e ON e.tenant_id = s.tenant_id AND e.aggregate_type = s.aggregate_type AND e.aggregate_id = s.aggregate_id \
     AND e.sequence = least(h.sequence, s.last)";

/// The events at these places of streams.
pub(crate) const EVENTS: &str = "SELECT e.position, e.tenant_position, e.event_id, e.tenant_id, e.aggregate_type, e.aggregate_id, e.sequence, \
     e.event_type, e.event_version, e.occurred_at, e.payload::text AS payload, e.metadata::text AS metadata, e.leaf_hash \
     FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::bigint[]) WITH ORDINALITY AS s (tenant_id, aggregate_type, aggregate_id, sequence, place) \
     JOIN events e ON e.tenant_id = s.tenant_id AND e.aggregate_type = s.aggregate_type AND e.aggregate_id = s.aggregate_id \
     AND e.sequence = s.sequence \
     ORDER BY s.place";

type Key<'a> = (Uuid, &'a str, Uuid);

#[derive(Debug, FromRow)]
struct Head {
    place: i64,
    sequence: i64,
    event_id: Uuid,
}

fn key(event: &ImportEvent) -> Key<'_> {
    (event.tenant_id, &event.aggregate_type, event.aggregate_id)
}

/// The events of a page that are not in the log yet.
///
/// # Errors
/// `Conflict` when a stream of the page is in the log and somebody else has made it, or has gone on with it.
pub(super) async fn missing(
    pool: &PgPool,
    identity: &Identity,
    page: Vec<ImportEvent>,
) -> Result<Vec<ImportEvent>, ImportError> {
    let heads = heads(pool, identity, &page).await?;
    let there = |event: &ImportEvent| heads.get(&command_key(event)).is_some_and(|head| event.sequence <= *head);
    Ok(page.into_iter().filter(|event| !there(event)).collect())
}

fn command_key(event: &ImportEvent) -> (Uuid, String, Uuid) {
    (event.tenant_id, event.aggregate_type.clone(), event.aggregate_id)
}

async fn heads(
    pool: &PgPool,
    identity: &Identity,
    page: &[ImportEvent],
) -> Result<HashMap<(Uuid, String, Uuid), i64>, ImportError> {
    let mut last: HashMap<Key<'_>, &ImportEvent> = HashMap::new();
    for event in page {
        last.insert(key(event), event);
    }
    let streams: Vec<&ImportEvent> = last.into_values().collect();
    // Planned anew each time: a plan that was made for an empty log would stay for the whole import.
    let rows: Vec<Head> = sqlx::query_as(HEADS)
        .bind(streams.iter().map(|event| event.tenant_id).collect::<Vec<_>>())
        .bind(streams.iter().map(|event| event.aggregate_type.as_str()).collect::<Vec<_>>())
        .bind(streams.iter().map(|event| event.aggregate_id).collect::<Vec<_>>())
        .bind(streams.iter().map(|event| event.sequence).collect::<Vec<_>>())
        .persistent(false)
        .fetch_all(pool)
        .await
        .map_err(ImportError::Target)?;
    let mut heads = HashMap::with_capacity(rows.len());
    for row in rows {
        let place = usize::try_from(row.place - 1).expect("places begin at 1");
        let event = streams[place];
        let at = row.sequence.min(event.sequence);
        if !identity.made(row.event_id, identity.command_id(event), at) {
            return Err(ImportError::Conflict {
                tenant_id: event.tenant_id,
                aggregate_type: event.aggregate_type.clone(),
                aggregate_id: event.aggregate_id,
                sequence: at,
            });
        }
        heads.insert(command_key(event), row.sequence);
    }
    Ok(heads)
}

/// Compares a page of the source with the log, event by event.
pub(super) async fn compare(
    pool: &PgPool,
    identity: &Identity,
    page: &[ImportEvent],
    mut found: impl FnMut(Finding),
) -> Result<(), ImportError> {
    let recorded: Vec<Recorded> = sqlx::query_as(EVENTS)
        .bind(page.iter().map(|event| event.tenant_id).collect::<Vec<_>>())
        .bind(page.iter().map(|event| event.aggregate_type.as_str()).collect::<Vec<_>>())
        .bind(page.iter().map(|event| event.aggregate_id).collect::<Vec<_>>())
        .bind(page.iter().map(|event| event.sequence).collect::<Vec<_>>())
        .persistent(false)
        .fetch_all(pool)
        .await
        .map_err(ImportError::Target)?;
    let mut recorded = recorded.into_iter().peekable();
    for event in page {
        let here = recorded.next_if(|one| {
            (one.tenant_id, one.aggregate_type.as_str(), one.aggregate_id, one.sequence)
                == (event.tenant_id, event.aggregate_type.as_str(), event.aggregate_id, event.sequence)
        });
        if let Some(what) = difference(identity, event, here.as_ref()) {
            found(Finding {
                aggregate_type: event.aggregate_type.clone(),
                aggregate_id: event.aggregate_id,
                sequence: event.sequence,
                what,
            });
        }
    }
    Ok(())
}

/// What is wrong with the recorded event; nothing when it has the bytes that the source leads to, and their hash.
fn difference(identity: &Identity, event: &ImportEvent, recorded: Option<&Recorded>) -> Option<String> {
    let Some(recorded) = recorded else { return Some("it is not in the log".to_owned()) };
    let derived = identity.derive(event, identity.command_id(event));
    let hash_is_right = recorded.leaf_hash == derived.leaf_hash;
    if hash_is_right && recorded.computed_leaf_hash() == derived.leaf_hash {
        return None;
    }
    let parts = [
        ("event type", recorded.event_type == event.event_type),
        ("event version", recorded.event_version == event.event_version),
        ("payload", recorded.payload.get() == event.payload.get()),
        ("metadata", recorded.metadata.get() == derived.metadata),
        ("time", recorded.occurred_at == event.occurred_at),
        ("event id", recorded.event_id == derived.event_id),
        ("leaf hash", hash_is_right),
    ];
    let differing: Vec<_> = parts.iter().filter(|(_, same)| !same).map(|(name, _)| *name).collect();
    Some(format!("at position {} it differs in its {}", recorded.position, differing.join(", ")))
}
