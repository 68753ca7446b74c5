//! Which tiles there are, and what they are called.

use std::{fmt, str::FromStr};

use crate::tree::{HASH_BYTES, Node, SIZE_MAX};

/// Levels of the tree that a tile spans.
pub const TILE_HEIGHT: u8 = 8;
/// Hashes of a full tile.
pub const TILE_WIDTH: u16 = 1 << TILE_HEIGHT;
/// Bytes of a full tile.
pub const TILE_BYTES_MAX: usize = TILE_WIDTH as usize * HASH_BYTES;
/// Highest level of a tile in a tree of at most `SIZE_MAX` leaves.
pub const LEVEL_MAX: u8 = 7;

/// Longest path of a tile: that of index 2^63 - 1 at level 7 with a width of three digits.
const PATH_BYTES_MAX: usize = 50;

/// A tile's place and width. Its text is its path below the log's prefix: `tile/0/x001/x234/067`, with `.p/112` when it is partial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    level: u8,
    index: u64,
    width: u16,
}

/// Why there is no such tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// No tree has it.
    #[error("there is no tile {index} of width {width} at level {level}")]
    Address {
        /// Level of the tile.
        level: u8,
        /// Place in its level.
        index: u64,
        /// Hashes in it.
        width: u16,
    },
    /// It is not in a tree of this size.
    #[error("a tree of {size} leaves has no tile with node {} of level {}", .node.index, .node.level)]
    Outside {
        /// The node that was looked for.
        node: Node,
        /// How many leaves the tree has.
        size: u64,
    },
}

/// Why a text is no path of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a tile")]
pub struct ParseTileError;

impl Tile {
    /// The tile `index` of `level` with its first `width` hashes, 1 to 256.
    ///
    /// # Errors
    /// When no tree has such a tile.
    pub fn new(level: u8, index: u64, width: u16) -> Result<Self, TileError> {
        let error = TileError::Address { level, index, width };
        if level > LEVEL_MAX || width == 0 || width > TILE_WIDTH {
            return Err(error);
        }
        let hashes = index.checked_mul(TILE_WIDTH.into()).and_then(|before| before.checked_add(width.into()));
        match hashes.and_then(|hashes| hashes.checked_mul(1 << bits(level))) {
            Some(leaves) if leaves <= SIZE_MAX => Ok(Self { level, index, width }),
            Some(_) | None => Err(error),
        }
    }

    /// The tile of the tree of the first `size` leaves from which the hash of `node` follows.
    ///
    /// # Errors
    /// When not all leaves below the node are in the tree.
    pub fn holding(node: Node, size: u64) -> Result<Self, TileError> {
        let error = TileError::Outside { node, size };
        let leaves =
            node.index.checked_add(1).and_then(|nodes| nodes.checked_mul(1_u64.checked_shl(node.level.into())?));
        if leaves.is_none_or(|leaves| leaves > size) || size > SIZE_MAX {
            return Err(error);
        }
        let level = node.level / TILE_HEIGHT;
        let index = node.index >> (TILE_HEIGHT - node.level % TILE_HEIGHT);
        let width = (hashes_at(level, size) - index * u64::from(TILE_WIDTH)).min(TILE_WIDTH.into());
        Ok(Self { level, index, width: u16::try_from(width).expect("256 at most") })
    }

    /// Level, 0 for leaves.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Place in its level, from 0.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes it has, 1 to 256.
    #[must_use]
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Whether it may still grow.
    #[must_use]
    pub fn partial(&self) -> bool {
        self.width < TILE_WIDTH
    }

    /// How many bytes it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        usize::from(self.width) * HASH_BYTES
    }
}

/// Height of a tile's hashes in the tree.
fn bits(level: u8) -> u32 {
    u32::from(level) * u32::from(TILE_HEIGHT)
}

/// How many hashes all tiles of a level have together.
fn hashes_at(level: u8, size: u64) -> u64 {
    size.checked_shr(bits(level)).unwrap_or(0)
}

/// All tiles of the tree of the first `size` leaves, level by level, those that are full and the last one that is not.
pub fn tiles(size: u64) -> impl Iterator<Item = Tile> {
    changed(0, size)
}

