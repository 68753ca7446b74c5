//! What reports of health lead to.

use super::{
    Error, Health, Status, configuring, failed, given, health, health_changed, provisioning, ready, resuming,
    suspended, then,
};

#[test]
fn health_is_reported_when_ready_or_suspended() {
    for history in [ready(), configuring(), suspended(), resuming()] {
        given(history).when(health(Health::Degraded, "slow")).then_expect_events(vec![health_changed(
            None,
            Health::Degraded,
            "slow",
        )]);
    }
}

#[test]
fn the_same_health_and_detail_again_change_nothing() {
    let history = then(ready(), [health_changed(None, Health::Down, "no answer")]);
    given(history.clone()).when(health(Health::Down, "no answer")).then_expect_events(vec![]);
    given(history.clone()).when(health(Health::Down, "no route")).then_expect_events(vec![health_changed(
        Some(Health::Down),
        Health::Down,
        "no route",
    )]);
    given(history).when(health(Health::Healthy, "no answer")).then_expect_events(vec![health_changed(
        Some(Health::Down),
        Health::Healthy,
        "no answer",
    )]);
}

#[test]
fn what_was_never_made_has_no_health() {
    given(provisioning()).when(health(Health::Healthy, "")).then_expect_error(Error::NotReady(Status::Provisioning));
    given(failed(true)).when(health(Health::Healthy, "")).then_expect_error(Error::NotReady(Status::ProvisionFailed));
}
