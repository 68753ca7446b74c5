//! A live table in the hands of the worker that alone writes it: rows lately written are remembered instead of read again, and rows
//! and checkpoint are written by one statement.
//!
//! Nobody else writes the rows of a share as long as its checkpoint moves as the worker expects, and each write demands exactly that.
//! So a remembered row is the stored one whenever the write takes place at all.

use std::{collections::HashMap, fmt, sync::Arc};

use futures::future::BoxFuture;
use hub_event_store::event::Recorded;
use serde_json::value::{RawValue, to_raw_value};
use sqlx::{PgConnection, types::Json};

use crate::{
    checkpoint::{self, Fence},
    model::{FoldError, ReadModel},
    projection::{ApplyError, Projection},
};

/// Half of what is remembered of one table, as JSON.
const GENERATION_BYTES_MAX: usize = 1 << 20;

/// What a key and its place in the map count for.
const KEY_BYTES: usize = 128;

/// A step of a share's checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct Move<'a> {
    /// The projection's name.
    pub projection: &'a str,
    /// What must be unchanged.
    pub fence: Fence,
    /// The position of the last event that is taken in, or passed over.
    pub to: i64,
}

/// The live table of a projection, written by one worker.
pub trait LiveTable: Send {
    /// Takes in events that concern the projection, in order, and moves the checkpoint; all of it or nothing. False when the fence does
    /// not hold any more, and nothing happened.
    fn take_in<'a>(
        &'a mut self,
        connection: &'a mut PgConnection,
        events: &'a [Arc<Recorded>],
        step: Move<'a>,
    ) -> BoxFuture<'a, Result<bool, ApplyError>>;

    /// Forgets all rows, because somebody else may have written the table.
    fn forget(&mut self);

    /// Every SQL text it sends, for the test that prepares each against the migrated schema.
    fn queries(&self) -> Vec<String>;
}

/// The live table of a read model.
pub(crate) struct LiveRows<M: ReadModel> {
    read: String,
    write: String,
    write_and_delete: String,
    memory: Memory<M>,
}

/// Rows as they are stored, or known to be absent: those of late, and those of just before.
struct Memory<M: ReadModel> {
    young: HashMap<M::Key, Option<M::Row>>,
    old: HashMap<M::Key, Option<M::Row>>,
    young_bytes: usize,
}

/// A row before and after a batch.
struct Change<R> {
    before: Option<R>,
    after: Option<R>,
}

impl<M: ReadModel> LiveRows<M> {
    pub(crate) fn new(projection: &dyn Projection) -> Self {
        let table = projection.table();
        let columns = projection.columns();
        let quoted = |name: &str| format!("\"{name}\"");
        let list = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
        let of_table = columns.iter().map(|column| format!("t.\"{column}\"")).collect::<Vec<_>>().join(", ");
        let key = projection.key().iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
        let by_key =
            projection.key().iter().map(|column| format!("t.\"{column}\" = k.\"{column}\"")).collect::<Vec<_>>();
        let by_key = by_key.join(" AND ");
        let kept = columns.iter().filter(|column| !projection.key().contains(&column.as_str()));
        let set = kept.map(|column| format!("\"{column}\" = EXCLUDED.\"{column}\"")).collect::<Vec<_>>().join(", ");
        let resolve = if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {set}") };
        // Whoever has locked the checkpoint may want the table next, which this statement has locked already: it must not wait.
        let moved = "WITH moved AS (UPDATE projection_checkpoints c \
             SET position = $5, lease_until = now() + make_interval(secs => $6), updated_at = now() \
             FROM (SELECT share FROM projection_checkpoints \
                   WHERE projection = $1 AND share = $2 AND epoch = $3 AND position = $4 AND status = 'running' \
                   FOR UPDATE SKIP LOCKED) own \
             WHERE c.projection = $1 AND c.share = own.share RETURNING c.share)";
        let written = format!(
            "written AS (INSERT INTO {table} ({list}) SELECT {list} FROM moved, jsonb_populate_recordset(NULL::{table}, $7) \
             ON CONFLICT ({key}) DO {resolve})"
        );
        let deleted = format!(
            "deleted AS (DELETE FROM {table} t USING moved, jsonb_populate_recordset(NULL::{table}, $8) k WHERE {by_key})"
        );
        Self {
            read: format!(
                "SELECT to_jsonb(r) FROM (SELECT {of_table} FROM jsonb_populate_recordset(NULL::{table}, $1) k \
                 JOIN {table} t ON {by_key}) r"
            ),
            write: format!("{moved}, {written} SELECT count(*) FROM moved"),
            write_and_delete: format!("{moved}, {written}, {deleted} SELECT count(*) FROM moved"),
            memory: Memory::default(),
        }
    }

