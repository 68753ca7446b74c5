//! Proofs over a tenant's log: signed checkpoints, that an event is in one, and that one continues another.
//!
//! Nothing is computed from the events: the hashes are those that were kept when the log was sealed, so an event that was changed
//! afterwards fails its proof. Whoever verifies needs only the platform's public keys and `docs/guides/evidence-format.md`.

use std::{collections::BTreeMap, time::Duration};

use aide::transform::TransformOperation;
use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use hub_evidence::{
    checkpoint::Checkpoint,
    note::Note,
    proof::{EntryProof, UpdateProof},
    tile::{Tile, TileMap, TileNodes, needed},
    tree::{Hash, Node, consistency_nodes, inclusion_nodes, prove_consistency, prove_inclusion},
};
use hub_http::{Path, Problem, Query, ReadConsistency, Routes, TenantCaller, openapi::described};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use crate::{failure::failed, reach::Source, read::ReadTransaction, state::Queries};

pub(crate) const TAG: &str = "evidence";

/// What stands for the platform's own log of checkpoints.
const PLATFORM_LOG: Uuid = Uuid::nil();

/// Whoever waits for a seal holds a connection, so it is not long.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Between two looks for what is not sealed yet.
const PAUSE: Duration = Duration::from_millis(50);

/// The checkpoint of a log at this size, or the first one after it.
pub(crate) const CHECKPOINT_FROM: &str = "
SELECT size, note, platform_index, sealed_at FROM checkpoints WHERE tenant_id = $1 AND size >= $2 ORDER BY size LIMIT 1";

/// The last checkpoint of a log.
pub(crate) const CHECKPOINT_LAST: &str = "
SELECT size, note, platform_index, sealed_at FROM checkpoints WHERE tenant_id = $1 ORDER BY size DESC LIMIT 1";

/// Tiles of a log by level and index.
pub(crate) const TILES: &str = "
SELECT t.level, t.tile_index, t.hashes
FROM unnest($2::smallint[], $3::bigint[]) AS wanted (level, tile_index)
JOIN sealed_tiles t ON t.tenant_id = $1 AND t.level = wanted.level AND t.tile_index = wanted.tile_index";

/// What was hashed of an event when it was sealed is its leaf; this is what stands in the log now.
pub(crate) const LEAF: &str = "SELECT leaf_hash FROM events WHERE tenant_id = $1 AND tenant_position = $2";

pub(crate) const KEYS: &str =
    "SELECT verifier_key, added_at, retired_at FROM evidence_keys ORDER BY added_at, verifier_key LIMIT 64";

