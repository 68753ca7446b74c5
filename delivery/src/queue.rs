//! The queue in the database: a row each event and endpoint, and its lease.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};
use hub_cloudevents::Event;
use sqlx::{FromRow, PgConnection, PgPool, Row, postgres::PgRow};
use uuid::Uuid;

use crate::lane::Waiting;

/// Most events of one delivery, whatever an endpoint wants by now.
pub(crate) const BATCH_MAX: usize = hub_domain::webhook::delivery::BATCH_MAX as usize;

/// Events that are to be delivered, and were not yet.
pub(crate) const INSERT: &str = "INSERT INTO webhook_queue (webhook_id, position, tenant_id, aggregate_id, created_at, due_at, leased) \
     SELECT n.webhook_id, n.position, n.tenant_id, n.aggregate_id, $1::timestamptz, CASE WHEN n.leased THEN $2::timestamptz ELSE $1 END, n.leased \
     FROM unnest($3::uuid[], $4::bigint[], $5::uuid[], $6::uuid[], $7::bool[]) AS n (webhook_id, position, tenant_id, aggregate_id, leased)";

/// The same when they may be waiting already; those stay as they are. Costs PostgreSQL twice as much.
pub(crate) const INSERT_MISSING: &str = "INSERT INTO webhook_queue (webhook_id, position, tenant_id, aggregate_id, created_at, due_at, leased) \
     SELECT n.webhook_id, n.position, n.tenant_id, n.aggregate_id, $1::timestamptz, CASE WHEN n.leased THEN $2::timestamptz ELSE $1 END, n.leased \
     FROM unnest($3::uuid[], $4::bigint[], $5::uuid[], $6::uuid[], $7::bool[]) AS n (webhook_id, position, tenant_id, aggregate_id, leased) \
     ON CONFLICT (webhook_id, position) DO NOTHING";

/// Takes what is due for some endpoints, each with its room and order, until a moment. Without an order that is what has been due for
/// longest; what is leased is in memory. With one, what comes behind something that is not due waits where the order asks for it; what is
/// leased of an aggregate is in memory, where this goes behind it. Each takes so many bytes of payloads, and the event that goes beyond.
/// What was sent together is taken together, beyond the room if need be, so that it keeps its message id.
pub(crate) const CLAIM: &str = "WITH wanted AS (SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $6::bigint[]) AS w (webhook_id, room, ordering, bytes)), \
     first AS (SELECT q.webhook_id, q.tenant_id, q.position, q.batch_id, w.bytes FROM wanted w CROSS JOIN LATERAL ( \
         SELECT q.webhook_id, q.tenant_id, q.position, q.batch_id FROM webhook_queue q \
         WHERE w.ordering = 'parallel' AND q.webhook_id = w.webhook_id AND q.due_at <= $4 AND NOT q.leased \
         ORDER BY q.due_at, q.position LIMIT w.room FOR UPDATE SKIP LOCKED) q \
         UNION ALL SELECT q.webhook_id, q.tenant_id, q.position, q.batch_id, w.bytes FROM wanted w CROSS JOIN LATERAL ( \
         SELECT q.webhook_id, q.tenant_id, q.position, q.batch_id FROM webhook_queue q \
         WHERE w.ordering <> 'parallel' AND q.webhook_id = w.webhook_id AND q.due_at <= $4 \
           AND (w.ordering <> 'strict' OR NOT EXISTS (SELECT FROM webhook_queue e \
               WHERE e.webhook_id = q.webhook_id AND e.position < q.position AND e.due_at > $4)) \
           AND (w.ordering <> 'per_aggregate' OR NOT EXISTS (SELECT FROM webhook_queue e \
               WHERE e.webhook_id = q.webhook_id AND e.aggregate_id = q.aggregate_id AND e.position < q.position AND e.due_at > $4 \
                 AND NOT e.leased)) \
         ORDER BY q.position LIMIT w.room FOR UPDATE SKIP LOCKED) q), \
     sized AS (SELECT f.webhook_id, f.position, f.batch_id, f.bytes, octet_length(e.payload::text) AS own, \
             sum(octet_length(e.payload::text)) OVER (PARTITION BY f.webhook_id ORDER BY f.position) AS with_own \
         FROM first f JOIN events e ON e.tenant_id = f.tenant_id AND e.tenant_position = f.position), \
     picked AS (SELECT webhook_id, position, batch_id FROM sized WHERE with_own - own < bytes), \
     batches AS (SELECT DISTINCT webhook_id, batch_id FROM picked WHERE batch_id IS NOT NULL), \
     whole AS (SELECT webhook_id, position FROM picked UNION SELECT q.webhook_id, q.position FROM batches b \
         JOIN webhook_queue q ON q.webhook_id = b.webhook_id AND q.batch_id = b.batch_id AND q.due_at <= $4), \
     taken AS (UPDATE webhook_queue q SET due_at = $5, leased = true FROM whole p \
         WHERE q.webhook_id = p.webhook_id AND q.position = p.position \
         RETURNING q.webhook_id, q.position, q.tenant_id, q.attempts, q.created_at, q.batch_id) \
     SELECT t.webhook_id, t.attempts, t.created_at, t.batch_id, e.tenant_id, e.tenant_position, e.event_id, e.event_type, e.event_version, \
         e.aggregate_type, e.aggregate_id, e.sequence, e.occurred_at, e.payload::text AS payload, e.metadata::text AS metadata \
     FROM taken t JOIN events e ON e.tenant_id = t.tenant_id AND e.tenant_position = t.position ORDER BY t.webhook_id, t.position";