/// The tiles of the tree of `new_size` leaves that the tree of `old_size` does not have, or has narrower. None if it shrinks.
pub fn changed(old_size: u64, new_size: u64) -> impl Iterator<Item = Tile> {
    let width = u64::from(TILE_WIDTH);
    (0..=LEVEL_MAX).flat_map(move |level| {
        let (old, new) = (hashes_at(level, old_size), hashes_at(level, new_size));
        let first = old / width;
        let last = if new > old { new.div_ceil(width) } else { first };
        (first..last).map(move |index| {
            let width = (new - index * width).min(width);
            Tile { level, index, width: u16::try_from(width).expect("256 at most") }
        })
    })
}

/// The tiles of the tree of the first `size` leaves that are not full, 8 at most, from the lowest level up: all that is needed to go on.
///
/// # Errors
/// When no tree is so large.
pub fn edge_tiles(size: u64) -> Result<Vec<Tile>, TileError> {
    let width = u64::from(TILE_WIDTH);
    let mut tiles = Vec::new();
    for level in 0..=LEVEL_MAX {
        let hashes = hashes_at(level, size);
        let partial = u16::try_from(hashes % width).expect("255 at most");
        if partial > 0 {
            tiles.push(Tile::new(level, hashes / width, partial)?);
        }
    }
    Ok(tiles)
}

