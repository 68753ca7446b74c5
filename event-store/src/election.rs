//! Being the only one: a lock in PostgreSQL that lives as long as the connection that took it.
//!
//! The connection must be one of PostgreSQL's own sessions; a pooler that shares sessions between clients breaks elections.

use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool};

/// One step on the leader's connection may take so long.
const STEP_TIMEOUT: Duration = Duration::from_secs(15);

/// A leader whose machine is gone without a word loses its lock after some 20 s, not after the hours that are usual.
const KEEPALIVE: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "20000"),
];

/// Tries to become the leader by `statement`, which answers whether the lock was free; `None` when another leads.
///
/// # Errors
/// When PostgreSQL does not answer in time.
pub async fn elect(pool: &PgPool, statement: &str) -> Result<Option<PgConnection>, sqlx::Error> {
    let options = pool.connect_options().as_ref().clone().options(KEEPALIVE);
    let mut connection = bounded(PgConnection::connect_with(&options)).await?;
    let elected = bounded(sqlx::query_scalar::<_, bool>(statement).fetch_one(&mut connection)).await?;
    Ok(elected.then_some(connection))
}

/// Waits for one step on the leader's connection, within a bound.
///
/// # Errors
/// Those of the step, and `PoolTimedOut` when it does not end.
pub async fn bounded<T>(step: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(STEP_TIMEOUT, step).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
