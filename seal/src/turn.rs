//! One turn: everything that is not sealed yet, or as much of it as one transaction should hold.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use hub_evidence::{
    checkpoint::CheckpointError,
    tile::{MissingTile, ResumeError, Tile, TileMap, Writer, edge_tiles},
    tree::Hash,
};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::{
    rows::{self, Leaf, Sealed, Unsealed, signed},
    signer::Signer,
};

/// What stands for the platform's own log of checkpoints.
pub const PLATFORM_LOG: Uuid = Uuid::nil();

/// So many logs are sealed in one turn.
const LOG_COUNT_MAX: i64 = 500;

/// So many events are sealed in one turn.
const LEAF_COUNT_MAX: i64 = 50_000;

/// Why a turn came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    /// PostgreSQL does not answer.
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    /// The platform's own log is not what was sealed.
    #[error("the platform's log of checkpoints: {0}")]
    Platform(LogError),
    /// Between two turns of one sealer the platform's own log has become another one.
    #[error("the platform's log of checkpoints is not as the last turn has left it")]
    Moved,
}

/// The platform's own log as a turn has left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlatformHead {
    size: u64,
    root: Hash,
    /// The checkpoint of it that was signed.
    pub(crate) note: String,
}

/// Why one log cannot be sealed. Each means that somebody has changed what was sealed, or taken something away.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The hashes that are kept are not those of the tree that was signed.
    #[error(transparent)]
    Tiles(#[from] ResumeError<MissingTile>),
    /// An event is not there.
    #[error("the event at {0} is missing")]
    Missing(i64),
    /// Events at the end are gone.
    #[error("{sealed} events are sealed and {present} are there")]
    Shorter {
        /// How many are sealed.
        sealed: i64,
        /// How many there are.
        present: i64,
    },
    /// What should be a hash is none.
    #[error("the hash of {0} has another length")]
    Hash(String),
    /// No checkpoint can say it.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// What a turn has done.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// How many logs have a new checkpoint.
    pub(crate) log_count: usize,
    /// Whether there may be more to be sealed at once.
    pub(crate) more: bool,
    /// Logs that cannot be sealed, and why.
    pub(crate) refused: Vec<(Uuid, LogError)>,
    /// What was signed of the platform's own log, if anything was.
    pub(crate) head: Option<PlatformHead>,
}

/// Seals what is not sealed, in one transaction; `before` is what the turn before this one has left, if it was the same sealer's.
pub(crate) async fn turn(
    connection: &mut PgConnection,
    signer: &Signer,
    before: Option<&PlatformHead>,
    now: DateTime<Utc>,
) -> Result<Turn, SealError> {
    let mut transaction = connection.begin().await?;
    sqlx::query(rows::ALONE).execute(&mut *transaction).await?;
    let unsealed: Vec<Unsealed> =
        sqlx::query_as(rows::UNSEALED).bind(LOG_COUNT_MAX).fetch_all(&mut *transaction).await?;
    let (shorter, unsealed): (Vec<_>, Vec<_>) = unsealed.into_iter().partition(|one| one.head < one.size);
    let shorter = shorter.into_iter().map(|one| (one.log, LogError::Shorter { sealed: one.size, present: one.head }));
    let (ranges, all) = ranges_of(&unsealed);
    let mut turn = Turn { more: !all, refused: shorter.collect(), ..Turn::default() };
    if unsealed.is_empty() {
        return Ok(turn);
    }
    let mut trees = trees_of(&mut transaction, &unsealed).await?;
    let mut leaves = leaves_of(&mut transaction, &ranges).await?;
    let mut platform = platform_log(&mut transaction).await?;
    if before.is_some_and(|before| (before.size, before.root) != (platform.size(), platform.root())) {
        return Err(SealError::Moved);
    }
    let mut sealed = Vec::with_capacity(ranges.len() + 1);
    for (log, after, until) in ranges {
        let tree = trees.remove(&log).unwrap_or(Ok(Writer::new()));
        let leaves = leaves.remove(&log).unwrap_or_default();
        match tree.and_then(|tree| grown(signer, tree, log, (after, until), &leaves, &mut platform)) {
            Ok(one) => sealed.push(one),
            Err(error) => turn.refused.push((log, error)),
        }
    }
    turn.log_count = sealed.len();
    if turn.log_count == 0 {
        return Ok(turn);
    }
    let size = platform.size();
    let head = signed_tree(signer, PLATFORM_LOG, platform).map_err(SealError::Platform)?.0;
    turn.head = Some(PlatformHead { size, root: head.root, note: head.note.clone() });
    sealed.push(head);
    rows::keep(&mut transaction, &sealed, now).await?;
    transaction.commit().await?;
    Ok(turn)
}

