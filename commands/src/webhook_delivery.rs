//! What delivering tells a webhook: that its endpoint failed for too long, or that it answered a challenge.

use hub_domain::webhook::{Command, Disablement, Error, Webhook};
use hub_event_store::{
    event::Metadata,
    repository::{ExecuteError, Order, Prepared, Repository},
    store::EventStore,
};
use uuid::Uuid;

use crate::effects::effects_of;

/// Who tells.
const ACTOR: &str = "process:webhooks";

/// Namespace of the command ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x5d0b_7c44_9e2f_4b1a_8d36_f2a1_c70e_49b8);

/// Tells webhooks; cheap to clone.
#[derive(Clone, Debug)]
pub struct WebhookOrders {
    repository: Repository<Webhook>,
}

impl WebhookOrders {
    /// Tells the webhooks of this log.
    #[must_use]
    pub fn new(store: EventStore) -> Self {
        Self { repository: Repository::new(store, effects_of::<Webhook>) }
    }

    /// Disables a webhook, once for each time that it began to fail.
    ///
    /// # Errors
    /// When the log does not take it, or the webhook is deleted meanwhile.
    pub async fn disable(
        &self,
        tenant_id: Uuid,
        id: Uuid,
        disablement: Disablement,
    ) -> Result<(), ExecuteError<Error>> {
        let name = format!("{tenant_id}/{id}/disable/{}", disablement.failing_since.timestamp_micros());
        self.order(tenant_id, id, &name, Command::Disable(disablement)).await
    }

    /// Takes down that the endpoint answered with the challenge.
    ///
    /// # Errors
    /// As [`WebhookOrders::disable`].
    pub async fn verify(&self, tenant_id: Uuid, id: Uuid, challenge: String) -> Result<(), ExecuteError<Error>> {
        let name = format!("{tenant_id}/{id}/verify/{challenge}");
        self.order(tenant_id, id, &name, Command::Verify { challenge }).await
    }

    async fn order(&self, tenant_id: Uuid, id: Uuid, name: &str, command: Command) -> Result<(), ExecuteError<Error>> {
        let command_id = Uuid::new_v5(&NAMESPACE, name.as_bytes());
        let metadata = Metadata {
            actor: ACTOR.to_owned(),
            command_id,
            correlation_id: command_id,
            causation_id: None,
            traceparent: None,
        };
        let order = Order { metadata, fingerprint: [0; 32], repeatable: true, expected_sequence: None };
        let prepare = |_| {
            let prepared = Prepared::new(command.clone());
            async { Ok(prepared) }
        };
        self.repository.execute(tenant_id, id, &order, prepare).await.map(|_| ())
    }
}
