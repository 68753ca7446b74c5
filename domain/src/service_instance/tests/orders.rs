//! Which operations are accepted when.

use super::{
    Command, Error, Event, Status, TenantFact, configure, deprovision, every_order, failed, given, in_flight, op,
    parameters, ready, resume, retry, suspend, suspended,
};

#[test]
fn a_second_operation_is_refused_while_one_is_in_flight() {
    for (history, operation) in in_flight() {
        for order in every_order(9) {
            given(history.clone()).when(order).then_expect_error(Error::OperationInFlight(op(operation)));
        }
    }
}

#[test]
fn a_failed_provision_is_retried_when_that_may_help() {
    given(failed(true)).when(retry(2)).then_expect_events(vec![Event::ProvisionRetried { operation_id: op(2) }]);
    given(failed(false)).when(retry(2)).then_expect_error(Error::ProvisionNotRetryable);
    for history in [ready(), suspended()] {
        given(history).when(retry(9)).then_expect_error(Error::ProvisionNotFailed);
    }
}

#[test]
fn nothing_is_retried_or_resumed_for_a_tenant_that_is_not_active() {
    let tenant_active = TenantFact::NotActive;
    given(failed(true))
        .when(Command::RetryProvision { operation_id: op(2), tenant_active })
        .then_expect_error(Error::TenantNotActive);
    given(suspended())
        .when(Command::Resume { operation_id: op(3), tenant_active })
        .then_expect_error(Error::TenantNotActive);
}

#[test]
fn a_ready_instance_is_configured() {
    given(ready())
        .when(configure(2, 50))
        .then_expect_events(vec![Event::ConfigurationRequested { operation_id: op(2), parameters: parameters(50) }]);
}

#[test]
fn configuring_what_holds_already_changes_nothing() {
    given(ready()).when(configure(2, 25)).then_expect_events(vec![]);
}

#[test]
fn only_a_ready_instance_is_configured() {
    given(failed(true)).when(configure(2, 50)).then_expect_error(Error::NotReady(Status::ProvisionFailed));
    given(suspended()).when(configure(3, 50)).then_expect_error(Error::NotReady(Status::Suspended));
}

#[test]
fn a_ready_instance_is_suspended_and_a_suspended_one_resumed() {
    given(ready()).when(suspend(2)).then_expect_events(vec![Event::SuspensionRequested { operation_id: op(2) }]);
    given(suspended()).when(resume(3)).then_expect_events(vec![Event::ResumptionRequested { operation_id: op(3) }]);
}

#[test]
fn suspending_or_resuming_twice_changes_nothing() {
    given(suspended()).when(suspend(3)).then_expect_events(vec![]);
    given(ready()).when(resume(2)).then_expect_events(vec![]);
}

#[test]
fn a_failed_provision_is_neither_suspended_nor_resumed() {
    for command in [suspend(2), resume(2)] {
        given(failed(true)).when(command).then_expect_error(Error::NotReady(Status::ProvisionFailed));
    }
}

#[test]
fn an_instance_is_deprovisioned_ready_or_suspended() {
    for history in [ready(), suspended()] {
        given(history)
            .when(deprovision(4))
            .then_expect_events(vec![Event::DeprovisionRequested { operation_id: op(4) }]);
    }
}

#[test]
fn deprovisioning_a_failed_provision_needs_no_report() {
    for retryable in [true, false] {
        given(failed(retryable)).when(deprovision(2)).then_expect_events(vec![
            Event::DeprovisionRequested { operation_id: op(2) },
            Event::Deprovisioned { operation_id: op(2) },
        ]);
    }
}
