//! What a query's role can see and do, table by table.

use hub_tests::kit::Database;
use sqlx::PgPool;
use uuid::Uuid;

use super::{ACME, OF_ACME, OF_OTHER, OTHER, begin, insert, readable, refusal, seeded};

/// SQLSTATE of what nobody has the right to.
const DENIED: &str = "42501";

/// The readable tables whose rows each belong to one tenant's eyes: all but what the platform offers to everybody.
async fn owned(pool: &PgPool) -> Vec<String> {
    let mut tables = readable(pool).await;
    tables.retain(|table| table != "role_templates");
    tables
}

/// Rows of each tenant that a statement finds.
async fn found(pool: &PgPool, role: &str, tenant: Option<Uuid>, table: &str) -> (i64, i64) {
    let mut transaction = begin(pool, role, tenant.map(|tenant| tenant.to_string()).as_deref()).await;
    let count = format!(
        "SELECT count(*) FILTER (WHERE tenant_id = '{ACME}'), count(*) FILTER (WHERE tenant_id = '{OTHER}') FROM {table}"
    );
    sqlx::query_as(&count).fetch_one(&mut *transaction).await.unwrap()
}

#[tokio::test]
async fn a_tenants_query_sees_its_own_rows_only_and_the_platform_sees_all() {
    let database = seeded().await;
    for table in owned(&database.pool).await {
        let (of_acme, of_other) = if table == "tenant_heads" { (1, 1) } else { (OF_ACME, OF_OTHER) };
        let found = async |role, tenant| found(&database.pool, role, tenant, &table).await;
        assert_eq!(found("hub_query", Some(ACME)).await, (of_acme, 0), "{table}");
        assert_eq!(found("hub_query", Some(OTHER)).await, (0, of_other), "{table}");
        assert_eq!(found("hub_query", Some(Uuid::nil())).await, (0, 0), "{table}");
        assert_eq!(found("hub_platform", None).await, (of_acme, of_other), "{table}");
    }
}

#[tokio::test]
async fn a_query_that_does_not_say_whose_rows_it_reads_is_an_error() {
    let database = seeded().await;
    let one = "SET LOCAL enable_seqscan = off; ";
    for table in owned(&database.pool).await {
        for select in [format!("SELECT FROM {table}"), format!("{one} SELECT FROM {table} WHERE tenant_id = '{ACME}'")]
        {
            for nobody in [None, Some("")] {
                let (code, message) = refusal(&database.pool, nobody, &select).await;
                assert_eq!(code, DENIED, "{select}: {message}");
                assert!(message.contains("does not say whose rows it reads"), "{select}: {message}");
            }
            let (code, message) = refusal(&database.pool, Some("everybody"), &select).await;
            assert_eq!(code, "22P02", "{select}: {message}");
        }
    }
}

#[tokio::test]
async fn a_statement_that_forgets_its_tenant_finds_only_own_rows() {
    let database = seeded().await;
    let mut forgotten = 0;
    for text in hub_read_api::QUERIES {
        // A list as it is, but without its conditions.
        let Some((head, _)) = text.split_once(" WHERE t.tenant_id = $1") else { continue };
        if !head.starts_with("SELECT to_jsonb(t) FROM ") {
            continue;
        }
        forgotten += 1;
        let mut transaction = begin(&database.pool, "hub_query", Some(&ACME.to_string())).await;
        let rows: Vec<serde_json::Value> = sqlx::query_scalar(head).fetch_all(&mut *transaction).await.unwrap();
        assert_eq!(i64::try_from(rows.len()).unwrap(), OF_ACME, "{head}");
        assert!(rows.iter().all(|row| row["tenant_id"] == ACME.to_string()), "{head}");
    }
    assert!(forgotten >= 4, "{forgotten} lists");
}

#[tokio::test]
async fn a_query_changes_nothing_and_reads_nothing_else() {
    let database = seeded().await;
    let pool = &database.pool;
    let readable = readable(pool).await;
    let all: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let whole = ["evidence_keys", "log_head", "permission_uses_begin", "projection_checkpoints"];
    for table in &all {
        let column: String = sqlx::query_scalar(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped LIMIT 1",
        )
        .bind(table)
        .fetch_one(pool)
        .await
        .unwrap();
        let mut forbidden = vec![
            format!("INSERT INTO {table} DEFAULT VALUES"),
            format!("UPDATE {table} SET \"{column}\" = NULL"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table}"),
            format!("SELECT FROM {table} FOR UPDATE"),
            format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"),
            format!("ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"),
            format!("DROP TABLE {table}"),
        ];
        if !readable.contains(table) && !whole.contains(&table.as_str()) {
            forbidden.push(format!("SELECT FROM {table}"));
        }
        for statement in forbidden {
            let (code, message) = refusal(pool, Some(&ACME.to_string()), &statement).await;
            // A view is no table, and this one cannot be changed by anybody.
            let of_view = table == "cqrs_events" && ["42809", "55000"].contains(&code.as_str());
            assert!(code == DENIED || of_view, "{statement}: {code} {message}");
        }
    }
    for table in [
        "snapshots",
        "claims",
        "counters",
        "command_outcomes",
        "facts",
        "fact_heads",
        "fact_removals",
        "streams",
        "installation",
    ] {
        assert!(all.iter().any(|name| name == table) && !readable.iter().any(|name| name == table), "{table}");
    }
    for policy in ["CREATE POLICY mine ON tenants USING (true)", "DROP POLICY own_tenant ON tenants"] {
        assert_eq!(refusal(pool, Some(&ACME.to_string()), policy).await.0, DENIED, "{policy}");
    }
    let after = found(pool, "hub_platform", None, "tenants").await;
    assert_eq!(after, (OF_ACME, OF_OTHER), "nothing has changed");
}

#[tokio::test]
async fn row_level_security_cannot_be_switched_off() {
    let database = seeded().await;
    for table in readable(&database.pool).await {
        let statement = format!("SET LOCAL row_security = off; SELECT FROM {table}");
        let (code, message) = refusal(&database.pool, Some(&ACME.to_string()), &statement).await;
        assert_eq!(code, DENIED, "{message}");
        assert!(message.contains("affected by row-level security"), "{message}");
    }
}

#[tokio::test]
async fn a_row_of_another_tenant_cannot_be_smuggled_in_by_its_id() {
    let database = Database::new().await;
    insert(&database.pool, "webhooks", OTHER, 1).await;
    let id: Uuid = sqlx::query_scalar("SELECT id FROM webhooks").fetch_one(&database.pool).await.unwrap();
    let mut transaction = begin(&database.pool, "hub_query", Some(&ACME.to_string())).await;
    for condition in [format!("id = '{id}'"), format!("tenant_id = '{OTHER}'"), format!("tenant_id = '{ACME}' OR true")]
    {
        let select = format!("SELECT count(*) FROM webhooks WHERE {condition}");
        let count: i64 = sqlx::query_scalar(&select).fetch_one(&mut *transaction).await.unwrap();
        assert_eq!(count, 0, "{select}");
    }
}
