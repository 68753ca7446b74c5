//! Every table that has a tenant is isolated, and stays so when a read model is built anew.

use std::collections::BTreeMap;

use hub_event_store::upcast::Upcasters;
use hub_projections::rebuild::{build, promote, rollback};
use hub_tests::kit::Database;
use sqlx::PgPool;

/// Tables whose key does not begin with the tenant, and why.
const KEYS_OF_THEIR_OWN: [(&str, &str); 7] = [
    ("events", "the log is one for all tenants, in one order"),
    ("command_outcomes", "the id of a command is unique on the platform; a copy of it in another tenant must be found"),
    ("claims", "the realm is the tenant, or the platform where a name is unique among all tenants"),
    ("parked_events", "a place in the log"),
    ("build_parked_events", "a place in the log"),
    ("discarded_events", "a place in the log"),
    (
        "webhook_queue",
        "whoever delivers asks for endpoints of many tenants at once, whose ids are unique on the platform",
    ),
];

/// What queries may read, and nothing else.
const READABLE: [&str; 39] = [
    "access_requests",
    "api_key_uses",
    "api_keys",
    "audit_entries",
    "break_glasses",
    "charges",
    "checkpoints",
    "control_checks",
    "cqrs_streams",
    "duty_sets",
    "erasures",
    "event_counts",
    "event_subscriptions",
    "events",
    "evidence_keys",
    "findings",
    "identity_providers",
    "inbound_sources",
    "legal_holds",
    "log_head",
    "mrr_movements",
    "nats_credentials",
    "permission_uses",
    "permission_uses_begin",
    "projection_checkpoints",
    "retention_classes",
    "role_templates",
    "roles",
    "sealed_tiles",
    "service_instances",
    "subject_records",
    "subscriptions",
    "support_accesses",
    "tenant_heads",
    "tenants",
    "webhook_attempts",
    "webhook_health",
    "webhook_queue",
    "webhooks",
];

const NOTHING: &(dyn Fn(i64, i64) + Send + Sync) = &|_, _| {};

/// Every table with a tenant, and whether row-level security is enabled and forced.
pub(super) async fn tables(pool: &PgPool) -> BTreeMap<String, (bool, bool)> {
    let rows: Vec<(String, bool, bool)> = sqlx::query_as(
        "SELECT DISTINCT c.relname::text, c.relrowsecurity, c.relforcerowsecurity \
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p' \
           AND a.attname IN ('tenant_id', 'realm_id') AND NOT a.attisdropped",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    rows.into_iter().map(|(name, enabled, forced)| (name, (enabled, forced))).collect()
}

/// `role command condition` of each policy of a table.
async fn policies(pool: &PgPool, table: &str) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT array_to_string(roles, ',') || ' ' || cmd || ' ' || qual FROM pg_policies WHERE tablename = $1 ORDER BY 1",
    )
    .bind(table)
    .fetch_all(pool)
    .await
    .unwrap()
}

async fn grants(pool: &PgPool, role: &str) -> Vec<(String, String)> {
    sqlx::query_as(
        "SELECT table_name::text, string_agg(privilege_type, ',') FROM information_schema.role_table_grants \
         WHERE grantee = $1 AND table_schema = 'public' GROUP BY table_name ORDER BY table_name COLLATE \"C\"",
    )
    .bind(role)
    .fetch_all(pool)
    .await
    .unwrap()
}

