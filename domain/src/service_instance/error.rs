//! Why a service instance refuses.

use crate::{
    id::{OperationId, SubscriptionId},
    refusal::{Code, Kind, Refusal},
};

use super::Status;

/// Why a service instance refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no such service instance")]
    NotFound,
    #[error("the service instance exists already")]
    AlreadyExists,
    #[error("the service instance is deprovisioned and accepts nothing")]
    Deprovisioned,
    #[error("the tenant is not active and gets no services")]
    TenantNotActive,
    #[error("the subscription {} does not exist or is not usable", .0.0)]
    SubscriptionNotUsable(SubscriptionId),
    #[error("the operation {} is in flight", .0.0)]
    OperationInFlight(OperationId),
    #[error("the operation {} is in flight, not {}", .expected.0, .reported.0)]
    OperationMismatch { expected: OperationId, reported: OperationId },
    #[error("the operation {} has already ended with the other outcome", .0.0)]
    OperationFinished(OperationId),
    #[error("no operation is in flight")]
    NoOperation,
    #[error("the status of the service instance is {0}, which does not allow this")]
    NotReady(Status),
    #[error("the service instance is provisioned, so there is nothing to retry")]
    ProvisionNotFailed,
    #[error("provisioning failed in a way that cannot be retried")]
    ProvisionNotRetryable,
}

/// The tenant has as many instances as its quota allows.
///
/// No state of one instance knows how many others there are, so `decide` never answers it: the store does, which counts
/// [`INSTANCES`](super::decide::INSTANCES) in the transaction that appends.
pub const QUOTA_REACHED: Code = Code {
    code: "service_instance_quota_reached",
    kind: Kind::LimitReached,
    meaning: "The tenant has as many service instances as its quota allows.",
};

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code { code: "service_instance_not_found", kind: Kind::NotFound, meaning: "There is no such service instance." },
    Code {
        code: "service_instance_already_exists",
        kind: Kind::Conflict,
        meaning: "A service instance with this id exists already.",
    },
    Code {
        code: "service_instance_deprovisioned",
        kind: Kind::Conflict,
        meaning: "The service instance is deprovisioned and accepts no command.",
    },
    Code {
        code: "service_instance_tenant_not_active",
        kind: Kind::Conflict,
        meaning: "The tenant is not active, so no service is provisioned or resumed for it.",
    },
    Code {
        code: "service_instance_subscription_not_usable",
        kind: Kind::Conflict,
        meaning: "The subscription given does not exist in this tenant or is not usable.",
    },
    Code {
        code: "service_instance_operation_in_flight",
        kind: Kind::Conflict,
        meaning: "An operation on the service instance has not been reported yet; only one runs at a time.",
    },
    Code {
        code: "service_instance_operation_mismatch",
        kind: Kind::Conflict,
        meaning: "The report is for another operation than the one in flight.",
    },
    Code {
        code: "service_instance_operation_finished",
        kind: Kind::Conflict,
        meaning: "The operation was already reported with the other outcome.",
    },
    Code {
        code: "service_instance_no_operation",
        kind: Kind::Conflict,
        meaning: "The report is for an operation, but none is in flight.",
    },
    Code {
        code: "service_instance_not_ready",
        kind: Kind::Conflict,
        meaning: "The service instance must be ready; for resuming and for reports of health, ready or suspended.",
    },
    Code {
        code: "service_instance_provision_not_failed",
        kind: Kind::Conflict,
        meaning: "Only a failed provision can be retried.",
    },
    Code {
        code: "service_instance_provision_not_retryable",
        kind: Kind::Conflict,
        meaning: "Provisioning failed for good; the service instance can only be deprovisioned.",
    },
    QUOTA_REACHED,
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "service_instance_not_found",
            Self::AlreadyExists => "service_instance_already_exists",
            Self::Deprovisioned => "service_instance_deprovisioned",
            Self::TenantNotActive => "service_instance_tenant_not_active",
            Self::SubscriptionNotUsable(_) => "service_instance_subscription_not_usable",
            Self::OperationInFlight(_) => "service_instance_operation_in_flight",
            Self::OperationMismatch { .. } => "service_instance_operation_mismatch",
            Self::OperationFinished(_) => "service_instance_operation_finished",
            Self::NoOperation => "service_instance_no_operation",
            Self::NotReady(_) => "service_instance_not_ready",
            Self::ProvisionNotFailed => "service_instance_provision_not_failed",
            Self::ProvisionNotRetryable => "service_instance_provision_not_retryable",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::AlreadyExists
            | Self::Deprovisioned
            | Self::TenantNotActive
            | Self::SubscriptionNotUsable(_)
            | Self::OperationInFlight(_)
            | Self::OperationMismatch { .. }
            | Self::OperationFinished(_)
            | Self::NoOperation
            | Self::NotReady(_)
            | Self::ProvisionNotFailed
            | Self::ProvisionNotRetryable => Kind::Conflict,
        }
    }
}