/// Which events of each log are sealed: after one place, up to and with another; and whether those are all.
fn ranges_of(unsealed: &[Unsealed]) -> (Vec<(Uuid, i64, i64)>, bool) {
    let mut room = LEAF_COUNT_MAX;
    let mut ranges = Vec::with_capacity(unsealed.len());
    for one in unsealed {
        let until = one.head.min(one.size + room);
        if until > one.size {
            ranges.push((one.log, one.size, until));
            room -= until - one.size;
        }
    }
    let all = room > 0 && i64::try_from(unsealed.len()).is_ok_and(|count| count < LOG_COUNT_MAX);
    (ranges, all)
}

/// The trees as they were sealed last; none for a log that never was.
async fn trees_of(
    connection: &mut PgConnection,
    unsealed: &[Unsealed],
) -> Result<BTreeMap<Uuid, Result<Writer, LogError>>, sqlx::Error> {
    let known = || unsealed.iter().filter_map(|one| Some((one.log, one.size, one.root.as_deref()?)));
    let wanted: Vec<(Uuid, Tile)> =
        known().flat_map(|(log, size, _)| edges(size).into_iter().map(move |tile| (log, tile))).collect();
    let mut maps = rows::tiles(connection, &wanted).await?;
    let resumed = known().map(|(log, size, root)| (log, resume(size, root, &maps.remove(&log).unwrap_or_default())));
    Ok(resumed.collect())
}

async fn platform_log(connection: &mut PgConnection) -> Result<Writer, SealError> {
    let tree: Option<(i64, Vec<u8>)> =
        sqlx::query_as(rows::TREE).bind(PLATFORM_LOG).fetch_optional(&mut *connection).await?;
    let Some((size, root)) = tree else { return Ok(Writer::new()) };
    let wanted: Vec<(Uuid, Tile)> = edges(size).into_iter().map(|tile| (PLATFORM_LOG, tile)).collect();
    let mut maps = rows::tiles(connection, &wanted).await?;
    resume(size, &root, &maps.remove(&PLATFORM_LOG).unwrap_or_default()).map_err(SealError::Platform)
}

fn edges(size: i64) -> Vec<Tile> {
    u64::try_from(size).ok().and_then(|size| edge_tiles(size).ok()).unwrap_or_default()
}

fn resume(size: i64, root: &[u8], tiles: &TileMap) -> Result<Writer, LogError> {
    let root = root.try_into().map(Hash).map_err(|_| LogError::Hash("a root".to_owned()))?;
    Ok(Writer::resume(u64::try_from(size).unwrap_or_default(), root, tiles)?)
}

async fn leaves_of(
    connection: &mut PgConnection,
    ranges: &[(Uuid, i64, i64)],
) -> Result<BTreeMap<Uuid, Vec<Leaf>>, sqlx::Error> {
    let leaves: Vec<Leaf> = sqlx::query_as(rows::LEAVES)
        .bind(ranges.iter().map(|(log, ..)| *log).collect::<Vec<_>>())
        .bind(ranges.iter().map(|(_, after, _)| *after).collect::<Vec<_>>())
        .bind(ranges.iter().map(|(.., until)| *until).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let mut of_logs: BTreeMap<Uuid, Vec<Leaf>> = BTreeMap::new();
    for leaf in leaves {
        of_logs.entry(leaf.log).or_default().push(leaf);
    }
    Ok(of_logs)
}

/// A log with all its new leaves, signed, and its checkpoint as the next leaf of the platform's log.
fn grown(
    signer: &Signer,
    mut tree: Writer,
    log: Uuid,
    (after, until): (i64, i64),
    leaves: &[Leaf],
    platform: &mut Writer,
) -> Result<Sealed, LogError> {
    let mut leaves = leaves.iter();
    for place in after + 1..=until {
        let leaf = leaves.next().filter(|leaf| leaf.tenant_position == place).ok_or(LogError::Missing(place))?;
        let hash = leaf.leaf_hash.as_slice().try_into().map_err(|_| LogError::Hash(format!("the event at {place}")))?;
        tree.append(Hash(hash));
    }
    let (mut sealed, leaf) = signed_tree(signer, log, tree)?;
    sealed.platform_index = Some(signed(platform.size()));
    platform.append(leaf);
    Ok(sealed)
}

/// A tree as it is, signed; and the leaf that its checkpoint is in the platform's log.
fn signed_tree(signer: &Signer, log: Uuid, mut tree: Writer) -> Result<(Sealed, Hash), LogError> {
    let (size, root) = (tree.size(), tree.root());
    let (checkpoint, note) = signer.sign(log, size, root)?;
    let sealed = Sealed {
        log,
        size: signed(size),
        root,
        note: note.to_string(),
        platform_index: None,
        tiles: tree.take_changed(),
    };
    Ok((sealed, checkpoint.leaf_hash()))
}
