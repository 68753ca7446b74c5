//! Tenants cannot touch each other, whatever the program gets wrong: PostgreSQL keeps their rows apart.

mod api;
mod owner;
mod rows;
mod schema;

use hub_tests::kit::Database;
use sqlx::{PgPool, Postgres, Transaction};
use uuid::Uuid;

const ACME: Uuid = Uuid::from_u128(0xac);
const OTHER: Uuid = Uuid::from_u128(0x07);

/// Rows of each tenant in every table that queries read.
const OF_ACME: i64 = 2;
const OF_OTHER: i64 = 3;

/// A database with rows of two tenants in every table that queries read and that has a tenant.
async fn seeded() -> Database {
    let database = Database::new().await;
    // Whoever delivers makes a part a day; here one holds all.
    for statement in [
        "CREATE TABLE webhook_attempts_all PARTITION OF webhook_attempts DEFAULT",
        "SELECT isolate_table('webhook_attempts_all')",
    ] {
        sqlx::query(statement).execute(&database.pool).await.unwrap();
    }
    let mut position = 0_i64;
    for table in readable(&database.pool).await {
        for (tenant, count) in [(ACME, OF_ACME), (OTHER, OF_OTHER)] {
            // There is one head a tenant.
            let count = if table == "tenant_heads" { 1 } else { count };
            for _ in 0..count {
                position += 1;
                insert(&database.pool, &table, tenant, position).await;
            }
        }
    }
    database
}

/// The tables with a tenant that queries may read.
async fn readable(pool: &PgPool) -> Vec<String> {
    let mut readable = Vec::new();
    for table in schema::tables(pool).await.into_keys() {
        let granted: bool = sqlx::query_scalar("SELECT has_table_privilege('hub_query', $1, 'SELECT')")
            .bind(&table)
            .fetch_one(pool)
            .await
            .unwrap();
        if granted {
            readable.push(table);
        }
    }
    assert!(readable.len() >= 11, "{readable:?}");
    readable
}

/// Some row; whatever column there is gets something that it can hold.
pub(crate) async fn insert(pool: &PgPool, table: &str, tenant: Uuid, number: i64) {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT a.attname::text, format_type(a.atttypid, NULL) FROM pg_attribute a \
         WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull AND a.attgenerated = ''",
    )
    .bind(table)
    .fetch_all(pool)
    .await
    .unwrap();
    let value = |(name, kind): &(String, String)| match (name.as_str(), kind.as_str()) {
        ("tenant_id", _) => format!("'{tenant}'"),
        (_, "uuid") => format!("'{}'", Uuid::new_v4()),
        (_, "text") => format!("'x{number}'"),
        (_, "bigint" | "integer" | "smallint") => number.to_string(),
        (_, "boolean") => "true".to_owned(),
        (_, "date") => "current_date".to_owned(),
        (_, "timestamp with time zone") => "now()".to_owned(),
        // A plan's code is a column of its own, made from this.
        (_, "json" | "jsonb") => "'{\"code\": \"mail\"}'".to_owned(),
        (_, "bytea") => "'\\x00'".to_owned(),
        (name, kind) => panic!("{table}.{name} is of type {kind}, which this test has no value for"),
    };
    let names: Vec<_> = columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let values: Vec<_> = columns.iter().map(value).collect();
    let statement = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), values.join(", "));
    sqlx::query(&statement).execute(pool).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// A transaction of `role`, about `tenant` if there is one.
async fn begin(pool: &PgPool, role: &str, tenant: Option<&str>) -> Transaction<'static, Postgres> {
    let mut transaction = pool.begin().await.unwrap();
    sqlx::raw_sql(&format!("SET LOCAL ROLE {role}")).execute(&mut *transaction).await.unwrap();
    if let Some(tenant) = tenant {
        let set = "SELECT set_config('hub.tenant_id', $1, true)";
        sqlx::query(set).bind(tenant).execute(&mut *transaction).await.unwrap();
    }
    transaction
}

/// What PostgreSQL says to this statement of a tenant's query: its code and its message.
async fn refusal(pool: &PgPool, tenant: Option<&str>, statement: &str) -> (String, String) {
    let mut transaction = begin(pool, "hub_query", tenant).await;
    let outcome = sqlx::raw_sql(statement).execute(&mut *transaction).await;
    let Err(sqlx::Error::Database(error)) = outcome else { panic!("{statement}: {outcome:?}") };
    (error.code().unwrap().into_owned(), error.message().to_owned())
}
