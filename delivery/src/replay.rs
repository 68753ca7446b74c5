//! Replays: parts of the log that are delivered again, a piece at each turn.

use chrono::{DateTime, Utc};
use hub_cloudevents::{Event, columns};
use hub_domain::webhook::{Only, Replay};
use hub_event_store::log::Log;
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use crate::{endpoint::Endpoint, queue::New};

/// A part of the log that is to be delivered again; named by the event that asked for it.
pub(crate) const INSERT: &str = "INSERT INTO webhook_replays (tenant_id, webhook_id, sequence, next, until, since, before, only_failed, moved_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";

/// Those that are not done and not held, one each webhook, some at a time: those whose last turn was the longest ago.
pub(crate) const NEXT: &str = "SELECT tenant_id, webhook_id, sequence, next, until, since, before, only_failed FROM ( \
         SELECT DISTINCT ON (tenant_id, webhook_id) * FROM webhook_replays WHERE NOT held ORDER BY tenant_id, webhook_id, sequence) AS first \
     ORDER BY moved_at, tenant_id, webhook_id LIMIT $1";

/// How far one is.
pub(crate) const MOVE: &str =
    "UPDATE webhook_replays SET next = $4, moved_at = $5 WHERE tenant_id = $1 AND webhook_id = $2 AND sequence = $3";

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

/// The first events of a range of positions that were given up, as far as attempts are kept.
pub(crate) const FAILED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM events WHERE tenant_id = $1 AND tenant_position = ANY(ARRAY(SELECT DISTINCT position FROM webhook_attempts \
     WHERE tenant_id = $1 AND webhook_id = $2 AND outcome = 'given_up' AND position BETWEEN $3 AND $4 ORDER BY position LIMIT $5)) \
     ORDER BY tenant_position"
);

/// So many events are looked at in one turn.
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

/// Takes a replay up, behind those that there are, which reaches to `head` at most, whatever positions it names.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    endpoint: (Uuid, Uuid),
    sequence: i64,
    replay: &Replay,
    head: i64,
    now: DateTime<Utc>,
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
        .bind(now)
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

pub(crate) async fn pending(pool: &PgPool) -> Result<Vec<Pending>, sqlx::Error> {
    sqlx::query_as(NEXT).bind(AT_ONCE).fetch_all(pool).await
}

impl Pending {
    /// The rows of the next piece, and where it goes on after it; `None` when it is done.
    pub(crate) async fn piece(
        &self,
        log: &Log,
        connection: &mut PgConnection,
        endpoint: &Endpoint,
    ) -> Result<(Vec<New>, Option<i64>), sqlx::Error> {
        if self.next > self.until {
            return Ok((Vec::new(), None));
        }
        let (events, next) = if self.only_failed { self.failed(connection).await? } else { self.page(log).await? };
        let wanted = |event: &&Event| {
            self.since.is_none_or(|since| event.occurred_at >= since)
                && self.before.is_none_or(|before| event.occurred_at < before)
                && endpoint.wants(event)
        };
        let row = |event: &Event| New {
            webhook_id: self.webhook_id,
            tenant_id: self.tenant_id,
            position: event.position,
            aggregate_id: event.aggregate_id,
            leased: false,
        };
        let rows = events.iter().filter(wanted).map(row).collect();
        Ok((rows, next.filter(|next| *next <= self.until)))
    }

    /// The next events of the log.
    async fn page(&self, log: &Log) -> Result<(Vec<Event>, Option<i64>), sqlx::Error> {
        let last = self.until.min(self.next + PIECE - 1);
        let page = log.page_of_tenant(self.tenant_id, self.next - 1, last - self.next + 1).await?;
        let events = page.iter().filter(|event| event.tenant_position <= last).map(Event::from);
        Ok((events.collect(), Some(last + 1)))
    }

    /// The next of those that were given up.
    async fn failed(&self, connection: &mut PgConnection) -> Result<(Vec<Event>, Option<i64>), sqlx::Error> {
        let query = sqlx::query_as(FAILED).bind(self.tenant_id).bind(self.webhook_id);
        let events: Vec<Event> = query.bind(self.next).bind(self.until).bind(PIECE).fetch_all(connection).await?;
        let more = usize::try_from(PIECE).is_ok_and(|piece| events.len() >= piece);
        let next = events.last().filter(|_| more).map(|last| last.position + 1);
        Ok((events, next))
    }

    /// Keeps where it goes on, or that it is done.
    pub(crate) async fn moved(
        &self,
        connection: &mut PgConnection,
        next: Option<i64>,
        at: DateTime<Utc>,
    ) -> Result<(), sqlx::Error> {
        let query = sqlx::query(if next.is_some() { MOVE } else { END });
        let query = query.bind(self.tenant_id).bind(self.webhook_id).bind(self.sequence);
        match next {
            Some(next) => query.bind(next).bind(at).execute(connection).await?,
            None => query.execute(connection).await?,
        };
        Ok(())
    }
}
