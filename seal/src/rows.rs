//! What sealing reads and writes, a whole turn at a time.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use hub_evidence::{
    tile::{Tile, TileMap},
    tree::Hash,
};
use sqlx::PgConnection;
use uuid::Uuid;

/// The logs with events that are not sealed, the longest sealed first, and those that are shorter than what is sealed: size and root of what
/// is sealed, and the end of the log.
pub(crate) const UNSEALED: &str = "
SELECT h.tenant_id, coalesce(s.size, 0), s.root, h.position
FROM tenant_heads h
LEFT JOIN sealed_trees s ON s.tenant_id = h.tenant_id
WHERE h.position <> coalesce(s.size, 0)
ORDER BY coalesce(h.position < s.size, false), s.sealed_at NULLS FIRST, h.tenant_id
LIMIT $1";

/// One turn at a time, whatever is believed of elections.
pub(crate) const ALONE: &str = "SELECT pg_advisory_xact_lock(7236831005)";

/// How much of one log is sealed.
pub(crate) const TREE: &str = "SELECT size, root FROM sealed_trees WHERE tenant_id = $1";

/// Tiles by log, level and index.
pub(crate) const EDGES: &str = "
SELECT t.tenant_id, t.level, t.tile_index, t.hashes
FROM unnest($1::uuid[], $2::smallint[], $3::bigint[]) AS wanted (tenant_id, level, tile_index)
JOIN sealed_tiles t USING (tenant_id, level, tile_index)";

/// The leaf hashes of ranges of logs: after one place up to and with another.
pub(crate) const LEAVES: &str = "
SELECT e.tenant_id, e.tenant_position, e.leaf_hash
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS wanted (tenant_id, after, until)
JOIN events e ON e.tenant_id = wanted.tenant_id AND e.tenant_position > wanted.after AND e.tenant_position <= wanted.until
ORDER BY e.tenant_id, e.tenant_position";

/// Keeps tiles; never a narrower one than there is.
pub(crate) const PUT_TILES: &str = "
INSERT INTO sealed_tiles AS t (tenant_id, level, tile_index, hashes)
SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::bytea[])
ON CONFLICT (tenant_id, level, tile_index) DO UPDATE SET hashes = EXCLUDED.hashes
WHERE length(EXCLUDED.hashes) > length(t.hashes)";

/// Moves the ends of what is sealed.
pub(crate) const PUT_TREES: &str = "
INSERT INTO sealed_trees (tenant_id, size, root, sealed_at)
SELECT n.*, $4 FROM unnest($1::uuid[], $2::bigint[], $3::bytea[]) AS n
ON CONFLICT (tenant_id) DO UPDATE SET size = EXCLUDED.size, root = EXCLUDED.root, sealed_at = EXCLUDED.sealed_at";

/// Keeps what was signed.
pub(crate) const PUT_CHECKPOINTS: &str = "
INSERT INTO checkpoints (tenant_id, size, note, platform_index, sealed_at)
SELECT n.*, $5 FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[]) AS n";

/// A log with events that are not sealed.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Unsealed {
    #[sqlx(rename = "tenant_id")]
    pub(crate) log: Uuid,
    #[sqlx(rename = "coalesce")]
    pub(crate) size: i64,
    pub(crate) root: Option<Vec<u8>>,
    #[sqlx(rename = "position")]
    pub(crate) head: i64,
}

/// The leaf of one event.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Leaf {
    #[sqlx(rename = "tenant_id")]
    pub(crate) log: Uuid,
    pub(crate) tenant_position: i64,
    pub(crate) leaf_hash: Vec<u8>,
}

/// What a turn has made of one log.
pub(crate) struct Sealed {
    pub(crate) log: Uuid,
    pub(crate) size: i64,
    pub(crate) root: Hash,
    pub(crate) note: String,
    pub(crate) platform_index: Option<i64>,
    pub(crate) tiles: Vec<(Tile, Vec<u8>)>,
}

/// Reads these tiles of each log.
pub(crate) async fn tiles(
    connection: &mut PgConnection,
    wanted: &[(Uuid, Tile)],
) -> Result<BTreeMap<Uuid, TileMap>, sqlx::Error> {
    let logs: Vec<Uuid> = wanted.iter().map(|(log, _)| *log).collect();
    let levels: Vec<i16> = wanted.iter().map(|(_, tile)| i16::from(tile.level())).collect();
    let indexes: Vec<i64> = wanted.iter().map(|(_, tile)| signed(tile.index())).collect();
    let query = sqlx::query_as(EDGES).bind(logs).bind(levels).bind(indexes);
    let rows: Vec<(Uuid, i16, i64, Vec<u8>)> = query.fetch_all(connection).await?;
    let mut maps: BTreeMap<Uuid, TileMap> = BTreeMap::new();
    for (log, level, index, hashes) in rows {
        if let (Ok(level), Ok(index)) = (u8::try_from(level), u64::try_from(index)) {
            maps.entry(log).or_default().insert(level, index, hashes);
        }
    }
    Ok(maps)
}

/// Writes all that a turn has made.
pub(crate) async fn keep(
    connection: &mut PgConnection,
    sealed: &[Sealed],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let tiles = || sealed.iter().flat_map(|one| one.tiles.iter().map(|(tile, bytes)| (one.log, *tile, bytes)));
    sqlx::query(PUT_TILES)
        .bind(tiles().map(|(log, ..)| log).collect::<Vec<_>>())
        .bind(tiles().map(|(_, tile, _)| i16::from(tile.level())).collect::<Vec<_>>())
        .bind(tiles().map(|(_, tile, _)| signed(tile.index())).collect::<Vec<_>>())
        .bind(tiles().map(|(.., bytes)| bytes.clone()).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    let logs: Vec<Uuid> = sealed.iter().map(|one| one.log).collect();
    let sizes: Vec<i64> = sealed.iter().map(|one| one.size).collect();
    sqlx::query(PUT_TREES)
        .bind(&logs)
        .bind(&sizes)
        .bind(sealed.iter().map(|one| one.root.as_bytes().to_vec()).collect::<Vec<_>>())
        .bind(now)
        .execute(&mut *connection)
        .await?;
    sqlx::query(PUT_CHECKPOINTS)
        .bind(&logs)
        .bind(&sizes)
        .bind(sealed.iter().map(|one| one.note.as_str()).collect::<Vec<_>>())
        .bind(sealed.iter().map(|one| one.platform_index).collect::<Vec<_>>())
        .bind(now)
        .execute(&mut *connection)
        .await?;
    Ok(())
}

/// A size or an index as PostgreSQL has it; no tree is larger.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("no tree has more leaves than PostgreSQL has positions")
}
