//! The table that is imported, read in one snapshot, row after row, a page in memory at a time.

use futures::TryStreamExt as _;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};

use super::{ImportError, mapping::SourceRow};

/// A page ends when its payloads and metadata have so many bytes, however few rows they are.
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What postgres-es calls its columns, and the types that each may have.
const COLUMNS: [(&str, &[&str]); 7] = [
    ("aggregate_type", &["text", "character varying"]),
    ("aggregate_id", &["text", "character varying"]),
    ("sequence", &["bigint"]),
    ("event_type", &["text", "character varying"]),
    ("event_version", &["text", "character varying"]),
    ("payload", &["json", "jsonb"]),
    ("metadata", &["json", "jsonb"]),
];

/// The name of a table, quoted where it needs to be; nothing when there is none.
pub(crate) const TABLE: &str = "SELECT to_regclass($1)::text";

/// The columns of a table and their types.
pub(crate) const COLUMNS_OF: &str = "SELECT attname::text, split_part(format_type(atttypid, atttypmod), '(', 1) FROM pg_attribute \
     WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";

/// The name of the database.
pub(crate) const DATABASE: &str = "SELECT current_database()::text";

/// In which order rows are read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order<'a> {
    /// By the primary key: stream by stream.
    Streams,
    /// By the time under this metadata key, then by the primary key. A time that goes back within a stream counts as the latest one
    /// before it, so each stream stays in its order.
    Time(&'a str),
}

/// The table, and the one snapshot in which everything is read.
#[derive(Debug)]
pub(super) struct Source {
    connection: PgConnection,
    /// The quoted name.
    table: String,
    pub(super) database: String,
}

impl Source {
    /// Connects, and makes sure that this is a table of postgres-es.
    pub(super) async fn open(url: &str, table: &str) -> Result<Self, ImportError> {
        let options: PgConnectOptions = url.parse().map_err(ImportError::SourceUrl)?;
        // One statement hands out the whole table; that it takes long is no news.
        let options = options.application_name("hub-import").disable_statement_logging();
        let mut connection = PgConnection::connect_with(&options).await.map_err(ImportError::SourceConnection)?;
        sqlx::query(BEGIN).execute(&mut connection).await?;
        let database: String = sqlx::query_scalar(DATABASE).fetch_one(&mut connection).await?;
        let found: Result<Option<String>, _> = sqlx::query_scalar(TABLE).bind(table).fetch_one(&mut connection).await;
        let quoted = match found {
            Ok(Some(quoted)) => quoted,
            Ok(None) => return Err(ImportError::Table(format!("there is no table `{table}` in {database}"))),
            Err(sqlx::Error::Database(error)) => {
                return Err(ImportError::Table(format!("`{table}` is no name of a table: {}", error.message())));
            }
            Err(error) => return Err(error.into()),
        };
        let columns: Vec<(String, String)> = sqlx::query_as(COLUMNS_OF).bind(table).fetch_all(&mut connection).await?;
        for (name, types) in COLUMNS {
            let found = columns.iter().find(|(column, _)| column == name);
            let what = match found {
                Some((_, kind)) if types.contains(&kind.as_str()) => continue,
                Some((_, kind)) => format!("`{name}` is {kind}, not {}", types.join(" or ")),
                None => format!("it has no column `{name}`"),
            };
            return Err(ImportError::Table(format!("`{table}` in {database} is no table of postgres-es: {what}")));
        }
        Ok(Self { connection, table: quoted, database })
    }

    /// The name of the table, quoted.
    pub(super) fn table(&self) -> &str {
        &self.table
    }

    /// Gives the snapshot back and ends the connection.
    pub(super) async fn close(self) -> Result<(), ImportError> {
        Ok(self.connection.close().await?)
    }

    /// How many rows there are.
    pub(super) async fn count(&mut self) -> Result<i64, ImportError> {
        let sql = format!("SELECT count(*) FROM {}", self.table);
        Ok(sqlx::query_scalar(&sql).fetch_one(&mut self.connection).await?)
    }

    /// Hands out all rows in pages of at most `page_size`.
    pub(super) async fn read(
        &mut self,
        order: Order<'_>,
        page_size: usize,
        mut take: impl AsyncFnMut(Vec<SourceRow>) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        let sql = statement(&self.table, order);
        let query = match order {
            Order::Streams => sqlx::query_as::<_, SourceRow>(&sql),
            Order::Time(key) => sqlx::query_as(&sql).bind(key),
        };
        // The server sends on as the rows are taken; what has not been taken waits there.
        let mut rows = query.fetch(&mut self.connection);
        let mut page: Vec<SourceRow> = Vec::with_capacity(page_size);
        let mut bytes = 0;
        while let Some(row) = rows.try_next().await? {
            bytes += row.payload.len() + row.metadata.len();
            page.push(row);
            if page.len() >= page_size || bytes >= PAGE_BYTES_MAX {
                bytes = 0;
                take(std::mem::replace(&mut page, Vec::with_capacity(page_size))).await?;
            }
        }
        if !page.is_empty() {
            take(page).await?;
        }
        Ok(())
    }
}

/// One snapshot for all passes, whatever is written there meanwhile.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

fn statement(table: &str, order: Order<'_>) -> String {
    let columns = "aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text AS payload, \
                   metadata::text AS metadata";
    match order {
        Order::Streams => format!("SELECT {columns} FROM {table} ORDER BY aggregate_type, aggregate_id, sequence"),
        Order::Time(_) => format!(
            "SELECT {columns} FROM ( \
                 SELECT *, max((metadata ->> $1)::timestamptz) OVER ( \
                     PARTITION BY aggregate_type, aggregate_id ORDER BY sequence \
                 ) AS happened_at \
                 FROM {table} \
             ) AS rows \
             ORDER BY happened_at, rows.aggregate_type, rows.aggregate_id, rows.sequence"
        ),
    }
}
