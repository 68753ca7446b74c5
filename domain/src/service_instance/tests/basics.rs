//! An instance as a whole: its order, its stages, its codes and golden files.

use super::{
    Aggregate, CODES, Error, Event, Kind, QUOTA_REACHED, Refusal, ServiceInstance, Status, SubscriptionFact,
    TenantFact, VariantNames, configuring, ended, ending_suspended, every_other_command, failed, given, golden, idle,
    in_flight, op, provision, provision_requested, provisioning, ready, resuming, state, subscription, suspended,
    suspending,
};

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(ServiceInstance::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("absent", state(vec![])),
        ("provisioning", state(provisioning())),
        ("failed", state(failed(true))),
        ("ready", state(ready())),
        ("configuring", state(configuring())),
        ("suspending", state(suspending())),
        ("suspended", state(suspended())),
        ("resuming", state(resuming())),
        ("ending", state(ending_suspended())),
        ("ended", state(ended())),
    ]);
}

#[test]
fn every_refusal_is_listed_with_its_kind() {
    for error in [
        Error::NotFound,
        Error::AlreadyExists,
        Error::Deprovisioned,
        Error::TenantNotActive,
        Error::SubscriptionNotUsable(subscription()),
        Error::OperationInFlight(op(1)),
        Error::OperationMismatch { expected: op(1), reported: op(2) },
        Error::OperationFinished(op(1)),
        Error::NoOperation,
        Error::NotReady(Status::Suspended),
        Error::ProvisionNotFailed,
        Error::ProvisionNotRetryable,
    ] {
        let listed = CODES.iter().any(|code| code.code == error.code() && code.kind == error.kind());
        assert!(listed, "{}", error.code());
    }
    assert!(CODES.contains(&QUOTA_REACHED));
    assert_eq!(QUOTA_REACHED.kind, Kind::LimitReached);
}

#[test]
fn an_instance_is_ordered_with_or_without_a_usable_subscription() {
    given(vec![])
        .when(provision(SubscriptionFact::NotGiven, TenantFact::Active))
        .then_expect_events(vec![provision_requested(None)]);
    given(vec![])
        .when(provision(SubscriptionFact::Usable(subscription()), TenantFact::Active))
        .then_expect_events(vec![provision_requested(Some(subscription()))]);
}

#[test]
fn a_subscription_that_is_not_usable_is_refused() {
    given(vec![])
        .when(provision(SubscriptionFact::NotUsable(subscription()), TenantFact::Active))
        .then_expect_error(Error::SubscriptionNotUsable(subscription()));
}

#[test]
fn a_tenant_that_is_not_active_gets_none() {
    given(vec![])
        .when(provision(SubscriptionFact::Usable(subscription()), TenantFact::NotActive))
        .then_expect_error(Error::TenantNotActive);
}

#[test]
fn ordering_an_existing_instance_again_is_refused() {
    for history in idle().into_iter().chain(in_flight().into_iter().map(|(history, _)| history)) {
        given(history)
            .when(provision(SubscriptionFact::NotGiven, TenantFact::Active))
            .then_expect_error(Error::AlreadyExists);
    }
}

#[test]
fn an_absent_instance_knows_no_other_command() {
    for command in every_other_command(1) {
        given(vec![]).when(command).then_expect_error(Error::NotFound);
    }
}

#[test]
fn a_deprovisioned_instance_accepts_nothing() {
    let again = provision(SubscriptionFact::NotGiven, TenantFact::Active);
    for command in every_other_command(9).into_iter().chain([again]) {
        given(ended()).when(command).then_expect_error(Error::Deprovisioned);
    }
}

#[test]
fn the_status_is_the_stage_of_life_whatever_is_in_flight() {
    for (history, status) in [
        (vec![], None),
        (provisioning(), Some(Status::Provisioning)),
        (failed(true), Some(Status::ProvisionFailed)),
        (ready(), Some(Status::Ready)),
        (configuring(), Some(Status::Ready)),
        (suspending(), Some(Status::Ready)),
        (suspended(), Some(Status::Suspended)),
        (resuming(), Some(Status::Suspended)),
        (ending_suspended(), Some(Status::Suspended)),
        (ended(), Some(Status::Deprovisioned)),
    ] {
        assert_eq!(state(history).status(), status);
    }
}

#[test]
fn a_state_that_was_stored_comes_back() {
    for history in idle().into_iter().chain(in_flight().into_iter().map(|(history, _)| history)).chain([ended()]) {
        let instance = state(history);
        let stored = serde_json::to_string(&instance).unwrap();
        assert_eq!(serde_json::from_str::<ServiceInstance>(&stored).unwrap(), instance);
    }
}
