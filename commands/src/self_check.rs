//! Writes down what self-checks came to, which nobody can order by HTTP.

use hub_domain::{
    id::PLATFORM_TENANT,
    self_check::{Command, SelfCheck},
};
use hub_event_store::{
    event::Metadata,
    repository::{Order, Prepared, Repository},
    store::EventStore,
};
use uuid::Uuid;

use crate::effects::effects_of;

/// Who checks.
const ACTOR: &str = "process:sealer";

/// Writes self-checks; cheap to clone.
#[derive(Clone, Debug)]
pub struct SelfChecks(Repository<SelfCheck>);

impl SelfChecks {
    /// Writes into this log.
    #[must_use]
    pub fn new(store: EventStore) -> Self {
        Self(Repository::new(store, effects_of::<SelfCheck>))
    }

    /// Writes one. What cannot be written stands in the program's own log only.
    pub async fn write(&self, command: Command) {
        let id = Uuid::now_v7();
        let metadata = Metadata {
            actor: ACTOR.to_owned(),
            command_id: id,
            correlation_id: id,
            causation_id: None,
            traceparent: None,
        };
        let order = Order { metadata, fingerprint: [0; 32], repeatable: false, expected_sequence: None };
        let prepare = |_| {
            let prepared = Prepared::new(command.clone());
            async { Ok(prepared) }
        };
        if let Err(error) = self.0.execute(PLATFORM_TENANT.0, id, &order, prepare).await {
            tracing::error!(%error, ?command, "what a self-check came to cannot be written");
        }
    }
}
