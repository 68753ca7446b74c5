//! A service instance at one moment, and how each event moves it.

use serde::{Deserialize, Serialize};

use crate::{
    id::{OperationId, SubscriptionId},
    text::{Key, Remark},
};

use super::{Endpoint, Event, Health, Parameters, Status};

/// A service instance at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum ServiceInstance {
    /// Never ordered.
    #[default]
    Absent,
    /// Ordered and not deprovisioned.
    Live(Box<Instance>),
    /// Ended for ever, by the operation named.
    Deprovisioned { operation_id: OperationId },
}

/// What a live instance is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    pub service: Key,
    pub plan: Key,
    pub parameters: Parameters,
    pub subscription_id: Option<SubscriptionId>,
    pub stage: Stage,
    /// The operation that was reported last, so that the same report again is recognised.
    pub finished: Option<Finished>,
}

/// How far a live instance has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Stage {
    /// The provision is in flight.
    Provisioning { operation_id: OperationId },
    /// Nothing was made, and nothing is in flight.
    ProvisionFailed { retryable: bool },
    /// The service exists.
    Provisioned(Running),
}

/// A service that exists, running or suspended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Running {
    pub endpoint: Option<Endpoint>,
    pub outputs: Parameters,
    /// What was reported last; `None` until the first report.
    pub health: Option<HealthReport>,
    pub mode: Mode,
}

/// Whether a service runs, each with the operation in flight, of those that are possible then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Mode {
    Ready(Option<ReadyOperation>),
    Suspended(Option<SuspendedOperation>),
}

/// An operation in flight on a service that is ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ReadyOperation {
    Configure { operation_id: OperationId, parameters: Parameters },
    Suspend { operation_id: OperationId },
    Deprovision { operation_id: OperationId },
}

/// An operation in flight on a service that is suspended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SuspendedOperation {
    Resume { operation_id: OperationId },
    Deprovision { operation_id: OperationId },
}

/// What a provider said about the health of its service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    pub health: Health,
    pub detail: Remark,
}

/// An operation that was reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    pub operation_id: OperationId,
    pub outcome: Outcome,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Succeeded,
    Failed,
}

impl ServiceInstance {
    /// The stage of life without its details; `None` for an instance that was never ordered.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Absent => None,
            Self::Live(instance) => Some(instance.status()),
            Self::Deprovisioned { .. } => Some(Status::Deprovisioned),
        }
    }

    /// The operation that waits for its report.
    #[must_use]
    pub fn in_flight(&self) -> Option<OperationId> {
        match self {
            Self::Live(instance) => instance.in_flight(),
            Self::Absent | Self::Deprovisioned { .. } => None,
        }
    }

    pub(super) fn evolve(&mut self, event: Event) {
        match (self, event) {
            (state, Event::ProvisionRequested { operation_id, service, plan, parameters, subscription_id }) => {
                *state = Self::Live(Box::new(Instance {
                    service,
                    plan,
                    parameters,
                    subscription_id,
                    stage: Stage::Provisioning { operation_id },
                    finished: None,
                }));
            }
            (state, Event::Deprovisioned { operation_id }) => *state = Self::Deprovisioned { operation_id },
            (Self::Live(instance), event) => instance.evolve(event),
            (Self::Absent | Self::Deprovisioned { .. }, _) => {} // No such history is ever written.
        }
    }
}