pub(crate) fn routes() -> Routes<Queries> {
    let all = "/v1/tenants/{tenant_id}/evidence";
    Routes::new()
        .get(&format!("{all}/checkpoint"), "evidence:read", checkpoint, describe_checkpoint)
        .get(&format!("{all}/consistency"), "evidence:read", consistency, describe_consistency)
        .get(&format!("{all}/events/{{position}}"), "evidence:read", event, describe_event)
        .get(&format!("{all}/keys"), "evidence:read", keys, describe_keys)
        .get(&format!("{all}/platform"), "evidence:read", platform, describe_platform)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AtSize {
    /// The first checkpoint of at least so many events; the last one when absent.
    size: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Between {
    /// The size of the older checkpoint, at least 1.
    from: u64,
    /// The first checkpoint of at least so many events; the last one when absent.
    to: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct EventPath {
    /// The event's place in the tenant's log, from 1.
    position: u64,
}

/// A signed checkpoint.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Checkpoint")]
pub(crate) struct CheckpointAnswer {
    /// The name of the log.
    origin: String,
    /// How many events it covers.
    size: u64,
    /// The root of their Merkle tree, in base64.
    root: String,
    /// The checkpoint as it was signed: a C2SP signed note.
    note: String,
    /// When it was signed.
    sealed_at: DateTime<Utc>,
}

/// That an event is in a checkpoint.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EventProof")]
pub(crate) struct EventAnswer {
    /// The hash of the event's leaf as it stands in the log now, in base64.
    leaf_hash: String,
    /// Which leaf it is, from 0.
    index: u64,
    /// From the leaf's sibling to below the root, in base64.
    hashes: Vec<String>,
    checkpoint: CheckpointAnswer,
    /// The same as one text that can be kept: a C2SP tlog-proof.
    proof: String,
}

/// That a checkpoint continues an older one.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ConsistencyProof")]
struct ConsistencyAnswer {
    older: CheckpointAnswer,
    newer: CheckpointAnswer,
    /// The consistency proof of RFC 6962, in base64.
    hashes: Vec<String>,
    /// The same as one text: what a C2SP witness takes.
    proof: String,
}

/// That a checkpoint of a tenant stands in the platform's log of checkpoints, which is the same for everybody.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PlatformProof")]
struct PlatformAnswer {
    checkpoint: CheckpointAnswer,
    /// Which leaf of the platform's log it is, from 0.
    index: u64,
    /// From the leaf's sibling to below the root, in base64.
    hashes: Vec<String>,
    /// The signed checkpoint of the platform's log.
    platform: CheckpointAnswer,
}

/// A public key that checkpoints are verified with.
#[derive(Debug, Serialize, JsonSchema, sqlx::FromRow)]
#[schemars(rename = "EvidenceKey")]
pub(crate) struct KeyAnswer {
    /// `<name>+<id>+<base64>`, as C2SP signed-note writes it.
    verifier_key: String,
    added_at: DateTime<Utc>,
    /// Since when nothing is signed with it any more.
    retired_at: Option<DateTime<Utc>>,
}

/// The public keys of the platform.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EvidenceKeys")]
struct KeysAnswer {
    keys: Vec<KeyAnswer>,
}

/// A checkpoint as it is kept.
#[derive(Debug, sqlx::FromRow)]
struct Kept {
    size: i64,
    note: String,
    platform_index: Option<i64>,
    sealed_at: DateTime<Utc>,
}

impl Kept {
    fn size(&self) -> u64 {
        u64::try_from(self.size).unwrap_or_default()
    }

    /// The signed note and what it says.
    fn read(&self) -> Result<(Note, Checkpoint), Problem> {
        let note = Note::parse(self.note.as_bytes()).map_err(unusable)?;
        let checkpoint = Checkpoint::parse(note.text()).map_err(unusable)?;
        Ok((note, checkpoint))
    }

    fn answer(&self) -> Result<CheckpointAnswer, Problem> {
        let (_, checkpoint) = self.read()?;
        Ok(CheckpointAnswer {
            origin: checkpoint.origin().to_string(),
            size: checkpoint.size(),
            root: checkpoint.root().to_base64(),
            note: self.note.clone(),
            sealed_at: self.sealed_at,
        })
    }
}

/// The seals of logs on one connection.
pub(crate) struct Seals {
    pub(crate) connection: ReadTransaction,
    /// So long somebody waits for what is not sealed yet.
    end: Instant,
}

impl Seals {
    async fn checkpoint(&mut self, log: Uuid, size: Option<u64>) -> Result<Option<Kept>, Problem> {
        let query = match size {
            None => sqlx::query_as(CHECKPOINT_LAST).bind(log),
            Some(size) => sqlx::query_as(CHECKPOINT_FROM).bind(log).bind(i64::try_from(size).unwrap_or(i64::MAX)),
        };
        query.fetch_optional(&mut *self.connection).await.map_err(failed)
    }

    /// The same, as soon as it is there: 503 `not_sealed` after the wait, and 404 when nothing of the log can be there.
    async fn sealed(&mut self, log: Uuid, size: Option<u64>) -> Result<Kept, Problem> {
        loop {
            if let Some(kept) = self.checkpoint(log, size).await? {
                return Ok(kept);
            }
            if self.leaf(log, size.unwrap_or(1)).await?.is_none() {
                return Err(Problem::not_found());
            }
            if Instant::now() >= self.end {
                return Err(Problem::not_sealed());
            }
            sleep_until(self.end.min(Instant::now() + PAUSE)).await;
        }
    }

    async fn leaf(&mut self, log: Uuid, position: u64) -> Result<Option<Hash>, Problem> {
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        let query = sqlx::query_scalar(LEAF).bind(log).bind(position);
        let leaf: Option<Vec<u8>> = query.fetch_optional(&mut *self.connection).await.map_err(failed)?;
        leaf.map(|leaf| leaf.try_into().map(Hash).map_err(|_| unusable("a leaf hash has another length"))).transpose()
    }

    /// Where the hashes of these nodes are.
    async fn nodes(&mut self, log: Uuid, nodes: &[Node], size: u64) -> Result<TileNodes<TileMap>, Problem> {
        let tiles = needed(nodes, size).map_err(unusable)?;
        let rows = tiles_of(&mut self.connection, log, &tiles.into_iter().collect::<Vec<_>>()).await.map_err(failed)?;
        let mut map = TileMap::default();
        for ((level, index), hashes) in rows {
            map.insert(level, index, hashes);
        }
        Ok(TileNodes::new(map, size))
    }

    async fn inclusion(&mut self, log: Uuid, index: u64, size: u64) -> Result<Vec<Hash>, Problem> {
        let nodes = inclusion_nodes(index, size).map_err(unusable)?;
        let nodes = self.nodes(log, &nodes, size).await?;
        prove_inclusion(&nodes, index, size).map_err(unusable)
    }
}

impl Seals {
    /// That the event at `position` of a log is in its last checkpoint, or in one of at least `size` events; `extra` stands in the proof
    /// beside what it covers.
    ///
    /// # Errors
    /// 404 `not_found` when there is no such event, 503 `not_sealed` when it is not sealed after the wait.
    pub(crate) async fn prove(
        &mut self,
        log: Uuid,
        position: u64,
        size: Option<u64>,
        extra: Option<Vec<u8>>,
    ) -> Result<EventAnswer, Problem> {
        let leaf = self.leaf(log, position).await?.ok_or_else(Problem::not_found)?;
        let kept = match (size, self.checkpoint(log, None).await?) {
            (None, Some(last)) if last.size() >= position => last,
            _ => self.sealed(log, Some(size.unwrap_or(position).max(position))).await?,
        };
        let index = position - 1;
        let hashes = self.inclusion(log, index, kept.size()).await?;
        let (note, _) = kept.read()?;
        Ok(EventAnswer {
            leaf_hash: leaf.to_base64(),
            index,
            hashes: base64(&hashes),
            checkpoint: kept.answer()?,
            proof: EntryProof { extra, index, hashes, note }.to_string(),
        })
    }

    /// The public keys of the platform.
    pub(crate) async fn keys(&mut self) -> Result<Vec<KeyAnswer>, Problem> {
        sqlx::query_as(KEYS).fetch_all(&mut *self.connection).await.map_err(failed)
    }
}

async fn tiles_of(
    connection: &mut PgConnection,
    log: Uuid,
    tiles: &[Tile],
) -> Result<BTreeMap<(u8, u64), Vec<u8>>, sqlx::Error> {
    let levels: Vec<i16> = tiles.iter().map(|tile| i16::from(tile.level())).collect();
    let indexes: Vec<i64> = tiles.iter().map(|tile| i64::try_from(tile.index()).unwrap_or(i64::MAX)).collect();
    let rows: Vec<(i16, i64, Vec<u8>)> =
        sqlx::query_as(TILES).bind(log).bind(levels).bind(indexes).fetch_all(connection).await?;
    let place = |level, index| Some((u8::try_from(level).ok()?, u64::try_from(index).ok()?));
    Ok(rows.into_iter().filter_map(|(level, index, hashes)| Some((place(level, index)?, hashes))).collect())
}

/// What was sealed cannot be read: somebody has changed it.
pub(crate) fn unusable(reason: impl std::fmt::Display) -> Problem {
    tracing::error!(%reason, "what was sealed cannot be read");
    Problem::internal()
}

fn base64(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_base64).collect()
}

impl Queries {
    pub(crate) async fn seals(&self, caller: &TenantCaller, consistency: ReadConsistency) -> Result<Seals, Problem> {
        let end = Instant::now() + consistency.wait.min(WAIT_MAX);
        Ok(Seals { connection: self.reach(caller.tenant, Source::Log, consistency).await?.connection, end })
    }
}

async fn checkpoint(
    caller: TenantCaller,
    consistency: ReadConsistency,
    Query(AtSize { size }): Query<AtSize>,
    State(queries): State<Queries>,
) -> Result<Json<CheckpointAnswer>, Problem> {
    let mut seals = queries.seals(&caller, consistency).await?;
    let kept = seals.sealed(caller.tenant.id(), size).await?;
    Ok(Json(kept.answer()?))
}

async fn event(
    caller: TenantCaller,
    Path(EventPath { position }): Path<EventPath>,
    consistency: ReadConsistency,
    Query(AtSize { size }): Query<AtSize>,
    State(queries): State<Queries>,
) -> Result<Json<EventAnswer>, Problem> {
    let log = caller.tenant.id();
    let mut seals = queries.seals(&caller, consistency).await?;
    Ok(Json(seals.prove(log, position, size, None).await?))
}

async fn consistency(
    caller: TenantCaller,
    consistency: ReadConsistency,
    Query(Between { from, to }): Query<Between>,
    State(queries): State<Queries>,
) -> Result<Json<ConsistencyAnswer>, Problem> {
    let log = caller.tenant.id();
    if from == 0 || to.is_some_and(|to| to < from) {
        return Err(Problem::invalid_query(Some("from"), "expected 1 <= from <= to"));
    }
    let mut seals = queries.seals(&caller, consistency).await?;
    let older = seals.sealed(log, Some(from)).await?;
    let newer = seals.sealed(log, to.map(|to| to.max(older.size()))).await?;
    let nodes = consistency_nodes(older.size(), newer.size()).map_err(unusable)?;
    let nodes = seals.nodes(log, &nodes, newer.size()).await?;
    let hashes = prove_consistency(&nodes, older.size(), newer.size()).map_err(unusable)?;
    let (note, _) = newer.read()?;
    let answer = ConsistencyAnswer {
        older: older.answer()?,
        newer: newer.answer()?,
        hashes: base64(&hashes),
        proof: UpdateProof { old_size: older.size(), hashes, note }.to_string(),
    };
    Ok(Json(answer))
}

async fn platform(
    caller: TenantCaller,
    consistency: ReadConsistency,
    Query(AtSize { size }): Query<AtSize>,
    State(queries): State<Queries>,
) -> Result<Json<PlatformAnswer>, Problem> {
    let mut seals = queries.seals(&caller, consistency).await?;
    let kept = seals.sealed(caller.tenant.id(), size).await?;
    let index = kept.platform_index.and_then(|index| u64::try_from(index).ok());
    let index = index.ok_or_else(|| unusable("a checkpoint has no place in the platform's log"))?;
    let platform = seals.checkpoint(PLATFORM_LOG, None).await?;
    let platform = platform.filter(|platform| platform.size() > index).ok_or_else(Problem::not_sealed)?;
    let hashes = seals.inclusion(PLATFORM_LOG, index, platform.size()).await?;
    let answer =
        PlatformAnswer { checkpoint: kept.answer()?, index, hashes: base64(&hashes), platform: platform.answer()? };
    Ok(Json(answer))
}

async fn keys(
    caller: TenantCaller,
    consistency: ReadConsistency,
    State(queries): State<Queries>,
) -> Result<Json<KeysAnswer>, Problem> {
    let mut seals = queries.seals(&caller, consistency).await?;
    Ok(Json(KeysAnswer { keys: seals.keys().await? }))
}

fn describe_checkpoint(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "What the tenant's log looked like at some size, signed. Events are covered by a checkpoint within a second; this waits \
                       for it up to two seconds, and answers 503 `not_sealed` then.";
    described(operation, "getCheckpoint", TAG, "Read a signed checkpoint", description)
}

fn describe_event(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Proves that an event is in the tenant's log as a checkpoint has it. Everything that is needed to verify it but the \
                       event and the platform's public key is in the answer.";
    described(operation, "proveEvent", TAG, "Prove that an event is in the log", description)
}

fn describe_consistency(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Proves that nothing was changed or taken away between two checkpoints. Whoever keeps the last checkpoint that he has \
                       seen asks for this with its size as `from`.";
    described(operation, "proveConsistency", TAG, "Prove that a checkpoint continues another", description)
}

fn describe_platform(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Proves that a checkpoint of the tenant stands in the platform's log of all checkpoints. Since that log is one for all \
                       tenants, nobody can be shown a past of his own.";
    described(operation, "provePlatform", TAG, "Prove that a checkpoint is the one that all see", description)
}

fn describe_keys(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "The public keys that checkpoints are verified with. Keep them elsewhere too: a key that comes from whom it is to \
                       check proves little.";
    described(operation, "listEvidenceKeys", TAG, "List the keys of checkpoints", description)
}
