//! Writes down what was refused: each draft becomes one access record, which nobody can order by HTTP.

use cqrs_es::Aggregate as _;
use hub_domain::{
    access_record::{AccessRecord, Command, Draft, Event},
    personal::{ACCESS_CLASS, Pii},
    refusal::{Kind, Refusal as _},
    role::Principal,
};
use hub_event_store::{
    append::AppendError,
    event::Metadata,
    repository::{ExecuteError, Order, Prepared, Repository},
    store::EventStore,
};
use hub_vault::{Place, Vault, VaultError};
use uuid::Uuid;

use crate::{effects::effects_of, personal::sealed_by_class};

/// Who records what belongs to no principal.
const ACTOR: &str = "process:access";

/// Writes access records; cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessRecords {
    repository: Repository<AccessRecord>,
    store: EventStore,
    vault: Vault,
}

impl AccessRecords {
    /// Writes into this log, what is personal sealed by keys of this vault.
    #[must_use]
    pub fn new(store: EventStore, vault: Vault) -> Self {
        Self { repository: Repository::new(store.clone(), effects_of::<AccessRecord>), store, vault }
    }

    /// Writes one record and answers whether nothing is left to be done. A record that is sent again is written once.
    pub async fn write(&self, Draft { id, tenant_id, principal, mut observations }: Draft) -> bool {
        if let Err(error) = self.seal(tenant_id, id, &mut observations).await {
            tracing::warn!(%error, %tenant_id, "an access record waits for the keys of personal data");
            return false;
        }
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
        match self.repository.execute(tenant_id, id, &order, prepare).await {
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
    /// Seals the networks that logins came from, each for its place in the record. A tenant without keys any more keeps none.
    async fn seal(&self, tenant_id: Uuid, id: Uuid, observations: &mut [Event]) -> Result<(), VaultError> {
        for (sequence, observation) in (1..).zip(observations) {
            if let Event::LoginFailed { network, .. } = observation
                && let Some(Pii::Clear(text)) = network
            {
                let place = Place {
                    tenant_id,
                    aggregate_type: AccessRecord::TYPE,
                    aggregate_id: id,
                    sequence,
                    field: "network",
                };
                *network = match sealed_by_class(&self.vault, ACCESS_CLASS, text, &place, self.store.now()).await {
                    Ok(sealed) => Some(sealed),
                    Err(VaultError::TenantErased) => None,
                    Err(error) => return Err(error),
                };
            }
        }
        Ok(())
    }
}
