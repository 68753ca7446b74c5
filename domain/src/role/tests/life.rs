//! How a role comes to be, inherits and ends.

use cqrs_es::Aggregate;
use uuid::Uuid;

use super::{
    archive, assigned, assignment_id, changes, commands_about_principals, create, created, creations, day, ended,
    given, permission, principal, role_id, state, system, template_applied, unassigned,
};
use crate::{
    aggregate::Decide,
    effect::{Effect, Reach},
    fact::{Fact, GrantFact, GrantSource, Home},
    id::TenantId,
    role::{
        Actions, Clause, Command, Condition, DEPTH_MAX, Error, Event, Hierarchy, PARENT_COUNT_MAX,
        PERMISSION_COUNT_MAX, Permission, PermissionEffect, Role, SystemRole, Value, system_role_id,
    },
};

fn cloned(permissions: Vec<Permission>) -> Event {
    Event::Cloned {
        source: role_id(9),
        key: "night".parse().unwrap(),
        name: "Night shift".parse().unwrap(),
        description: "".parse().unwrap(),
        permissions,
    }
}

fn create_clone(permissions: Vec<Permission>) -> Command {
    Command::CreateClone {
        source: role_id(9),
        key: "night".parse().unwrap(),
        name: "Night shift".parse().unwrap(),
        description: "".parse().unwrap(),
        permissions,
    }
}

fn cloning(source: &Role) -> Result<Command, Error> {
    source.cloning(role_id(9), "night".parse().unwrap(), "Night shift".parse().unwrap(), "".parse().unwrap())
}

/// Roles 0 to `count` - 1.
fn hierarchy(count: usize) -> Hierarchy {
    let mut hierarchy = Hierarchy::default();
    for n in 0..count {
        hierarchy.apply(role_id(n), &created());
    }
    hierarchy
}

fn add_parent(parent: usize, hierarchy: Hierarchy) -> Command {
    Command::AddParent { role_id: role_id(0), parent: role_id(parent), hierarchy }
}

fn parent_added(parent: usize) -> Event {
    Event::ParentAdded { parent: role_id(parent) }
}

#[test]
fn a_role_is_created() {
    given(vec![]).when(create()).then_expect_events(vec![created()]);
}

#[test]
fn each_system_role_is_created_with_its_permissions() {
    for role in SystemRole::ALL {
        assert!(!role.permissions().is_empty());
        given(vec![]).when(Command::CreateSystem { system: role }).then_expect_events(vec![system(role)]);
    }
}

#[test]
fn creating_a_system_role_twice_changes_nothing() {
    let role = SystemRole::Auditor;
    given(vec![system(role)]).when(Command::CreateSystem { system: role }).then_expect_events(vec![]);
}

#[test]
fn creating_what_exists_is_refused() {
    for command in creations() {
        given(vec![created()]).when(command.clone()).then_expect_error(Error::AlreadyExists);
        given(vec![system(SystemRole::Owner)]).when(command).then_expect_error(Error::AlreadyExists);
    }
}

#[test]
fn the_key_of_a_system_role_is_reserved() {
    for role in SystemRole::ALL {
        let name = "Mine".parse().unwrap();
        let create = Command::Create { key: role.key(), name, description: "".parse().unwrap() };
        given(vec![]).when(create).then_expect_error(Error::KeyReserved(role.key()));
        let command = state(vec![created()])
            .cloning(role_id(9), role.key(), "Mine".parse().unwrap(), "".parse().unwrap())
            .unwrap();
        given(vec![]).when(command).then_expect_error(Error::KeyReserved(role.key()));
    }
}

#[test]
fn the_id_of_a_system_role_follows_from_tenant_and_key() {
    let tenant = TenantId(Uuid::from_u128(7));
    assert_eq!(system_role_id(tenant, SystemRole::Owner), system_role_id(tenant, SystemRole::Owner));
    assert_ne!(system_role_id(tenant, SystemRole::Owner), system_role_id(tenant, SystemRole::Admin));
    let other = TenantId(Uuid::from_u128(8));
    assert_ne!(system_role_id(tenant, SystemRole::Owner), system_role_id(other, SystemRole::Owner));
    assert_eq!(system_role_id(tenant, SystemRole::Owner).0, Uuid::new_v5(&tenant.0, b"owner"));
}

