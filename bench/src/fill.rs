//! Fills tables before anything is measured, by SQL within the server, and analyses them.
//!
//! Everybody gets the same events: accounts of ten entries, spread over the tenants, the entries of a hundred accounts interleaved.
//! Indexes of the log are made after the filling, as one would after a restore, so that five million events take minutes. The leaf
//! hashes of filled events are hashes, but not of the event's bytes, except of the log of one tenant that is verified (`tenant`).

use anyhow::Context as _;
use sqlx::{Executor as _, PgPool};
use uuid::Uuid;

use crate::account::NOTE;

/// Place `p` (from 1): block of 1,000 events, 100 accounts in it, one a tenant, and their ten entries in turn.
const SERIES: &str = "SELECT p, (p - 1) / 1000 AS block, ((p - 1) % 1000) / 100 + 1 AS sequence, (p - 1) % 100 AS tenant FROM generate_series(1, $1::bigint) AS p";

/// Ids, payload and metadata of each place.
fn events_sql() -> String {
    let note = NOTE.replace('\'', "''");
    format!(
        "SELECT p, block, sequence, \
         ('01900000-0000-7000-8000-' || lpad(to_hex(tenant), 12, '0'))::uuid AS tenant_id, \
         ('00000000-0000-7000-8000-' || lpad(to_hex(block * 100 + tenant), 12, '0'))::uuid AS aggregate_id, \
         ('00000000-0000-7000-9000-' || lpad(to_hex(p), 12, '0'))::uuid AS event_id, \
         md5('command ' || p)::uuid AS command_id, \
         '{{\"amount_minor\":1250,\"balance_minor\":' || (sequence * 1250) || ',\"reference\":\"' \
         || ('00000000-0000-7000-9000-' || lpad(to_hex(p), 12, '0')) || '\",\"note\":\"{note}\"}}' AS data, \
         '{{\"actor\":\"key:administrator\",\"command_id\":\"' || md5('command ' || p)::uuid || '\",\"correlation_id\":\"' \
         || md5('command ' || p)::uuid || '\",\"traceparent\":\"00-' || md5('command ' || p) || '-00f067aa0ba902b7-01\"}}' AS metadata \
         FROM ({SERIES}) s"
    )
}

/// Fills the log of hub with `count` events, a multiple of 1,000: events, streams, heads and outcomes.
pub async fn hub(pool: &PgPool, count: i64) -> anyhow::Result<()> {
    let events = events_sql();
    let mut connection = pool.acquire().await?;
    connection.execute("SET maintenance_work_mem = '512MB'").await?;
    let indexes = drop_indexes(&mut connection, &["events", "streams", "command_outcomes"]).await?;
    let statements = [
        format!(
            "INSERT INTO events (position, tenant_position, event_id, tenant_id, aggregate_id, sequence, occurred_at, event_version, \
             aggregate_type, event_type, payload, metadata, leaf_hash) \
             SELECT p, block * 10 + sequence, event_id, tenant_id, aggregate_id, sequence, now(), 1, 'account', 'account.entered', \
             data::json, metadata::json, sha256(data::bytea) FROM ({events}) e"
        ),
        format!(
            "INSERT INTO command_outcomes (command_id, fingerprint, tenant_id, aggregate_type, aggregate_id, sequence, position, \
             event_count, outcome, recorded_at) \
             SELECT command_id, sha256(data::bytea), tenant_id, 'account', aggregate_id, sequence, p, 1, NULL, now() FROM ({events}) e"
        ),
        format!(
            "INSERT INTO streams (tenant_id, aggregate_type, aggregate_id, sequence) \
             SELECT tenant_id, 'account', aggregate_id, 10 FROM ({events}) e WHERE sequence = 10"
        ),
        format!(
            "INSERT INTO tenant_heads (tenant_id, position) SELECT tenant_id, count(*) FROM ({events}) e GROUP BY tenant_id"
        ),
        "UPDATE log_head SET position = $1".to_owned(),
    ];
    for statement in &statements {
        sqlx::query(statement).bind(count).execute(&mut *connection).await.context("cannot fill the log")?;
    }
    for index in indexes {
        connection.execute(index.as_str()).await.with_context(|| format!("cannot make the index: {index}"))?;
    }
    connection.execute("RESET maintenance_work_mem").await?;
    drop(connection);
    analyse(pool).await
}

