//! A read model's rows in memory, for whoever folds a long part of the log: a rebuild, a verification.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
};

use futures::future::BoxFuture;
use hub_event_store::event::Recorded;
use serde::Deserialize as _;
use sqlx::PgConnection;

use crate::{
    copy::{self, Column},
    model::{FoldError, ReadModel},
    projection::ApplyError,
};

/// The columns that can be written, in no order, and whether each holds JSON.
pub(crate) const COLUMNS: &str = "SELECT attname::text, atttypid IN ('json'::regtype, 'jsonb'::regtype) FROM pg_attribute \
     WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''";

/// So many bytes of lines are sent at once.
const CHUNK_SIZE: usize = 256 * 1_024;

/// The table of a projection, in memory.
pub trait MemoryTable: fmt::Debug + Send {
    /// Takes in events that concern it, in order; on error it is as it was before.
    ///
    /// # Errors
    /// [`ApplyError::Poison`] with the event that cannot be folded.
    fn fold(&mut self, events: &[&Recorded]) -> Result<(), ApplyError>;

    /// The row under a key, a JSON object of the key columns; `None` when there is none, or it has been written and is here no more.
    fn row(&self, key: &serde_json::Value) -> Option<serde_json::Value>;

    /// How many rows there are.
    fn row_count(&self) -> usize;

    /// About how many bytes they take.
    fn byte_count(&self) -> usize;

    /// Writes all rows into `table`, which is empty, and answers how many; afterwards there are none here.
    ///
    /// # Errors
    /// [`ApplyError::Data`] when PostgreSQL refuses one of the rows.
    fn write<'a>(
        &'a mut self,
        connection: &'a mut PgConnection,
        table: &'a str,
    ) -> BoxFuture<'a, Result<i64, ApplyError>>;
}

/// The rows of a read model.
pub(crate) struct Rows<M: ReadModel> {
    rows: HashMap<M::Key, Kept<M::Row>>,
    /// Counts the calls of `fold`.
    page: u64,
    /// The rows that the present call has changed, as they were before it.
    journal: Vec<(M::Key, Option<M::Row>)>,
    row_size: RowSize,
    /// For rows that cannot be copied as lines.
    write: String,
}

struct Kept<R> {
    /// `None` when it was deleted.
    row: Option<R>,
    /// The page that changed it last.
    page: u64,
}

/// The mean size of rows, by a sample of each page.
#[derive(Default)]
struct RowSize {
    sample_count: usize,
    total: usize,
}

impl<M: ReadModel> Rows<M> {
    /// No rows. `write` is the statement that inserts a JSON array of rows, with `{table}` in the place of the table.
    pub(crate) fn new(write: String) -> Self {
        Self { rows: HashMap::new(), page: 0, journal: Vec::new(), row_size: RowSize::default(), write }
    }

    fn fold_one(&mut self, event: &Recorded) -> Result<(), FoldError> {
        for key in M::keys(event)? {
            match self.rows.entry(key) {
                Entry::Occupied(mut entry) => {
                    if entry.get().page != self.page {
                        self.journal.push((entry.key().clone(), entry.get().row.clone()));
                    }
                    // When the fold fails the row comes back from the journal.
                    let before = entry.get_mut().row.take();
                    let row = M::fold(before, entry.key(), event)?;
                    entry.insert(Kept { row, page: self.page });
                }
                Entry::Vacant(entry) => {
                    if let Some(row) = M::fold(None, entry.key(), event)? {
                        self.journal.push((entry.key().clone(), None));
                        entry.insert(Kept { row: Some(row), page: self.page });
                    }
                }
            }
        }
        Ok(())
    }

    fn undo(&mut self) {
        for (key, row) in self.journal.drain(..).rev() {
            match row {
                Some(row) => drop(self.rows.insert(key, Kept { row: Some(row), page: 0 })),
                None => drop(self.rows.remove(&key)),
            }
        }
    }

