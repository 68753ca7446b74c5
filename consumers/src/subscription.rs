//! Which subscription a request is about: its definition as the log has it now, so that it can be pulled directly after it was created.

use hub_domain::{
    event_subscription::{Definition, Error, EventSubscription},
    refusal::{Code, Kind, Refusal},
};
use hub_http::{Problem, RefusalKind, TenantScope};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::{cursor, failure::failed, messages, state::Consumers};

/// The path of everything about one subscription.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) struct SubscriptionPath {
    /// The event subscription.
    pub(crate) event_subscription_id: Uuid,
}

/// A subscription that is there: whose it is, and what it is made of.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) tenant: TenantScope,
    pub(crate) id: Uuid,
    pub(crate) definition: Definition,
    pub(crate) paused: bool,
}

impl Consumers {
    /// The subscription, paused or not; 404 for one that never was, 409 for one that is deleted.
    pub(crate) async fn subscription(
        &self,
        tenant: TenantScope,
        SubscriptionPath { event_subscription_id: id }: SubscriptionPath,
    ) -> Result<Subscription, Problem> {
        let loaded = self.definitions.load_latest(tenant.id(), id).await.map_err(|error| {
            tracing::warn!(%error, %id, "an event subscription could not be read");
            Problem::store_unavailable()
        })?;
        let (definition, paused) = match &loaded.state {
            EventSubscription::Absent => return Err(refused(&Error::NotFound)),
            EventSubscription::Deleted => {
                self.forget(tenant, id).await?;
                return Err(refused(&Error::Deleted));
            }
            EventSubscription::Active(definition) => (definition, false),
            EventSubscription::Paused(definition) => (definition, true),
        };
        Ok(Subscription { tenant, id, definition: definition.clone(), paused })
    }

    /// The same; 409 also for one that is paused.
    pub(crate) async fn active_subscription(
        &self,
        tenant: TenantScope,
        path: SubscriptionPath,
    ) -> Result<Subscription, Problem> {
        let subscription = self.subscription(tenant, path).await?;
        if subscription.paused { Err(refused(&Error::Paused)) } else { Ok(subscription) }
    }

    /// Takes away what a pull may have left that was under way while its subscription was deleted.
    async fn forget(&self, tenant: TenantScope, id: Uuid) -> Result<(), Problem> {
        let mut transaction = self.database.begin(tenant).await.map_err(failed)?;
        let forgotten =
            sqlx::query(cursor::FORGET).bind(tenant.id()).bind(id).execute(&mut *transaction).await.map_err(failed)?;
        if forgotten.rows_affected() > 0 {
            let query = sqlx::query(messages::FORGET).bind(tenant.id()).bind(id);
            query.execute(&mut *transaction).await.map_err(failed)?;
            transaction.commit().await.map_err(failed)?;
        }
        Ok(())
    }
}

/// A refusal of the aggregate as an answer.
fn refused(error: &Error) -> Problem {
    Problem::refusal(kind_of(error.kind()), error.code(), error.to_string(), Value::Null)
}

/// A refusal of consuming as an answer; `data` unless it is null.
pub(crate) fn refusal(code: Code, detail: String, data: Value) -> Problem {
    Problem::refusal(kind_of(code.kind), code.code, detail, data)
}

/// The transport's word for a kind of refusal.
pub(crate) fn kind_of(kind: Kind) -> RefusalKind {
    match kind {
        Kind::NotFound => RefusalKind::NotFound,
        Kind::Conflict => RefusalKind::Conflict,
        Kind::Invalid => RefusalKind::Invalid,
        Kind::Forbidden => RefusalKind::Forbidden,
        Kind::LimitReached => RefusalKind::LimitExceeded,
    }
}