#[test]
fn an_absent_role_knows_no_other_command() {
    for command in changes().into_iter().chain(commands_about_principals()) {
        given(vec![]).when(command).then_expect_error(Error::NotFound);
    }
}

#[test]
fn an_archived_role_accepts_nothing() {
    for command in creations().into_iter().chain(changes()).chain(commands_about_principals()) {
        given(vec![created(), Event::Archived {}]).when(command).then_expect_error(Error::Archived);
    }
}

#[test]
fn a_system_role_cannot_be_changed() {
    for command in changes() {
        given(vec![system(SystemRole::Viewer)]).when(command).then_expect_error(Error::SystemImmutable);
    }
}

#[test]
fn a_clone_takes_the_permissions_of_its_source() {
    let source = state(vec![created(), Event::PermissionGranted { permission: permission(1, "read") }]);
    let command = cloning(&source).unwrap();
    assert_eq!(command, create_clone(vec![permission(1, "read")]));
    given(vec![]).when(command).then_expect_events(vec![cloned(vec![permission(1, "read")])]);
}

#[test]
fn a_clone_can_be_changed_also_when_its_source_is_a_system_role() {
    let Ok(Command::CreateClone { permissions, .. }) = cloning(&state(vec![system(SystemRole::Admin)])) else {
        panic!("a system role is cloned");
    };
    assert_eq!(permissions.len(), SystemRole::Admin.permissions().len());
    let revoked = permissions[0].clone();
    given(vec![cloned(permissions)])
        .when(Command::RevokePermission { permission_id: revoked.id })
        .then_expect_events(vec![Event::PermissionRevoked { permission: revoked }]);
}

#[test]
fn only_a_live_role_is_cloned() {
    assert_eq!(cloning(&Role::Absent), Err(Error::NotFound));
    assert_eq!(cloning(&Role::Archived), Err(Error::Archived));
}

#[test]
fn a_clone_keeps_the_bounds_of_permissions() {
    let twice = vec![permission(1, "read"), permission(1, "write")];
    let error = Error::PermissionIdTaken(permission(1, "read").id);
    given(vec![]).when(create_clone(twice)).then_expect_error(error);
    let too_many = (0..=PERMISSION_COUNT_MAX).map(|n| permission(n, &format!("a{n}"))).collect();
    given(vec![]).when(create_clone(too_many)).then_expect_error(Error::TooManyPermissions);
}

#[test]
fn the_largest_clone_fits_a_message() {
    let key = |n: usize| format!("{}{n:02}", "a".repeat(61));
    // Quotes take two bytes each once written.
    let test = |text: usize| Clause::Equals { attribute: "a".into(), value: Value::Text("\"".repeat(text)) };
    let clauses: Vec<_> = (0..23).map(|n| test(if n < 22 { 25 } else { 27 })).collect();
    let permissions: Vec<_> = (0..PERMISSION_COUNT_MAX)
        .map(|n| Permission {
            resource: key(0).parse().unwrap(),
            actions: Actions::new((0..20).map(|n| key(n).parse().unwrap())).unwrap(),
            effect: PermissionEffect::Allow,
            condition: Some(Condition::new(Clause::All(clauses.clone())).unwrap()),
            ..permission(n, "read")
        })
        .collect();
    let bytes = serde_json::to_vec(&cloned(permissions)).unwrap().len();
    assert!(bytes < 900_000, "{bytes}");
}

#[test]
fn a_parent_is_added_once() {
    given(vec![created()]).when(add_parent(1, hierarchy(2))).then_expect_events(vec![parent_added(1)]);
    given(vec![created(), parent_added(1)]).when(add_parent(1, hierarchy(2))).then_expect_events(vec![]);
}

