//! What a service instance allows, and how it is counted.

use uuid::Uuid;

use crate::{aggregate::Decide, effect::Effect, id::OperationId, text::Remark};

use super::{
    Command, Endpoint, Error, Event, Health, Instance, Parameters, ServiceInstance, SubscriptionFact, TenantFact,
    state::{Mode, Outcome, ReadyOperation, Running, Stage, SuspendedOperation},
};

/// The counter of a tenant's instances, from the order to the end; its maximum is the tenant's quota, and a command that would
/// exceed it is refused as [`QUOTA_REACHED`](super::QUOTA_REACHED).
pub const INSTANCES: &str = "service_instances";

impl Decide for ServiceInstance {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (self, command) {
            (
                Self::Absent,
                Command::Provision { service, plan, parameters, subscription, operation_id, tenant_active },
            ) => {
                active(tenant_active)?;
                let subscription_id = match subscription {
                    SubscriptionFact::NotGiven => None,
                    SubscriptionFact::Usable(id) => Some(id),
                    SubscriptionFact::NotUsable(id) => return Err(Error::SubscriptionNotUsable(id)),
                };
                Ok(vec![Event::ProvisionRequested { operation_id, service, plan, parameters, subscription_id }])
            }
            (Self::Absent, _) => Err(Error::NotFound),
            (Self::Live(instance), command) => instance.decide(command),
            (Self::Deprovisioned { operation_id: last }, Command::ReportSuccess { operation_id, .. })
                if *last == operation_id =>
            {
                Ok(vec![])
            }
            (Self::Deprovisioned { .. }, _) => Err(Error::Deprovisioned),
        }
    }

    fn effects(&self, _id: Uuid, event: &Event) -> Vec<Effect> {
        match event {
            Event::ProvisionRequested { .. } => vec![Effect::Count { counter: INSTANCES, delta: 1 }],
            Event::Deprovisioned { .. } => vec![Effect::Count { counter: INSTANCES, delta: -1 }],
            Event::ProvisionRetried { .. }
            | Event::Provisioned { .. }
            | Event::ProvisionFailed { .. }
            | Event::ConfigurationRequested { .. }
            | Event::Configured { .. }
            | Event::ConfigurationFailed { .. }
            | Event::SuspensionRequested { .. }
            | Event::Suspended { .. }
            | Event::SuspensionFailed { .. }
            | Event::ResumptionRequested { .. }
            | Event::Resumed { .. }
            | Event::ResumptionFailed { .. }
            | Event::HealthChanged { .. }
            | Event::DeprovisionRequested { .. }
            | Event::DeprovisionFailed { .. } => Vec::new(),
        }
    }
}

/// Nothing starts for a tenant that may not use services.
fn active(tenant: TenantFact) -> Result<(), Error> {
    match tenant {
        TenantFact::Active => Ok(()),
        TenantFact::NotActive => Err(Error::TenantNotActive),
    }
}

