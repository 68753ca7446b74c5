//! Service instances: one row each, for lists, details and counts by service, status and health.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use hub_domain::{
    id::{OperationId, SubscriptionId},
    service_instance::{Endpoint, Event, Health, Parameters, ServiceInstance, Status},
    text::{Key, Remark},
};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{AggregateKey, FoldError, ReadModel, of_aggregate};

/// The read model.
#[derive(Debug)]
pub struct ServiceInstances;

/// One service instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ServiceInstance")]
pub struct ServiceInstanceRow {
    pub tenant_id: Uuid,
    pub id: Uuid,
    pub service: Key,
    pub plan: Key,
    pub subscription_id: Option<SubscriptionId>,
    pub status: Status,
    /// What was reported last; null until the first report.
    pub health: Option<Health>,
    pub health_detail: Option<Remark>,
    /// Those that hold now; ordered ones are in the operation until the provider reports success.
    pub parameters: Parameters,
    pub endpoint: Option<Endpoint>,
    pub outputs: Parameters,
    /// The operation in flight.
    pub operation: Option<Operation>,
    /// The last operation that failed, until one of the same kind succeeds.
    pub last_failure: Option<Failure>,
    pub deprovisioned_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The sequence of the instance's stream.
    pub sequence: i64,
}

/// An operation in flight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ServiceOperation")]
pub struct Operation {
    pub operation_id: OperationId,
    pub kind: OperationKind,
    pub requested_at: DateTime<Utc>,
    /// The new parameters, for a configuration.
    pub parameters: Option<Parameters>,
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ServiceOperationKind")]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    Provision,
    Configure,
    Suspend,
    Resume,
    Deprovision,
}

/// An operation that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ServiceOperationFailure")]
pub struct Failure {
    pub operation_id: OperationId,
    pub kind: OperationKind,
    pub reason: Remark,
    /// Whether trying again may help.
    pub retryable: bool,
    pub failed_at: DateTime<Utc>,
}

impl ReadModel for ServiceInstances {
    type Row = ServiceInstanceRow;
    type Key = AggregateKey;

    const NAME: &'static str = "service_instances";
    const TABLE: &'static str = "service_instances";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, ServiceInstance::TYPE)
    }

    fn key_of(row: &ServiceInstanceRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(
        row: Option<ServiceInstanceRow>,
        key: &AggregateKey,
        event: &Recorded,
    ) -> Result<Option<ServiceInstanceRow>, FoldError> {
        match (row, event.decode()?) {
            (None, Event::ProvisionRequested { operation_id, service, plan, parameters, subscription_id }) => {
                Ok(Some(ServiceInstanceRow {
                    tenant_id: key.tenant_id,
                    id: key.id,
                    service,
                    plan,
                    subscription_id,
                    status: Status::Provisioning,
                    health: None,
                    health_detail: None,
                    parameters,
                    endpoint: None,
                    outputs: Parameters::default(),
                    operation: Some(Operation::new(operation_id, OperationKind::Provision, event)),
                    last_failure: None,
                    deprovisioned_at: None,
                    created_at: event.occurred_at,
                    updated_at: event.occurred_at,
                    sequence: event.sequence,
                }))
            }
            (None, _) => Err(FoldError::row_missing(event)),
            (Some(row), change) => row.after(change, event).map(Some),
        }
    }
}