/// Places of one tenant's log: the entries of a tenth as many accounts, those of all accounts in turn, a second apart.
const TENANT_EVENTS: &str = r#"
WITH event AS (
    SELECT p,
        ('00000000-0000-7000-9000-' || lpad(to_hex(p), 12, '0'))::uuid AS event_id,
        ('00000000-0000-7000-8000-' || lpad(to_hex((p - 1) % ($2 / 10)), 12, '0'))::uuid AS aggregate_id,
        (p - 1) / ($2 / 10) + 1 AS sequence,
        timestamptz '2026-01-01 00:00:00Z' + p * interval '1 second' AS at,
        '{"amount_minor":1250,"reference":"' || md5('reference ' || p) || '","note":"' || $3 || '"}' AS payload,
        '{"actor":"key:administrator","command_id":"' || md5('command ' || p)::uuid || '","correlation_id":"'
            || md5('command ' || p)::uuid || '","traceparent":"00-' || md5('trace ' || p) || '-00f067aa0ba902b7-01"}' AS metadata
    FROM generate_series(1, $2::bigint) AS p
)
INSERT INTO events (position, tenant_position, event_id, tenant_id, aggregate_id, sequence, occurred_at, event_version,
    aggregate_type, event_type, payload, metadata, leaf_hash)
SELECT p, p, event_id, $1, aggregate_id, sequence, at, 1, 'account', 'account.entered', payload::json, metadata::json,
    sha256('\x00'::bytea || 'hub.event.v1'::bytea || uuid_send(event_id) || uuid_send($1) || int4send(7) || 'account'::bytea
        || uuid_send(aggregate_id) || int8send(sequence) || int4send(15) || 'account.entered'::bytea || int4send(1)
        || int8send((extract(epoch FROM at) * 1000000)::bigint)
        || int4send(octet_length(payload)) || convert_to(payload, 'UTF8')
        || int4send(octet_length(metadata)) || convert_to(metadata, 'UTF8'))
FROM event"#;

/// Fills the log of hub with `count` events of one tenant, a multiple of ten, each with the leaf hash that an append gives it: events and heads.
pub async fn tenant(pool: &PgPool, tenant_id: Uuid, count: i64) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    connection.execute("SET maintenance_work_mem = '512MB'").await?;
    let indexes = drop_indexes(&mut connection, &["events"]).await?;
    let fill = sqlx::query(TENANT_EVENTS).bind(tenant_id).bind(count).bind(NOTE);
    fill.execute(&mut *connection).await.context("cannot fill the log of a tenant")?;
    let head = sqlx::query("INSERT INTO tenant_heads (tenant_id, position) VALUES ($1, $2)").bind(tenant_id);
    head.bind(count).execute(&mut *connection).await?;
    sqlx::query("UPDATE log_head SET position = $1").bind(count).execute(&mut *connection).await?;
    for index in indexes {
        connection.execute(index.as_str()).await.with_context(|| format!("cannot make the index: {index}"))?;
    }
    connection.execute("RESET maintenance_work_mem").await?;
    drop(connection);
    analyse(pool).await
}

/// Takes the indexes away and answers the statements that make them again.
async fn drop_indexes(connection: &mut sqlx::PgConnection, tables: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut again = Vec::new();
    for table in tables {
        let found: Vec<(String, String, Option<String>, Option<String>)> = sqlx::query_as(
            "SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid), c.conname::text, pg_get_constraintdef(c.oid) \
             FROM pg_index i LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid WHERE i.indrelid = $1::text::regclass",
        )
        .bind(table)
        .fetch_all(&mut *connection)
        .await?;
        for (index, definition, constraint, constraint_definition) in found {
            let drop = match (&constraint, constraint_definition) {
                (Some(name), Some(definition)) => {
                    again.push(format!("ALTER TABLE {table} ADD CONSTRAINT {name} {definition}"));
                    format!("ALTER TABLE {table} DROP CONSTRAINT {name}")
                }
                _ => {
                    again.push(definition);
                    format!("DROP INDEX {index}")
                }
            };
            connection.execute(drop.as_str()).await?;
        }
    }
    Ok(again)
}

