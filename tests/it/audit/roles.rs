//! The roles that append, seal and project: what each may touch, all of it, and that everything else is refused.

use std::collections::{BTreeMap, BTreeSet};

use hub_event_store::upcast::Upcasters;
use hub_projections::rebuild::rebuild;
use hub_tests::kit::Database;
use sqlx::{Connection as _, PgConnection, PgPool};

const ROLES: [&str; 4] = ["hub_append", "hub_seal", "hub_project", "hub_consume"];

/// What a role may do with whole tables: s(elect), i(nsert), u(pdate), d(elete), t(runcate).
async fn rights(pool: &PgPool, role: &str) -> BTreeMap<String, String> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT c.relname::text, concat(
            CASE WHEN has_table_privilege($1, c.oid, 'SELECT') THEN 's' END, CASE WHEN has_table_privilege($1, c.oid, 'INSERT') THEN 'i' END,
            CASE WHEN has_table_privilege($1, c.oid, 'UPDATE') THEN 'u' END, CASE WHEN has_table_privilege($1, c.oid, 'DELETE') THEN 'd' END,
            CASE WHEN has_table_privilege($1, c.oid, 'TRUNCATE') THEN 't' END,
            CASE WHEN has_table_privilege($1, c.oid, 'TRIGGER') OR has_table_privilege($1, c.oid, 'REFERENCES') THEN 'x' END)
         FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')",
    )
    .bind(role)
    .fetch_all(pool)
    .await
    .unwrap();
    rows.into_iter().filter(|(_, rights)| !rights.is_empty()).collect()
}

fn expected(rights: &[(&str, &str)]) -> BTreeMap<String, String> {
    let each = rights
        .iter()
        .flat_map(|(rights, tables)| tables.split(' ').map(move |table| (table.to_owned(), (*rights).to_owned())));
    each.collect()
}

