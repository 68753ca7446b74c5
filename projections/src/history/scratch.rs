//! A schema of a replay's own in PostgreSQL, which exists inside one transaction unless it is kept.
//!
//! Schema, tables and rows are made in a transaction that is undone at the end, so nobody else ever sees them, and whatever ends a replay
//! early (an error, a signal, the end of the program or of the server) leaves nothing behind. A schema that is kept is committed; it stays
//! until somebody removes it. Only the owner of a schema can do anything with it.

use std::sync::Arc;

use sqlx::{Connection as _, FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::{History, HistoryError, MEMORY_MAX, Model};
use crate::{
    keyed::differences_sql,
    projection::{Difference, Projection},
    rebuild::WORK_MEMORY,
};

/// At most so many kept schemas are named.
pub const SCHEMA_COUNT_MAX: i64 = 100;

/// Everything that a replay reads of live tables is of one moment.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ";

/// What ends the transaction.
const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";

/// A name that nobody has.
pub(crate) const NAME: &str = "SELECT 'replay_' || left(replace(gen_random_uuid()::text, '-', ''), 12)";

/// Whether the login may make a schema.
pub(crate) const ALLOWED: &str = "SELECT has_database_privilege(current_database(), 'CREATE')";

/// The schemas that were kept, and what was replayed in each.
pub(crate) const KEPT: &str = "SELECT n.nspname::text AS name, coalesce(obj_description(n.oid, 'pg_namespace'), '') AS about \
     FROM pg_namespace n WHERE n.nspname ~ '^replay_[0-9a-f]{12}$' ORDER BY n.nspname LIMIT $1";

/// A schema that was kept.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct KeptSchema {
    /// Its name.
    pub name: String,
    /// What was replayed in it.
    pub about: String,
}

/// A schema of a replay's own.
#[derive(Debug)]
pub struct Scratch {
    /// Of its own, so that the transaction ends with it however this ends, without waiting for a statement that is under way.
    connection: PgConnection,
    name: String,
    /// Whether the schema is there; it is made late, because its tables keep the live ones from being switched.
    made: bool,
    /// For each table, how many rows are in it.
    tables: Vec<Written>,
}

/// A table in the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The read model.
    pub projection: &'static str,
    /// The table, with its schema.
    pub table: String,
    /// Its rows.
    pub row_count: i64,
}

/// Where two tables differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// How many rows differ.
    pub count: i64,
    /// The first of them: `found` is in the first table, `expected` in the second.
    pub differences: Vec<Difference>,
}

impl Scratch {
    /// Begins the transaction; nothing is made yet.
    ///
    /// # Errors
    /// When the login may not make schemas, or PostgreSQL does not answer.
    pub async fn begin(pool: &PgPool) -> Result<Self, HistoryError> {
        let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
        sqlx::query(BEGIN).execute(&mut connection).await?;
        if !sqlx::query_scalar::<_, bool>(ALLOWED).fetch_one(&mut connection).await? {
            return Err(HistoryError::NotAllowed);
        }
        let name: String = sqlx::query_scalar(NAME).fetch_one(&mut connection).await?;
        Ok(Self { connection, name, made: false, tables: Vec::new() })
    }

    /// The name of the schema.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For reading what the transaction sees.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Writes rows that no later event changes, when the memory is full.
    ///
    /// # Errors
    /// When it is full all the same, or as [`Scratch::write`].
    pub async fn relieve(&mut self, history: &mut History, suffix: &str) -> Result<(), HistoryError> {
        if history.byte_count() <= MEMORY_MAX {
            return Ok(());
        }
        for model in history.models.iter_mut().filter(|model| model.projection.appends_only()) {
            self.pour(model, suffix).await?;
        }
        if history.byte_count() > MEMORY_MAX { Err(HistoryError::TooLarge) } else { Ok(()) }
    }

    /// Writes every read model into a table of its own name and this suffix; afterwards no rows are in memory.
    ///
    /// # Errors
    /// When PostgreSQL refuses a row, or does not answer.
    pub async fn write(&mut self, history: &mut History, suffix: &str) -> Result<Vec<Written>, HistoryError> {
        sqlx::query(WORK_MEMORY).execute(&mut self.connection).await?;
        let mut written = Vec::with_capacity(history.models.len());
        for model in &mut history.models {
            let table = self.pour(model, suffix).await?;
            let key = model.projection.key().join("\", \"");
            let index = format!("ALTER TABLE {} ADD PRIMARY KEY (\"{key}\")", table.table);
            sqlx::query(&index).execute(&mut self.connection).await?;
            sqlx::query(&format!("ANALYZE {}", table.table)).execute(&mut self.connection).await?;
            written.push(table);
        }
        Ok(written)
    }

