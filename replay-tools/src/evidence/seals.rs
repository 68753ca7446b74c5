//! Reading what the sealer keeps: checkpoints, the hashes of the trees, and published keys.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hub_evidence::{
    checkpoint::Checkpoint,
    note::Note,
    tile::{TILE_WIDTH, Tile, TileMap, TileNodes, needed},
    tree::{HASH_BYTES, Hash, Node, consistency_nodes, inclusion_nodes, prove_consistency, prove_inclusion},
};
use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::EvidenceError;

/// What stands for the platform's own log of checkpoints.
pub const PLATFORM_LOG: Uuid = Uuid::nil();

/// What is not sealed after so long is not sealed by anybody.
pub const WAIT_MAX: Duration = Duration::from_secs(10);

/// Between two looks for it.
const PAUSE: Duration = Duration::from_millis(100);

/// The checkpoint of a log at this size, or the first one after it.
pub(crate) const CHECKPOINT_FROM: &str =
    "SELECT size, note, platform_index FROM checkpoints WHERE tenant_id = $1 AND size >= $2 ORDER BY size LIMIT 1";

/// The last checkpoint of a log at this size or before it.
pub(crate) const CHECKPOINT_BEFORE: &str =
    "SELECT size, note, platform_index FROM checkpoints WHERE tenant_id = $1 AND size <= $2 ORDER BY size DESC LIMIT 1";

/// The last checkpoint of a log.
pub(crate) const CHECKPOINT_LAST: &str =
    "SELECT size, note, platform_index FROM checkpoints WHERE tenant_id = $1 ORDER BY size DESC LIMIT 1";

/// Tiles of a log by level and index.
pub(crate) const TILES: &str = "
SELECT t.level, t.tile_index, t.hashes
FROM unnest($2::smallint[], $3::bigint[]) AS wanted (level, tile_index)
JOIN sealed_tiles t ON t.tenant_id = $1 AND t.level = wanted.level AND t.tile_index = wanted.tile_index";

/// The place of a tenant's last event.
pub(crate) const HEAD: &str = "SELECT max(tenant_position) FROM events WHERE tenant_id = $1";

/// The place of the first event from this moment on, and of the last one before it. Times are no order, so there may be others between.
pub(crate) const FIRST_AT: &str = "SELECT min(tenant_position) FROM events WHERE tenant_id = $1 AND occurred_at >= $2";
pub(crate) const LAST_BEFORE: &str =
    "SELECT max(tenant_position) FROM events WHERE tenant_id = $1 AND occurred_at < $2";

pub(crate) const KEYS: &str =
    "SELECT verifier_key, added_at, retired_at FROM evidence_keys ORDER BY added_at, verifier_key LIMIT 64";

/// A public key that the platform stands for.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct PublishedKey {
    /// `<name>+<id>+<base64>`.
    pub verifier_key: String,
    /// Since when it signs.
    pub added_at: DateTime<Utc>,
    /// Since when it does not any more.
    pub retired_at: Option<DateTime<Utc>>,
}

/// The keys that the platform has published, the oldest first.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn keys(pool: &PgPool) -> Result<Vec<PublishedKey>, sqlx::Error> {
    sqlx::query_as(KEYS).fetch_all(pool).await
}

/// A checkpoint as it is kept.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Kept {
    size: i64,
    pub(super) note: String,
    platform_index: Option<i64>,
}

impl Kept {
    pub(super) fn size(&self) -> u64 {
        u64::try_from(self.size).unwrap_or_default()
    }

    pub(super) fn read(&self) -> Result<(Note, Checkpoint), EvidenceError> {
        let note = Note::parse(self.note.as_bytes()).map_err(unusable)?;
        let checkpoint = Checkpoint::parse(note.text()).map_err(unusable)?;
        Ok((note, checkpoint))
    }

    /// Its place in the platform's log.
    pub(super) fn platform_index(&self) -> Result<u64, EvidenceError> {
        let index = self.platform_index.and_then(|index| u64::try_from(index).ok());
        index.ok_or_else(|| unusable("a checkpoint has no place in the platform's log"))
    }
}

/// The seals of logs.
#[derive(Debug)]
pub(super) struct Seals<'a>(pub(super) &'a PgPool);

pub(super) fn unusable(reason: impl std::fmt::Display) -> EvidenceError {
    EvidenceError::Seals(reason.to_string())
}

pub(super) fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

