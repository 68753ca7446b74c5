//! A projection as the runner sees it: something that takes events in order and writes them to a table.
//!
//! [`crate::keyed::KeyedProjection`] makes one from a read model. What needs more than keyed rows may implement this trait itself.

use std::{fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use hub_event_store::event::Recorded;
use sqlx::PgConnection;

use crate::{
    live::LiveTable,
    memory::MemoryTable,
    model::{FoldError, OnPoison},
};

/// Where rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The table that answers queries.
    Live,
    /// The table of a rebuild, beside the live one.
    Shadow,
    /// The table that was live before, kept for a rollback.
    Retired,
    /// The temporary table of a verification.
    Expected,
}

/// Which indexes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indexes {
    /// The primary key.
    Primary,
    /// All others.
    Secondary,
}

/// Something that follows the log and keeps one table.
pub trait Projection: fmt::Debug + Send + Sync + 'static {
    /// Its name, as checkpoints and operators know it.
    fn name(&self) -> &'static str;

    /// Its table.
    fn table(&self) -> &'static str;

    /// Its columns but for generated ones, in the order of their names.
    fn columns(&self) -> Vec<String>;

    /// The key columns, in the order of the table's primary key.
    fn key(&self) -> &'static [&'static str];

    /// The version of its rows; a higher one than the checkpoint's means that the table must be built anew.
    fn version(&self) -> i32;

    /// What happens to an event that cannot be taken in.
    fn on_poison(&self) -> OnPoison;

    /// Whether the event changes anything; all others are passed over.
    fn concerns(&self, event: &Recorded) -> bool;

    /// The keys of the rows that an event which concerns it changes, as JSON objects of the key columns.
    ///
    /// # Errors
    /// When the event cannot be read.
    fn keys(&self, event: &Recorded) -> Result<Vec<serde_json::Value>, FoldError>;

    /// A row out of a table, written as [`MemoryTable::row`] writes it; `None` when it is no row of this program.
    fn row_of(&self, stored: &serde_json::Value) -> Option<serde_json::Value>;

    /// Takes in events that concern it, in order, within the transaction of `connection`. On error the transaction is rolled back.
    fn apply<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        target: Target,
        events: &'a [Arc<Recorded>],
    ) -> BoxFuture<'a, Result<(), ApplyError>>;

    /// Whether events of this type, in their present shape, may concern it.
    fn concerns_type(&self, event_type: &str) -> bool;

    /// Whether no event has to do with a row that an earlier event made.
    fn appends_only(&self) -> bool;

    /// How long the live table waits for more events, to write many rows at once.
    fn linger(&self) -> Duration;

    /// Its table in memory, with no rows.
    fn in_memory(&self) -> Box<dyn MemoryTable>;

    /// The name of `target`.
    fn table_of(&self, target: Target) -> &str;

    /// Makes the empty table `target`, in place of one that an earlier attempt may have left; it has no indexes yet.
    fn create<'a>(&'a self, connection: &'a mut PgConnection, target: Target)
    -> BoxFuture<'a, Result<(), sqlx::Error>>;

    /// Gives `target` the indexes of the live table; `apply` needs the primary key.
    fn index<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        target: Target,
        indexes: Indexes,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>>;

    /// Drops the shadow or the retired table, if there is one.
    fn discard<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        target: Target,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>>;

    /// Puts `target`, the shadow or the retired table, in the place of the live one, which becomes the retired one, within the
    /// transaction of `connection`.
    fn swap<'a>(&'a self, connection: &'a mut PgConnection, target: Target) -> BoxFuture<'a, Result<(), sqlx::Error>>;

    /// At most `limit` rows in which the live table and the expected one differ.
    fn differences<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        limit: i64,
    ) -> BoxFuture<'a, Result<Vec<Difference>, sqlx::Error>>;

    /// How many rows `target` has.
    fn row_count<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        target: Target,
    ) -> BoxFuture<'a, Result<i64, sqlx::Error>>;

    /// Its live table for one worker that alone writes it, if it has a faster way than `apply`.
    fn live(&self) -> Option<Box<dyn LiveTable>> {
        None
    }

    /// Every SQL text it sends to its live table, for the test that prepares each against the migrated schema.
    fn queries(&self) -> Vec<String>;
}

/// A row that is not what the log says.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Difference {
    /// The key columns and their values.
    pub key: serde_json::Value,
    /// The row in the table; `None` when it is missing.
    pub found: Option<serde_json::Value>,
    /// The row that the log leads to; `None` when there should be none.
    pub expected: Option<serde_json::Value>,
}

/// Why events were not taken in.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// This one event cannot be read or folded, now or later.
    #[error("{reason}")]
    Poison { position: i64, reason: String },
    /// PostgreSQL refuses the rows that one of the events led to.
    #[error("the rows cannot be written: {0}")]
    Data(#[source] sqlx::Error),
    /// PostgreSQL did not do its part; later it may.
    #[error(transparent)]
    Database(sqlx::Error),
}

impl From<sqlx::Error> for ApplyError {
    fn from(error: sqlx::Error) -> Self {
        // SQLSTATE classes: 22 data exception, 23 integrity constraint violation, 54 program limit exceeded.
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        match code {
            Some(code) if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => Self::Data(error),
            Some(_) | None => Self::Database(error),
        }
    }
}
