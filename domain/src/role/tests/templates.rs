//! How a role is made from a template and follows its versions.

use super::{created, given, permission, permission_id, state, system, template_applied, template_id};
use crate::role::{Command, Error, Event, PERMISSION_COUNT_MAX, Permission, Role, SystemRole};

fn create_from_template(key: &str, permissions: Vec<Permission>) -> Command {
    Command::CreateFromTemplate {
        key: key.parse().unwrap(),
        name: "Support".parse().unwrap(),
        description: "Second line".parse().unwrap(),
        template_id: template_id(1),
        version: 1,
        permissions,
    }
}

fn apply(version: u32, permissions: Vec<Permission>) -> Command {
    Command::ApplyTemplate { template_id: template_id(1), version, permissions }
}

fn granted(id: usize, action: &str) -> Event {
    Event::PermissionGranted { permission: permission(id, action) }
}

fn actions(role: &Role) -> Vec<String> {
    let permissions = role.fact().unwrap().permissions;
    permissions.iter().flat_map(|held| held.actions.iter()).map(ToString::to_string).collect()
}

/// From version 1 of the template, which had the permissions 1 and 2, and with an own permission 9.
fn from_template() -> Vec<Event> {
    vec![
        created(),
        template_applied(1, vec![permission(1, "read"), permission(2, "list")], &[]),
        granted(9, "configure"),
    ]
}

#[test]
fn a_role_is_made_from_a_template() {
    let permissions = vec![permission(1, "read")];
    given(vec![])
        .when(create_from_template("support", permissions.clone()))
        .then_expect_events(vec![created(), template_applied(1, permissions, &[])]);
}

#[test]
fn a_role_made_from_a_template_keeps_the_bounds() {
    let reserved = SystemRole::Owner.key();
    given(vec![]).when(create_from_template(reserved.as_str(), vec![])).then_expect_error(Error::KeyReserved(reserved));
    given(vec![])
        .when(create_from_template("support", vec![permission(1, "read"), permission(1, "write")]))
        .then_expect_error(Error::PermissionIdTaken(permission_id(1)));
}

#[test]
fn a_newer_version_replaces_what_came_from_the_template() {
    let newer = vec![permission(2, "list"), permission(3, "restart")];
    let applied = template_applied(3, newer.clone(), &[1, 2]);
    given(from_template()).when(apply(3, newer)).then_expect_events(vec![applied.clone()]);
    let role = state([from_template(), vec![applied]].concat());
    assert_eq!(actions(&role), ["list", "restart", "configure"]);
}

#[test]
fn the_same_version_again_changes_nothing() {
    given(from_template()).when(apply(1, vec![permission(7, "write")])).then_expect_events(vec![]);
}

#[test]
fn an_older_version_is_refused() {
    given(vec![created(), template_applied(4, vec![], &[])])
        .when(apply(3, vec![]))
        .then_expect_error(Error::TemplateVersionOld(4));
}

#[test]
fn a_role_that_was_not_made_from_the_template_is_refused() {
    let other = Command::ApplyTemplate { template_id: template_id(2), version: 9, permissions: vec![] };
    given(from_template()).when(other).then_expect_error(Error::NotFromTemplate(template_id(2)));
    given(vec![created()]).when(apply(2, vec![])).then_expect_error(Error::NotFromTemplate(template_id(1)));
    given(vec![system(SystemRole::Admin)]).when(apply(2, vec![])).then_expect_error(Error::SystemImmutable);
}

#[test]
fn a_revoked_permission_of_the_template_comes_back_with_the_next_version_only() {
    let revoked = Event::PermissionRevoked { permission: permission(1, "read") };
    let history = [from_template(), vec![revoked]].concat();
    assert_eq!(actions(&state(history.clone())), ["list", "configure"]);
    let newer = vec![permission(1, "read")];
    given(history).when(apply(2, newer.clone())).then_expect_events(vec![template_applied(2, newer, &[2])]);
}

#[test]
fn a_template_never_takes_the_place_of_an_own_permission() {
    given(from_template())
        .when(apply(2, vec![permission(9, "read")]))
        .then_expect_error(Error::PermissionIdTaken(permission_id(9)));
}

#[test]
fn own_and_inherited_permissions_are_bounded_together() {
    let many = |count: usize| (0..count).map(|n| permission(100 + n, &format!("a{n}"))).collect::<Vec<_>>();
    let fits = many(PERMISSION_COUNT_MAX - 1);
    given(from_template()).when(apply(2, fits.clone())).then_expect_events(vec![template_applied(2, fits, &[1, 2])]);
    given(from_template()).when(apply(2, many(PERMISSION_COUNT_MAX))).then_expect_error(Error::TooManyPermissions);
}