impl Seals<'_> {
    pub(super) async fn last(&self, log: Uuid) -> Result<Option<Kept>, sqlx::Error> {
        sqlx::query_as(CHECKPOINT_LAST).bind(log).fetch_optional(self.0).await
    }

    pub(super) async fn from(&self, log: Uuid, size: u64) -> Result<Option<Kept>, sqlx::Error> {
        sqlx::query_as(CHECKPOINT_FROM).bind(log).bind(signed(size)).fetch_optional(self.0).await
    }

    pub(super) async fn before(&self, log: Uuid, size: u64) -> Result<Option<Kept>, sqlx::Error> {
        sqlx::query_as(CHECKPOINT_BEFORE).bind(log).bind(signed(size)).fetch_optional(self.0).await
    }

    /// The last checkpoint, as soon as it covers so many events.
    pub(super) async fn covering(&self, log: Uuid, to: u64, wait: Duration) -> Result<Kept, EvidenceError> {
        let end = Instant::now() + wait;
        loop {
            let last = self.last(log).await?;
            let sealed = last.as_ref().map_or(0, Kept::size);
            match last {
                Some(last) if sealed >= to => return Ok(last),
                _ if Instant::now() >= end => return Err(EvidenceError::NotSealed { to, sealed }),
                _ => sleep(PAUSE).await,
            }
        }
    }

    /// How many events the tenant has.
    pub(super) async fn head(&self, tenant_id: Uuid) -> Result<u64, sqlx::Error> {
        place(sqlx::query_scalar(HEAD).bind(tenant_id).fetch_one(self.0).await)
    }

    pub(super) async fn first_at(&self, tenant_id: Uuid, time: DateTime<Utc>) -> Result<u64, sqlx::Error> {
        place(sqlx::query_scalar(FIRST_AT).bind(tenant_id).bind(time).fetch_one(self.0).await)
    }

    pub(super) async fn last_before(&self, tenant_id: Uuid, time: DateTime<Utc>) -> Result<u64, sqlx::Error> {
        place(sqlx::query_scalar(LAST_BEFORE).bind(tenant_id).bind(time).fetch_one(self.0).await)
    }

    async fn tiles(&self, log: Uuid, tiles: impl Iterator<Item = (u8, u64)>) -> Result<TileMap, sqlx::Error> {
        let (levels, indexes): (Vec<i16>, Vec<i64>) =
            tiles.map(|(level, index)| (i16::from(level), signed(index))).unzip();
        let rows: Vec<(i16, i64, Vec<u8>)> =
            sqlx::query_as(TILES).bind(log).bind(levels).bind(indexes).fetch_all(self.0).await?;
        let mut map = TileMap::default();
        for (level, index, hashes) in rows {
            if let (Ok(level), Ok(index)) = (u8::try_from(level), u64::try_from(index)) {
                map.insert(level, index, hashes);
            }
        }
        Ok(map)
    }

    /// Where the hashes of these nodes are.
    pub(super) async fn nodes(
        &self,
        log: Uuid,
        nodes: &[Node],
        size: u64,
    ) -> Result<TileNodes<TileMap>, EvidenceError> {
        let tiles = needed(nodes, size).map_err(unusable)?;
        let map = self.tiles(log, tiles.iter().map(|tile| (tile.level(), tile.index()))).await?;
        Ok(TileNodes::new(map, size))
    }

    /// The sealed hashes of the events with these indexes, from 0.
    pub(super) async fn leaves(&self, log: Uuid, begin: u64, end: u64, size: u64) -> Result<Vec<Hash>, EvidenceError> {
        let width = u64::from(TILE_WIDTH);
        let wanted = begin / width..end.div_ceil(width);
        let map = self.tiles(log, wanted.clone().map(|index| (0, index))).await?;
        let mut leaves = Vec::new();
        for index in wanted {
            let sealed = size.saturating_sub(index * width).min(width);
            let tile = Tile::new(0, index, u16::try_from(sealed).unwrap_or(TILE_WIDTH)).map_err(unusable)?;
            let bytes = hub_evidence::tile::TileReader::tile(&map, tile);
            let bytes = bytes.map_err(|_| unusable(format!("the hashes from {} on are gone", index * width + 1)))?;
            let (hashes, _) = bytes.as_chunks::<HASH_BYTES>();
            let places = (index * width..).zip(hashes);
            leaves.extend(places.filter(|(place, _)| (begin..end).contains(place)).map(|(_, hash)| Hash(*hash)));
        }
        if leaves.len() as u64 == end - begin { Ok(leaves) } else { Err(unusable("hashes are missing")) }
    }

    pub(super) async fn inclusion(&self, log: Uuid, index: u64, size: u64) -> Result<Vec<Hash>, EvidenceError> {
        let nodes = inclusion_nodes(index, size).map_err(unusable)?;
        let nodes = self.nodes(log, &nodes, size).await?;
        prove_inclusion(&nodes, index, size).map_err(unusable)
    }

    pub(super) async fn consistency(&self, log: Uuid, old_size: u64, size: u64) -> Result<Vec<Hash>, EvidenceError> {
        let nodes = consistency_nodes(old_size, size).map_err(unusable)?;
        let nodes = self.nodes(log, &nodes, size).await?;
        prove_consistency(&nodes, old_size, size).map_err(unusable)
    }
}

fn place(found: Result<Option<i64>, sqlx::Error>) -> Result<u64, sqlx::Error> {
    Ok(found?.and_then(|place| u64::try_from(place).ok()).unwrap_or_default())
}