/// Makes the table of postgres-es as its own `init.sql` does, and fills it.
pub async fn postgres_es(pool: &PgPool, count: i64) -> anyhow::Result<()> {
    pool.execute(
        "CREATE TABLE events (aggregate_type text NOT NULL, aggregate_id text NOT NULL, sequence bigint CHECK (sequence >= 0) NOT NULL, \
         event_type text NOT NULL, event_version text NOT NULL, payload json NOT NULL, metadata json NOT NULL, \
         PRIMARY KEY (aggregate_type, aggregate_id, sequence))",
    )
    .await?;
    let statement = format!(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) \
         SELECT 'account', aggregate_id::text, sequence, 'entered', '1', ('{{\"type\":\"entered\",\"data\":' || data || '}}')::json, \
         metadata::json FROM ({}) e",
        events_sql()
    );
    sqlx::query(&statement).bind(count).execute(pool).await.context("cannot fill the table of postgres-es")?;
    analyse(pool).await
}

/// Fills the table that esrs has made.
pub async fn esrs(pool: &PgPool, table: &str, count: i64) -> anyhow::Result<()> {
    let statement = format!(
        "INSERT INTO {table} (id, aggregate_id, payload, occurred_on, sequence_number) \
         SELECT event_id, aggregate_id, ('{{\"event\":{{\"type\":\"entered\",\"data\":' || data || '}},\"metadata\":' || metadata || '}}')::jsonb, \
         now(), sequence::integer FROM ({}) e",
        events_sql()
    );
    sqlx::query(&statement).bind(count).execute(pool).await.context("cannot fill the table of esrs")?;
    analyse(pool).await
}

/// Makes a table with the columns and the indexes of hub's log, whose positions are plain sequences, and fills it.
pub async fn pgbench(pool: &PgPool, count: i64) -> anyhow::Result<()> {
    pool.execute(
        "CREATE SEQUENCE tenant_positions; \
         CREATE TABLE events (position bigserial PRIMARY KEY, tenant_position bigint NOT NULL DEFAULT nextval('tenant_positions'), \
         event_id uuid NOT NULL, tenant_id uuid NOT NULL, aggregate_id uuid NOT NULL, sequence bigint NOT NULL CHECK (sequence > 0), \
         occurred_at timestamptz NOT NULL, event_version integer NOT NULL CHECK (event_version > 0), aggregate_type text NOT NULL, \
         event_type text NOT NULL, payload json NOT NULL, metadata json NOT NULL, leaf_hash bytea NOT NULL); \
         CREATE UNIQUE INDEX events_stream ON events (tenant_id, aggregate_type, aggregate_id, sequence); \
         CREATE UNIQUE INDEX events_tenant ON events (tenant_id, tenant_position)",
    )
    .await?;
    let statement = format!(
        "INSERT INTO events (event_id, tenant_id, aggregate_id, sequence, occurred_at, event_version, aggregate_type, event_type, payload, \
         metadata, leaf_hash) SELECT event_id, tenant_id, aggregate_id, sequence, now(), 1, 'account', 'account.entered', data::json, \
         metadata::json, sha256(data::bytea) FROM ({}) e",
        events_sql()
    );
    sqlx::query(&statement).bind(count).execute(pool).await.context("cannot fill the table of pgbench")?;
    analyse(pool).await
}

async fn analyse(pool: &PgPool) -> anyhow::Result<()> {
    pool.execute("VACUUM ANALYZE").await.context("cannot analyse the tables")?;
    Ok(())
}
