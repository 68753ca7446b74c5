//! The tiles in which the hashes of a tree are kept and published, as C2SP tlog-tiles lays them out.
//!
//! A tile of level 0 has up to 256 consecutive leaf hashes, one of level 1 the hashes of full tiles of level 0, and so on; the
//! hashes between are computed. A tile once full never changes, and one that is not full is the beginning of its later self.

mod address;
mod nodes;
mod writer;

pub use self::{
    address::{
        LEVEL_MAX, ParseTileError, TILE_BYTES_MAX, TILE_HEIGHT, TILE_WIDTH, Tile, TileError, changed, edge_tiles, tiles,
    },
    nodes::{MissingTile, TileMap, TileNodes, TileNodesError, TileReader, needed},
    writer::{ResumeError, Writer},
};
