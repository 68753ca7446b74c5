//! A service instance: a tenant's own copy of a managed service, from the order to its end.
//!
//! Life: absent, provisioning, provision failed, ready or suspended, deprovisioned. What takes time is an operation: it is requested
//! under an id, is in flight until its provider reports success or failure, and no second one starts before. That holds for
//! provisioning, configuring, suspending, resuming and deprovisioning alike, since a provider may fail at each.
//!
//! A failed operation leaves the instance as it was. Only a failed provision ends in a stage of its own, from which it is retried if
//! the provider said so, or deprovisioned; the latter needs no report, because nothing is in use: request and end are said at once,
//! so that a provider can still tidy up. An instance counts against the tenant's quota until it is deprovisioned, a failed one too.

pub mod decide;
pub mod endpoint;
pub mod error;
pub mod parameters;
pub mod state;
#[cfg(test)]
mod tests;

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::{
    aggregate,
    id::{OperationId, SubscriptionId},
    text::{Key, Remark},
};

pub use endpoint::Endpoint;
pub use error::{CODES, Error, QUOTA_REACHED};
pub use parameters::Parameters;
pub use state::{Instance, ServiceInstance};

/// What has happened to a service instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// A service was ordered; from here on it counts against the tenant's quota.
    ProvisionRequested {
        operation_id: OperationId,
        service: Key,
        plan: Key,
        parameters: Parameters,
        subscription_id: Option<SubscriptionId>,
    },
    /// A failed provision is tried again, with the same service, plan and parameters.
    ProvisionRetried { operation_id: OperationId },
    /// The service is ready.
    Provisioned { operation_id: OperationId, endpoint: Option<Endpoint>, outputs: Parameters },
    /// The service could not be made; `retryable` tells whether trying again may help.
    ProvisionFailed { operation_id: OperationId, reason: Remark, retryable: bool },
    /// New parameters were ordered, all of them; the old ones hold until the provider reports success.
    ConfigurationRequested { operation_id: OperationId, parameters: Parameters },
    /// The new parameters hold; endpoint and outputs are those after it.
    Configured { operation_id: OperationId, parameters: Parameters, endpoint: Option<Endpoint>, outputs: Parameters },
    /// The old parameters stay.
    ConfigurationFailed { operation_id: OperationId, reason: Remark, retryable: bool },
    /// The service is to stop without being lost.
    SuspensionRequested { operation_id: OperationId },
    /// The service stopped.
    Suspended { operation_id: OperationId },
    /// The service is still ready.
    SuspensionFailed { operation_id: OperationId, reason: Remark, retryable: bool },
    /// A suspended service is to run again.
    ResumptionRequested { operation_id: OperationId },
    /// The service is ready again; endpoint and outputs are those after it.
    Resumed { operation_id: OperationId, endpoint: Option<Endpoint>, outputs: Parameters },
    /// The service is still suspended.
    ResumptionFailed { operation_id: OperationId, reason: Remark, retryable: bool },
    /// The provider told another health or another detail; `from` is null the first time, and equals `to` for a new detail.
    HealthChanged { from: Option<Health>, to: Health, detail: Remark },
    /// The service is to end for good.
    DeprovisionRequested { operation_id: OperationId },
    /// The end of the instance; it no longer counts against the tenant's quota.
    Deprovisioned { operation_id: OperationId },
    /// The service is still as it was, ready or suspended.
    DeprovisionFailed { operation_id: OperationId, reason: Remark, retryable: bool },
}

/// What a service instance can be ordered to do, and what its provider reports.
///
/// Each `operation_id` of an order is new, never one of an earlier order.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Provision {
        service: Key,
        plan: Key,
        parameters: Parameters,
        subscription: SubscriptionFact,
        operation_id: OperationId,
        tenant_active: TenantFact,
    },
    /// Tries a failed provision again, as it was ordered.
    RetryProvision {
        operation_id: OperationId,
        tenant_active: TenantFact,
    },
    /// `parameters` replace the old ones as a whole.
    Configure {
        parameters: Parameters,
        operation_id: OperationId,
    },
    Suspend {
        operation_id: OperationId,
    },
    Resume {
        operation_id: OperationId,
        tenant_active: TenantFact,
    },
    Deprovision {
        operation_id: OperationId,
    },
    /// The operation is done. `endpoint` and `outputs` replace the old ones where given; after a suspension or the end of the
    /// instance there is nothing they could tell, and they are ignored.
    ReportSuccess {
        operation_id: OperationId,
        endpoint: Option<Endpoint>,
        outputs: Option<Parameters>,
    },
    /// The operation is over without having been done.
    ReportFailure {
        operation_id: OperationId,
        reason: Remark,
        retryable: bool,
    },
    ReportHealth {
        health: Health,
        detail: Remark,
    },
}

/// Whether the tenant may use services, as known when the command is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantFact {
    Active,
    NotActive,
}

/// The subscription that an instance is ordered under, if any, as known when the command is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionFact {
    /// The instance is ordered without a subscription.
    NotGiven,
    /// The subscription is the tenant's and lives.
    Usable(SubscriptionId),
    /// The tenant has no such subscription, or it has ended or rests.
    NotUsable(SubscriptionId),
}

/// How well a service does, as its provider sees it.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    AsRefStr,
    strum::Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Health {
    Healthy,
    Degraded,
    Down,
}

/// A service instance's stage of life without its details, for refusals and read models.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    AsRefStr,
    strum::Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Status {
    Provisioning,
    ProvisionFailed,
    Ready,
    Suspended,
    Deprovisioned,
}

impl Aggregate for ServiceInstance {
    const TYPE: &'static str = "service_instance";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        self.evolve(event);
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", ServiceInstance::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