#[test]
fn a_system_role_may_be_a_parent() {
    let mut roles = hierarchy(1);
    roles.apply(role_id(1), &system(SystemRole::Viewer));
    given(vec![created()]).when(add_parent(1, roles)).then_expect_events(vec![parent_added(1)]);
}

#[test]
fn a_parent_that_does_not_fit_the_hierarchy_is_refused() {
    given(vec![created()]).when(add_parent(5, hierarchy(2))).then_expect_error(Error::ParentUnknown(role_id(5)));

    let cycle = |parent| Error::Cycle { child: role_id(0), parent: role_id(parent) };
    given(vec![created()]).when(add_parent(0, hierarchy(2))).then_expect_error(cycle(0));

    let mut roles = hierarchy(2);
    roles.apply(role_id(1), &parent_added(0));
    given(vec![created()]).when(add_parent(1, roles)).then_expect_error(cycle(1));

    let mut roles = hierarchy(DEPTH_MAX + 1);
    for n in 1..DEPTH_MAX {
        roles.apply(role_id(n), &parent_added(n + 1));
    }
    given(vec![created()]).when(add_parent(1, roles)).then_expect_error(Error::HierarchyTooDeep);
}

#[test]
fn one_parent_too_many_is_refused() {
    let history = (1..=PARENT_COUNT_MAX).map(parent_added).collect();
    given(vec![created()])
        .and(history)
        .when(add_parent(PARENT_COUNT_MAX + 1, hierarchy(PARENT_COUNT_MAX + 2)))
        .then_expect_error(Error::TooManyParents);
}

#[test]
fn a_parent_is_removed_once() {
    let remove = || Command::RemoveParent { parent: role_id(1) };
    let removed = Event::ParentRemoved { parent: role_id(1) };
    given(vec![created(), parent_added(1)]).when(remove()).then_expect_events(vec![removed.clone()]);
    given(vec![created(), parent_added(1), removed]).when(remove()).then_expect_error(Error::ParentNotSet(role_id(1)));
}

#[test]
fn a_role_that_nobody_holds_or_inherits_from_is_archived() {
    given(vec![created()]).when(archive()).then_expect_events(vec![Event::Archived {}]);
    given(vec![created(), assigned(1, "user:ada", 1, None), unassigned(1, "user:ada")])
        .when(archive())
        .then_expect_events(vec![Event::Archived {}]);
}

#[test]
fn a_role_that_others_inherit_from_is_not_archived() {
    given(vec![created()])
        .when(Command::Archive { children: [role_id(1), role_id(2)].into(), now: day(10) })
        .then_expect_error(Error::HasChildren(2));
}

#[test]
fn a_role_that_somebody_holds_or_will_hold_is_not_archived() {
    for (from, until) in [(1, None), (1, Some(11)), (20, Some(21))] {
        given(vec![created(), assigned(1, "user:ada", from, until)])
            .when(archive())
            .then_expect_error(Error::StillAssigned(1));
    }
}

#[test]
fn archiving_ends_assignments_whose_end_has_come() {
    given(vec![created(), assigned(1, "user:ada", 1, Some(10))])
        .when(archive())
        .then_expect_events(vec![ended(1, "user:ada", 10), Event::Archived {}]);
}

/// What decisions read of a role after this history.
fn shown(events: Vec<Event>) -> Effect {
    Effect::Show { part: "role".into(), fact: Fact::Role(state(events).fact().unwrap()) }
}

fn hidden(part: &str) -> Effect {
    Effect::Hide { part: part.into() }
}

#[test]
fn a_role_takes_its_key_and_is_counted() {
    for event in [created(), cloned(vec![permission(1, "read")]), system(SystemRole::Owner)] {
        let (Event::Created { key, .. } | Event::Cloned { key, .. }) = &event else { panic!("the role comes to be") };
        let expected = vec![
            Effect::Take { reach: Reach::Tenant, scope: "role_key", key: key.to_string() },
            Effect::Count { counter: "roles", delta: 1 },
            shown(vec![event.clone()]),
        ];
        assert_eq!(Role::Absent.effects(role_id(0).0, &event), expected);
    }
}

