//! Replays: parts of the log that are delivered again, a piece at each turn.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use hub_cloudevents::Event;
use hub_domain::webhook::{Only, Replay};
use hub_event_store::log::Log;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::{endpoint::Endpoint, queue::New};

/// A part of the log that is to be delivered again; named by the event that asked for it.
pub(crate) const INSERT: &str = "INSERT INTO webhook_replays (tenant_id, webhook_id, sequence, next, until, since, before, only_failed) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";

/// Those that are not done and not held, one each webhook, some at a time.
pub(crate) const NEXT: &str = "SELECT DISTINCT ON (tenant_id, webhook_id) tenant_id, webhook_id, sequence, next, until, since, before, only_failed \
     FROM webhook_replays WHERE NOT held ORDER BY tenant_id, webhook_id, sequence LIMIT $1";

/// How far one is.
pub(crate) const MOVE: &str =
    "UPDATE webhook_replays SET next = $4 WHERE tenant_id = $1 AND webhook_id = $2 AND sequence = $3";

/// One is done.
pub(crate) const END: &str = "DELETE FROM webhook_replays WHERE tenant_id = $1 AND webhook_id = $2 AND sequence = $3";

/// Makes of those that are not done, and of what waits in the queue, a single one that begins with the first event of theirs and is held
/// until the webhook is enabled.
pub(crate) const HOLD: &str = "WITH open AS (DELETE FROM webhook_replays WHERE tenant_id = $1 AND webhook_id = $2 AND sequence <> $3 RETURNING next), \
     missed AS (SELECT least((SELECT min(next) FROM open), (SELECT min(position) FROM webhook_queue WHERE webhook_id = $2)) AS next) \
     INSERT INTO webhook_replays (tenant_id, webhook_id, sequence, next, until, only_failed, held) \
     SELECT $1, $2, $3, next, $4::bigint, false, true FROM missed WHERE next IS NOT NULL ON CONFLICT DO NOTHING";

/// None is wanted any more; answers where they were.
pub(crate) const DROP: &str = "DELETE FROM webhook_replays WHERE tenant_id = $1 AND webhook_id = $2 RETURNING next";

/// Which of a range of positions were given up, as far as attempts are kept.
pub(crate) const FAILED: &str = "SELECT DISTINCT position FROM webhook_attempts \
     WHERE tenant_id = $1 AND webhook_id = $2 AND outcome = 'given_up' AND position BETWEEN $3 AND $4";

/// So many positions are looked at in one turn.
const PIECE: i64 = 500;

/// So many replays have a piece in one turn.
pub(crate) const AT_ONCE: i64 = 8;

/// One that is not done.
#[derive(Debug, FromRow)]
pub(crate) struct Pending {
    pub(crate) tenant_id: Uuid,
    pub(crate) webhook_id: Uuid,
    sequence: i64,
    next: i64,
    until: i64,
    since: Option<DateTime<Utc>>,
    before: Option<DateTime<Utc>>,
    only_failed: bool,
}

/// Takes a replay up, which reaches to `head` at most, whatever positions it names.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    endpoint: (Uuid, Uuid),
    sequence: i64,
    replay: &Replay,
    head: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(INSERT)
        .bind(endpoint.0)
        .bind(endpoint.1)
        .bind(sequence)
        .bind(replay.from.unwrap_or(1).clamp(1, head + 1))
        .bind(replay.to.unwrap_or(head).min(head))
        .bind(replay.since)
        .bind(replay.until)
        .bind(replay.only == Only::Failed)
        .execute(connection)
        .await?;
    Ok(())
}

/// Keeps what a webhook has not got for when it is enabled again.
pub(crate) async fn hold(
    connection: &mut PgConnection,
    (tenant_id, webhook_id): (Uuid, Uuid),
    sequence: i64,
    head: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(HOLD).bind(tenant_id).bind(webhook_id).bind(sequence).bind(head).execute(connection).await.map(|_| ())
}

/// Ends all of a webhook's; answers the first position that is left of them.
pub(crate) async fn drop_all(
    connection: &mut PgConnection,
    (tenant_id, webhook_id): (Uuid, Uuid),
) -> Result<Option<i64>, sqlx::Error> {
    let left: Vec<i64> = sqlx::query_scalar(DROP).bind(tenant_id).bind(webhook_id).fetch_all(connection).await?;
    Ok(left.into_iter().min())
}

pub(crate) async fn pending(connection: &mut PgConnection) -> Result<Vec<Pending>, sqlx::Error> {
    sqlx::query_as(NEXT).bind(AT_ONCE).fetch_all(connection).await
}

impl Pending {
    /// The rows of the next piece. None when it is done, or its endpoint takes nothing.
    pub(crate) async fn piece(
        &self,
        log: &Log,
        connection: &mut PgConnection,
        endpoint: &Endpoint,
    ) -> Result<Vec<New>, sqlx::Error> {
        if self.next > self.until {
            return Ok(Vec::new());
        }
        let last = self.last();
        let failed: Option<HashSet<i64>> = if self.only_failed {
            let query =
                sqlx::query_scalar(FAILED).bind(self.tenant_id).bind(self.webhook_id).bind(self.next).bind(last);
            Some(query.fetch_all(connection).await?.into_iter().collect())
        } else {
            None
        };
        let page = log.page_of_tenant(self.tenant_id, self.next - 1, last - self.next + 1).await?;
        let wanted = |event: &Event| {
            failed.as_ref().is_none_or(|failed| failed.contains(&event.position))
                && self.since.is_none_or(|since| event.occurred_at >= since)
                && self.before.is_none_or(|before| event.occurred_at < before)
                && endpoint.wants(event)
        };
        let events = page.iter().filter(|event| event.tenant_position <= last).map(Event::from);
        Ok(events
            .filter(wanted)
            .map(|event| New {
                webhook_id: self.webhook_id,
                tenant_id: self.tenant_id,
                position: event.position,
                aggregate_id: event.aggregate_id,
                leased: false,
            })
            .collect())
    }

    fn last(&self) -> i64 {
        self.until.min(self.next + PIECE - 1)
    }

    /// Keeps that the piece is done.
    pub(crate) async fn done(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let next = self.last() + 1;
        let query = if next > self.until { sqlx::query(END) } else { sqlx::query(MOVE) };
        let query = query.bind(self.tenant_id).bind(self.webhook_id).bind(self.sequence);
        if next > self.until {
            query.execute(connection).await?
        } else {
            query.bind(next).execute(connection).await?
        };
        Ok(())
    }
}
