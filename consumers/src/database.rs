//! The only way to rows: a transaction that sees and writes one tenant's.
//!
//! Connections are opened as `hub_consume`; the words that begin a transaction say whose rows are meant, in the same round trip. From
//! then on PostgreSQL itself keeps away whatever else there is.

use std::fmt;

use hub_http::TenantScope;
use sqlx::{PgPool, Postgres, Transaction};

/// The connections of consuming, which nobody has without saying whose rows he means.
#[derive(Clone)]
pub(crate) struct Database(PgPool);

impl Database {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    /// Begins; what is not committed is undone when the transaction is dropped.
    pub(crate) async fn begin(&self, tenant: TenantScope) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        // A setting takes no parameters; an id as text is hexadecimal digits and hyphens.
        self.0.begin_with(format!("BEGIN; SET LOCAL hub.tenant_id = '{}'", tenant.id())).await
    }

    /// For what this process watches on its own account, for no caller: the ends of tenants' logs.
    pub(crate) async fn watch(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.0.begin_with("BEGIN READ ONLY; SET LOCAL ROLE hub_platform").await
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Database")
    }
}
