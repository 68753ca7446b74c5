//! A part of a log: its leaves as they are now, and as they were sealed.

use hub_evidence::{
    note::Note,
    tree::{HASH_BYTES, Hash, leaf_hash},
};
use uuid::Uuid;

use super::{Checker, TILE_SIZE};
use crate::turn::PLATFORM_LOG;

/// The tiles of leaves of a log between two indexes.
pub(crate) const TILES: &str = "
SELECT tile_index, hashes FROM sealed_tiles
WHERE tenant_id = $1 AND level = 0 AND tile_index >= $2 AND tile_index < $3 ORDER BY tile_index";

/// What the leaves of the platform's log are made of, between two places.
pub(crate) const LEAVES_OF_PLATFORM: &str = "
SELECT platform_index, note FROM checkpoints
WHERE platform_index >= $1 AND platform_index < $2 ORDER BY platform_index";

/// Leaves of a log that follow each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) log: Uuid,
    /// So many leaves come before; whole tiles.
    pub(super) begin: i64,
    pub(super) leaf_count: i64,
}

impl Part {
    pub(super) fn end(self) -> i64 {
        self.begin + self.leaf_count
    }
}

impl Checker<'_> {
    /// Compares the leaves as they are with those that were sealed; answers the latter, and the former where those are missing.
    pub(super) async fn compare(&mut self, part: Part) -> Result<Vec<Hash>, sqlx::Error> {
        let is_platform = part.log == PLATFORM_LOG;
        let [another, missing, twice] = if is_platform {
            ["the checkpoint is not the one that was signed", "the checkpoint is missing", "there are two checkpoints"]
        } else {
            ["the event is not the one that was sealed", "the event is missing", "there are two events"]
        };
        let sealed = self.sealed(part).await?;
        let present = if is_platform { self.checkpoints(part).await? } else { self.events(part).await? };
        let mut present = present.into_iter().peekable();
        let mut leaves = Vec::with_capacity(sealed.len());
        for (position, sealed) in (part.begin + 1..).zip(sealed) {
            while present.next_if(|(place, _)| *place < position).is_some() {
                self.report.find(part.log, position - 1, twice);
            }
            let leaf = present.next_if(|(place, _)| *place == position).map(|(_, leaf)| leaf);
            match (leaf, sealed) {
                (Some(leaf), Some(hash)) if leaf == hash => {}
                (Some(_), Some(_)) => self.report.find(part.log, position, another),
                (Some(_), None) => self.report.find(part.log, position, "its hash is missing"),
                (None, _) => self.report.find(part.log, position, missing),
            }
            leaves.push(sealed.or(leaf).unwrap_or(Hash([0; HASH_BYTES])));
        }
        self.leaf_count += part.leaf_count.unsigned_abs();
        self.report.event_count += if is_platform { 0 } else { part.leaf_count.unsigned_abs() };
        Ok(leaves)
    }

    /// The hash that was sealed at each place.
    async fn sealed(&self, part: Part) -> Result<Vec<Option<Hash>>, sqlx::Error> {
        let query = sqlx::query_as(TILES).bind(part.log).bind(part.begin / TILE_SIZE);
        let query = query.bind((part.end() + TILE_SIZE - 1) / TILE_SIZE);
        let tiles: Vec<(i64, Vec<u8>)> = query.fetch_all(self.pool).await?;
        let hash = |place: i64| {
            let (_, hashes) = tiles.iter().find(|(index, _)| *index == place / TILE_SIZE)?;
            let within = usize::try_from(place % TILE_SIZE).ok()?;
            hashes.as_chunks::<HASH_BYTES>().0.get(within).copied().map(Hash)
        };
        Ok((part.begin..part.end()).map(hash).collect())
    }

    async fn events(&self, part: Part) -> Result<Vec<(i64, Hash)>, sqlx::Error> {
        let events = self.log.page_of_tenant(part.log, part.begin, part.leaf_count).await?;
        Ok(events.iter().map(|event| (event.tenant_position, Hash(event.computed_leaf_hash()))).collect())
    }

    async fn checkpoints(&self, part: Part) -> Result<Vec<(i64, Hash)>, sqlx::Error> {
        let query = sqlx::query_as(LEAVES_OF_PLATFORM).bind(part.begin).bind(part.end());
        let rows: Vec<(i64, String)> = query.fetch_all(self.pool).await?;
        let leaf = |note: &str| {
            // What is no note at all is no leaf that was ever signed.
            Note::parse(note.as_bytes()).map_or(Hash([0; HASH_BYTES]), |note| leaf_hash(note.text().as_bytes()))
        };
        Ok(rows.into_iter().map(|(index, note)| (index + 1, leaf(&note))).collect())
    }
}
