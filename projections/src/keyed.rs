//! A projection made from a read model: collect the keys, read those rows in one statement, fold in memory, write in one statement.

use std::{collections::HashMap, fmt, marker::PhantomData, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use hub_event_store::event::Recorded;
use schemars::schema_for;
use serde::Deserialize as _;
use sqlx::{FromRow as _, PgConnection, types::Json};

use crate::{
    live::{LiveRows, LiveTable},
    memory::{MemoryTable, Rows},
    model::{FoldError, OnPoison, ReadModel},
    projection::{ApplyError, Difference, Indexes, Projection, Target},
};

/// Makes a table like the live one, without indexes.
pub(crate) const COPY: &str = "SELECT copy_read_model($1, $2)";

/// Gives a table the live one's primary key, or its other indexes.
pub(crate) const INDEX: &str = "SELECT index_read_model($1, $2, $3)";

/// Puts a table in the place of the live one, which is kept under another name.
pub(crate) const SWITCH: &str = "SELECT switch_read_model($1, $2, $3)";

/// A read model that the runner can run.
pub struct KeyedProjection<M> {
    live: TableSql,
    shadow: TableSql,
    retired: TableSql,
    expected: TableSql,
    create_expected: Vec<String>,
    index_expected: String,
    insert: String,
    differences: String,
    model: PhantomData<fn() -> M>,
}

/// The statements for one table; made of constants of the read model only.
struct TableSql {
    table: String,
    read: String,
    write: String,
    delete: String,
    count: String,
    drop: String,
}

impl<M: ReadModel> KeyedProjection<M> {
    /// The projection of the read model `M`.
    #[must_use]
    pub fn new() -> Self {
        let live = M::TABLE;
        let expected = format!("{live}_expected");
        let columns = columns::<M>();
        let list = listed(&columns);
        let of = |table: &str| TableSql::new::<M>(table, &columns);
        Self {
            live: of(live),
            shadow: of(&format!("{live}_shadow")),
            retired: of(&format!("{live}_retired")),
            expected: of(&expected),
            // Generated columns and further indexes say nothing that the rows do not say.
            create_expected: vec![
                format!("DROP TABLE IF EXISTS pg_temp.{expected}"),
                format!("CREATE TEMPORARY TABLE {expected} AS SELECT {list} FROM {live} WITH NO DATA"),
            ],
            index_expected: format!("ALTER TABLE pg_temp.{expected} ADD PRIMARY KEY ({})", listed(M::KEY)),
            insert: format!(
                "INSERT INTO {{table}} ({list}) SELECT {list} FROM jsonb_populate_recordset(NULL::{live}, $1)"
            ),
            differences: differences_sql(live, &expected, M::KEY, &columns),
            model: PhantomData,
        }
    }

    fn sql(&self, target: Target) -> &TableSql {
        match target {
            Target::Live => &self.live,
            Target::Shadow => &self.shadow,
            Target::Retired => &self.retired,
            Target::Expected => &self.expected,
        }
    }

    async fn take_in(
        &self,
        connection: &mut PgConnection,
        target: Target,
        events: &[Arc<Recorded>],
    ) -> Result<(), ApplyError> {
        let sql = self.sql(target);
        let mut batch = Batch::<M>::collect(events)?;
        if batch.rows.is_empty() {
            return Ok(());
        }
        if !M::APPENDS_ONLY {
            let keys: Vec<&M::Key> = batch.rows.keys().collect();
            let stored: Vec<Json<M::Row>> =
                sqlx::query_scalar(&sql.read).bind(Json(&keys)).fetch_all(&mut *connection).await?;
            batch.load(stored.into_iter().map(|row| row.0));
        }
        batch.fold(events)?;

        let (written, deleted) = batch.changes();
        if !written.is_empty() {
            sqlx::query(&sql.write).bind(Json(&written)).execute(&mut *connection).await?;
        }
        if !deleted.is_empty() {
            sqlx::query(&sql.delete).bind(Json(&deleted)).execute(&mut *connection).await?;
        }
        Ok(())
    }
}

impl<M: ReadModel> Default for KeyedProjection<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: ReadModel> fmt::Debug for KeyedProjection<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyedProjection({})", M::NAME)
    }
}

/// The rows that one batch of events touches.
pub(crate) struct Batch<M: ReadModel> {
    keys_by_event: Vec<Vec<M::Key>>,
    pub(crate) rows: HashMap<M::Key, Versions<M::Row>>,
}

/// A row before and after the batch.
pub(crate) struct Versions<R> {
    before: Option<R>,
    pub(crate) after: Option<R>,
}

