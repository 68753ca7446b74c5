//! Writes down which keys sign checkpoints, which nobody can order by HTTP.

use std::collections::BTreeSet;

use hub_domain::{
    id::PLATFORM_TENANT,
    signing_key::{Command, Error, SigningKeys as Aggregate},
};
use hub_event_store::{
    event::Metadata,
    repository::{ExecuteError, Order, Prepared, Repository},
    store::EventStore,
};
use uuid::Uuid;

use crate::effects::effects_of;

/// Who signs.
const ACTOR: &str = "process:sealer";

/// Writes down keys; cheap to clone.
#[derive(Clone, Debug)]
pub struct SigningKeys(Repository<Aggregate>);

impl SigningKeys {
    /// Writes into this log.
    #[must_use]
    pub fn new(store: EventStore) -> Self {
        Self(Repository::new(store, effects_of::<Aggregate>))
    }

    /// These keys sign, by their public halves; what is written already is not written again.
    ///
    /// # Errors
    /// When the log does not take it; the next start tells it again.
    pub async fn sign_with(&self, verifier_keys: BTreeSet<String>) -> Result<(), ExecuteError<Error>> {
        let command_id = Uuid::now_v7();
        let metadata = Metadata {
            actor: ACTOR.to_owned(),
            command_id,
            correlation_id: command_id,
            causation_id: None,
            traceparent: None,
        };
        let order = Order { metadata, fingerprint: [0; 32], repeatable: false, expected_sequence: None };
        let prepare = |_| {
            let prepared = Prepared::new(Command::Use { verifier_keys: verifier_keys.clone() });
            async { Ok(prepared) }
        };
        self.0.execute(PLATFORM_TENANT.0, PLATFORM_TENANT.0, &order, prepare).await.map(|_| ())
    }
}