#[tokio::test]
async fn each_role_has_the_rights_that_its_work_needs_and_no_other() {
    let database = Database::new().await;
    let append = expected(&[
        ("i", "events cqrs_streams"),
        ("su", "log_head imports"),
        ("sid", "claims"),
        ("siu", "tenant_heads streams command_outcomes counters fact_heads fact_removals"),
        ("siud", "facts"),
    ]);
    let seal = expected(&[
        ("s", "events tenant_heads log_head"),
        ("si", "checkpoints"),
        ("siu", "sealed_trees sealed_tiles evidence_keys"),
    ]);
    let mut project = expected(&[
        ("s", "events tenant_heads log_head discarded_events"),
        ("siud", "projection_checkpoints projection_workers projection_builds parked_events build_parked_events"),
    ]);
    let tables: BTreeSet<_> = hub_projections::all().iter().map(|one| one.table().to_owned()).collect();
    project.extend(tables.into_iter().map(|table| (table, "siud".to_owned())));
    let consume = expected(&[
        ("s", "cqrs_streams events tenant_heads"),
        ("siud", "event_subscription_cursors event_subscription_messages"),
    ]);
    for (role, expected) in ROLES.into_iter().zip([append, seal, project, consume]) {
        assert_eq!(rights(&database.pool, role).await, expected, "{role}");
    }
    // A read model that is built anew is another table.
    rebuild(&database.pool, &Upcasters::default(), &hub_projections::all(), "tenants", &|_, _| {}).await.unwrap();
    assert_eq!(rights(&database.pool, "hub_project").await["tenants"], "siud");
    assert!(!rights(&database.pool, "hub_append").await.contains_key("tenants"));
    // Of what an event says, whoever appends reads nothing.
    let columns: Vec<String> = sqlx::query_scalar(
        "SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = 'events'::regclass AND a.attnum > 0 \
         AND has_column_privilege('hub_append', 'events', a.attname, 'SELECT') ORDER BY 1",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    assert_eq!(columns, ["event_id", "leaf_hash", "position", "tenant_position"]);
}

async fn code(connection: &mut PgConnection, statement: &str) -> Option<String> {
    let refused = sqlx::raw_sql(statement).execute(connection).await.err()?;
    Some(
        refused
            .as_database_error()
            .and_then(|error| error.code())
            .map_or_else(|| refused.to_string(), std::borrow::Cow::into_owned),
    )
}

#[tokio::test]
async fn whatever_is_not_a_roles_work_is_refused_to_it() {
    let database = Database::new().await;
    let none: [&str; 15] = [
        "UPDATE events SET payload = '{}'",
        "DELETE FROM events",
        "TRUNCATE events",
        "TRUNCATE events CASCADE",
        "ALTER TABLE events DISABLE TRIGGER ALL",
        "DROP TRIGGER events_are_kept ON events",
        "DROP TABLE events",
        "SET session_replication_role = replica",
        "UPDATE checkpoints SET note = ''",
        "DELETE FROM checkpoints",
        "TRUNCATE checkpoints",
        "DELETE FROM sealed_trees",
        "DELETE FROM evidence_keys",
        "CREATE TABLE mine (id integer)",
        "ALTER ROLE CURRENT_ROLE SUPERUSER",
    ];
    let others: [&[&str]; 4] = [
        &[
            "SELECT payload FROM events",
            "INSERT INTO checkpoints (tenant_id, size, note, sealed_at) VALUES (gen_random_uuid(), 1, '', now())",
            "UPDATE sealed_trees SET size = 1",
            "INSERT INTO evidence_keys VALUES ('mine', now())",
            "UPDATE tenants SET name = ''",
            "UPDATE projection_checkpoints SET position = 0",
            "DELETE FROM streams",
            "DELETE FROM command_outcomes",
        ],
        &[
            "INSERT INTO events SELECT * FROM events",
            "UPDATE log_head SET position = 0",
            "UPDATE tenant_heads SET position = 0",
            "SELECT set_fact(gen_random_uuid(), 'role', gen_random_uuid(), '', NULL, 1)",
            "SELECT fact FROM facts",
            "DELETE FROM sealed_tiles",
            "UPDATE tenants SET name = ''",
        ],
        &[
            "INSERT INTO events SELECT * FROM events",
            "UPDATE log_head SET position = 0",
            "INSERT INTO checkpoints (tenant_id, size, note, sealed_at) VALUES (gen_random_uuid(), 1, '', now())",
            "UPDATE sealed_tiles SET hashes = ''",
            "SELECT fact FROM facts",
            "SELECT set_fact(gen_random_uuid(), 'role', gen_random_uuid(), '', NULL, 1)",
            "DELETE FROM discarded_events",
            "TRUNCATE tenants",
        ],
        &[
            "INSERT INTO events SELECT * FROM events",
            "UPDATE tenant_heads SET position = 0",
            "SELECT position FROM log_head",
            "SELECT fact FROM facts",
            "SELECT name FROM tenants",
            "UPDATE event_subscriptions SET name = ''",
            "TRUNCATE event_subscription_messages",
        ],
    ];
    for (role, others) in ROLES.into_iter().zip(others) {
        // As the program enters it: with the connection.
        let options: sqlx::postgres::PgConnectOptions = database.url.parse().unwrap();
        let mut connection = PgConnection::connect_with(&options.options([("role", role)])).await.unwrap();
        let current: String = sqlx::query_scalar("SELECT current_user::text").fetch_one(&mut connection).await.unwrap();
        assert_eq!(current, role);
        for statement in none.iter().chain(others) {
            assert_eq!(code(&mut connection, statement).await.as_deref(), Some("42501"), "{role}: {statement}");
        }
    }
}

#[tokio::test]
async fn not_even_the_owner_changes_events_and_checkpoints_while_the_triggers_are_on() {
    let database = Database::new().await;
    let mut owner = PgConnection::connect(&database.url).await.unwrap();
    for setting in ["origin", "replica"] {
        sqlx::raw_sql(&format!("SET session_replication_role = {setting}")).execute(&mut owner).await.unwrap();
        for table in ["events", "checkpoints"] {
            for statement in [
                format!("UPDATE {table} SET tenant_id = tenant_id"),
                format!("DELETE FROM {table}"),
                format!("TRUNCATE {table}"),
            ] {
                assert_eq!(code(&mut owner, &statement).await.as_deref(), Some("42501"), "{setting}: {statement}");
            }
        }
    }
}