/// Of some endpoints: how many rows there are, up to a bound, when the next of these will be due (which for one that is leased is when that is
/// over), and whether any row that is not leased is due, also beyond the bound.
pub(crate) const STANDING: &str = "SELECT w.webhook_id, s.count, s.next, \
         EXISTS (SELECT FROM webhook_queue q WHERE q.webhook_id = w.webhook_id AND q.due_at <= $3 AND NOT q.leased) AS overdue \
     FROM unnest($1::uuid[]) AS w (webhook_id) CROSS JOIN LATERAL ( \
         SELECT count(*), min(due_at) FILTER (WHERE due_at > $3) AS next \
         FROM (SELECT due_at FROM webhook_queue q WHERE q.webhook_id = w.webhook_id ORDER BY q.position LIMIT $2) AS r) AS s";

/// The first position that an endpoint is still to get, be it of a replay.
pub(crate) const FIRST: &str = "SELECT least((SELECT min(position) FROM webhook_queue WHERE webhook_id = $2), \
     (SELECT min(next) FROM webhook_replays WHERE tenant_id = $1 AND webhook_id = $2))";

/// Ends rows.
pub(crate) const FINISH: &str = "DELETE FROM webhook_queue q USING unnest($1::uuid[], $2::bigint[]) AS d (webhook_id, position) \
     WHERE q.webhook_id = d.webhook_id AND q.position = d.position";

/// Puts rows off, with the attempts that were made, or gives them back.
pub(crate) const PUT_OFF: &str = "UPDATE webhook_queue q SET due_at = d.due_at, leased = false, attempts = coalesce(d.attempts, q.attempts), \
         batch_id = coalesce(d.batch_id, q.batch_id) \
     FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::int[], $5::uuid[]) AS d (webhook_id, position, due_at, attempts, batch_id) \
     WHERE q.webhook_id = d.webhook_id AND q.position = d.position";

/// Ends all leases.
pub(crate) const RELEASE_ALL: &str = "UPDATE webhook_queue SET due_at = created_at, leased = false WHERE leased";

/// Makes the leases of who delivered before mere times until which its deliveries may still be under way.
pub(crate) const INHERIT: &str = "UPDATE webhook_queue SET leased = false WHERE leased";

/// Ends everything of an endpoint.
pub(crate) const DROP: &str = "DELETE FROM webhook_queue WHERE webhook_id = $1";

/// Ends a part of it.
pub(crate) const DROP_SLICE: &str = "DELETE FROM webhook_queue q USING (SELECT webhook_id, position FROM webhook_queue \
         WHERE webhook_id = $1 ORDER BY position LIMIT $2) AS s WHERE q.webhook_id = s.webhook_id AND q.position = s.position";

/// So many rows of an endpoint are ended at once.
const DROP_SLICE_ROWS: i64 = 5_000;

/// So many rows of an endpoint are looked at to see where it stands.
const STANDING_MAX: i64 = 1_000;

/// A row to be.
#[derive(Debug)]
pub(crate) struct New {
    pub(crate) webhook_id: Uuid,
    pub(crate) tenant_id: Uuid,
    pub(crate) position: i64,
    pub(crate) aggregate_id: Uuid,
    /// Whether it is in memory already.
    pub(crate) leased: bool,
}

/// Writes rows by one of the two statements, due `now` or, if leased, when the lease is over.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    statement: &'static str,
    rows: &[New],
    now: DateTime<Utc>,
    leased_until: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(statement)
        .bind(now)
        .bind(leased_until)
        .bind(rows.iter().map(|row| row.webhook_id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.position).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.tenant_id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.aggregate_id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.leased).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

/// An endpoint that has room.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) webhook_id: Uuid,
    pub(crate) room: usize,
    /// In bytes of payloads.
    pub(crate) bytes: usize,
    pub(crate) ordering: &'static str,
}