impl<M: ReadModel> Batch<M> {
    /// The keys of all rows that the events touch.
    pub(crate) fn collect(events: &[Arc<Recorded>]) -> Result<Self, ApplyError> {
        let mut batch = Self { keys_by_event: Vec::with_capacity(events.len()), rows: HashMap::new() };
        for event in events {
            let keys = M::keys(event).map_err(|e| poison(event, &e))?;
            for key in &keys {
                batch.rows.entry(key.clone()).or_insert(Versions { before: None, after: None });
            }
            batch.keys_by_event.push(keys);
        }
        Ok(batch)
    }

    pub(crate) fn load(&mut self, rows: impl Iterator<Item = M::Row>) {
        for row in rows {
            self.rows.insert(M::key_of(&row), Versions { before: Some(row.clone()), after: Some(row) });
        }
    }

    pub(crate) fn fold(&mut self, events: &[Arc<Recorded>]) -> Result<(), ApplyError> {
        for (event, keys) in events.iter().zip(&self.keys_by_event) {
            for key in keys {
                let row = self.rows.get_mut(key).expect("every key of the batch was collected");
                row.after = M::fold(row.after.take(), key, event).map_err(|e| poison(event, &e))?;
            }
        }
        Ok(())
    }

    /// The rows to write and the keys to delete, in the order of their keys, so that writers never wait for each other in a circle.
    fn changes(&self) -> (Vec<&M::Row>, Vec<&M::Key>) {
        let mut changed: Vec<_> = self.rows.iter().filter(|(_, row)| row.before != row.after).collect();
        changed.sort_unstable_by_key(|(key, _)| *key);
        let written = changed.iter().filter_map(|(_, row)| row.after.as_ref()).collect();
        let deleted = changed.iter().filter(|(_, row)| row.after.is_none()).map(|(key, _)| *key).collect();
        (written, deleted)
    }
}

fn poison(event: &Recorded, error: &dyn fmt::Display) -> ApplyError {
    ApplyError::Poison { position: event.position, reason: error.to_string() }
}

impl<M: ReadModel> Projection for KeyedProjection<M> {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn table(&self) -> &'static str {
        M::TABLE
    }

    fn columns(&self) -> Vec<String> {
        columns::<M>()
    }

    fn key(&self) -> &'static [&'static str] {
        M::KEY
    }

    fn version(&self) -> i32 {
        M::VERSION
    }

    fn on_poison(&self) -> OnPoison {
        M::ON_POISON
    }

    fn concerns(&self, event: &Recorded) -> bool {
        M::concerns(&event.event_type)
    }

    fn keys(&self, event: &Recorded) -> Result<Vec<serde_json::Value>, FoldError> {
        let keys = M::keys(event)?;
        Ok(keys.iter().map(|key| serde_json::to_value(key).expect("a key is a struct of plain columns")).collect())
    }

    fn row_of(&self, stored: &serde_json::Value) -> Option<serde_json::Value> {
        serde_json::to_value(M::Row::deserialize(stored).ok()?).ok()
    }

    fn apply<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        target: Target,
        events: &'a [Arc<Recorded>],
    ) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(self.take_in(connection, target, events))
    }

    fn concerns_type(&self, event_type: &str) -> bool {
        M::concerns(event_type)
    }

    fn appends_only(&self) -> bool {
        M::APPENDS_ONLY
    }

    fn linger(&self) -> Duration {
        M::LINGER
    }

    fn in_memory(&self) -> Box<dyn MemoryTable> {
        Box::new(Rows::<M>::new(self.insert.clone()))
    }

    fn table_of(&self, target: Target) -> &str {
        &self.sql(target).table
    }

    fn create<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        target: Target,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        Box::pin(async move {
            if target == Target::Expected {
                for statement in &self.create_expected {
                    sqlx::query(statement).execute(&mut *connection).await?;
                }
                return Ok(());
            }
            sqlx::query(&self.sql(target).drop).execute(&mut *connection).await?;
            sqlx::query(COPY).bind(M::TABLE).bind(self.table_of(target)).execute(connection).await?;
            Ok(())
        })
    }

    fn index<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        target: Target,
        indexes: Indexes,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        Box::pin(async move {
            let primary = indexes == Indexes::Primary;
            let index = match target {
                Target::Expected if primary => sqlx::query(&self.index_expected),
                Target::Expected => return Ok(()),
                _ => sqlx::query(INDEX).bind(M::TABLE).bind(self.table_of(target)).bind(primary),
            };
            index.execute(connection).await.map(|_| ())
        })
    }

    fn discard<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        target: Target,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        assert_ne!(target, Target::Live, "the live table is never dropped");
        Box::pin(async move { sqlx::query(&self.sql(target).drop).execute(connection).await.map(|_| ()) })
    }

    fn swap<'a>(&'a self, connection: &'a mut PgConnection, target: Target) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        Box::pin(async move {
            let switch = sqlx::query(SWITCH).bind(M::TABLE).bind(self.table_of(target)).bind(&self.retired.table);
            switch.execute(connection).await.map(|_| ())
        })
    }

    fn differences<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        limit: i64,
    ) -> BoxFuture<'a, Result<Vec<Difference>, sqlx::Error>> {
        Box::pin(async move {
            let rows = sqlx::query(&self.differences).bind(limit).fetch_all(connection).await?;
            rows.iter().map(Difference::from_row).collect()
        })
    }

    fn row_count<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        target: Target,
    ) -> BoxFuture<'a, Result<i64, sqlx::Error>> {
        Box::pin(sqlx::query_scalar(&self.sql(target).count).fetch_one(connection))
    }

    fn live(&self) -> Option<Box<dyn LiveTable>> {
        Some(Box::new(LiveRows::<M>::new(self)))
    }

    fn queries(&self) -> Vec<String> {
        let live = &self.live;
        let insert = self.insert.replace("{table}", M::TABLE);
        vec![live.read.clone(), live.write.clone(), live.delete.clone(), live.count.clone(), insert]
    }
}

