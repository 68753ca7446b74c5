//! The tree of a log as its leaves lead to it, held to what was signed and to the hashes that are kept above the leaves.

use std::collections::BTreeMap;

use hub_evidence::{tile::Writer, tree::Hash};
use sqlx::PgPool;
use uuid::Uuid;

use super::Report;

/// The tiles of a log above its leaves.
pub(crate) const UPPER: &str = "SELECT level, tile_index, hashes FROM sealed_tiles WHERE tenant_id = $1 AND level > 0";

/// A tree that grows.
pub(super) struct Tree {
    log: Uuid,
    writer: Writer,
    /// Tiles above the leaves by level and index, the widest: one for 65,536 leaves, and one more for each level.
    upper: BTreeMap<(i16, i64), Vec<u8>>,
    /// Only the first root that is another one is told: the later ones follow from it.
    differs: bool,
}

impl Tree {
    pub(super) fn new(log: Uuid) -> Self {
        Self { log, writer: Writer::new(), upper: BTreeMap::new(), differs: false }
    }

    pub(super) fn append(&mut self, leaf: Hash) {
        self.writer.append(leaf);
    }

    /// Keeps the tiles that have changed since the last time, but not the leaves.
    pub(super) fn keep(&mut self) {
        for (tile, bytes) in self.writer.take_changed() {
            if tile.level() > 0 {
                let index = i64::try_from(tile.index()).expect("no tree has more tiles than leaves");
                self.upper.insert((tile.level().into(), index), bytes);
            }
        }
    }

    /// Compares the root at this size with one that was signed or kept.
    pub(super) fn hold_to(&mut self, report: &mut Report, size: i64, root: &[u8]) {
        if !self.differs && self.writer.root().as_bytes() != root {
            self.differs = true;
            report.find(self.log, size, "the sealed hashes do not have the root that was signed");
        }
    }

    /// Compares the hashes above the leaves with those that are kept, which may be wider by now.
    pub(super) async fn compare_upper(self, pool: &PgPool, report: &mut Report) -> Result<(), sqlx::Error> {
        let rows: Vec<(i16, i64, Vec<u8>)> = sqlx::query_as(UPPER).bind(self.log).fetch_all(pool).await?;
        let kept: BTreeMap<_, _> = rows.into_iter().map(|(level, index, hashes)| ((level, index), hashes)).collect();
        for (place, expected) in &self.upper {
            if !kept.get(place).is_some_and(|hashes| hashes.starts_with(expected)) {
                let (level, index) = *place;
                let leaf_count = 256_i64.saturating_pow(u32::from(level.unsigned_abs()));
                // The first leaf below the tile.
                let position = index.saturating_mul(leaf_count.saturating_mul(256)).saturating_add(1);
                report.find(self.log, position, "a hash above the leaves is another one, or missing");
            }
        }
        Ok(())
    }
}
