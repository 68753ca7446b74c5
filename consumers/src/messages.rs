//! The messages of a subscription: events that were looked at, are wanted and are not done with.
//!
//! A message is leased (its lease is a number, and its end has not come), ready (it may be handed out), blocked (ready, but an earlier one of its
//! aggregate is not), at rest (until its time comes) or parked. A parked message blocks nobody. Every statement begins with tenant and
//! subscription, and runs while the cursor is locked.

use chrono::{DateTime, Utc};
use hub_domain::event_subscription::OnExhausted;
use sqlx::{FromRow, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{OUTSTANDING_MAX, PARKED, PARKED_MAX, SKIPPED, ack_id::AckId, cursor::Locked};

/// Those that were handed out as often as allowed, and are with nobody.
pub(crate) const EXHAUSTED: &str = "SELECT position FROM event_subscription_messages \
     WHERE tenant_id = $1 AND subscription_id = $2 AND parked_at IS NULL AND available_at <= $3 AND deliveries >= $4 \
     ORDER BY position LIMIT $5";

/// How many are parked.
pub(crate) const PARKED_COUNT: &str = "SELECT count(*) FROM event_subscription_messages \
     WHERE tenant_id = $1 AND subscription_id = $2 AND parked_at IS NOT NULL";

/// Puts these aside.
pub(crate) const PARK: &str = "UPDATE event_subscription_messages SET parked_at = $4, parked_reason = $5, lease = 0 \
     WHERE tenant_id = $1 AND subscription_id = $2 AND position = ANY($3)";

/// Takes these away.
pub(crate) const REMOVE: &str = "DELETE FROM event_subscription_messages \
     WHERE tenant_id = $1 AND subscription_id = $2 AND position = ANY($3)";

/// The aggregates that have a message which is leased or at rest: the first such of each, and when one of them becomes free.
pub(crate) const BLOCKED: &str = "SELECT aggregate_type, aggregate_id, min(position), min(available_at) \
     FROM event_subscription_messages \
     WHERE tenant_id = $1 AND subscription_id = $2 AND parked_at IS NULL AND available_at > $3 \
     GROUP BY aggregate_type, aggregate_id";

/// How many are neither done with nor parked.
pub(crate) const OUTSTANDING: &str = "SELECT count(*) FROM event_subscription_messages \
     WHERE tenant_id = $1 AND subscription_id = $2 AND parked_at IS NULL";

/// Those that may be handed out: whose time has come, and with nothing of their aggregate before them whose time has not. If all events go one
/// after the other, only those before the position given.
pub(crate) const READY: &str = "SELECT m.position FROM event_subscription_messages m \
     LEFT JOIN unnest($4::text[], $5::uuid[], $6::bigint[]) AS b(aggregate_type, aggregate_id, position) \
         ON b.aggregate_id = m.aggregate_id AND b.aggregate_type = m.aggregate_type \
     WHERE m.tenant_id = $1 AND m.subscription_id = $2 AND m.parked_at IS NULL AND m.available_at <= $3 \
     AND (b.position IS NULL OR b.position > m.position) AND ($7::bigint IS NULL OR m.position < $7) \
     ORDER BY m.position LIMIT $8";

/// Hands these out once more.
pub(crate) const LEASE: &str = "UPDATE event_subscription_messages \
     SET deliveries = deliveries + 1, lease = $4, available_at = $5, consumer = $6 \
     WHERE tenant_id = $1 AND subscription_id = $2 AND position = ANY($3) RETURNING position, deliveries";

/// New ones, some of which are handed out at once and some of which are blocked.
pub(crate) const INSERT: &str = "INSERT INTO event_subscription_messages \
     (tenant_id, subscription_id, position, aggregate_type, aggregate_id, deliveries, lease, available_at, consumer) \
     SELECT $1, $2, n.position, n.aggregate_type, n.aggregate_id, CASE WHEN n.leased THEN 1 ELSE 0 END, \
         CASE WHEN n.leased THEN $7::bigint ELSE 0 END, CASE WHEN n.leased THEN $8::timestamptz ELSE $9::timestamptz END, CASE WHEN n.leased THEN $10::text END \
     FROM unnest($3::bigint[], $4::text[], $5::uuid[], $6::boolean[]) AS n(position, aggregate_type, aggregate_id, leased)";

/// Those of these that are still handed out with these leases are done with.
pub(crate) const ACKNOWLEDGE: &str = "DELETE FROM event_subscription_messages m \
     USING unnest($3::bigint[], $4::bigint[]) AS a(position, lease) \
     WHERE m.tenant_id = $1 AND m.subscription_id = $2 AND m.position = a.position AND m.lease = a.lease \
     AND m.parked_at IS NULL RETURNING m.position";

/// Everything that is handed out up to a position, to one consumer if one is named, is done with.
pub(crate) const ACKNOWLEDGE_UP_TO: &str = "DELETE FROM event_subscription_messages \
     WHERE tenant_id = $1 AND subscription_id = $2 AND position <= $3 AND lease > 0 AND parked_at IS NULL \
     AND ($4::text IS NULL OR consumer = $4)";

/// What has become of these.
pub(crate) const STANDING: &str = "SELECT position, parked_at IS NOT NULL FROM event_subscription_messages \
     WHERE tenant_id = $1 AND subscription_id = $2 AND position = ANY($3)";

/// Those of these that are still handed out with these leases.
pub(crate) const REJECTED: &str = "SELECT m.position, m.deliveries, m.lease, m.aggregate_type, m.aggregate_id \
     FROM event_subscription_messages m JOIN unnest($3::bigint[], $4::bigint[]) AS a(position, lease) \
         ON m.position = a.position AND m.lease = a.lease \
     WHERE m.tenant_id = $1 AND m.subscription_id = $2 AND m.parked_at IS NULL ORDER BY m.position";

/// Lets each of these rest until its time.
pub(crate) const REST: &str = "UPDATE event_subscription_messages m SET lease = 0, available_at = r.available_at \
     FROM unnest($3::bigint[], $4::timestamptz[]) AS r(position, available_at) \
     WHERE m.tenant_id = $1 AND m.subscription_id = $2 AND m.position = r.position";

/// Takes back what was handed out together with one that rests now and comes after it in its aggregate, or at all, as if it had not been.
pub(crate) const HAND_BACK: &str = "UPDATE event_subscription_messages f \
     SET lease = 0, available_at = $3, deliveries = f.deliveries - 1 \
     WHERE f.tenant_id = $1 AND f.subscription_id = $2 AND f.parked_at IS NULL AND f.lease > 0 \
     AND EXISTS (SELECT FROM unnest($4::bigint[], $5::bigint[], $6::text[], $7::uuid[]) AS r(position, lease, aggregate_type, aggregate_id) \
         WHERE r.lease = f.lease AND r.position < f.position \
         AND ($8 OR (r.aggregate_id = f.aggregate_id AND r.aggregate_type = f.aggregate_type)))";

/// Those of these that are still handed out with these leases stay so for longer.
pub(crate) const EXTEND: &str = "UPDATE event_subscription_messages m SET available_at = $5 \
     FROM unnest($3::bigint[], $4::bigint[]) AS a(position, lease) \
     WHERE m.tenant_id = $1 AND m.subscription_id = $2 AND m.position = a.position AND m.lease = a.lease \
     AND m.parked_at IS NULL RETURNING m.position";

/// Leases that are over can be neither extended nor acknowledged any more.
pub(crate) const FENCE: &str = "UPDATE event_subscription_messages SET lease = 0 \
     WHERE tenant_id = $1 AND subscription_id = $2 AND parked_at IS NULL AND lease > 0 AND available_at <= $3";

/// What a reset drops: all but what is parked up to where the subscription begins again.
pub(crate) const DROP: &str = "DELETE FROM event_subscription_messages \
     WHERE tenant_id = $1 AND subscription_id = $2 AND (parked_at IS NULL OR position > $3)";

/// What a subscription leaves that is deleted.
pub(crate) const FORGET: &str = "DELETE FROM event_subscription_messages WHERE tenant_id = $1 AND subscription_id = $2";

/// Why a message is parked that nobody acknowledged.
pub(crate) const NOT_ACKNOWLEDGED: &str = "it was handed out as often as allowed and not acknowledged";

/// An aggregate that has something leased or at rest.
#[derive(Debug, Clone)]
pub(crate) struct Blocked {
    pub(crate) aggregate_type: String,
    pub(crate) aggregate_id: Uuid,
    /// The first of them that is not ready.
    pub(crate) position: i64,
    pub(crate) free_at: DateTime<Utc>,
}

/// A message that somebody rejects.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Rejected {
    pub(crate) position: i64,
    pub(crate) deliveries: i32,
    pub(crate) lease: i64,
    pub(crate) aggregate_type: String,
    pub(crate) aggregate_id: Uuid,
}