impl ServiceInstanceRow {
    fn after(mut self, change: Event, event: &Recorded) -> Result<Self, FoldError> {
        self.updated_at = event.occurred_at;
        self.sequence = event.sequence;
        match change {
            Event::ProvisionRequested { .. } => return Err(FoldError::row_exists(event)),
            Event::ProvisionRetried { operation_id } => {
                self.status = Status::Provisioning;
                self.begin(Operation::new(operation_id, OperationKind::Provision, event));
            }
            Event::Provisioned { endpoint, outputs, .. } => {
                self.status = Status::Ready;
                self.reached_at(endpoint, outputs);
                self.succeed(OperationKind::Provision);
            }
            Event::ProvisionFailed { operation_id, reason, retryable } => {
                self.status = Status::ProvisionFailed;
                self.fail(operation_id, OperationKind::Provision, reason, retryable, event);
            }
            Event::ConfigurationRequested { operation_id, parameters } => {
                let operation = Operation::new(operation_id, OperationKind::Configure, event);
                self.begin(Operation { parameters: Some(parameters), ..operation });
            }
            Event::Configured { parameters, endpoint, outputs, .. } => {
                self.parameters = parameters;
                self.reached_at(endpoint, outputs);
                self.succeed(OperationKind::Configure);
            }
            Event::ConfigurationFailed { operation_id, reason, retryable } => {
                self.fail(operation_id, OperationKind::Configure, reason, retryable, event);
            }
            Event::SuspensionRequested { operation_id } => {
                self.begin(Operation::new(operation_id, OperationKind::Suspend, event));
            }
            Event::Suspended { .. } => {
                self.status = Status::Suspended;
                self.succeed(OperationKind::Suspend);
            }
            Event::SuspensionFailed { operation_id, reason, retryable } => {
                self.fail(operation_id, OperationKind::Suspend, reason, retryable, event);
            }
            Event::ResumptionRequested { operation_id } => {
                self.begin(Operation::new(operation_id, OperationKind::Resume, event));
            }
            Event::Resumed { endpoint, outputs, .. } => {
                self.status = Status::Ready;
                self.reached_at(endpoint, outputs);
                self.succeed(OperationKind::Resume);
            }
            Event::ResumptionFailed { operation_id, reason, retryable } => {
                self.fail(operation_id, OperationKind::Resume, reason, retryable, event);
            }
            Event::HealthChanged { to, detail, .. } => {
                self.health = Some(to);
                self.health_detail = Some(detail);
            }
            Event::DeprovisionRequested { operation_id } => {
                self.begin(Operation::new(operation_id, OperationKind::Deprovision, event));
            }
            Event::Deprovisioned { .. } => {
                self.status = Status::Deprovisioned;
                self.deprovisioned_at = Some(event.occurred_at);
                self.health = None;
                self.health_detail = None;
                self.succeed(OperationKind::Deprovision);
            }
            Event::DeprovisionFailed { operation_id, reason, retryable } => {
                self.fail(operation_id, OperationKind::Deprovision, reason, retryable, event);
            }
        }
        Ok(self)
    }

    fn reached_at(&mut self, endpoint: Option<Endpoint>, outputs: Parameters) {
        self.endpoint = endpoint;
        self.outputs = outputs;
    }

    fn begin(&mut self, operation: Operation) {
        self.operation = Some(operation);
    }

    fn succeed(&mut self, kind: OperationKind) {
        self.operation = None;
        if self.last_failure.as_ref().is_some_and(|failure| failure.kind == kind) {
            self.last_failure = None;
        }
    }

    fn fail(
        &mut self,
        operation_id: OperationId,
        kind: OperationKind,
        reason: Remark,
        retryable: bool,
        event: &Recorded,
    ) {
        self.operation = None;
        self.last_failure = Some(Failure { operation_id, kind, reason, retryable, failed_at: event.occurred_at });
    }
}

impl Operation {
    fn new(operation_id: OperationId, kind: OperationKind, event: &Recorded) -> Self {
        Self { operation_id, kind, requested_at: event.occurred_at, parameters: None }
    }
}

#[cfg(test)]
mod tests {
    use hub_domain::{
        id::OperationId,
        service_instance::{Event, Health, Parameters, Status},
    };
    use serde_json::json;
    use uuid::Uuid;

    use super::{OperationKind, ServiceInstanceRow, ServiceInstances};
    use crate::testing::{History, rows};

    const OPERATION: OperationId = OperationId(Uuid::from_u128(1));
    const OTHER: OperationId = OperationId(Uuid::from_u128(2));

    fn object(value: serde_json::Value) -> Parameters {
        value.try_into().unwrap()
    }

    fn requested() -> Event {
        Event::ProvisionRequested {
            operation_id: OPERATION,
            service: "mail".parse().unwrap(),
            plan: "mail-pro".parse().unwrap(),
            parameters: object(json!({ "mailboxes": 25, "ratio": 0.5 })),
            subscription_id: None,
        }
    }

