//! What a role permits.

use serde_json::json;

use super::{created, given, pattern, permission, permission_id};
use crate::role::{
    ACTION_COUNT_MAX, Actions, Clause, Command, Condition, Error, Event, KeyPattern, PERMISSION_COUNT_MAX, Permission,
    PermissionEffect, Value, parsed_actions,
};

fn grant(permission: Permission) -> Command {
    Command::GrantPermission { permission }
}

fn granted(permission: Permission) -> Event {
    Event::PermissionGranted { permission }
}

#[test]
fn a_permission_is_granted_once() {
    given(vec![created()]).when(grant(permission(1, "read"))).then_expect_events(vec![granted(permission(1, "read"))]);
    given(vec![created(), granted(permission(1, "read"))])
        .when(grant(permission(1, "read")))
        .then_expect_events(vec![]);
}

#[test]
fn a_denial_and_a_condition_make_another_permission() {
    let denied = Permission { effect: PermissionEffect::Deny, ..permission(2, "read") };
    let clause = Clause::Equals { attribute: "resource.region".into(), value: Value::Text("eu".into()) };
    let conditional = Permission { condition: Some(Condition::new(clause).unwrap()), ..permission(3, "read") };
    for other in [denied, conditional, permission(4, "configure")] {
        given(vec![created(), granted(permission(1, "read"))])
            .when(grant(other.clone()))
            .then_expect_events(vec![granted(other)]);
    }
}

#[test]
fn the_same_under_another_id_is_refused() {
    given(vec![created(), granted(permission(1, "read"))])
        .when(grant(permission(2, "read")))
        .then_expect_error(Error::PermissionAlreadyGranted(permission_id(1)));
}

#[test]
fn another_permission_under_the_same_id_is_refused() {
    given(vec![created(), granted(permission(1, "read"))])
        .when(grant(permission(1, "configure")))
        .then_expect_error(Error::PermissionIdTaken(permission_id(1)));
}

#[test]
fn one_permission_too_many_is_refused() {
    let history = (0..PERMISSION_COUNT_MAX).map(|n| granted(permission(n, &format!("a{n}")))).collect();
    given(vec![created()])
        .and(history)
        .when(grant(permission(PERMISSION_COUNT_MAX, "read")))
        .then_expect_error(Error::TooManyPermissions);
}

#[test]
fn a_permission_is_revoked_once() {
    let revoke = || Command::RevokePermission { permission_id: permission_id(1) };
    let revoked = Event::PermissionRevoked { permission: permission(1, "read") };
    given(vec![created(), granted(permission(1, "read"))]).when(revoke()).then_expect_events(vec![revoked.clone()]);
    given(vec![created(), granted(permission(1, "read")), revoked])
        .when(revoke())
        .then_expect_error(Error::PermissionUnknown(permission_id(1)));
}

#[test]
fn a_revoked_permission_can_be_granted_again() {
    given(vec![
        created(),
        granted(permission(1, "read")),
        Event::PermissionRevoked { permission: permission(1, "read") },
    ])
    .when(grant(permission(2, "read")))
    .then_expect_events(vec![granted(permission(2, "read"))]);
}

#[test]
fn resources_and_actions_are_keys_or_a_star() {
    for text in ["*", "read", "change-plan", "service_instance"] {
        assert_eq!(pattern(text).as_str(), text);
    }
    for text in ["", "**", "read*", "Read", "a b", &"a".repeat(64)] {
        assert!(text.parse::<KeyPattern>().is_err(), "{text}");
    }
}

#[test]
fn actions_are_a_set_within_bounds() {
    let actions = parsed_actions(json!(["write", "read", "write"])).unwrap();
    assert_eq!(actions.iter().map(KeyPattern::as_str).collect::<Vec<_>>(), ["read", "write"]);
    assert!(parsed_actions(json!([])).is_err());
    assert!(parsed_actions(json!(["Read"])).is_err());
    let many = |count| (0..count).map(|n| pattern(&format!("a{n}")));
    assert!(Actions::new(many(ACTION_COUNT_MAX)).is_ok());
    assert!(Actions::new(many(ACTION_COUNT_MAX + 1)).is_err());
}
