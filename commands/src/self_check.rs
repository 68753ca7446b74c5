//! Writes down what self-checks came to, which nobody can order by HTTP.

use hub_domain::{
    id::PLATFORM_TENANT,
    self_check::{Command, Error, SelfCheck},
};
use hub_event_store::{
    event::Metadata,
    repository::{ExecuteError, Order, Prepared, Repository},
    store::EventStore,
};
use uuid::Uuid;

use crate::effects::effects_of;

/// Who checks by the clock, and who seals.
pub const BY_ITSELF: &str = "process:sealer";

/// Who checks, or decides, at the terminal of the machine.
pub const BY_OPERATOR: &str = "process:operator";

/// Writes self-checks; cheap to clone.
#[derive(Clone, Debug)]
pub struct SelfChecks {
    repository: Repository<SelfCheck>,
    actor: &'static str,
}

impl SelfChecks {
    /// Writes into this log what `actor` has found.
    #[must_use]
    pub fn new(store: EventStore, actor: &'static str) -> Self {
        Self { repository: Repository::new(store, effects_of::<SelfCheck>), actor }
    }

    /// Writes one. What cannot be written stands in the program's own log only.
    pub async fn write(&self, command: Command) {
        if let Err(error) = self.try_write(command.clone()).await {
            tracing::error!(%error, ?command, "what a self-check came to cannot be written");
        }
    }

    /// Writes one.
    ///
    /// # Errors
    /// When the log does not take it.
    pub async fn try_write(&self, command: Command) -> Result<(), ExecuteError<Error>> {
        let id = Uuid::now_v7();
        let metadata = Metadata {
            actor: self.actor.to_owned(),
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
        self.repository.execute(PLATFORM_TENANT.0, id, &order, prepare).await.map(drop)
    }
}