impl Instance {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match command {
            Command::Provision { .. } => Err(Error::AlreadyExists),
            Command::RetryProvision { operation_id, tenant_active } => {
                self.retry_provision(operation_id, tenant_active)
            }
            Command::Configure { parameters, operation_id } => self.configure(parameters, operation_id),
            Command::Suspend { operation_id } => self.suspend(operation_id),
            Command::Resume { operation_id, tenant_active } => self.resume(operation_id, tenant_active),
            Command::Deprovision { operation_id } => self.deprovision(operation_id),
            Command::ReportSuccess { operation_id, endpoint, outputs } => self.succeed(operation_id, endpoint, outputs),
            Command::ReportFailure { operation_id, reason, retryable } => self.fail(operation_id, reason, retryable),
            Command::ReportHealth { health, detail } => self.report_health(health, detail),
        }
    }

    /// One operation at a time.
    fn idle(&self) -> Result<(), Error> {
        self.in_flight().map_or(Ok(()), |operation_id| Err(Error::OperationInFlight(operation_id)))
    }

    fn retry_provision(&self, operation_id: OperationId, tenant: TenantFact) -> Result<Vec<Event>, Error> {
        self.idle()?;
        match self.stage {
            Stage::ProvisionFailed { retryable: true } => {
                active(tenant)?;
                Ok(vec![Event::ProvisionRetried { operation_id }])
            }
            Stage::ProvisionFailed { retryable: false } => Err(Error::ProvisionNotRetryable),
            Stage::Provisioning { .. } | Stage::Provisioned(_) => Err(Error::ProvisionNotFailed),
        }
    }

    fn configure(&self, parameters: Parameters, operation_id: OperationId) -> Result<Vec<Event>, Error> {
        self.idle()?;
        match &self.stage {
            Stage::Provisioned(Running { mode: Mode::Ready(_), .. }) if parameters == self.parameters => Ok(vec![]),
            Stage::Provisioned(Running { mode: Mode::Ready(_), .. }) => {
                Ok(vec![Event::ConfigurationRequested { operation_id, parameters }])
            }
            Stage::Provisioning { .. }
            | Stage::ProvisionFailed { .. }
            | Stage::Provisioned(Running { mode: Mode::Suspended(_), .. }) => Err(Error::NotReady(self.status())),
        }
    }

    fn suspend(&self, operation_id: OperationId) -> Result<Vec<Event>, Error> {
        self.idle()?;
        match &self.stage {
            Stage::Provisioned(Running { mode: Mode::Ready(_), .. }) => {
                Ok(vec![Event::SuspensionRequested { operation_id }])
            }
            Stage::Provisioned(Running { mode: Mode::Suspended(_), .. }) => Ok(vec![]),
            Stage::Provisioning { .. } | Stage::ProvisionFailed { .. } => Err(Error::NotReady(self.status())),
        }
    }

    fn resume(&self, operation_id: OperationId, tenant: TenantFact) -> Result<Vec<Event>, Error> {
        self.idle()?;
        match &self.stage {
            Stage::Provisioned(Running { mode: Mode::Suspended(_), .. }) => {
                active(tenant)?;
                Ok(vec![Event::ResumptionRequested { operation_id }])
            }
            Stage::Provisioned(Running { mode: Mode::Ready(_), .. }) => Ok(vec![]),
            Stage::Provisioning { .. } | Stage::ProvisionFailed { .. } => Err(Error::NotReady(self.status())),
        }
    }

    fn deprovision(&self, operation_id: OperationId) -> Result<Vec<Event>, Error> {
        self.idle()?;
        let requested = Event::DeprovisionRequested { operation_id };
        match self.stage {
            Stage::ProvisionFailed { .. } => Ok(vec![requested, Event::Deprovisioned { operation_id }]),
            Stage::Provisioning { .. } | Stage::Provisioned(_) => Ok(vec![requested]),
        }
    }

    /// Whether a report is the one waited for; `false` for one that was given already and changes nothing, even when it comes so
    /// late that the next operation is in flight.
    fn awaits(&self, operation_id: OperationId, outcome: Outcome) -> Result<bool, Error> {
        let in_flight = self.in_flight();
        if in_flight == Some(operation_id) {
            return Ok(true);
        }
        if let Some(finished) = self.finished.filter(|finished| finished.operation_id == operation_id) {
            // The first report counts; the other outcome would tell another story about the same work.
            return if finished.outcome == outcome { Ok(false) } else { Err(Error::OperationFinished(operation_id)) };
        }
        Err(in_flight
            .map_or(Error::NoOperation, |expected| Error::OperationMismatch { expected, reported: operation_id }))
    }

    fn succeed(
        &self,
        operation_id: OperationId,
        endpoint: Option<Endpoint>,
        outputs: Option<Parameters>,
    ) -> Result<Vec<Event>, Error> {
        if !self.awaits(operation_id, Outcome::Succeeded)? {
            return Ok(vec![]);
        }
        let event = match &self.stage {
            Stage::Provisioning { .. } => {
                Event::Provisioned { operation_id, endpoint, outputs: outputs.unwrap_or_default() }
            }
            Stage::ProvisionFailed { .. } => return Err(Error::NoOperation),
            Stage::Provisioned(running) => {
                let endpoint = endpoint.or_else(|| running.endpoint.clone());
                let outputs = outputs.unwrap_or_else(|| running.outputs.clone());
                match &running.mode {
                    Mode::Ready(Some(ReadyOperation::Configure { parameters, .. })) => {
                        Event::Configured { operation_id, parameters: parameters.clone(), endpoint, outputs }
                    }
                    Mode::Ready(Some(ReadyOperation::Suspend { .. })) => Event::Suspended { operation_id },
                    Mode::Suspended(Some(SuspendedOperation::Resume { .. })) => {
                        Event::Resumed { operation_id, endpoint, outputs }
                    }
                    Mode::Ready(Some(ReadyOperation::Deprovision { .. }))
                    | Mode::Suspended(Some(SuspendedOperation::Deprovision { .. })) => {
                        Event::Deprovisioned { operation_id }
                    }
                    Mode::Ready(None) | Mode::Suspended(None) => return Err(Error::NoOperation),
                }
            }
        };
        Ok(vec![event])
    }

    fn fail(&self, operation_id: OperationId, reason: Remark, retryable: bool) -> Result<Vec<Event>, Error> {
        if !self.awaits(operation_id, Outcome::Failed)? {
            return Ok(vec![]);
        }
        let event = match &self.stage {
            Stage::Provisioning { .. } => Event::ProvisionFailed { operation_id, reason, retryable },
            Stage::ProvisionFailed { .. } => return Err(Error::NoOperation),
            Stage::Provisioned(running) => match &running.mode {
                Mode::Ready(Some(ReadyOperation::Configure { .. })) => {
                    Event::ConfigurationFailed { operation_id, reason, retryable }
                }
                Mode::Ready(Some(ReadyOperation::Suspend { .. })) => {
                    Event::SuspensionFailed { operation_id, reason, retryable }
                }
                Mode::Suspended(Some(SuspendedOperation::Resume { .. })) => {
                    Event::ResumptionFailed { operation_id, reason, retryable }
                }
                Mode::Ready(Some(ReadyOperation::Deprovision { .. }))
                | Mode::Suspended(Some(SuspendedOperation::Deprovision { .. })) => {
                    Event::DeprovisionFailed { operation_id, reason, retryable }
                }
                Mode::Ready(None) | Mode::Suspended(None) => return Err(Error::NoOperation),
            },
        };
        Ok(vec![event])
    }

    fn report_health(&self, health: Health, detail: Remark) -> Result<Vec<Event>, Error> {
        let Stage::Provisioned(running) = &self.stage else {
            return Err(Error::NotReady(self.status()));
        };
        match &running.health {
            Some(last) if last.health == health && last.detail == detail => Ok(vec![]),
            last => Ok(vec![Event::HealthChanged { from: last.as_ref().map(|last| last.health), to: health, detail }]),
        }
    }
}
