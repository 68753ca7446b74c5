//! Endpoints: webhooks as far as the log has been followed, with the keys that sign what they get.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use hub_cloudevents::Event;
use hub_domain::webhook::{self, Delivery, Webhook};
use hub_sealing::Sealing;
use hub_signature::Key;
use sqlx::{FromRow, PgConnection, types::Json};
use url::Url;
use uuid::Uuid;

use crate::health::Health;

/// All of them.
pub(crate) const ALL: &str = "SELECT e.tenant_id, e.webhook_id, e.state, coalesce(h.consecutive_failures, 0) AS consecutive_failures, \
         h.failing_since, h.open_until \
     FROM webhook_endpoints e LEFT JOIN webhook_health h ON h.tenant_id = e.tenant_id AND h.webhook_id = e.webhook_id";

/// Keeps one as it is now.
pub(crate) const KEEP: &str = "INSERT INTO webhook_endpoints (tenant_id, webhook_id, state) VALUES ($1, $2, $3) \
     ON CONFLICT (tenant_id, webhook_id) DO UPDATE SET state = EXCLUDED.state";

/// Keeps how one has answered.
pub(crate) const KEEP_HEALTH: &str = "INSERT INTO webhook_health (tenant_id, webhook_id, consecutive_failures, failing_since, open_until) \
     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant_id, webhook_id) DO UPDATE SET consecutive_failures = EXCLUDED.consecutive_failures, \
         failing_since = EXCLUDED.failing_since, open_until = EXCLUDED.open_until";

/// Forgets one.
pub(crate) const DROP: &str = "DELETE FROM webhook_endpoints WHERE tenant_id = $1 AND webhook_id = $2";

/// And how it has answered.
pub(crate) const DROP_HEALTH: &str = "DELETE FROM webhook_health WHERE tenant_id = $1 AND webhook_id = $2";

/// One endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) tenant_id: Uuid,
    pub(crate) webhook_id: Uuid,
    state: Webhook,
    url: Url,
    /// What `Delivery` is while there is none.
    no_delivery: Delivery,
    secrets: Arc<[Opened]>,
}

/// A secret that was opened, and for how long it is valid.
#[derive(Debug)]
struct Opened {
    until: Option<DateTime<Utc>>,
    symmetric: Option<Key>,
    asymmetric: Option<Key>,
}

/// As it stands in the table.
#[derive(Debug, FromRow)]
pub(crate) struct Kept {
    pub(crate) tenant_id: Uuid,
    pub(crate) webhook_id: Uuid,
    pub(crate) state: Json<Webhook>,
    consecutive_failures: i32,
    failing_since: Option<DateTime<Utc>>,
    open_until: Option<DateTime<Utc>>,
}

impl Kept {
    pub(crate) fn health(&self) -> Health {
        let consecutive_failures = u32::try_from(self.consecutive_failures).unwrap_or(0);
        Health::known(consecutive_failures, self.failing_since, self.open_until)
    }
}

impl Endpoint {
    /// An endpoint; `None` when the webhook is not there, or no more.
    pub(crate) fn new(tenant_id: Uuid, webhook_id: Uuid, state: Webhook, sealing: &Sealing) -> Option<Self> {
        let endpoint = state.endpoint()?;
        let url = Url::parse(endpoint.url.as_str()).ok()?;
        let current = [(&endpoint.secret, None)];
        let previous = endpoint.previous_secrets.iter().map(|previous| (&previous.secret, previous.until));
        let secrets = current
            .into_iter()
            .chain(previous)
            .map(|(secret, until)| {
                let open = |sealed: &str| {
                    let text = sealing.open(sealed, [tenant_id, webhook_id, secret.secret_id])?;
                    Key::parse(&text).ok()
                };
                let symmetric = open(secret.sealed_secret.as_str());
                if symmetric.is_none() {
                    tracing::error!(%tenant_id, %webhook_id, "a webhook's secret cannot be opened: is this the platform's secret key?");
                }
                let asymmetric = secret.key_pair.as_ref().and_then(|pair| open(pair.sealed_signing_key.as_str()));
                Opened { until, symmetric, asymmetric }
            })
            .collect();
        Some(Self { tenant_id, webhook_id, url, no_delivery: Delivery::default(), secrets, state })
    }

    /// The webhook's state after an event of its.
    pub(crate) fn after(&self, event: webhook::Event) -> Webhook {
        let mut state = self.state.clone();
        state.apply(event);
        state
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    pub(crate) fn delivery(&self) -> &Delivery {
        self.state.endpoint().map_or(&self.no_delivery, |endpoint| &endpoint.delivery)
    }

    /// Whether something is sent.
    pub(crate) fn active(&self) -> bool {
        matches!(self.state, Webhook::Active(_))
    }

    /// Whether what happens waits.
    pub(crate) fn paused(&self) -> bool {
        matches!(self.state, Webhook::Paused(_))
    }

    /// Whether something is kept for it.
    pub(crate) fn listens(&self) -> bool {
        matches!(self.state, Webhook::Active(_) | Webhook::Paused(_))
    }

    /// Whether the endpoint wants the event.
    pub(crate) fn wants(&self, event: &Event) -> bool {
        self.listens()
            && self
                .state
                .endpoint()
                .is_some_and(|endpoint| endpoint.filters.matches(&event.event_type) && endpoint.filter.matches(event))
    }

    /// What signs a delivery now. An endpoint that wants keys that were never made gets the signatures that there are.
    pub(crate) fn keys_at(&self, now: DateTime<Utc>) -> Vec<Key> {
        let signature = self.delivery().signature;
        let valid = |opened: &&Opened| opened.until.is_none_or(|until| until > now);
        let keys = |opened: &Opened| {
            let symmetric = opened.symmetric.clone();
            let asymmetric = opened.asymmetric.clone().filter(|_| signature.asymmetric());
            let symmetric = symmetric.filter(|_| signature.symmetric() || asymmetric.is_none());
            [symmetric, asymmetric]
        };
        // The current secret has no end, those before it that were rotated long ago may have none either: the first is always valid.
        self.secrets.iter().filter(valid).flat_map(keys).flatten().collect()
    }

    pub(crate) async fn keep(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let query = sqlx::query(KEEP).bind(self.tenant_id).bind(self.webhook_id).bind(Json(&self.state));
        query.execute(connection).await?;
        Ok(())
    }
}

/// Keeps that a webhook is no more, until all that was its own is gone as well.
pub(crate) async fn keep_deleted(
    connection: &mut PgConnection,
    (tenant_id, webhook_id): (Uuid, Uuid),
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(KEEP).bind(tenant_id).bind(webhook_id).bind(Json(Webhook::Deleted));
    query.execute(connection).await.map(|_| ())
}

/// Keeps how an endpoint has answered.
pub(crate) async fn keep_health(
    connection: &mut PgConnection,
    (tenant_id, webhook_id): (Uuid, Uuid),
    health: &Health,
) -> Result<(), sqlx::Error> {
    sqlx::query(KEEP_HEALTH)
        .bind(tenant_id)
        .bind(webhook_id)
        .bind(i32::try_from(health.consecutive_failures).unwrap_or(i32::MAX))
        .bind(health.failing_since)
        .bind(health.open_until)
        .execute(connection)
        .await?;
    Ok(())
}
