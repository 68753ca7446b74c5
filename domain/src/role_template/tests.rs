use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use strum::VariantNames;
use uuid::Uuid;

use super::{CODES, Command, Error, Event, LIMIT_REACHED, RoleTemplate, VERSION_COUNT_MAX};
use crate::{
    aggregate::Decide,
    effect::{Effect, Reach},
    golden,
    refusal::Refusal,
    role::{Actions, PERMISSION_COUNT_MAX, Permission, PermissionEffect, PermissionId},
};

fn given(events: Vec<Event>) -> AggregateTestExecutor<RoleTemplate> {
    TestFramework::with(()).given(events)
}

fn state(events: Vec<Event>) -> RoleTemplate {
    let mut template = RoleTemplate::default();
    for event in events {
        template.apply(event);
    }
    template
}

fn permission(id: usize, action: &str) -> Permission {
    Permission {
        id: PermissionId(Uuid::from_u128(id as u128)),
        resource: "service_instance".parse().unwrap(),
        actions: Actions::new([action.parse().unwrap()]).unwrap(),
        effect: PermissionEffect::Allow,
        condition: None,
    }
}

fn create(permissions: Vec<Permission>) -> Command {
    Command::Create {
        key: "operator".parse().unwrap(),
        name: "Operator".parse().unwrap(),
        description: "Keeps services running".parse().unwrap(),
        permissions,
    }
}

fn publish(permissions: Vec<Permission>) -> Command {
    Command::Publish { permissions }
}

fn created() -> Event {
    Event::Created {
        key: "operator".parse().unwrap(),
        name: "Operator".parse().unwrap(),
        description: "Keeps services running".parse().unwrap(),
        permissions: vec![permission(1, "read")],
    }
}

fn published(version: u32) -> Event {
    Event::Published { version, permissions: vec![permission(2, "restart")] }
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(RoleTemplate::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("absent", state(vec![])),
        ("published", state(vec![created(), published(2)])),
        ("retired", state(vec![created(), Event::Retired {}])),
    ]);
}

#[test]
fn every_refusal_has_a_listed_code_of_its_kind() {
    for error in [
        Error::NotFound,
        Error::AlreadyExists,
        Error::Retired,
        Error::PermissionsOutOfBounds,
        Error::PermissionIdTwice(PermissionId(Uuid::nil())),
        Error::TooManyVersions,
    ] {
        let listed = CODES.iter().find(|code| code.code == error.code());
        assert_eq!(listed.map(|code| code.kind), Some(error.kind()), "{}", error.code());
    }
    assert!(CODES.contains(&LIMIT_REACHED));
}

#[test]
fn a_template_is_created_with_its_first_version() {
    given(vec![]).when(create(vec![permission(1, "read")])).then_expect_events(vec![created()]);
    assert_eq!(state(vec![created()]).latest().unwrap().version, 1);
    given(vec![created()]).when(create(vec![permission(1, "read")])).then_expect_error(Error::AlreadyExists);
}

#[test]
fn permissions_have_bounds_and_ids_of_their_own() {
    let many = || (0..=PERMISSION_COUNT_MAX).map(|n| permission(n, &format!("a{n}"))).collect();
    let twice = || vec![permission(1, "read"), permission(1, "list")];
    for (permissions, error) in [
        (vec![], Error::PermissionsOutOfBounds),
        (many(), Error::PermissionsOutOfBounds),
        (twice(), Error::PermissionIdTwice(permission(1, "read").id)),
    ] {
        given(vec![]).when(create(permissions.clone())).then_expect_error(error);
        given(vec![created()]).when(publish(permissions)).then_expect_error(error);
    }
}

#[test]
fn each_publication_is_the_next_version() {
    given(vec![created()]).when(publish(vec![permission(2, "restart")])).then_expect_events(vec![published(2)]);
    let next = Event::Published { version: 3, permissions: vec![permission(1, "read")] };
    given(vec![created(), published(2)]).when(publish(vec![permission(1, "read")])).then_expect_events(vec![next]);
}

#[test]
fn publishing_the_same_again_changes_nothing() {
    given(vec![created()]).when(publish(vec![permission(7, "read")])).then_expect_events(vec![]);
}

#[test]
fn one_version_too_many_is_refused() {
    given(vec![created(), published(VERSION_COUNT_MAX)])
        .when(publish(vec![permission(1, "read")]))
        .then_expect_error(Error::TooManyVersions);
}

#[test]
fn a_retired_template_accepts_nothing() {
    given(vec![created()]).when(Command::Retire).then_expect_events(vec![Event::Retired {}]);
    for command in [create(vec![permission(1, "read")]), publish(vec![permission(1, "read")]), Command::Retire] {
        given(vec![created(), Event::Retired {}]).when(command).then_expect_error(Error::Retired);
    }
}

#[test]
fn an_absent_template_knows_no_other_command() {
    for command in [publish(vec![permission(1, "read")]), Command::Retire] {
        given(vec![]).when(command).then_expect_error(Error::NotFound);
    }
}

#[test]
fn roles_take_the_latest_version_of_a_live_template() {
    assert_eq!(state(vec![created(), published(2)]).latest().unwrap().permissions, [permission(2, "restart")]);
    assert_eq!(state(vec![]).latest(), Err(Error::NotFound));
    assert_eq!(state(vec![created(), Event::Retired {}]).latest(), Err(Error::Retired));
}

#[test]
fn a_template_takes_its_key_and_is_counted_until_it_is_retired() {
    let key = || "operator".to_owned();
    assert_eq!(
        RoleTemplate::Absent.effects(Uuid::nil(), &created()),
        [
            Effect::Take { reach: Reach::Platform, scope: "role_template_key", key: key() },
            Effect::Count { counter: "role_templates", delta: 1 },
        ]
    );
    let template = state(vec![created()]);
    assert_eq!(template.effects(Uuid::nil(), &published(2)), []);
    assert_eq!(
        template.effects(Uuid::nil(), &Event::Retired {}),
        [
            Effect::Release { reach: Reach::Platform, scope: "role_template_key", key: key() },
            Effect::Count { counter: "role_templates", delta: -1 },
        ]
    );
}
