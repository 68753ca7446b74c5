//! Writes down what was refused: each draft becomes one access record, which nobody can order by HTTP.

use crate::effects::effects_of;
use hub_domain::{
    access_record::{AccessRecord, Command, Draft},
    refusal::{Kind, Refusal as _},
    role::Principal,
};
use hub_event_store::{
    append::AppendError,
    event::Metadata,
    repository::{ExecuteError, Order, Prepared, Repository},
    store::EventStore,
};

/// Who records what belongs to no principal.
const ACTOR: &str = "process:access";

/// Writes access records; cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessRecords(Repository<AccessRecord>);

impl AccessRecords {
    /// Writes into this log.
    #[must_use]
    pub fn new(store: EventStore) -> Self {
        Self(Repository::new(store, effects_of::<AccessRecord>))
    }

    /// Writes one record and answers whether nothing is left to be done. A record that is sent again is written once.
    pub async fn write(&self, Draft { id, tenant_id, principal, observations }: Draft) -> bool {
        let metadata = Metadata {
            actor: principal.as_ref().map_or(ACTOR, Principal::as_str).to_owned(),
            command_id: id,
            correlation_id: id,
            causation_id: None,
            traceparent: None,
        };
        let order = Order { metadata, fingerprint: [0; 32], repeatable: true, expected_sequence: None };
        let prepare = |_| {
            let prepared = Prepared::new(Command::Record { observations: observations.clone() });
            async { Ok(prepared) }
        };
        match self.0.execute(tenant_id, id, &order, prepare).await {
            Ok(_) => true,
            Err(ExecuteError::Refused(refusal)) if refusal.kind() == Kind::Conflict => true,
            Err(
                ExecuteError::Append(AppendError::Overloaded | AppendError::Unavailable(_)) | ExecuteError::Contended,
            ) => false,
            Err(error) => {
                tracing::error!(%error, %tenant_id, "an access record cannot be written");
                true
            }
        }
    }
}