#[test]
fn each_change_of_the_hierarchy_is_counted() {
    let history = vec![created(), parent_added(1)];
    let after = |event: &Event| shown([history.clone(), vec![event.clone()]].concat());
    let hierarchy = Effect::Count { counter: "role_hierarchy", delta: 1 };
    let grants = Effect::Count { counter: "access_grants", delta: 1 };
    let role = state(history.clone());
    let event = parent_added(2);
    assert_eq!(role.effects(role_id(0).0, &event), vec![hierarchy.clone(), grants, after(&event)]);
    let event = Event::ParentRemoved { parent: role_id(1) };
    assert_eq!(role.effects(role_id(0).0, &event), vec![hierarchy, after(&event)]);
}

#[test]
fn an_archived_role_gives_its_key_and_place_back_and_is_read_no_more() {
    let expected = vec![
        Effect::Release { reach: Reach::Tenant, scope: "role_key", key: "support".into() },
        Effect::Count { counter: "roles", delta: -1 },
        Effect::Count { counter: "role_hierarchy", delta: 1 },
        hidden("role"),
    ];
    assert_eq!(state(vec![created()]).effects(role_id(0).0, &Event::Archived {}), expected);
    assert_eq!(state(vec![created(), Event::Archived {}]).fact(), None);
}

#[test]
fn decisions_read_what_a_role_permits_and_inherits() {
    let history = vec![created(), Event::PermissionGranted { permission: permission(1, "read") }];
    for event in [
        Event::PermissionGranted { permission: permission(2, "write") },
        Event::PermissionRevoked { permission: permission(1, "read") },
        template_applied(1, vec![permission(3, "list")], &[]),
    ] {
        let after = shown([history.clone(), vec![event.clone()]].concat());
        assert_eq!(state(history.clone()).effects(role_id(0).0, &event), vec![after]);
    }
    let fact = state([history, vec![parent_added(4)]].concat()).fact().unwrap();
    assert_eq!(fact.permissions, vec![permission(1, "read")]);
    assert_eq!(fact.parents, [role_id(4)].into());
    assert!(!fact.system);
    assert!(state(vec![system(SystemRole::Viewer)]).fact().unwrap().system);
}

#[test]
fn decisions_read_who_holds_a_role_and_when() {
    let part = format!("grant/{}", assignment_id(1));
    let fact = Fact::Grant(GrantFact {
        principal: principal("user:ada"),
        home: Home::Tenant,
        role_id: role_id(7),
        from: day(1),
        until: Some(day(2)),
        source: GrantSource::Assignment,
    });
    let assigned = assigned(1, "user:ada", 1, Some(2));
    assert_eq!(
        state(vec![created()]).effects(role_id(7).0, &assigned),
        vec![Effect::Count { counter: "access_grants", delta: 1 }, Effect::Show { part: part.clone(), fact }]
    );
    let role = state(vec![created(), assigned]);
    for event in [unassigned(1, "user:ada"), ended(1, "user:ada", 2)] {
        assert_eq!(role.effects(role_id(7).0, &event), vec![hidden(&part)]);
    }
    assert!(role.effects(role_id(7).0, &Event::Archived {}).contains(&hidden(&part)));
}

#[test]
fn a_role_survives_being_stored() {
    let mut role = state(vec![
        created(),
        Event::PermissionGranted { permission: permission(1, "read") },
        parent_added(1),
        assigned(1, "user:ada", 1, Some(2)),
    ]);
    for _ in 0..2 {
        let text = serde_json::to_string(&role).unwrap();
        assert_eq!(serde_json::from_str::<Role>(&text).unwrap(), role);
        role.apply(Event::Archived {});
    }
}