    fn provisioned() -> Event {
        Event::Provisioned {
            operation_id: OPERATION,
            endpoint: Some("https://mail.acme.example".parse().unwrap()),
            outputs: object(json!({ "imap_port": 993 })),
        }
    }

    fn row(events: Vec<Event>) -> ServiceInstanceRow {
        let mut history = History::default();
        for event in [requested()].into_iter().chain(events) {
            history.service_instance(event);
        }
        rows::<ServiceInstances>(&history).unwrap().remove(0)
    }

    #[test]
    fn an_ordered_instance_shows_its_operation() {
        let row = row(vec![]);
        assert_eq!(row.status, Status::Provisioning);
        assert_eq!(row.operation.map(|o| (o.operation_id, o.kind)), Some((OPERATION, OperationKind::Provision)));
    }

    #[test]
    fn a_ready_instance_shows_where_it_is_reached() {
        let row = row(vec![provisioned()]);
        assert_eq!((row.status, row.operation), (Status::Ready, None));
        assert_eq!(row.endpoint.unwrap().as_str(), "https://mail.acme.example");
        assert_eq!(row.outputs, object(json!({ "imap_port": 993 })));
    }

    #[test]
    fn a_failed_provision_shows_why_until_it_succeeds() {
        let failed =
            Event::ProvisionFailed { operation_id: OPERATION, reason: "no capacity".parse().unwrap(), retryable: true };
        let broken = row(vec![failed.clone()]);
        assert_eq!((broken.status, broken.operation), (Status::ProvisionFailed, None));
        assert!(broken.last_failure.unwrap().retryable);
        let retried = row(vec![failed.clone(), Event::ProvisionRetried { operation_id: OTHER }]);
        assert_eq!((retried.status, retried.operation.unwrap().operation_id), (Status::Provisioning, OTHER));
        assert_eq!(
            row(vec![failed, Event::ProvisionRetried { operation_id: OTHER }, provisioned()]).last_failure,
            None
        );
    }

    #[test]
    fn new_parameters_hold_only_after_success() {
        let new = || object(json!({ "mailboxes": 50 }));
        let ordered = Event::ConfigurationRequested { operation_id: OTHER, parameters: new() };
        let waiting = row(vec![provisioned(), ordered.clone()]);
        assert_eq!(waiting.parameters, object(json!({ "mailboxes": 25, "ratio": 0.5 })));
        assert_eq!(waiting.operation.unwrap().parameters, Some(new()));
        let outputs = Parameters::default();
        let done = Event::Configured { operation_id: OTHER, parameters: new(), endpoint: None, outputs };
        assert_eq!(row(vec![provisioned(), ordered, done]).parameters, new());
    }

    #[test]
    fn a_suspension_ends_with_the_resumption() {
        let suspended = vec![
            provisioned(),
            Event::SuspensionRequested { operation_id: OTHER },
            Event::Suspended { operation_id: OTHER },
        ];
        assert_eq!(row(suspended.clone()).status, Status::Suspended);
        let resumed = [
            Event::ResumptionRequested { operation_id: OTHER },
            Event::Resumed { operation_id: OTHER, endpoint: None, outputs: Parameters::default() },
        ];
        assert_eq!(row(suspended.into_iter().chain(resumed).collect()).status, Status::Ready);
    }

    #[test]
    fn health_is_what_was_reported_last() {
        let health = |to| Event::HealthChanged { from: None, to, detail: "queue is long".parse().unwrap() };
        let row = row(vec![provisioned(), health(Health::Healthy), health(Health::Degraded)]);
        assert_eq!((row.health, row.health_detail.unwrap().as_str()), (Some(Health::Degraded), "queue is long"));
    }

    #[test]
    fn a_deprovisioned_instance_stays_as_a_row() {
        let row = row(vec![
            provisioned(),
            Event::DeprovisionRequested { operation_id: OTHER },
            Event::Deprovisioned { operation_id: OTHER },
        ]);
        assert_eq!((row.status, row.operation), (Status::Deprovisioned, None));
        assert!(row.deprovisioned_at.is_some());
    }
}
