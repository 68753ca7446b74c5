//! What makes the tiles of a growing tree.

use super::{
    address::{LEVEL_MAX, TILE_HEIGHT, TILE_WIDTH, Tile, edge_tiles},
    nodes::{TileNodesError, TileReader, perfect_root},
};
use crate::tree::{Frontier, HASH_BYTES, Hash, SIZE_MAX};

/// The tiles at the right edge of a tree: all that is needed to add leaves, to say the root and to write the tiles that change.
///
/// Holds at most 255 hashes for each of eight levels, and the full tiles since the last `take_changed`: one for 256 leaves.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    size: u64,
    /// What was there at the last `take_changed`.
    taken_size: u64,
    /// The hashes of the last tile of each level, fewer than 256.
    edge: [Vec<Hash>; LEVEL_MAX as usize + 1],
    full: Vec<(Tile, Vec<u8>)>,
}

/// Why a tree cannot be gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError<E: std::error::Error + 'static> {
    /// A tile cannot be had.
    #[error(transparent)]
    Tiles(#[from] TileNodesError<E>),
    /// The tiles are those of another tree.
    #[error("the tiles of {size} leaves have the root {found} and not {expected}")]
    Root {
        /// How many leaves.
        size: u64,
        /// The root that was signed.
        expected: Hash,
        /// The root to which the tiles lead.
        found: Hash,
    },
}

impl Writer {
    /// One for a tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that goes on from the tree of `size` leaves with this root: reads `edge_tiles(size)`.
    ///
    /// # Errors
    /// When a tile cannot be read, or they lead to another root.
    pub fn resume<R: TileReader>(size: u64, root: Hash, reader: &R) -> Result<Self, ResumeError<R::Error>> {
        let mut writer = Self { size, taken_size: size, ..Self::default() };
        for tile in edge_tiles(size).map_err(TileNodesError::from)? {
            let bytes = reader.tile(tile).map_err(|source| TileNodesError::Read { tile, source })?;
            let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
            if hashes.len() < tile.width().into() || hashes.len() > TILE_WIDTH.into() || !rest.is_empty() {
                return Err(TileNodesError::Length { tile, bytes: bytes.len() }.into());
            }
            let hashes = hashes[..tile.width().into()].iter().copied().map(Hash);
            writer.edge[usize::from(tile.level())].extend(hashes);
        }
        let found = writer.root();
        if found != root {
            return Err(ResumeError::Root { size, expected: root, found });
        }
        Ok(writer)
    }

    /// How many leaves the tree has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf by its hash.
    ///
    /// # Panics
    /// When the tree has `SIZE_MAX` leaves.
    pub fn append(&mut self, leaf: Hash) {
        assert!(self.size < SIZE_MAX, "a tree is never full");
        self.size += 1;
        let mut hash = leaf;
        let mut hashes = self.size;
        for (level, edge) in (0..).zip(&mut self.edge) {
            edge.push(hash);
            if edge.len() < TILE_WIDTH.into() {
                return;
            }
            hashes /= u64::from(TILE_WIDTH);
            let tile = Tile::new(level, hashes - 1, TILE_WIDTH).expect("the tree is not too large");
            hash = perfect_root(edge);
            self.full.push((tile, bytes_of(edge)));
            edge.clear();
        }
    }

    /// The right edge of the tree, without its tiles.
    #[must_use]
    pub fn frontier(&self) -> Frontier {
        let mut frontier = Frontier::new();
        for (level, edge) in (0..=LEVEL_MAX).zip(&self.edge).rev() {
            for hash in edge {
                let added = frontier.append_subtree(level * TILE_HEIGHT, *hash);
                added.expect("levels go down, and no tree is too large");
            }
        }
        frontier
    }

    /// The tree's root.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.frontier().root()
    }

    /// The tiles that the tree had not, or narrower, when this was last called (or when it was resumed): those to be kept before the
    /// tree's root is signed. Full ones in the order in which they became full, then the last one of each level.
    pub fn take_changed(&mut self) -> Vec<(Tile, Vec<u8>)> {
        let mut changed = std::mem::take(&mut self.full);
        for tile in edge_tiles(self.size).expect("the tree is not too large") {
            let height = u32::from(tile.level()) * u32::from(TILE_HEIGHT);
            if self.size >> height > self.taken_size >> height {
                changed.push((tile, bytes_of(&self.edge[usize::from(tile.level())])));
            }
        }
        self.taken_size = self.size;
        changed
    }
}

fn bytes_of(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{ResumeError, Writer};
    use crate::{
        tile::{Tile, TileMap, TileNodes, changed},
        tree::{Hash, MemoryTree, SIZE_MAX, prove_inclusion, testing, verify_inclusion},
    };

    #[test]
    fn a_tree_that_is_written_in_parts_has_the_tiles_of_its_size() {
        let leaves = testing::leaves(66_100);
        let tree: MemoryTree = leaves.iter().copied().collect();
        let mut map = TileMap::default();
        let mut writer = Writer::new();
        let mut old_size = 0;
        for size in [0, 1, 2, 255, 256, 257, 600, 600, 1024, 65_535, 65_536, 65_537, 66_100] {
            leaves[old_size..size].iter().for_each(|leaf| writer.append(*leaf));
            let taken = writer.take_changed();
            let names: BTreeSet<Tile> = taken.iter().map(|(tile, _)| *tile).collect();
            assert_eq!(names, changed(old_size as u64, size as u64).collect(), "{old_size} to {size}");
            assert!(taken.iter().all(|(tile, bytes)| bytes.len() == tile.bytes()));
            map.extend(taken);
            let root = tree.root(size as u64).unwrap();
            assert_eq!((writer.size(), writer.root()), (size as u64, root));
            // Whatever is going on could as well have begun again.
            writer = Writer::resume(size as u64, root, &map).unwrap();
            old_size = size;
        }
        let nodes = TileNodes::new(&map, 66_100);
        for index in (0..66_100).step_by(501) {
            let proof = prove_inclusion(&nodes, index, 66_100).unwrap();
            assert_eq!(verify_inclusion(&leaves[index as usize], index, 66_100, &proof, &writer.root()), Ok(()));
        }
    }

    #[test]
    fn other_tiles_than_those_that_were_signed_are_noticed() {
        let mut writer = Writer::new();
        testing::leaves(700).into_iter().for_each(|leaf| writer.append(leaf));
        let root = writer.root();
        let taken = writer.take_changed();
        for changed in 0..taken.len() {
            let mut map = TileMap::default();
            map.extend(taken.iter().cloned().enumerate().map(|(at, (tile, mut bytes))| {
                bytes[7] ^= u8::from(at == changed);
                (tile, bytes)
            }));
            let resumed = Writer::resume(700, root, &map);
            // Full tiles are not read again: their hashes are in those above.
            assert_eq!(resumed.is_err(), taken[changed].0.partial());
            if let Err(error) = resumed {
                assert!(matches!(error, ResumeError::Root { size: 700, .. }));
            }
        }
        assert!(matches!(Writer::resume(700, root, &TileMap::default()), Err(ResumeError::Tiles(_))));
        assert!(matches!(Writer::resume(u64::MAX, root, &TileMap::default()), Err(ResumeError::Tiles(_))));
        assert!(matches!(Writer::resume(0, Hash([0; 32]), &TileMap::default()), Err(ResumeError::Root { .. })));
        assert!(matches!(Writer::resume(SIZE_MAX, root, &TileMap::default()), Err(ResumeError::Tiles(_))));
    }
}