impl Rejected {
    /// How often it was handed out.
    pub(crate) fn deliveries(&self) -> u32 {
        u32::try_from(self.deliveries).unwrap_or(0)
    }
}

/// Ack ids as a statement takes them.
pub(crate) fn split(ids: &[AckId]) -> (Vec<i64>, Vec<i64>) {
    ids.iter().map(|id| (id.position, id.lease)).unzip()
}

impl Locked<'_> {
    /// Puts aside what was handed out as often as allowed, or passes over it.
    pub(crate) async fn settle_exhausted(&mut self, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
        let deliveries_max = i32::try_from(self.subscription.definition.handling.deliveries_max).unwrap_or(i32::MAX);
        let exhausted: Vec<i64> = sqlx::query_scalar(EXHAUSTED)
            .bind(self.subscription.tenant.id())
            .bind(self.subscription.id)
            .bind(now)
            .bind(deliveries_max)
            .bind(OUTSTANDING_MAX)
            .fetch_all(&mut *self.transaction)
            .await?;
        if exhausted.is_empty() {
            return Ok(());
        }
        match self.subscription.definition.handling.on_exhausted {
            OnExhausted::Park => {
                self.park(exhausted, NOT_ACKNOWLEDGED, now).await?;
            }
            OnExhausted::Skip => self.skip(&exhausted).await?,
        }
        Ok(())
    }

    /// Puts messages aside, as far as there is room, the first ones first; answers those that it has no room for.
    pub(crate) async fn park(
        &mut self,
        mut positions: Vec<i64>,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<i64>, sqlx::Error> {
        let (tenant_id, id) = (self.subscription.tenant.id(), self.subscription.id);
        let parked: i64 =
            sqlx::query_scalar(PARKED_COUNT).bind(tenant_id).bind(id).fetch_one(&mut *self.transaction).await?;
        let room = usize::try_from(PARKED_MAX - parked).unwrap_or(0).min(positions.len());
        let beyond = positions.split_off(room);
        if !beyond.is_empty() {
            tracing::warn!(%tenant_id, event_subscription_id = %id, "an event subscription has as much parked as is allowed");
        }
        if !positions.is_empty() {
            let query = sqlx::query(PARK).bind(tenant_id).bind(id).bind(&positions).bind(now).bind(reason);
            query.execute(&mut *self.transaction).await?;
            metrics::counter!(PARKED).increment(positions.len() as u64);
        }
        Ok(beyond)
    }

    /// Passes over messages, and counts them.
    pub(crate) async fn skip(&mut self, positions: &[i64]) -> Result<(), sqlx::Error> {
        self.remove(positions).await?;
        self.cursor.skipped += i64::try_from(positions.len()).unwrap_or(0);
        metrics::counter!(SKIPPED).increment(positions.len() as u64);
        Ok(())
    }

    async fn remove(&mut self, positions: &[i64]) -> Result<(), sqlx::Error> {
        let query = sqlx::query(REMOVE).bind(self.subscription.tenant.id()).bind(self.subscription.id).bind(positions);
        query.execute(&mut *self.transaction).await.map(|_| ())
    }

    /// How many messages are neither done with nor parked.
    pub(crate) async fn outstanding(&mut self) -> Result<i64, sqlx::Error> {
        let query = sqlx::query_scalar(OUTSTANDING).bind(self.subscription.tenant.id()).bind(self.subscription.id);
        query.fetch_one(&mut *self.transaction).await
    }

    /// The aggregates that have something leased or at rest.
    pub(crate) async fn blocked(&mut self, now: DateTime<Utc>) -> Result<Vec<Blocked>, sqlx::Error> {
        let query = sqlx::query(BLOCKED).bind(self.subscription.tenant.id()).bind(self.subscription.id).bind(now);
        let rows: Vec<PgRow> = query.fetch_all(&mut *self.transaction).await?;
        let blocked = |row: &PgRow| {
            Ok(Blocked {
                aggregate_type: row.try_get(0)?,
                aggregate_id: row.try_get(1)?,
                position: row.try_get(2)?,
                free_at: row.try_get(3)?,
            })
        };
        rows.iter().map(blocked).collect()
    }

    /// Which of these positions are still messages, each with whether it is parked.
    pub(crate) async fn standing(&mut self, positions: &[i64]) -> Result<Vec<(i64, bool)>, sqlx::Error> {
        let query =
            sqlx::query_as(STANDING).bind(self.subscription.tenant.id()).bind(self.subscription.id).bind(positions);
        query.fetch_all(&mut *self.transaction).await
    }
}
