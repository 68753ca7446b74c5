//! The log of attempts.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::message::Message;

/// Counter of attempts, by outcome.
pub(crate) const ATTEMPTS: &str = "hub_webhook_attempts_total";

/// Histogram of the time from an event to the end of its first attempt.
pub(crate) const LATENCY: &str = "hub_webhook_first_attempt_seconds";

/// Attempts.
pub(crate) const INSERT: &str = "INSERT INTO webhook_attempts (tenant_id, webhook_id, at, id, position, event_id, event_type, message_id, \
         attempt, outcome, status, error, latency_ms, response_headers, response_body, next_attempt_at) \
     SELECT a.tenant_id, a.webhook_id, $1::timestamptz, a.id, a.position, a.event_id, a.event_type, a.message_id, a.attempt, a.outcome, a.status, a.error, \
         a.latency_ms, a.response_headers, a.response_body, a.next_attempt_at \
     FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::bigint[], $6::uuid[], $7::text[], $8::text[], $9::int[], $10::text[], $11::int[], \
         $12::text[], $13::int[], $14::jsonb[], $15::text[], $16::timestamptz[]) AS a (tenant_id, webhook_id, id, position, event_id, event_type, \
         message_id, attempt, outcome, status, error, latency_ms, response_headers, response_body, next_attempt_at)";

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The endpoint took it.
    Delivered,
    /// It is tried again.
    Retrying,
    /// It is not.
    GivenUp,
}

impl Outcome {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retrying => "retrying",
            Self::GivenUp => "given_up",
        }
    }
}

/// One attempt, for one event.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) webhook_id: Uuid,
    pub(crate) event: Arc<Message>,
    pub(crate) message_id: String,
    pub(crate) attempt: i32,
    pub(crate) outcome: Outcome,
    pub(crate) status: Option<i32>,
    pub(crate) error: Option<String>,
    pub(crate) latency_ms: i32,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) next_attempt_at: Option<DateTime<Utc>>,
}

/// Headers as an object.
struct Headers<'a>(&'a [(String, String)]);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Writes attempts as of `at`, which grows from one call to the next, so that who reads on after one misses none.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    attempts: &[Attempt],
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    if attempts.is_empty() {
        return Ok(());
    }
    sqlx::query(INSERT)
        .bind(at)
        .bind(attempts.iter().map(|attempt| attempt.event.tenant_id).collect::<Vec<_>>())
        .bind(attempts.iter().map(|attempt| attempt.webhook_id).collect::<Vec<_>>())
        .bind(attempts.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
        .bind(attempts.iter().map(|attempt| attempt.event.position).collect::<Vec<_>>())
        .bind(attempts.iter().map(|attempt| attempt.event.event_id).collect::<Vec<_>>())
        .bind(attempts.iter().map(|attempt| attempt.event.event_type.as_str()).collect::<Vec<_>>())
        .bind(attempts.iter().map(|attempt| attempt.message_id.as_str()).collect::<Vec<_>>())
        .bind(attempts.iter().map(|attempt| attempt.attempt).collect::<Vec<_>>())
        .bind(attempts.iter().map(|attempt| attempt.outcome.name()).collect::<Vec<_>>())
        .bind(attempts.iter().map(|attempt| attempt.status).collect::<Vec<_>>())
        .bind(attempts.iter().map(|attempt| attempt.error.as_deref()).collect::<Vec<_>>())
        .bind(attempts.iter().map(|attempt| attempt.latency_ms).collect::<Vec<_>>())
        .bind(attempts.iter().map(|attempt| Json(Headers(&attempt.headers))).collect::<Vec<_>>())
        .bind(attempts.iter().map(|attempt| attempt.body.as_str()).collect::<Vec<_>>())
        .bind(attempts.iter().map(|attempt| attempt.next_attempt_at).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}