/// The columns of a read model: the fields of its row, in the order of their names.
fn columns<M: ReadModel>() -> Vec<String> {
    let schema = schema_for!(M::Row);
    let properties = schema.get("properties").and_then(serde_json::Value::as_object);
    let mut columns: Vec<String> = properties.expect("a row is a struct with named fields").keys().cloned().collect();
    columns.sort_unstable();
    // They become part of SQL texts, so nothing but plain names may pass.
    let plain = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    assert!(columns.iter().all(|column| plain(column)), "the fields of {} are plain names", M::NAME);
    columns
}

/// Quoted, since a plain name may still be a word of SQL.
fn listed(columns: &[impl AsRef<str>]) -> String {
    columns.iter().map(|column| format!("\"{}\"", column.as_ref())).collect::<Vec<_>>().join(", ")
}

/// `left.a = right.a AND left.b = right.b`.
fn joined_by<M: ReadModel>(left: &str, right: &str) -> String {
    M::KEY.iter().map(|column| format!("{left}.\"{column}\" = {right}.\"{column}\"")).collect::<Vec<_>>().join(" AND ")
}

impl TableSql {
    fn new<M: ReadModel>(table: &str, columns: &[String]) -> Self {
        let live = M::TABLE;
        let key = listed(M::KEY);
        let list = listed(columns);
        let qualified = columns.iter().map(|column| format!("t.\"{column}\"")).collect::<Vec<_>>().join(", ");
        let by_key = joined_by::<M>("t", "k");
        let kept: Vec<_> = columns.iter().filter(|column| !M::KEY.contains(&column.as_str())).collect();
        let set =
            kept.iter().map(|column| format!("\"{column}\" = EXCLUDED.\"{column}\"")).collect::<Vec<_>>().join(", ");
        let resolve = if kept.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {set}") };
        Self {
            table: table.to_owned(),
            read: format!(
                "SELECT to_jsonb(r) FROM (SELECT {qualified} FROM jsonb_populate_recordset(NULL::{live}, $1) k \
                 JOIN {table} t ON {by_key}) r"
            ),
            write: format!(
                "INSERT INTO {table} ({list}) SELECT {list} FROM jsonb_populate_recordset(NULL::{live}, $1) \
                 ON CONFLICT ({key}) DO {resolve}"
            ),
            delete: format!("DELETE FROM {table} t USING jsonb_populate_recordset(NULL::{live}, $1) k WHERE {by_key}"),
            count: format!("SELECT count(*) FROM {table}"),
            drop: format!("DROP TABLE IF EXISTS {table}"),
        }
    }
}

/// The rows in which two tables differ: at most `$1` of them in the order of their keys, each with how many there are. What is compared may
/// be followed by a condition.
pub(crate) fn differences_sql(found: &str, expected: &str, key: &[&str], columns: &[String]) -> String {
    let list = listed(columns);
    let either = |column: &&str| format!("coalesce(f.\"{column}\", e.\"{column}\")");
    let named = key.iter().map(|column| format!("'{column}', {}", either(column))).collect::<Vec<_>>().join(", ");
    let order = key.iter().map(either).collect::<Vec<_>>().join(", ");
    let same = key.iter().map(|column| format!("f.\"{column}\" = e.\"{column}\"")).collect::<Vec<_>>().join(" AND ");
    format!(
        "SELECT jsonb_build_object({named}) AS key, to_jsonb(f) AS found, to_jsonb(e) AS expected, count(*) OVER () AS count \
         FROM (SELECT {list} FROM {found}) f FULL JOIN (SELECT {list} FROM {expected}) e ON {same} \
         WHERE f IS DISTINCT FROM e ORDER BY {order} LIMIT $1"
    )
}