    fn sample(&mut self) {
        let row = self.journal.last().and_then(|(key, _)| self.rows.get(key)?.row.as_ref());
        if let Some(text) = row.and_then(|row| serde_json::to_vec(row).ok()) {
            self.row_size.sample_count += 1;
            self.row_size.total += text.len() + size_of::<(M::Key, Kept<M::Row>)>();
        }
    }

    async fn copy(&mut self, connection: &mut PgConnection, table: &str) -> Result<i64, ApplyError> {
        let mut rows: Vec<(M::Key, M::Row)> =
            self.rows.drain().filter_map(|(key, kept)| Some((key, kept.row?))).collect();
        // Neighbours in the order of the keys are read together.
        rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let Some((_, first)) = rows.first() else { return Ok(0) };
        let mut columns = columns_of(connection, table).await?;
        let Ok(names) = copy::field_names(first) else { return self.insert(connection, table, &rows).await };
        columns.sort_by_key(|column| names.iter().position(|name| *name == column.name));
        let list = columns.iter().map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ");
        let mut lines = connection.copy_in_raw(&format!("COPY {table} ({list}) FROM STDIN")).await?;
        let mut chunk = Vec::with_capacity(CHUNK_SIZE * 2);
        for (_, row) in &rows {
            if copy::write_line(row, &columns, &mut chunk).is_err() {
                lines.abort("the rows come as JSON").await?;
                return self.insert(connection, table, &rows).await;
            }
            if chunk.len() >= CHUNK_SIZE {
                lines.send(&chunk[..]).await?;
                chunk.clear();
            }
        }
        lines.send(&chunk[..]).await?;
        Ok(i64::try_from(lines.finish().await?).unwrap_or(i64::MAX))
    }

    /// The slower way, for rows whose fields are not plain columns.
    async fn insert(
        &self,
        connection: &mut PgConnection,
        table: &str,
        rows: &[(M::Key, M::Row)],
    ) -> Result<i64, ApplyError> {
        let statement = self.write.replace("{table}", table);
        for rows in rows.chunks(1_000) {
            let rows: Vec<_> = rows.iter().map(|(_, row)| row).collect();
            sqlx::query(&statement).bind(sqlx::types::Json(rows)).execute(&mut *connection).await?;
        }
        Ok(i64::try_from(rows.len()).unwrap_or(i64::MAX))
    }
}

async fn columns_of(connection: &mut PgConnection, table: &str) -> Result<Vec<Column>, sqlx::Error> {
    let columns: Vec<(String, bool)> = sqlx::query_as(COLUMNS).bind(table).fetch_all(connection).await?;
    Ok(columns.into_iter().map(|(name, json)| Column { name, json }).collect())
}

impl<M: ReadModel> MemoryTable for Rows<M> {
    fn fold(&mut self, events: &[&Recorded]) -> Result<(), ApplyError> {
        self.page += 1;
        self.journal.clear();
        for event in events {
            if let Err(error) = self.fold_one(event) {
                self.undo();
                return Err(ApplyError::Poison { position: event.position, reason: error.to_string() });
            }
        }
        self.sample();
        Ok(())
    }

    fn row(&self, key: &serde_json::Value) -> Option<serde_json::Value> {
        let key = M::Key::deserialize(key).ok()?;
        serde_json::to_value(self.rows.get(&key)?.row.as_ref()?).ok()
    }

    fn row_count(&self) -> usize {
        self.rows.len()
    }

    fn byte_count(&self) -> usize {
        self.rows.len() * (self.row_size.total / self.row_size.sample_count.max(1))
    }

    fn write<'a>(
        &'a mut self,
        connection: &'a mut PgConnection,
        table: &'a str,
    ) -> BoxFuture<'a, Result<i64, ApplyError>> {
        self.journal.clear();
        Box::pin(self.copy(connection, table))
    }
}

impl<M: ReadModel> fmt::Debug for Rows<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rows({} {})", self.rows.len(), M::NAME)
    }
}