impl fmt::Display for Tile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "tile/{}/", self.level)?;
        let mut divisor = 1;
        while self.index / divisor >= 1000 {
            divisor *= 1000;
        }
        while divisor > 1 {
            write!(formatter, "x{:03}/", self.index / divisor % 1000)?;
            divisor /= 1000;
        }
        write!(formatter, "{:03}", self.index % 1000)?;
        if self.partial() {
            write!(formatter, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

impl FromStr for Tile {
    type Err = ParseTileError;

    fn from_str(path: &str) -> Result<Self, ParseTileError> {
        if path.len() > PATH_BYTES_MAX {
            return Err(ParseTileError);
        }
        let rest = path.strip_prefix("tile/").ok_or(ParseTileError)?;
        let (level, rest) = rest.split_once('/').ok_or(ParseTileError)?;
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, Some(width)),
            None => (rest, None),
        };
        let width = width.map_or(Ok(TILE_WIDTH), |width| width.parse().map_err(|_| ParseTileError))?;
        let mut number = 0_u64;
        for group in index.split('/') {
            let digits = group.trim_start_matches('x').parse::<u64>().map_err(|_| ParseTileError)?;
            number = number.checked_mul(1000).and_then(|number| number.checked_add(digits)).ok_or(ParseTileError)?;
        }
        let level = level.parse().map_err(|_| ParseTileError)?;
        let tile = Self::new(level, number, width).map_err(|_| ParseTileError)?;
        // One spelling for each tile: whatever was read leniently above is not what it would be written as.
        if tile.to_string() == path { Ok(tile) } else { Err(ParseTileError) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{PATH_BYTES_MAX, ParseTileError, Tile, TileError, changed, edge_tiles, tiles};
    use crate::tree::{Node, SIZE_MAX};

    #[test]
    fn paths_are_those_of_the_specification() {
        for (level, index, width, path) in [
            (0, 1_234_067, 256, "tile/0/x001/x234/067"),
            (0, 0, 256, "tile/0/000"),
            (0, 273, 112, "tile/0/273.p/112"),
            (1, 1, 17, "tile/1/001.p/17"),
            (2, 0, 1, "tile/2/000.p/1"),
            (0, 1000, 256, "tile/0/x001/000"),
            (3, 999, 255, "tile/3/999.p/255"),
        ] {
            let tile = Tile::new(level, index, width).unwrap();
            assert_eq!(tile.to_string(), path);
            assert_eq!(path.parse(), Ok(tile));
        }
    }

    #[test]
    fn other_spellings_are_no_paths() {
        for path in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile//000",
            "/tile/0/000",
            "tile/0/000/",
            "tile/00/000",
            "tile/-1/000",
            "tile/+1/000",
            "tile/8/000",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000",
            "tile/0/x000/000",
            "tile/0/001/000",
            "tile/0/xx01/000",
            "tile/0/x001/x000",
            "tile/0/x1/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/257",
            "tile/0/000.p/08",
            "tile/0/000.p/",
            "tile/0/000.p/-1",
            "tile/0/000.p/+8",
            "tile/0/000.p/1/2",
            "tile/entries/000",
            "tile/0/+01",
            "tile/0/ 01",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
            "tile/0/x036/x028/x797/x018/x963/968.p/1",
        ] {
            assert_eq!(path.parse::<Tile>(), Err(ParseTileError), "{path}");
        }
        assert_eq!("tile/0/x".repeat(1000).parse::<Tile>(), Err(ParseTileError));
    }

    #[test]
    fn the_last_tile_of_the_largest_tree_has_a_path() {
        let last = Tile::holding(Node { level: 0, index: SIZE_MAX - 1 }, SIZE_MAX).unwrap();
        let path = last.to_string();
        assert_eq!(path, "tile/0/x036/x028/x797/x018/x963/967.p/255");
        assert!(path.len() <= PATH_BYTES_MAX);
        assert_eq!(path.parse(), Ok(last));
        assert_eq!(Tile::new(7, 0, 127).unwrap().to_string(), "tile/7/000.p/127");
        for (level, index, width) in [(7, 0, 128), (7, 1, 1), (8, 0, 1), (0, u64::MAX, 1), (0, 0, 0), (0, 0, 257)] {
            assert_eq!(Tile::new(level, index, width), Err(TileError::Address { level, index, width }));
        }
    }

    #[test]
    fn a_tree_of_70000_leaves_has_the_tiles_of_the_specification() {
        let mut full = BTreeMap::<u8, u32>::new();
        let mut partial = Vec::new();
        for tile in tiles(70_000) {
            if tile.partial() {
                partial.push(tile.to_string());
            } else {
                *full.entry(tile.level()).or_default() += 1;
            }
        }
        assert_eq!(full, BTreeMap::from([(0, 273), (1, 1)]));
        assert_eq!(partial, ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
        let edge: Vec<String> = edge_tiles(70_000).unwrap().iter().map(Tile::to_string).collect();
        assert_eq!(edge, partial);
        let of_256: Vec<String> = tiles(256).map(|tile| tile.to_string()).collect();
        assert_eq!(of_256, ["tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(tiles(0).count(), 0);
    }

    #[test]
    fn what_changes_is_what_the_older_tree_has_not() {
        let sizes = [0, 1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 70_000];
        for old_size in sizes {
            let old: BTreeSet<Tile> = tiles(old_size).collect();
            for new_size in sizes.into_iter().filter(|size| *size >= old_size) {
                let expected: BTreeSet<Tile> = tiles(new_size).filter(|tile| !old.contains(tile)).collect();
                assert_eq!(changed(old_size, new_size).collect::<BTreeSet<_>>(), expected, "{old_size} to {new_size}");
            }
        }
        assert_eq!(changed(70_000, 300).count(), 0);
        assert_eq!(changed(SIZE_MAX - 1, SIZE_MAX).count(), 1);
    }

    #[test]
    fn a_node_is_found_in_the_tile_of_its_level() {
        for (level, index, path) in [
            (0, 0, "tile/0/000"),
            (0, 69_999, "tile/0/273.p/112"),
            (7, 1, "tile/0/000"),
            (7, 2, "tile/0/001"),
            (8, 0, "tile/1/000"),
            (8, 272, "tile/1/001.p/17"),
            (12, 16, "tile/1/001.p/17"),
            (16, 0, "tile/2/000.p/1"),
        ] {
            assert_eq!(Tile::holding(Node { level, index }, 70_000).unwrap().to_string(), path, "{index} of {level}");
        }
        for (level, index) in [(0, 70_000), (8, 273), (16, 1), (17, 0), (63, 1), (64, 0), (255, 0), (0, u64::MAX)] {
            let node = Node { level, index };
            assert_eq!(Tile::holding(node, 70_000), Err(TileError::Outside { node, size: 70_000 }));
        }
    }
}
