//! Opens the connections of a process to PostgreSQL.

use std::time::Duration;

use anyhow::Context as _;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// How long a request waits for a connection before it is told that the database is not there.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(5);

/// How long a connection is kept that nobody uses.
const IDLE_LIMIT: Duration = Duration::from_secs(600);

/// How long the connections of a pool may take to close.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// How often it is looked whether they are.
const CLOSE_INTERVAL: Duration = Duration::from_millis(10);

/// A pool of at most `size` connections; one is opened at once, to see that it works.
///
/// # Errors
/// When the URL cannot be read or the server cannot be reached. The message does not repeat the URL.
pub async fn open(url: &str, size: u32) -> anyhow::Result<PgPool> {
    let options: PgConnectOptions = url.parse().context("the database URL cannot be read")?;
    let place = format!("{}:{}", options.get_host(), options.get_port());
    bounded(size)
        .connect_with(options.application_name("hub"))
        .await
        .with_context(|| format!("cannot connect to PostgreSQL at {place}"))
}

/// Closes a pool; every connection is closed afterwards, unless PostgreSQL does not answer for too long.
///
/// [`PgPool::close`] alone may return while connections that were just used are still on their way back, and leaves these open.
pub async fn close(pool: &PgPool) {
    let closing = async {
        pool.close().await;
        while pool.size() > 0 {
            tokio::time::sleep(CLOSE_INTERVAL).await;
            pool.close().await;
        }
    };
    if tokio::time::timeout(CLOSE_LIMIT, closing).await.is_err() {
        tracing::debug!(connections = pool.size(), "some connections were not closed in time");
    }
}

/// How long one statement of a query may take.
const QUERY_LIMIT_MS: &str = "10000";

/// Connections to the same database that can only read, and whose statements end by themselves; opened when they are needed.
#[must_use]
pub fn for_queries(pool: &PgPool) -> PgPool {
    let options = PgConnectOptions::clone(&pool.connect_options())
        .application_name("hub-queries")
        .options([("statement_timeout", QUERY_LIMIT_MS), ("default_transaction_read_only", "on")]);
    // Each use begins with a transaction, and a connection that does not answer to that is replaced by the next.
    bounded(pool.options().get_max_connections()).test_before_acquire(false).connect_lazy_with(options)
}

/// A part of the program that has a role of its own in PostgreSQL; what that may do is in the migrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Reads the log, and writes seals.
    Seal,
    /// Reads the log, and writes read models.
    Project,
    /// Reads the events of one tenant at a time, and writes how far the consumers of its event subscriptions are.
    Consume,
}

impl Part {
    const fn role(self) -> &'static str {
        match self {
            Self::Seal => "hub_seal",
            Self::Project => "hub_project",
            Self::Consume => "hub_consume",
        }
    }

    const fn application(self) -> &'static str {
        match self {
            Self::Seal => "hub-seal",
            Self::Project => "hub-project",
            Self::Consume => "hub-consume",
        }
    }
}

/// Connections to the same database that have given up all rights but those of this part; opened when they are needed.
///
/// The role is among the settings with which a connection is opened, so it costs nothing afterwards and is there before the first statement.
#[must_use]
pub fn for_part(pool: &PgPool, part: Part) -> PgPool {
    let options = PgConnectOptions::clone(&pool.connect_options())
        .application_name(part.application())
        .options([("role", part.role())]);
    bounded(pool.options().get_max_connections()).connect_lazy_with(options)
}

/// The same for consuming, whose statements end by themselves, as those of queries do: somebody waits for each.
#[must_use]
pub fn for_consumers(pool: &PgPool) -> PgPool {
    let part = Part::Consume;
    let options = PgConnectOptions::clone(&pool.connect_options())
        .application_name(part.application())
        .options([("role", part.role()), ("statement_timeout", QUERY_LIMIT_MS)]);
    bounded(pool.options().get_max_connections()).connect_lazy_with(options)
}

/// Each connection is looked at before it is used, within the limit: one that hangs would hold its request up otherwise.
fn bounded(size: u32) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(size).acquire_timeout(ACQUIRE_LIMIT).idle_timeout(IDLE_LIMIT)
}