    async fn fold_and_write(
        &mut self,
        connection: &mut PgConnection,
        events: &[Arc<Recorded>],
        step: Move<'_>,
    ) -> Result<bool, ApplyError> {
        let mut keys_by_event = Vec::with_capacity(events.len());
        let mut changes: HashMap<M::Key, Change<M::Row>> = HashMap::new();
        let mut unknown = Vec::new();
        for event in events {
            let keys = M::keys(event).map_err(|e| poison(event, &e))?;
            for key in &keys {
                if !changes.contains_key(key) {
                    let before = self.memory.get(key).unwrap_or_else(|| {
                        if !M::APPENDS_ONLY {
                            unknown.push(key.clone());
                        }
                        None
                    });
                    changes.insert(key.clone(), Change { after: before.clone(), before });
                }
            }
            keys_by_event.push(keys);
        }
        if !unknown.is_empty() {
            let stored = sqlx::query_scalar::<_, Json<M::Row>>(&self.read).bind(Json(&unknown));
            for Json(row) in stored.fetch_all(&mut *connection).await? {
                changes.insert(M::key_of(&row), Change { before: Some(row.clone()), after: Some(row) });
            }
        }
        for (event, keys) in events.iter().zip(&keys_by_event) {
            for key in keys {
                let change = changes.get_mut(key).expect("every key of the batch was collected");
                change.after = M::fold(change.after.take(), key, event).map_err(|e| poison(event, &e))?;
            }
        }
        self.write(connection, changes, step).await
    }

    async fn write(
        &mut self,
        connection: &mut PgConnection,
        changes: HashMap<M::Key, Change<M::Row>>,
        step: Move<'_>,
    ) -> Result<bool, ApplyError> {
        let mut changed: Vec<_> = changes.into_iter().filter(|(_, change)| change.before != change.after).collect();
        changed.sort_unstable_by(|(one, _), (two, _)| one.cmp(two));
        let mut written: Vec<Box<RawValue>> = Vec::with_capacity(changed.len());
        let mut deleted: Vec<&M::Key> = Vec::new();
        for (key, change) in &changed {
            match &change.after {
                Some(row) => {
                    written.push(to_raw_value(row).map_err(|e| ApplyError::Data(sqlx::Error::Encode(e.into())))?)
                }
                None => deleted.push(key),
            }
        }
        let Move { projection, fence, to } = step;
        let moved = if changed.is_empty() {
            checkpoint::advance(connection, projection, fence, to).await?
        } else {
            let statement = if deleted.is_empty() { &self.write } else { &self.write_and_delete };
            let query = sqlx::query_scalar::<_, i64>(statement)
                .bind(projection)
                .bind(fence.share)
                .bind(fence.epoch)
                .bind(fence.from)
                .bind(to)
                .bind(fence.lease.as_secs_f64())
                .bind(Json(&written));
            let query = if deleted.is_empty() { query } else { query.bind(Json(&deleted)) };
            query.fetch_one(&mut *connection).await? == 1
        };
        if moved && !M::APPENDS_ONLY {
            let mut sizes = written.iter().map(|row| row.get().len());
            for (key, change) in changed {
                let bytes = if change.after.is_some() { sizes.next().unwrap_or(0) } else { 0 };
                self.memory.put(key, change.after, bytes);
            }
        }
        Ok(moved)
    }
}

impl<M: ReadModel> LiveTable for LiveRows<M> {
    fn take_in<'a>(
        &'a mut self,
        connection: &'a mut PgConnection,
        events: &'a [Arc<Recorded>],
        step: Move<'a>,
    ) -> BoxFuture<'a, Result<bool, ApplyError>> {
        Box::pin(async move {
            let outcome = self.fold_and_write(connection, events, step).await;
            if !matches!(outcome, Ok(true)) {
                self.forget();
            }
            outcome
        })
    }

    fn forget(&mut self) {
        self.memory = Memory::default();
    }

    fn queries(&self) -> Vec<String> {
        vec![self.read.clone(), self.write.clone(), self.write_and_delete.clone()]
    }
}

impl<M: ReadModel> fmt::Debug for LiveRows<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LiveRows({})", M::NAME)
    }
}

impl<M: ReadModel> Default for Memory<M> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), young_bytes: 0 }
    }
}

impl<M: ReadModel> Memory<M> {
    fn get(&self, key: &M::Key) -> Option<Option<M::Row>> {
        self.young.get(key).or_else(|| self.old.get(key)).cloned()
    }

    /// What was not written for long is forgotten: when the young are many they become the old ones, and the old ones go.
    fn put(&mut self, key: M::Key, row: Option<M::Row>, bytes: usize) {
        self.young_bytes += bytes + KEY_BYTES;
        if self.young_bytes > GENERATION_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = bytes + KEY_BYTES;
        }
        self.young.insert(key, row);
    }
}

fn poison(event: &Recorded, error: &FoldError) -> ApplyError {
    ApplyError::Poison { position: event.position, reason: error.to_string() }
}