impl Instance {
    /// The stage of life without its details.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.stage {
            Stage::Provisioning { .. } => Status::Provisioning,
            Stage::ProvisionFailed { .. } => Status::ProvisionFailed,
            Stage::Provisioned(Running { mode: Mode::Ready(_), .. }) => Status::Ready,
            Stage::Provisioned(Running { mode: Mode::Suspended(_), .. }) => Status::Suspended,
        }
    }

    /// The operation that waits for its report.
    #[must_use]
    pub fn in_flight(&self) -> Option<OperationId> {
        match &self.stage {
            Stage::Provisioning { operation_id } => Some(*operation_id),
            Stage::ProvisionFailed { .. } => None,
            Stage::Provisioned(running) => running.mode.in_flight(),
        }
    }

    fn evolve(&mut self, event: Event) {
        if let Some(finished) = Finished::by(&event) {
            self.finished = Some(finished);
        }
        match event {
            Event::ProvisionRetried { operation_id } => self.stage = Stage::Provisioning { operation_id },
            Event::Provisioned { endpoint, outputs, .. } => {
                let mode = Mode::Ready(None);
                self.stage = Stage::Provisioned(Running { endpoint, outputs, health: None, mode });
            }
            Event::ProvisionFailed { retryable, .. } => self.stage = Stage::ProvisionFailed { retryable },
            Event::Configured { parameters, endpoint, outputs, .. } => {
                self.parameters = parameters;
                self.run(endpoint, outputs);
            }
            Event::Resumed { endpoint, outputs, .. } => self.run(endpoint, outputs),
            Event::ConfigurationRequested { operation_id, parameters } => {
                self.set_mode(Mode::Ready(Some(ReadyOperation::Configure { operation_id, parameters })));
            }
            Event::SuspensionRequested { operation_id } => {
                self.set_mode(Mode::Ready(Some(ReadyOperation::Suspend { operation_id })));
            }
            Event::ResumptionRequested { operation_id } => {
                self.set_mode(Mode::Suspended(Some(SuspendedOperation::Resume { operation_id })));
            }
            Event::DeprovisionRequested { operation_id } => self.await_deprovision(operation_id),
            Event::ConfigurationFailed { .. } | Event::SuspensionFailed { .. } => self.set_mode(Mode::Ready(None)),
            Event::Suspended { .. } | Event::ResumptionFailed { .. } => self.set_mode(Mode::Suspended(None)),
            Event::DeprovisionFailed { .. } => self.keep(),
            Event::HealthChanged { to, detail, .. } => {
                if let Stage::Provisioned(running) = &mut self.stage {
                    running.health = Some(HealthReport { health: to, detail });
                }
            }
            Event::ProvisionRequested { .. } | Event::Deprovisioned { .. } => {} // Applied to the instance as a whole.
        }
    }

    fn run(&mut self, endpoint: Option<Endpoint>, outputs: Parameters) {
        if let Stage::Provisioned(running) = &mut self.stage {
            running.endpoint = endpoint;
            running.outputs = outputs;
            running.mode = Mode::Ready(None);
        }
    }

    fn set_mode(&mut self, mode: Mode) {
        if let Stage::Provisioned(running) = &mut self.stage {
            running.mode = mode;
        }
    }

    /// A failed provision has nothing to wait for: its end follows in the same breath.
    fn await_deprovision(&mut self, operation_id: OperationId) {
        if let Stage::Provisioned(running) = &mut self.stage {
            match &mut running.mode {
                Mode::Ready(operation) => *operation = Some(ReadyOperation::Deprovision { operation_id }),
                Mode::Suspended(operation) => *operation = Some(SuspendedOperation::Deprovision { operation_id }),
            }
        }
    }

    fn keep(&mut self) {
        if let Stage::Provisioned(running) = &mut self.stage {
            match &mut running.mode {
                Mode::Ready(operation) => *operation = None,
                Mode::Suspended(operation) => *operation = None,
            }
        }
    }
}

impl Mode {
    fn in_flight(&self) -> Option<OperationId> {
        match self {
            Self::Ready(operation) => operation.as_ref().map(|operation| match operation {
                ReadyOperation::Configure { operation_id, .. }
                | ReadyOperation::Suspend { operation_id }
                | ReadyOperation::Deprovision { operation_id } => *operation_id,
            }),
            Self::Suspended(operation) => operation.as_ref().map(|operation| match operation {
                SuspendedOperation::Resume { operation_id } | SuspendedOperation::Deprovision { operation_id } => {
                    *operation_id
                }
            }),
        }
    }
}

impl Finished {
    /// The operation that `event` ended, if it ended one.
    fn by(event: &Event) -> Option<Self> {
        match event {
            Event::Provisioned { operation_id, .. }
            | Event::Configured { operation_id, .. }
            | Event::Suspended { operation_id }
            | Event::Resumed { operation_id, .. }
            | Event::Deprovisioned { operation_id } => {
                Some(Self { operation_id: *operation_id, outcome: Outcome::Succeeded })
            }
            Event::ProvisionFailed { operation_id, .. }
            | Event::ConfigurationFailed { operation_id, .. }
            | Event::SuspensionFailed { operation_id, .. }
            | Event::ResumptionFailed { operation_id, .. }
            | Event::DeprovisionFailed { operation_id, .. } => {
                Some(Self { operation_id: *operation_id, outcome: Outcome::Failed })
            }
            Event::ProvisionRequested { .. }
            | Event::ProvisionRetried { .. }
            | Event::ConfigurationRequested { .. }
            | Event::SuspensionRequested { .. }
            | Event::ResumptionRequested { .. }
            | Event::HealthChanged { .. }
            | Event::DeprovisionRequested { .. } => None,
        }
    }
}
