//! The cursor of a subscription: how far the log was looked at, and who has the subscription. Whoever changes anything locks it first.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hub_domain::event_subscription::{POSITION_AHEAD, RESET};
use hub_http::Problem;
use serde_json::Value;
use sqlx::{FromRow, Postgres, Transaction};
use tokio::time::timeout;

use crate::{
    failure::failed,
    shares::Share,
    state::Consumers,
    subscription::{Subscription, refusal},
};

/// So long others of this process are waited for.
const TURN_LIMIT: Duration = Duration::from_secs(10);

/// The row as it is, for those who only read.
pub(crate) const CURSOR: &str = "SELECT position, epoch, lease, holder, holder_until, skipped FROM event_subscription_cursors \
     WHERE tenant_id = $1 AND subscription_id = $2";

/// The row, for oneself until the end of the transaction.
pub(crate) const LOCK: &str = "SELECT position, epoch, lease, holder, holder_until, skipped FROM event_subscription_cursors \
     WHERE tenant_id = $1 AND subscription_id = $2 FOR UPDATE";

/// The row of a subscription that is pulled for the first time.
pub(crate) const ENSURE: &str = "INSERT INTO event_subscription_cursors (tenant_id, subscription_id, position) \
     VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

/// Keeps what has become of the row.
pub(crate) const KEEP: &str = "UPDATE event_subscription_cursors \
     SET position = $3, epoch = $4, lease = $5, holder = $6, holder_until = $7, skipped = $8 \
     WHERE tenant_id = $1 AND subscription_id = $2";

/// The row of a subscription that is deleted goes.
pub(crate) const FORGET: &str = "DELETE FROM event_subscription_cursors WHERE tenant_id = $1 AND subscription_id = $2";

/// The position of the tenant's last event.
pub(crate) const HEAD: &str = "SELECT position FROM tenant_heads WHERE tenant_id = $1";

/// A subscription's reading state beside its messages.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub(crate) struct Cursor {
    /// Every event up to here was looked at.
    pub(crate) position: i64,
    /// Grows with each reset, from 1.
    pub(crate) epoch: i64,
    /// The number of the last lease.
    pub(crate) lease: i64,
    /// Who has an exclusive subscription.
    pub(crate) holder: Option<String>,
    pub(crate) holder_until: Option<DateTime<Utc>>,
    /// So many events were passed over after their last delivery.
    pub(crate) skipped: i64,
}

impl Cursor {
    /// That of a subscription that was never pulled.
    pub(crate) fn first(subscription: &Subscription) -> Self {
        let position = subscription.definition.start_position;
        Self { position, epoch: 1, lease: 0, holder: None, holder_until: None, skipped: 0 }
    }
}

/// A transaction that has the cursor for itself.
pub(crate) struct Locked<'a> {
    pub(crate) transaction: Transaction<'static, Postgres>,
    pub(crate) subscription: &'a Subscription,
    pub(crate) cursor: Cursor,
    before: Cursor,
    _turn: Share,
}

impl Consumers {
    /// Locks the cursor, which is made if there is none.
    pub(crate) async fn lock<'a>(&self, subscription: &'a Subscription) -> Result<Locked<'a>, sqlx::Error> {
        let (tenant_id, id) = (subscription.tenant.id(), subscription.id);
        let turn = timeout(TURN_LIMIT, self.turns.wait_for(id)).await.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let mut transaction = self.database.begin(subscription.tenant).await?;
        let found = sqlx::query_as(LOCK).bind(tenant_id).bind(id).fetch_optional(&mut *transaction).await?;
        let cursor: Cursor = match found {
            Some(cursor) => cursor,
            None => {
                let start = subscription.definition.start_position;
                sqlx::query(ENSURE).bind(tenant_id).bind(id).bind(start).execute(&mut *transaction).await?;
                // Somebody else's, if he was faster.
                sqlx::query_as(LOCK).bind(tenant_id).bind(id).fetch_one(&mut *transaction).await?
            }
        };
        Ok(Locked { transaction, subscription, before: cursor.clone(), cursor, _turn: turn })
    }
}

impl Locked<'_> {
    /// Keeps the cursor, and commits.
    pub(crate) async fn commit(mut self) -> Result<Cursor, sqlx::Error> {
        if self.cursor != self.before {
            let Cursor { position, epoch, lease, holder, holder_until, skipped } = &self.cursor;
            sqlx::query(KEEP)
                .bind(self.subscription.tenant.id())
                .bind(self.subscription.id)
                .bind(position)
                .bind(epoch)
                .bind(lease)
                .bind(holder)
                .bind(holder_until)
                .bind(skipped)
                .execute(&mut *self.transaction)
                .await?;
        }
        self.transaction.commit().await?;
        Ok(self.cursor)
    }

    /// The end of the tenant's log.
    pub(crate) async fn head(&mut self) -> Result<i64, sqlx::Error> {
        let query = sqlx::query_scalar(HEAD).bind(self.subscription.tenant.id());
        Ok(query.fetch_optional(&mut *self.transaction).await?.unwrap_or(0))
    }

    /// A position that somebody names; refused when the log has not got there.
    pub(crate) async fn within(&mut self, position: i64) -> Result<i64, Problem> {
        let head = self.head().await.map_err(failed)?;
        if position > head {
            return Err(refusal(POSITION_AHEAD, format!("the log of the tenant ends at {head}"), Value::Null));
        }
        Ok(position)
    }

    /// Refuses what rests on another epoch.
    pub(crate) fn same_epoch(&self, epoch: Option<i64>) -> Result<(), Problem> {
        let current = self.cursor.epoch;
        if epoch.is_none_or(|epoch| epoch == current) {
            return Ok(());
        }
        Err(refusal(RESET, format!("the event subscription was reset, its epoch is {current}"), Value::Null))
    }
}
