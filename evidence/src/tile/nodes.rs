//! The hashes of a tree, read from its tiles.

use std::collections::{BTreeMap, BTreeSet};

use super::address::{TILE_BYTES_MAX, TILE_HEIGHT, TILE_WIDTH, Tile, TileError};
use crate::tree::{HASH_BYTES, Hash, Node, Nodes, node_hash};

/// Somewhere to read tiles.
pub trait TileReader {
    /// Why a tile cannot be had.
    type Error: std::error::Error + 'static;

    /// The bytes of `tile`, or of a later and wider version of it, of which it is the beginning.
    ///
    /// # Errors
    /// When it cannot be had.
    fn tile(&self, tile: Tile) -> Result<Vec<u8>, Self::Error>;
}

/// Why a hash cannot be had from tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TileNodesError<E: std::error::Error + 'static> {
    /// The tree has no such node.
    #[error(transparent)]
    Tile(#[from] TileError),
    /// The tile cannot be had.
    #[error("cannot read {tile}: {source}")]
    Read {
        /// The tile.
        tile: Tile,
        /// Why.
        source: E,
    },
    /// The tile is too short, too long, or ends within a hash.
    #[error("{tile} has {bytes} bytes")]
    Length {
        /// The tile.
        tile: Tile,
        /// How many bytes were read.
        bytes: usize,
    },
}

/// The nodes of the tree of the first `size` leaves, by its tiles. A tile is read for each node: let the reader keep what is slow to read.
#[derive(Debug, Clone)]
pub struct TileNodes<R> {
    reader: R,
    size: u64,
}

impl<R: TileReader> TileNodes<R> {
    /// Those of a tree of this size.
    pub fn new(reader: R, size: u64) -> Self {
        Self { reader, size }
    }

    fn hashes(&self, tile: Tile) -> Result<Vec<Hash>, TileNodesError<R::Error>> {
        let bytes = self.reader.tile(tile).map_err(|source| TileNodesError::Read { tile, source })?;
        let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
        if bytes.len() < tile.bytes() || bytes.len() > TILE_BYTES_MAX || !rest.is_empty() {
            return Err(TileNodesError::Length { tile, bytes: bytes.len() });
        }
        Ok(hashes[..tile.width().into()].iter().copied().map(Hash).collect())
    }
}

impl<R: TileReader> Nodes for TileNodes<R> {
    type Error = TileNodesError<R::Error>;

    fn hash(&self, node: Node) -> Result<Hash, Self::Error> {
        let tile = Tile::holding(node, self.size)?;
        let hashes = self.hashes(tile)?;
        let height = node.level % TILE_HEIGHT;
        let begin = usize::try_from((node.index << height) % u64::from(TILE_WIDTH)).expect("255 at most");
        Ok(perfect_root(&hashes[begin..begin + (1 << height)]))
    }
}

