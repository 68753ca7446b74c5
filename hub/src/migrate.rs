//! Brings the schema of a database up to date with this program.

use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};

/// Every migration, in order, compiled into the program.
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// Applies the migrations that the database does not have yet, each once, under a lock, so that several processes may
/// call this at the same moment.
///
/// # Errors
/// When a migration fails, when one that was applied has been changed since, or when the database is newer than this program.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    MIGRATOR.run(pool).await
}