    async fn pour(&mut self, model: &mut Model, suffix: &str) -> Result<Written, HistoryError> {
        let projection = model.projection.clone();
        let place = self.table(&projection, suffix).await?;
        let table = self.tables[place].table.clone();
        let written = model.folding.table.write(&mut self.connection, &table).await;
        self.tables[place].row_count +=
            written.map_err(|source| HistoryError::Refused { projection: projection.name(), source })?;
        Ok(self.tables[place].clone())
    }

    /// Where the table of a read model stands in the list; it is made when it is not there.
    async fn table(&mut self, projection: &Arc<dyn Projection>, suffix: &str) -> Result<usize, sqlx::Error> {
        // All parts are plain names: the read model's constants, the program's own suffix, hexadecimal digits.
        let table = format!("{}.{}{suffix}", self.name, projection.table());
        if let Some(place) = self.tables.iter().position(|written| written.table == table) {
            return Ok(place);
        }
        if !self.made {
            sqlx::query(&format!("CREATE SCHEMA {}", self.name)).execute(&mut self.connection).await?;
            self.made = true;
        }
        let create = format!("CREATE TABLE {table} (LIKE {} INCLUDING ALL EXCLUDING INDEXES)", projection.table());
        sqlx::query(&create).execute(&mut self.connection).await?;
        self.tables.push(Written { projection: projection.name(), table, row_count: 0 });
        Ok(self.tables.len() - 1)
    }

    /// Keeps the schema, with a word about what is in it.
    ///
    /// # Errors
    /// When PostgreSQL does not answer; nothing is kept then.
    pub async fn keep(mut self, about: &str) -> Result<String, sqlx::Error> {
        let about = about.replace('\'', "''");
        let comment = format!("COMMENT ON SCHEMA {} IS '{about}'", self.name);
        sqlx::query(&comment).execute(&mut self.connection).await?;
        sqlx::query(COMMIT).execute(&mut self.connection).await?;
        self.connection.close().await?;
        Ok(self.name)
    }

    /// Undoes everything.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, in which case it undoes everything by itself.
    pub async fn end(mut self) -> Result<(), sqlx::Error> {
        sqlx::query(ROLLBACK).execute(&mut self.connection).await?;
        self.connection.close().await
    }
}

/// Compares two tables of a read model, of which the first may be the live one: then the rows of one tenant if one is named.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn compare(
    connection: &mut PgConnection,
    projection: &dyn Projection,
    found: &str,
    expected: &str,
    tenant_id: Option<Uuid>,
    limit: i64,
) -> Result<Compared, sqlx::Error> {
    let of_tenant = if tenant_id.is_some() { " WHERE tenant_id = $2" } else { "" };
    let found = format!("{found}{of_tenant}");
    let text = differences_sql(&found, expected, projection.key(), &projection.columns());
    let mut query = sqlx::query(&text).bind(limit);
    if let Some(tenant_id) = tenant_id {
        query = query.bind(tenant_id);
    }
    let rows = query.fetch_all(connection).await?;
    let count = rows.first().map_or(Ok(0), |row| sqlx::Row::try_get(row, "count"))?;
    Ok(Compared { count, differences: rows.iter().map(Difference::from_row).collect::<Result<_, _>>()? })
}

/// The schemas that were kept, at most `SCHEMA_COUNT_MAX`.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn kept_schemas(pool: &PgPool) -> Result<Vec<KeptSchema>, sqlx::Error> {
    sqlx::query_as(KEPT).bind(SCHEMA_COUNT_MAX).fetch_all(pool).await
}

/// Removes a schema that was kept.
///
/// # Errors
/// When it is not this login's, or PostgreSQL does not answer.
pub async fn drop_schema(pool: &PgPool, schema: &KeptSchema) -> Result<(), sqlx::Error> {
    // The name has the form that `KEPT` asks for.
    sqlx::query(&format!("DROP SCHEMA IF EXISTS {} CASCADE", schema.name)).execute(pool).await.map(|_| ())
}
