//! The checkpoints that are kept: who signed them, what they say, and that they stand in the platform's log.

use hub_evidence::{
    checkpoint::{Checkpoint, Origin},
    key::{VerifierKey, VerifierKeys},
};
use sqlx::PgPool;
use uuid::Uuid;

use super::{Checker, parts::Part};
use crate::turn::PLATFORM_LOG;

/// Whose signatures count, those that have retired too.
pub(crate) const KEYS: &str = "SELECT verifier_key FROM evidence_keys";

/// The checkpoints of a part of a log, each with its leaf in the platform's log.
pub(crate) const NOTES: &str = "
SELECT c.size, c.note, c.platform_index, substring(t.hashes FROM (c.platform_index % 256)::integer * 32 + 1 FOR 32) AS leaf
FROM checkpoints c
LEFT JOIN sealed_tiles t ON t.tenant_id = '00000000-0000-0000-0000-000000000000' AND t.level = 0
    AND t.tile_index = c.platform_index / 256
WHERE c.tenant_id = $1 AND c.size > $2 AND c.size <= $3 ORDER BY c.size";

/// A checkpoint as it is kept.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Kept {
    pub(super) size: i64,
    note: String,
    platform_index: Option<i64>,
    leaf: Option<Vec<u8>>,
}

/// The checkpoints of a part of a log, the smallest first.
pub(super) async fn of(pool: &PgPool, part: Part) -> Result<Vec<Kept>, sqlx::Error> {
    sqlx::query_as(NOTES).bind(part.log).bind(part.begin).bind(part.end()).fetch_all(pool).await
}

/// The keys that the platform has published.
pub(super) struct Published(Option<VerifierKeys>);

impl Published {
    pub(super) async fn read(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let texts: Vec<String> = sqlx::query_scalar(KEYS).fetch_all(pool).await?;
        let keys = texts.iter().filter_map(|text| text.parse::<VerifierKey>().ok());
        Ok(Self(VerifierKeys::new(keys).ok()))
    }

    /// The checkpoint in a note of this log.
    fn open(&self, log: Uuid, note: &str) -> Result<Checkpoint, &'static str> {
        let unsigned = "no published key signed the checkpoint";
        let keys = self.0.as_ref().ok_or(unsigned)?;
        let opened = Checkpoint::open_any(note.as_bytes(), keys).map_err(|_| unsigned)?;
        let of_log = |key: &VerifierKey| {
            let origin =
                if log == PLATFORM_LOG { Origin::platform(key.name()) } else { Origin::tenant(key.name(), log) };
            origin.is_ok_and(|origin| origin == *opened.checkpoint.origin())
        };
        if opened.signers.iter().any(of_log) { Ok(opened.checkpoint) } else { Err("the checkpoint is of another log") }
    }
}

impl Checker<'_> {
    /// The checkpoint that is kept, if it is one of this log; whatever is wrong with it becomes a finding.
    pub(super) fn judge(&mut self, log: Uuid, kept: &Kept) -> Option<Checkpoint> {
        self.report.checkpoint_count += 1;
        let checkpoint = match self.published.open(log, &kept.note) {
            Ok(checkpoint) => checkpoint,
            Err(what) => {
                self.report.find(log, kept.size, what);
                return None;
            }
        };
        if i64::try_from(checkpoint.size()) != Ok(kept.size) {
            self.report.find(log, kept.size, "the checkpoint says another size");
            return None;
        }
        let stands = log == PLATFORM_LOG
            || (kept.platform_index.is_some() && kept.leaf.as_deref() == Some(checkpoint.leaf_hash().as_bytes()));
        if !stands {
            self.report.find(log, kept.size, "the checkpoint does not stand in the platform's log");
        }
        Some(checkpoint)
    }
}
