//! How instances count against the quota.

use uuid::Uuid;

use super::{
    Decide, Event, ServiceInstance, deprovision, ending_ready, failed, one_less, one_more, op, provision_failed,
    provision_requested, provisioning, retry, state,
};

#[test]
fn an_instance_counts_from_its_order_to_its_end() {
    assert_eq!(ServiceInstance::Absent.effects(Uuid::nil(), &provision_requested(None)), [one_more()]);
    assert_eq!(state(ending_ready()).effects(Uuid::nil(), &Event::Deprovisioned { operation_id: op(2) }), [one_less()]);
}

#[test]
fn a_failed_provision_counts_until_it_is_deprovisioned() {
    assert!(state(provisioning()).effects(Uuid::nil(), &provision_failed(1, false)).is_empty());
    let failed = state(failed(true));
    let retried = failed.decide(retry(2)).unwrap();
    assert!(retried.iter().all(|event| failed.effects(Uuid::nil(), event).is_empty()));
    let effects: Vec<_> =
        failed.decide(deprovision(2)).unwrap().iter().flat_map(|event| failed.effects(Uuid::nil(), event)).collect();
    assert_eq!(effects, [one_less()]);
}
