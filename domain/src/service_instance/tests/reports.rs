//! What reports lead to.

use super::{
    Command, Decide, Error, Event, ServiceInstance, configure, configuring, deprovision, ended, ending_ready,
    ending_suspended, endpoint, failed, failure, given, idle, in_flight, op, outputs, parameters, provision_failed,
    provisioned, provisioning, ready, reason, resuming, retry, state, success, suspended, suspending, then,
};

fn told(n: u128) -> Command {
    Command::ReportSuccess { operation_id: op(n), endpoint: endpoint("new.example"), outputs: Some(outputs(143)) }
}

#[test]
fn success_makes_an_instance_ready() {
    let report =
        Command::ReportSuccess { operation_id: op(1), endpoint: endpoint("mail.example"), outputs: Some(outputs(993)) };
    given(provisioning()).when(report).then_expect_events(vec![provisioned(1)]);
    given(provisioning()).when(success(1)).then_expect_events(vec![Event::Provisioned {
        operation_id: op(1),
        endpoint: None,
        outputs: super::Parameters::default(),
    }]);
}

#[test]
fn a_retried_provision_is_reported_under_its_own_operation() {
    let history = then(failed(true), [Event::ProvisionRetried { operation_id: op(2) }]);
    given(history.clone()).when(failure(2)).then_expect_events(vec![provision_failed(2, true)]);
    assert_eq!(state(then(history, [provisioned(2)])).in_flight(), None);
}

#[test]
fn a_failed_provision_says_whether_it_can_be_retried() {
    for retryable in [true, false] {
        given(provisioning())
            .when(Command::ReportFailure { operation_id: op(1), reason: reason(), retryable })
            .then_expect_events(vec![provision_failed(1, retryable)]);
    }
}

#[test]
fn success_makes_the_new_parameters_hold() {
    let configured =
        |endpoint, outputs| Event::Configured { operation_id: op(2), parameters: parameters(50), endpoint, outputs };
    given(configuring()).when(told(2)).then_expect_events(vec![configured(endpoint("new.example"), outputs(143))]);
    let kept = configured(endpoint("mail.example"), outputs(993));
    given(configuring()).when(success(2)).then_expect_events(vec![kept.clone()]);
    given(configuring()).and(vec![kept]).when(configure(3, 50)).then_expect_events(vec![]);
}

#[test]
fn after_a_failed_configuration_the_old_parameters_stay() {
    let not_configured = Event::ConfigurationFailed { operation_id: op(2), reason: reason(), retryable: true };
    given(configuring()).when(failure(2)).then_expect_events(vec![not_configured.clone()]);
    given(configuring()).and(vec![not_configured]).when(configure(3, 25)).then_expect_events(vec![]);
}

#[test]
fn a_suspension_ends_suspended_or_still_ready() {
    given(suspending()).when(told(2)).then_expect_events(vec![Event::Suspended { operation_id: op(2) }]);
    let failed = Event::SuspensionFailed { operation_id: op(2), reason: reason(), retryable: true };
    given(suspending()).when(failure(2)).then_expect_events(vec![failed.clone()]);
    assert_eq!(state(then(suspending(), [failed])).status(), state(ready()).status());
}

#[test]
fn a_resumption_ends_ready_or_still_suspended() {
    given(resuming()).when(success(3)).then_expect_events(vec![Event::Resumed {
        operation_id: op(3),
        endpoint: endpoint("mail.example"),
        outputs: outputs(993),
    }]);
    given(resuming()).when(told(3)).then_expect_events(vec![Event::Resumed {
        operation_id: op(3),
        endpoint: endpoint("new.example"),
        outputs: outputs(143),
    }]);
    let failed = Event::ResumptionFailed { operation_id: op(3), reason: reason(), retryable: true };
    given(resuming()).when(failure(3)).then_expect_events(vec![failed.clone()]);
    assert_eq!(state(then(resuming(), [failed])).status(), state(suspended()).status());
}

#[test]
fn a_deprovision_ends_the_instance_or_leaves_it_as_it_was() {
    for (history, before, n) in [(ending_ready(), ready(), 2), (ending_suspended(), suspended(), 3)] {
        given(history.clone()).when(success(n)).then_expect_events(vec![Event::Deprovisioned { operation_id: op(n) }]);
        let failed = Event::DeprovisionFailed { operation_id: op(n), reason: reason(), retryable: false };
        let report = Command::ReportFailure { operation_id: op(n), reason: reason(), retryable: false };
        given(history.clone()).when(report).then_expect_events(vec![failed.clone()]);
        let after = then(history, [failed]);
        assert_eq!(state(after.clone()).status(), state(before).status());
        given(after).when(deprovision(9)).then_expect_events(vec![Event::DeprovisionRequested { operation_id: op(9) }]);
    }
}

#[test]
fn a_report_for_another_operation_is_refused() {
    for (history, operation) in in_flight() {
        for report in [success(9), failure(9)] {
            given(history.clone())
                .when(report)
                .then_expect_error(Error::OperationMismatch { expected: op(operation), reported: op(9) });
        }
    }
}

#[test]
fn a_report_with_nothing_in_flight_is_refused() {
    for history in idle() {
        for report in [success(9), failure(9)] {
            given(history.clone()).when(report).then_expect_error(Error::NoOperation);
        }
    }
}

/// What each report leads to is applied, and then the report comes once more.
#[test]
fn a_report_repeated_changes_nothing_and_the_other_outcome_is_refused() {
    for (history, n) in in_flight() {
        for (report, other) in [(success(n), failure(n)), (failure(n), success(n))] {
            let events = state(history.clone()).decide(report.clone()).unwrap();
            assert_eq!(events.len(), 1);
            let after = state(then(history.clone(), events));
            assert_eq!(after.in_flight(), None);
            assert_eq!(after.decide(report), Ok(vec![]));
            let refusal = match after {
                ServiceInstance::Deprovisioned { .. } => Error::Deprovisioned,
                ServiceInstance::Live(_) | ServiceInstance::Absent => Error::OperationFinished(op(n)),
            };
            assert_eq!(after.decide(other), Err(refusal));
        }
    }
    given(ended()).when(success(2)).then_expect_events(vec![]);
}

#[test]
fn a_report_repeated_late_changes_nothing_while_the_next_operation_is_in_flight() {
    given(configuring()).when(success(1)).then_expect_events(vec![]);
    given(configuring()).when(failure(1)).then_expect_error(Error::OperationFinished(op(1)));
    let retried = state(failed(true)).decide(retry(2)).unwrap();
    given(then(failed(true), retried)).when(failure(1)).then_expect_events(vec![]);
}