/// The root of a power of two of hashes.
pub(super) fn perfect_root(hashes: &[Hash]) -> Hash {
    let mut level = hashes.to_vec();
    while level.len() > 1 {
        level = level.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    level[0]
}

/// The tiles that must be read for the hashes of `nodes` in the tree of the first `size` leaves, each once and in order.
///
/// With `inclusion_nodes` and its like, whoever reads tiles over a network or from a database gets them all at once.
///
/// # Errors
/// When a node is not in the tree.
pub fn needed(nodes: &[Node], size: u64) -> Result<BTreeSet<Tile>, TileError> {
    nodes.iter().map(|node| Tile::holding(*node, size)).collect()
}

/// Tiles in memory, of each the widest that was put in.
#[derive(Debug, Clone, Default)]
pub struct TileMap {
    tiles: BTreeMap<(u8, u64), Vec<u8>>,
}

/// A tile that is not at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is missing")]
pub struct MissingTile;

impl TileMap {
    /// Puts a tile in; a narrower version than the one that is there changes nothing.
    pub fn insert(&mut self, level: u8, index: u64, bytes: Vec<u8>) {
        let kept = self.tiles.entry((level, index)).or_default();
        if bytes.len() > kept.len() {
            *kept = bytes;
        }
    }
}

impl Extend<(Tile, Vec<u8>)> for TileMap {
    fn extend<I: IntoIterator<Item = (Tile, Vec<u8>)>>(&mut self, tiles: I) {
        tiles.into_iter().for_each(|(tile, bytes)| self.insert(tile.level(), tile.index(), bytes));
    }
}

impl TileReader for TileMap {
    type Error = MissingTile;

    fn tile(&self, tile: Tile) -> Result<Vec<u8>, MissingTile> {
        self.tiles.get(&(tile.level(), tile.index())).cloned().ok_or(MissingTile)
    }
}

impl<R: TileReader> TileReader for &R {
    type Error = R::Error;

    fn tile(&self, tile: Tile) -> Result<Vec<u8>, R::Error> {
        (*self).tile(tile)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{MissingTile, TileMap, TileNodes, TileNodesError, TileReader, needed};
    use crate::{
        tile::{Tile, tiles},
        tree::{
            HASH_BYTES, MemoryTree, Node, Nodes, consistency_nodes, inclusion_nodes, prove_consistency,
            prove_inclusion, testing,
        },
    };

    /// The tiles of a tree by their definition: each hash is that of a node.
    fn tiles_of(tree: &MemoryTree) -> TileMap {
        let mut map = TileMap::default();
        map.extend(tiles(tree.size()).map(|tile| {
            let first = tile.index() * 256;
            let nodes = (first..first + u64::from(tile.width())).map(|index| Node { level: tile.level() * 8, index });
            (tile, nodes.flat_map(|node| tree.hash(node).unwrap().0).collect())
        }));
        map
    }

    #[test]
    fn proofs_from_tiles_are_those_of_the_tree() {
        let tree: MemoryTree = testing::leaves(66_000).into_iter().collect();
        let map = tiles_of(&tree);
        for size in [1, 2, 255, 256, 257, 511, 513, 5_000, 65_535, 65_536, 65_537, 66_000] {
            let nodes = TileNodes::new(&map, size);
            for index in (0..size).filter(|index| index % 4999 == 0 || *index + 3 > size) {
                assert_eq!(prove_inclusion(&nodes, index, size).unwrap(), prove_inclusion(&tree, index, size).unwrap());
                let proof = prove_consistency(&nodes, index, size).unwrap();
                assert_eq!(proof, prove_consistency(&tree, index, size).unwrap());
            }
        }
    }

    #[test]
    fn few_tiles_are_enough_for_a_proof() {
        let tree: MemoryTree = testing::leaves(66_000).into_iter().collect();
        let map = tiles_of(&tree);
        for (index, size) in [(0, 66_000), (65_999, 66_000), (300, 65_537)] {
            for nodes in [inclusion_nodes(index, size).unwrap(), consistency_nodes(index, size).unwrap()] {
                let needed: BTreeSet<Tile> = needed(&nodes, size).unwrap();
                assert!(needed.len() <= 6, "{needed:?}");
                let mut fetched = TileMap::default();
                fetched.extend(needed.into_iter().map(|tile| (tile, map.tile(tile).unwrap())));
                for node in nodes {
                    assert_eq!(TileNodes::new(&fetched, size).hash(node).unwrap(), tree.hash(node).unwrap());
                }
            }
        }
    }

    #[test]
    fn a_tile_of_another_length_is_refused() {
        let tree: MemoryTree = testing::leaves(20).into_iter().collect();
        let bytes = tiles_of(&tree).tile(Tile::new(0, 0, 20).unwrap()).unwrap();
        let node = Node { level: 2, index: 4 };
        for length in [0, 1, 19 * HASH_BYTES, 20 * HASH_BYTES - 1] {
            let mut map = TileMap::default();
            map.tiles.insert((0, 0), bytes[..length].to_vec());
            let tile = Tile::new(0, 0, 20).unwrap();
            let refused = TileNodes::new(&map, 20).hash(node);
            assert_eq!(refused, Err(TileNodesError::Length { tile, bytes: length }));
        }
        for length in [20 * HASH_BYTES + 1, 257 * HASH_BYTES] {
            let mut map = TileMap::default();
            map.insert(0, 0, bytes.iter().copied().cycle().take(length).collect());
            assert!(matches!(TileNodes::new(&map, 20).hash(node), Err(TileNodesError::Length { .. })));
        }
        let tile = Tile::new(0, 0, 20).unwrap();
        let missing = TileNodes::new(TileMap::default(), 20).hash(node);
        assert_eq!(missing, Err(TileNodesError::Read { tile, source: MissingTile }));
    }
}