/// Fails for a table with a tenant that is not isolated.
async fn assert_isolated(pool: &PgPool) {
    for (table, secured) in tables(pool).await {
        assert_eq!(secured, (true, true), "{table}: isolate_table() is for this");
        let live = table.trim_end_matches("_retired");
        let worker = "hub_worker ALL true".to_owned();
        // What the platform offers is for everybody.
        let seen = if live == "role_templates" { "true" } else { "(tenant_id = hub_tenant_id())" };
        // Every tenant may follow the platform's own log of checkpoints.
        let shared = matches!(live, "checkpoints" | "sealed_tiles")
            .then(|| "hub_query SELECT (tenant_id = '00000000-0000-0000-0000-000000000000'::uuid)".to_owned());
        // Whoever consumes event subscriptions sees one tenant, as a query does, and writes how far he is.
        let consumed = match live {
            "event_subscription_cursors" | "event_subscription_messages" => Some("ALL"),
            "cqrs_streams" | "events" | "tenant_heads" => Some("SELECT"),
            _ => None,
        };
        let consumed = consumed.map(|command| format!("hub_consume {command} (tenant_id = hub_tenant_id())"));
        let mut expected: Vec<_> = consumed.into_iter().collect();
        if READABLE.contains(&live) {
            expected.push("hub_platform SELECT true".to_owned());
            expected.extend(shared);
            expected.push(format!("hub_query SELECT {seen}"));
        }
        expected.push(worker);
        assert_eq!(policies(pool, &table).await, expected, "{table}");
    }
}

#[tokio::test]
async fn every_table_with_a_tenant_is_isolated_also_for_its_owner() {
    let database = Database::new().await;
    assert!(tables(&database.pool).await.len() > 20, "the tables are found");
    assert_isolated(&database.pool).await;
}

#[tokio::test]
async fn queries_may_read_what_they_need_and_nothing_else() {
    let database = Database::new().await;
    for role in ["hub_query", "hub_platform"] {
        let expected: Vec<_> = READABLE.iter().map(|table| ((*table).to_owned(), "SELECT".to_owned())).collect();
        assert_eq!(grants(&database.pool, role).await, expected, "{role}");
    }
    assert_eq!(grants(&database.pool, "hub_worker").await, []);
    assert_eq!(grants(&database.pool, "PUBLIC").await, []);
    let above: Vec<String> = sqlx::query_scalar(
        "SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'hub\\_%' \
           AND (rolsuper OR rolbypassrls OR rolcanlogin OR rolcreaterole OR rolcreatedb OR rolreplication)",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    assert_eq!(above, Vec::<String>::new());
}

#[tokio::test]
async fn every_key_begins_with_the_tenant_unless_there_is_a_reason() {
    let database = Database::new().await;
    let keys: Vec<(String, String)> = sqlx::query_as(
        "SELECT c.relname::text, a.attname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0] WHERE i.indisprimary",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    let first: BTreeMap<_, _> = keys.into_iter().collect();
    for table in tables(&database.pool).await.into_keys() {
        let reason = KEYS_OF_THEIR_OWN.iter().find(|(named, _)| *named == table);
        let led = first.get(&table).is_some_and(|column| column == "tenant_id");
        assert_eq!(led, reason.is_none(), "{table}: {:?} {reason:?}", first.get(&table));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_stays_isolated_when_it_is_built_promoted_and_rolled_back() {
    let database = Database::new().await;
    let pool = &database.pool;
    let (upcasters, projections) = (Upcasters::default(), hub_projections::all());
    let before = grants(pool, "hub_query").await;
    for projection in &projections {
        build(pool, &upcasters, &projections, projection.name(), NOTHING).await.unwrap();
    }
    let candidates = tables(pool).await;
    for projection in &projections {
        let table = format!("{}_shadow", projection.table());
        assert_eq!(candidates[&table], (true, true), "{table}");
        assert_eq!(policies(pool, &table).await, ["hub_worker ALL true"], "{table}");
    }
    assert_eq!(grants(pool, "hub_query").await, before, "nobody reads a candidate");
    for projection in &projections {
        promote(pool, &upcasters, &projections, projection.name(), NOTHING).await.unwrap();
    }
    assert_isolated(pool).await;
    for projection in &projections {
        rollback(pool, &upcasters, &projections, projection.name(), NOTHING).await.unwrap();
    }
    assert_isolated(pool).await;
    let live: Vec<_> =
        grants(pool, "hub_query").await.into_iter().filter(|(table, _)| !table.ends_with("_retired")).collect();
    assert_eq!(live, before);
}
