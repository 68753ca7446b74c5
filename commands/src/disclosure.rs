//! Writes down what is about to leave the platform, which nobody can order by HTTP. Who hands something over does it after this has succeeded.

use hub_domain::disclosure::{Command, Disclosure, Error, Event};
use hub_event_store::{
    event::Metadata,
    repository::{ExecuteError, Order, Prepared, Repository},
    store::EventStore,
};
use hub_http::Problem;
use uuid::Uuid;

use crate::{dispatch::problem_of, effects::effects_of};

/// Writes disclosures; cheap to clone.
#[derive(Clone, Debug)]
pub struct Disclosures(Repository<Disclosure>);

impl Disclosures {
    /// Writes into this log.
    #[must_use]
    pub fn new(store: EventStore) -> Self {
        Self(Repository::new(store, effects_of::<Disclosure>))
    }

    /// Writes one into the log of a tenant.
    ///
    /// # Errors
    /// When it is not written, or that is not known: nothing may be handed over then.
    pub async fn record(&self, tenant_id: Uuid, disclosure: &Event) -> Result<(), ExecuteError<Error>> {
        let recipient = match disclosure {
            Event::Exported { recipient, .. }
            | Event::SubjectExported { recipient, .. }
            | Event::ReportRun { recipient, .. } => recipient,
        };
        let id = Uuid::now_v7();
        let metadata = Metadata {
            actor: recipient.actor().to_owned(),
            command_id: id,
            correlation_id: id,
            causation_id: None,
            traceparent: None,
        };
        let order = Order { metadata, fingerprint: [0; 32], repeatable: false, expected_sequence: None };
        let prepare = |_| {
            let prepared = Prepared::new(Command::Record(Box::new(disclosure.clone())));
            async { Ok(prepared) }
        };
        self.0.execute(tenant_id, id, &order, prepare).await.map(|_| ())
    }

    /// The same for a request.
    ///
    /// # Errors
    /// 503 when the log does not take it.
    pub async fn record_for_caller(&self, tenant_id: Uuid, disclosure: &Event) -> Result<(), Problem> {
        self.record(tenant_id, disclosure).await.map_err(|error| problem_of(&error))
    }
}
