//! A migrated database of its own for each test, copied from a template.

use std::time::Duration;

use hub::migrate::MIGRATOR;
use hub_vault::{RootKey, SCHEMA, Vault};
use sqlx::postgres::{PgConnection, PgPoolOptions};
use sqlx::{Connection as _, PgPool};
use uuid::Uuid;

use super::environment::environment;

/// Any number; whoever holds it makes the template.
const TEMPLATE_LOCK: i64 = 0x6875_625f_7465_7374;

/// How long the removal of a database may hold up the end of its test.
const DROP_LIMIT: Duration = Duration::from_secs(10);

/// A database that nobody else uses. It is removed when it is dropped.
#[derive(Debug)]
pub struct Database {
    /// Connections to it, as its owner.
    pub pool: PgPool,
    /// Its URL, with the password.
    pub url: String,
    name: String,
}

impl Database {
    /// Makes one, in less than 100 ms. All migrations are applied.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn new() -> Self {
        let mut connection =
            PgConnection::connect(&environment().database_url).await.expect("the PostgreSQL of the tests answers");
        let template = template(&mut connection).await;
        let name = format!("test_{}", Uuid::new_v4().simple());
        // Files are copied, which costs a quarter of writing every page to the log.
        run(&mut connection, &format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")).await;
        connection.close().await.expect("the connection is idle");
        let url = url(&name);
        let pool = PgPoolOptions::new()
            .max_connections(24)
            .acquire_timeout(Duration::from_secs(20))
            .connect(&url)
            .await
            .expect("the database was just made");
        Self { pool, url, name }
    }
}

/// The vault in a database that [`Database::new`] made, with the same root key each time.
#[must_use]
pub fn vault_in(pool: &PgPool) -> Vault {
    Vault::new(pool.connect_options().as_ref().clone(), RootKey::new([7; 32]), None)
}

impl Drop for Database {
    /// Best effort: what stays is removed with the server.
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime
                .block_on(async {
                    let work = async {
                        let mut connection = PgConnection::connect(&environment().database_url).await?;
                        sqlx::query(&statement).execute(&mut connection).await
                    };
                    tokio::time::timeout(DROP_LIMIT, work).await
                })?
                .map_err(std::io::Error::other)
        });
        drop(removal.join());
    }
}

/// The name of the template, which is made by the first who needs it. It depends on the migrations, so that a server
/// that lives longer than one run never hands out an old schema.
async fn template(connection: &mut PgConnection) -> String {
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    for byte in MIGRATOR.iter().chain(hub_vault::MIGRATOR.iter()).flat_map(|migration| migration.checksum.iter()) {
        digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let name = format!("template_{digest:016x}");
    if exists(connection, &name).await {
        return name;
    }
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut *connection)
        .await
        .expect("a lock can be waited for");
    if !exists(connection, &name).await {
        let unfinished = format!("{name}_unfinished");
        run(connection, &format!("DROP DATABASE IF EXISTS {unfinished} WITH (FORCE)")).await;
        run(connection, &format!("CREATE DATABASE {unfinished}")).await;
        // Not a pool: its last connection may outlive its closing, and then the template cannot be renamed.
        let mut template = PgConnection::connect(&url(&unfinished)).await.expect("the template was just made");
        MIGRATOR.run(&mut template).await.expect("the migrations apply to an empty database");
        run(&mut template, &format!("CREATE SCHEMA {SCHEMA}")).await;
        run(&mut template, &format!("SET search_path = {SCHEMA}")).await;
        hub_vault::MIGRATOR.run(&mut template).await.expect("the vault's migrations apply to an empty schema");
        template.close().await.expect("the connection is idle");
        run(connection, &format!("ALTER DATABASE {unfinished} RENAME TO {name}")).await;
    }
    sqlx::query("SELECT pg_advisory_unlock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut *connection)
        .await
        .expect("the lock is held");
    name
}

async fn exists(connection: &mut PgConnection, name: &str) -> bool {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(name)
        .fetch_one(connection)
        .await
        .expect("the list of databases can be read")
}

async fn run(connection: &mut PgConnection, statement: &str) {
    sqlx::query(statement).execute(connection).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

fn url(database: &str) -> String {
    let (server, _) = environment().database_url.rsplit_once('/').expect("a database URL ends with the database");
    format!("{server}/{database}")
}
