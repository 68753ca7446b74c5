//! The only way to rows: a transaction that reads, and sees one tenant or, for the platform, all of them.
//!
//! The words that begin a transaction also give up the rights of the login and say whose rows are meant, in one round trip. From then on
//! PostgreSQL itself keeps away whatever else there is (ADR 11), also from a statement that forgets to ask for its tenant. Nothing of it outlives the
//! transaction: it is set `LOCAL`, and a connection goes back to the pool with its transaction undone, or not at all.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use hub_http::{PlatformScope, TenantScope};
use sqlx::{Connection as _, PgConnection, PgPool, Postgres, TransactionManager, pool::PoolConnection};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

/// The role of the platform; it sees all tenants, and reads the same tables.
const PLATFORM: &str = "hub_platform";

type Manager = <Postgres as sqlx::Database>::TransactionManager;

/// Which moments of the database a transaction sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Each statement sees what is there when it begins.
    OfStatement,
    /// All statements see the same.
    OfTransaction,
}

impl Moment {
    fn words(self) -> &'static str {
        match self {
            Self::OfStatement => "BEGIN READ ONLY",
            Self::OfTransaction => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }
}

/// Whose rows a transaction sees, made of the proof that the caller may see them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sight {
    Tenant(TenantScope),
    Platform(PlatformScope),
}

impl Sight {
    /// The one tenant, or `None` for all.
    pub(crate) fn tenant(self) -> Option<TenantScope> {
        match self {
            Self::Tenant(tenant) => Some(tenant),
            Self::Platform(_) => None,
        }
    }

    fn words(self) -> String {
        self.tenant().map_or_else(of_platform, |tenant| of_tenant(tenant.id()))
    }
}

impl From<TenantScope> for Sight {
    fn from(tenant: TenantScope) -> Self {
        Self::Tenant(tenant)
    }
}

impl From<PlatformScope> for Sight {
    fn from(platform: PlatformScope) -> Self {
        Self::Platform(platform)
    }
}

/// A setting takes no parameters; an id as text is hexadecimal digits and hyphens.
fn of_tenant(tenant_id: Uuid) -> String {
    format!("SET LOCAL ROLE hub_query; SET LOCAL hub.tenant_id = '{tenant_id}'")
}

fn of_platform() -> String {
    format!("SET LOCAL ROLE {PLATFORM}")
}

/// The connections of the query API, which nobody has without saying whose rows he reads.
#[derive(Clone)]
pub(crate) struct Database(PgPool);

impl Database {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    /// Begins to read; PostgreSQL has answered when this returns.
    pub(crate) async fn read(&self, sight: Sight, moment: Moment) -> Result<ReadTransaction, sqlx::Error> {
        self.begin(moment, &sight.words()).await
    }

    /// For the gate, which has not decided yet whether the caller may see the tenant.
    pub(crate) async fn read_for_gate(&self, tenant_id: Uuid) -> Result<ReadTransaction, sqlx::Error> {
        self.begin(Moment::OfStatement, &of_tenant(tenant_id)).await
    }

    /// For what this process watches on its own account (ends of logs, checkpoints), for no caller.
    pub(crate) async fn watch(&self) -> Result<ReadTransaction, sqlx::Error> {
        self.begin(Moment::OfStatement, &of_platform()).await
    }

    /// A connection outside of the pool for the same.
    pub(crate) async fn watcher(&self) -> Result<PgConnection, sqlx::Error> {
        PgConnection::connect_with(&self.0.connect_options().as_ref().clone().options([("role", PLATFORM)])).await
    }

    /// Within the time that the pool gives to finding a connection. One that has died in the meantime is thrown away and the next one is
    /// tried, which makes a look at each before its use unnecessary.
    async fn begin(&self, moment: Moment, words: &str) -> Result<ReadTransaction, sqlx::Error> {
        let end = Instant::now() + self.0.options().get_acquire_timeout();
        let text = format!("{}; {words}", moment.words());
        loop {
            let mut connection = self.0.acquire().await?;
            let begun = timeout_at(end, Manager::begin(&mut connection, Some(text.clone().into()))).await;
            match begun.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
                Ok(()) => return Ok(ReadTransaction(connection)),
                Err(error) => {
                    // It may be in the middle of something; nobody else is to find it so.
                    drop(connection.detach());
                    if Instant::now() >= end || !has_died(&error) {
                        return Err(error);
                    }
                    tracing::debug!(%error, "a connection has died, taking another one");
                }
            }
        }
    }
}

/// Whether a connection cannot be used any more, rather than that PostgreSQL refuses what it was told.
fn has_died(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(refusal) = error else { return true };
    refusal.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
}

impl fmt::Debug for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Database")
    }
}

/// A transaction that has begun; it ends when this is dropped, which nobody waits for.
#[derive(Debug)]
pub(crate) struct ReadTransaction(PoolConnection<Postgres>);

impl Deref for ReadTransaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for ReadTransaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

impl Drop for ReadTransaction {
    fn drop(&mut self) {
        // Sent when the connection goes back to the pool, before anybody else gets it.
        Manager::start_rollback(&mut self.0);
    }
}
