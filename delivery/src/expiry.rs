//! What waits for an endpoint that is paused, and has waited for too long: given up, a slice at a time.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

/// Gives up what is too old in the next slice of each of some endpoints, and what was once sent together with it. Answers where the slices
/// end, and whether they were whole.
pub(crate) const GIVE_UP: &str = "WITH paused AS (SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::bigint[]) AS p (webhook_id, before, after)), \
     slice AS (SELECT s.webhook_id, s.position, s.batch_id, s.created_at < p.before AS old FROM paused p CROSS JOIN LATERAL ( \
         SELECT q.webhook_id, q.position, q.batch_id, q.created_at FROM webhook_queue q \
         WHERE q.webhook_id = p.webhook_id AND q.position > p.after AND NOT q.leased ORDER BY q.position LIMIT $4) s), \
     batches AS (SELECT DISTINCT webhook_id, batch_id FROM slice WHERE old AND batch_id IS NOT NULL), \
     whole AS (SELECT webhook_id, position FROM slice WHERE old UNION SELECT q.webhook_id, q.position FROM batches b \
         JOIN webhook_queue q ON q.webhook_id = b.webhook_id AND q.batch_id = b.batch_id AND NOT q.leased), \
     gone AS (DELETE FROM webhook_queue q USING whole w WHERE q.webhook_id = w.webhook_id AND q.position = w.position \
         RETURNING q.tenant_id, q.webhook_id, q.position, q.attempts), \
     noted AS (INSERT INTO webhook_attempts (tenant_id, webhook_id, at, id, position, event_id, event_type, message_id, attempt, outcome, \
             error, latency_ms, response_headers, response_body) \
         SELECT g.tenant_id, g.webhook_id, $5, gen_random_uuid(), g.position, e.event_id, e.event_type, e.event_id::text, g.attempts + 1, \
             'given_up', $6, 0, '{}', '' FROM gone g JOIN events e ON e.tenant_id = g.tenant_id AND e.tenant_position = g.position) \
     SELECT s.webhook_id, max(s.position) AS last, count(*) >= $4 AS more, (SELECT count(*) FROM gone) AS given_up \
     FROM slice s GROUP BY s.webhook_id";

/// So many rows of each endpoint are looked at in one turn.
const SLICE: i64 = 1_000;

/// Why there is no answer.
const REASON: &str = "it waited too long while the webhook was paused";

/// A webhook that is paused: what is from before is too old, and up to which position that is known to be gone.
#[derive(Debug)]
pub(crate) struct Paused {
    pub(crate) webhook_id: Uuid,
    pub(crate) before: DateTime<Utc>,
    pub(crate) after: i64,
}

/// How far it was looked.
#[derive(Debug, FromRow)]
pub(crate) struct Slice {
    pub(crate) webhook_id: Uuid,
    /// The last position of the slice.
    pub(crate) last: i64,
    /// Whether there may be more behind it.
    pub(crate) more: bool,
    /// So many were given up, of all endpoints together.
    pub(crate) given_up: i64,
}

/// Gives up what is too old, as of `at` in the log of attempts.
pub(crate) async fn give_up(
    connection: &mut PgConnection,
    paused: &[Paused],
    at: DateTime<Utc>,
) -> Result<Vec<Slice>, sqlx::Error> {
    sqlx::query_as(GIVE_UP)
        .bind(paused.iter().map(|paused| paused.webhook_id).collect::<Vec<_>>())
        .bind(paused.iter().map(|paused| paused.before).collect::<Vec<_>>())
        .bind(paused.iter().map(|paused| paused.after).collect::<Vec<_>>())
        .bind(SLICE)
        .bind(at)
        .bind(REASON)
        .fetch_all(connection)
        .await
}