/// Takes what is due, until `leased_until`.
pub(crate) async fn claim(
    connection: &mut PgConnection,
    rooms: &[Room],
    now: DateTime<Utc>,
    leased_until: DateTime<Utc>,
) -> Result<Vec<(Uuid, Waiting)>, sqlx::Error> {
    let rows = sqlx::query(CLAIM)
        .bind(rooms.iter().map(|room| room.webhook_id).collect::<Vec<_>>())
        .bind(rooms.iter().map(|room| i32::try_from(room.room).unwrap_or(i32::MAX)).collect::<Vec<_>>())
        .bind(rooms.iter().map(|room| room.ordering).collect::<Vec<_>>())
        .bind(now)
        .bind(leased_until)
        .bind(rooms.iter().map(|room| i64::try_from(room.bytes).unwrap_or(i64::MAX)).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let waiting = |row: &PgRow| {
        let attempts: i32 = row.try_get("attempts")?;
        let waiting = Waiting {
            event: Arc::new(Event::from_row(row)?.into()),
            attempts: u32::try_from(attempts).unwrap_or(0),
            created_at: row.try_get("created_at")?,
            batch_id: row.try_get("batch_id")?,
            leased_until,
        };
        Ok((row.try_get("webhook_id")?, waiting))
    };
    rows.iter().map(waiting).collect()
}

/// Where an endpoint stands.
#[derive(Debug, FromRow)]
pub(crate) struct Standing {
    pub(crate) webhook_id: Uuid,
    /// Up to a bound.
    pub(crate) count: i64,
    /// Whether a row that is not leased is due.
    pub(crate) overdue: bool,
    /// When the next of those that were counted will be.
    pub(crate) next: Option<DateTime<Utc>>,
}

impl Standing {
    /// Whether there are more rows than that; also when there are too many to be counted.
    pub(crate) fn more_than(&self, rows: usize) -> bool {
        self.count >= STANDING_MAX || usize::try_from(self.count).is_ok_and(|count| count > rows)
    }
}

pub(crate) async fn standing(
    connection: &mut PgConnection,
    webhooks: &[Uuid],
    now: DateTime<Utc>,
) -> Result<Vec<Standing>, sqlx::Error> {
    sqlx::query_as(STANDING).bind(webhooks).bind(STANDING_MAX).bind(now).fetch_all(connection).await
}

/// Ends a part of what an endpoint has; answers whether there may be more.
pub(crate) async fn drop_slice(connection: &mut PgConnection, webhook_id: Uuid) -> Result<bool, sqlx::Error> {
    let query = sqlx::query(DROP_SLICE).bind(webhook_id).bind(DROP_SLICE_ROWS);
    let ended = query.execute(connection).await?.rows_affected();
    Ok(i64::try_from(ended).is_ok_and(|ended| ended >= DROP_SLICE_ROWS))
}

/// The first position that waits for an endpoint, if any does.
pub(crate) async fn first(pool: &PgPool, tenant_id: Uuid, webhook_id: Uuid) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(FIRST).bind(tenant_id).bind(webhook_id).fetch_one(pool).await
}

/// What has become of rows, until it is written.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    finished: Vec<(Uuid, i64)>,
    put_off: HashMap<(Uuid, i64), PutOff>,
}

#[derive(Debug)]
struct PutOff {
    due_at: DateTime<Utc>,
    attempts: Option<i32>,
    batch_id: Option<Uuid>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.finished.is_empty() && self.put_off.is_empty()
    }

    pub(crate) fn finish(&mut self, webhook_id: Uuid, position: i64) {
        self.finished.push((webhook_id, position));
    }

    /// After an attempt that failed.
    pub(crate) fn retry(
        &mut self,
        webhook_id: Uuid,
        position: i64,
        attempts: u32,
        batch_id: Option<Uuid>,
        due_at: DateTime<Utc>,
    ) {
        let attempts = i32::try_from(attempts).ok();
        self.put_off.insert((webhook_id, position), PutOff { due_at, attempts, batch_id });
    }

    /// Without an attempt.
    pub(crate) fn release(&mut self, webhook_id: Uuid, position: i64, due_at: DateTime<Utc>) {
        self.put_off.insert((webhook_id, position), PutOff { due_at, attempts: None, batch_id: None });
    }

    pub(crate) async fn write(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !self.finished.is_empty() {
            let (webhooks, positions): (Vec<_>, Vec<_>) = self.finished.iter().copied().unzip();
            sqlx::query(FINISH).bind(webhooks).bind(positions).execute(&mut *connection).await?;
        }
        if !self.put_off.is_empty() {
            let (webhooks, positions): (Vec<_>, Vec<_>) = self.put_off.keys().copied().unzip();
            sqlx::query(PUT_OFF)
                .bind(webhooks)
                .bind(positions)
                .bind(self.put_off.values().map(|row| row.due_at).collect::<Vec<_>>())
                .bind(self.put_off.values().map(|row| row.attempts).collect::<Vec<_>>())
                .bind(self.put_off.values().map(|row| row.batch_id).collect::<Vec<_>>())
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}
