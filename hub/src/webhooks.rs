//! What delivering tells webhooks, as commands to them.

use futures::future::BoxFuture;
use hub_commands::webhook_delivery::WebhookOrders;
use hub_domain::webhook::Disablement;
use hub_event_store::store::EventStore;
use uuid::Uuid;

/// Carries the orders of deliveries into the log.
#[derive(Debug)]
pub(crate) struct Orders(WebhookOrders);

impl Orders {
    pub(crate) fn new(store: EventStore) -> Self {
        Self(WebhookOrders::new(store))
    }
}

impl hub_delivery::Orders for Orders {
    fn disable(
        &self,
        tenant_id: Uuid,
        webhook_id: Uuid,
        disablement: Disablement,
    ) -> BoxFuture<'static, Result<(), String>> {
        let orders = self.0.clone();
        Box::pin(
            async move { orders.disable(tenant_id, webhook_id, disablement).await.map_err(|error| error.to_string()) },
        )
    }

    fn verify(&self, tenant_id: Uuid, webhook_id: Uuid, challenge: String) -> BoxFuture<'static, Result<(), String>> {
        let orders = self.0.clone();
        Box::pin(
            async move { orders.verify(tenant_id, webhook_id, challenge).await.map_err(|error| error.to_string()) },
        )
    }
}
