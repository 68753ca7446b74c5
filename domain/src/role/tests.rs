mod assignments;
mod life;
mod permissions;
mod templates;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use strum::VariantNames;
use uuid::Uuid;

use super::{
    Actions, AssignmentId, CODES, Command, Error, Event, Hierarchy, KeyPattern, Permission, PermissionEffect,
    PermissionId, Principal, Role, SystemRole, Unassignment,
};
use crate::{
    golden,
    id::{RoleId, RoleTemplateId},
    refusal::Refusal,
};

fn given(events: Vec<Event>) -> AggregateTestExecutor<Role> {
    TestFramework::with(()).given(events)
}

fn state(events: Vec<Event>) -> Role {
    let mut role = Role::default();
    for event in events {
        role.apply(event);
    }
    role
}

fn role_id(n: usize) -> RoleId {
    RoleId(Uuid::from_u128(n as u128))
}

fn permission_id(n: usize) -> PermissionId {
    PermissionId(Uuid::from_u128(n as u128))
}

fn assignment_id(n: usize) -> AssignmentId {
    AssignmentId(Uuid::from_u128(n as u128))
}

fn template_id(n: usize) -> RoleTemplateId {
    RoleTemplateId(Uuid::from_u128(n as u128))
}

fn template_applied(version: u32, permissions: Vec<Permission>, replaced: &[usize]) -> Event {
    let replaced = replaced.iter().map(|id| permission_id(*id)).collect();
    Event::TemplateApplied { template_id: template_id(1), version, permissions, replaced }
}

fn principal(text: &str) -> Principal {
    text.parse().unwrap()
}

/// Midnight of a day in January 2026.
fn day(day: u32) -> DateTime<Utc> {
    format!("2026-01-{day:02}T00:00:00Z").parse().unwrap()
}

fn create() -> Command {
    Command::Create {
        key: "support".parse().unwrap(),
        name: "Support".parse().unwrap(),
        description: "Second line".parse().unwrap(),
    }
}

fn created() -> Event {
    Event::Created {
        key: "support".parse().unwrap(),
        name: "Support".parse().unwrap(),
        description: "Second line".parse().unwrap(),
        system: false,
        permissions: vec![],
    }
}

fn system(system: SystemRole) -> Event {
    Event::Created {
        key: system.key(),
        name: system.name(),
        description: system.description(),
        system: true,
        permissions: system.permissions(),
    }
}

fn pattern(text: &str) -> KeyPattern {
    text.parse().unwrap()
}

/// Permission `id` to do `action` on service instances.
fn permission(id: usize, action: &str) -> Permission {
    Permission {
        id: permission_id(id),
        resource: pattern("service_instance"),
        actions: Actions::new([pattern(action)]).unwrap(),
        effect: PermissionEffect::Allow,
        condition: None,
    }
}

fn assign(from: Option<u32>, until: Option<u32>, now: u32) -> Command {
    Command::Assign {
        assignment_id: assignment_id(1),
        principal: principal("user:ada"),
        from: from.map(day),
        until: until.map(day),
        now: day(now),
    }
}

fn assigned(id: usize, who: &str, from: u32, until: Option<u32>) -> Event {
    Event::Assigned {
        assignment_id: assignment_id(id),
        principal: principal(who),
        from: day(from),
        until: until.map(day),
    }
}

fn ended(id: usize, who: &str, until: u32) -> Event {
    Event::AssignmentEnded { assignment_id: assignment_id(id), principal: principal(who), until: day(until) }
}

fn unassigned(id: usize, who: &str) -> Event {
    Event::Unassigned { assignment_id: assignment_id(id), principal: principal(who) }
}

fn archive() -> Command {
    Command::Archive { children: [].into(), now: day(10) }
}

fn creations() -> Vec<Command> {
    let clone = Command::CreateClone {
        source: role_id(9),
        key: "support".parse().unwrap(),
        name: "Support".parse().unwrap(),
        description: "".parse().unwrap(),
        permissions: vec![],
    };
    let from_template = Command::CreateFromTemplate {
        key: "support".parse().unwrap(),
        name: "Support".parse().unwrap(),
        description: "".parse().unwrap(),
        template_id: template_id(1),
        version: 1,
        permissions: vec![],
    };
    vec![create(), Command::CreateSystem { system: SystemRole::Viewer }, clone, from_template]
}

/// What a system role refuses.
fn changes() -> Vec<Command> {
    vec![
        Command::ApplyTemplate { template_id: template_id(1), version: 2, permissions: vec![] },
        Command::GrantPermission { permission: permission(1, "read") },
        Command::RevokePermission { permission_id: permission_id(1) },
        Command::AddParent { role_id: role_id(0), parent: role_id(1), hierarchy: Hierarchy::default() },
        Command::RemoveParent { parent: role_id(1) },
        archive(),
    ]
}

fn commands_about_principals() -> Vec<Command> {
    vec![
        assign(None, None, 1),
        Command::Unassign { which: Unassignment::Assignment(assignment_id(1)), ended: BTreeSet::new(), now: day(1) },
        Command::Unassign {
            which: Unassignment::Principal(principal("user:ada")),
            ended: BTreeSet::new(),
            now: day(1),
        },
        Command::EndAssignment { assignment_id: assignment_id(1), now: day(1) },
    ]
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(Role::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("absent", state(vec![])),
        (
            "active",
            state(vec![
                created(),
                Event::PermissionGranted { permission: permission(1, "read") },
                Event::ParentAdded { parent: role_id(2) },
                assigned(1, "user:ada", 1, Some(9)),
                assigned(2, "user:bob", 1, None),
            ]),
        ),
        ("from_template", state(vec![created(), template_applied(3, vec![permission(1, "read")], &[])])),
        ("system", state(vec![system(SystemRole::Admin)])),
        ("archived", state(vec![created(), Event::Archived {}])),
    ]);
}

#[test]
fn every_refusal_has_a_listed_code_of_its_kind() {
    for error in [
        Error::NotFound,
        Error::AlreadyExists,
        Error::Archived,
        Error::SystemImmutable,
        Error::KeyReserved("owner".parse().unwrap()),
        Error::PermissionIdTaken(permission_id(1)),
        Error::PermissionAlreadyGranted(permission_id(1)),
        Error::PermissionUnknown(permission_id(1)),
        Error::TooManyPermissions,
        Error::ParentUnknown(role_id(1)),
        Error::ParentNotSet(role_id(1)),
        Error::Cycle { child: role_id(1), parent: role_id(2) },
        Error::HierarchyTooDeep,
        Error::TooManyParents,
        Error::AssignmentIdTaken(assignment_id(1)),
        Error::AlreadyAssigned(principal("user:ada")),
        Error::AssignmentUnknown(assignment_id(1)),
        Error::NotAssigned(principal("user:ada")),
        Error::AssignmentPeriodEmpty,
        Error::AssignmentInThePast,
        Error::AssignmentNotDue(assignment_id(1)),
        Error::TooManyAssignments,
        Error::LastOwner,
        Error::NotFromTemplate(template_id(1)),
        Error::TemplateVersionOld(2),
        Error::StillAssigned(1),
        Error::HasChildren(1),
    ] {
        let listed = CODES.iter().find(|code| code.code == error.code());
        assert_eq!(listed.map(|code| code.kind), Some(error.kind()), "{}", error.code());
    }
}
