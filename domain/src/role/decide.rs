//! What a role allows, and what its events take and count in the tenant.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use crate::{
    aggregate::Decide,
    effect::{Effect, Reach},
    id::RoleId,
    text::Key,
};

use super::{
    Command, Custom, Error, Event, Hierarchy, PARENT_COUNT_MAX, PERMISSION_COUNT_MAX, Permission, PermissionId, Role,
    System, SystemRole,
};

/// The scope in which keys are unique within their tenant.
pub const KEY: &str = "role_key";
/// Counts the live roles of a tenant; its maximum is [`super::ROLE_COUNT_MAX`].
pub const ROLES: &str = "roles";
/// Counts the changes of a tenant's hierarchy, so that two decisions on one picture of it never both hold: whoever sends
/// [`Command::AddParent`] or [`Command::Archive`] expects the value that belongs to the hierarchy the command carries.
pub const HIERARCHY: &str = "role_hierarchy";

impl Decide for Role {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (self, command) {
            (Self::Absent, Command::Create { key, name, description }) => {
                let key = unreserved(key)?;
                Ok(vec![Event::Created { key, name, description, system: false, permissions: vec![] }])
            }
            (Self::Absent, Command::CreateSystem { system }) => Ok(vec![created(system)]),
            (Self::Absent, Command::CreateClone { source, key, name, description, permissions }) => {
                let key = unreserved(key)?;
                let permissions = distinct(permissions)?;
                Ok(vec![Event::Cloned { source, key, name, description, permissions }])
            }
            (Self::Absent, _) => Err(Error::NotFound),
            (Self::Archived, _) => Err(Error::Archived),
            (Self::System(role), Command::CreateSystem { system }) if role.key == system.key() => Ok(vec![]),
            (
                Self::System(_) | Self::Custom(_),
                Command::Create { .. } | Command::CreateSystem { .. } | Command::CreateClone { .. },
            ) => Err(Error::AlreadyExists),
            (
                Self::System(_),
                Command::GrantPermission { .. }
                | Command::RevokePermission { .. }
                | Command::AddParent { .. }
                | Command::RemoveParent { .. }
                | Command::Archive { .. },
            ) => Err(Error::SystemImmutable),
            (Self::Custom(role), Command::GrantPermission { permission }) => role.grant(permission),
            (Self::Custom(role), Command::RevokePermission { permission_id }) => role.revoke(permission_id),
            (Self::Custom(role), Command::AddParent { role_id, parent, hierarchy }) => {
                role.add_parent(role_id, parent, &hierarchy)
            }
            (Self::Custom(role), Command::RemoveParent { parent }) => role.remove_parent(parent),
            (Self::Custom(role), Command::Archive { children, now }) => role.archive(&children, now),
            (
                Self::System(System { assignments, .. }) | Self::Custom(Custom { assignments, .. }),
                Command::Assign { assignment_id, principal, from, until, now },
            ) => assignments.assign(assignment_id, principal, from, until, now),
            (
                Self::System(System { assignments, .. }) | Self::Custom(Custom { assignments, .. }),
                Command::Unassign { which },
            ) => assignments.unassign(which),
            (
                Self::System(System { assignments, .. }) | Self::Custom(Custom { assignments, .. }),
                Command::EndAssignment { assignment_id, now },
            ) => assignments.end(assignment_id, now),
        }
    }

    fn effects(&self, event: &Event) -> Vec<Effect> {
        match event {
            Event::Created { key, .. } | Event::Cloned { key, .. } => vec![
                Effect::Take { reach: Reach::Tenant, scope: KEY, key: key.to_string() },
                Effect::Count { counter: ROLES, delta: 1 },
            ],
            Event::ParentAdded { .. } | Event::ParentRemoved { .. } => {
                vec![Effect::Count { counter: HIERARCHY, delta: 1 }]
            }
            Event::Archived {} => match self {
                Self::Custom(Custom { key, .. }) => vec![
                    Effect::Release { reach: Reach::Tenant, scope: KEY, key: key.to_string() },
                    Effect::Count { counter: ROLES, delta: -1 },
                    Effect::Count { counter: HIERARCHY, delta: 1 },
                ],
                Self::Absent | Self::System(_) | Self::Archived => Vec::new(), // No such history is ever written.
            },
            Event::PermissionGranted { .. }
            | Event::PermissionRevoked { .. }
            | Event::Assigned { .. }
            | Event::Unassigned { .. }
            | Event::AssignmentEnded { .. } => Vec::new(),
        }
    }
}

/// A tenant's own role never takes the key of a system role, also before that one exists.
fn unreserved(key: Key) -> Result<Key, Error> {
    if SystemRole::from_key(&key).is_some() { Err(Error::KeyReserved(key)) } else { Ok(key) }
}

fn created(system: SystemRole) -> Event {
    Event::Created {
        key: system.key(),
        name: system.name(),
        description: system.description(),
        system: true,
        permissions: system.permissions(),
    }
}

fn distinct(permissions: Vec<Permission>) -> Result<Vec<Permission>, Error> {
    if permissions.len() > PERMISSION_COUNT_MAX {
        return Err(Error::TooManyPermissions);
    }
    let mut seen = BTreeSet::new();
    match permissions.iter().find(|permission| !seen.insert(permission.id)) {
        Some(twice) => Err(Error::PermissionIdTaken(twice.id)),
        None => Ok(permissions),
    }
}

impl Custom {
    fn grant(&self, permission: Permission) -> Result<Vec<Event>, Error> {
        if let Some(held) = self.permissions.get(&permission.id) {
            return if *held == permission { Ok(vec![]) } else { Err(Error::PermissionIdTaken(permission.id)) };
        }
        if let Some(held) = self.permissions.values().find(|held| held.says_the_same(&permission)) {
            return Err(Error::PermissionAlreadyGranted(held.id));
        }
        if self.permissions.len() >= PERMISSION_COUNT_MAX {
            return Err(Error::TooManyPermissions);
        }
        Ok(vec![Event::PermissionGranted { permission }])
    }

    fn revoke(&self, id: PermissionId) -> Result<Vec<Event>, Error> {
        match self.permissions.get(&id) {
            None => Err(Error::PermissionUnknown(id)),
            Some(permission) => Ok(vec![Event::PermissionRevoked { permission: permission.clone() }]),
        }
    }

    fn add_parent(&self, role_id: RoleId, parent: RoleId, hierarchy: &Hierarchy) -> Result<Vec<Event>, Error> {
        if self.parents.contains(&parent) {
            return Ok(vec![]);
        }
        hierarchy.check_new_parent(role_id, parent)?;
        if self.parents.len() >= PARENT_COUNT_MAX {
            return Err(Error::TooManyParents);
        }
        Ok(vec![Event::ParentAdded { parent }])
    }

    fn remove_parent(&self, parent: RoleId) -> Result<Vec<Event>, Error> {
        if !self.parents.contains(&parent) {
            return Err(Error::ParentNotSet(parent));
        }
        Ok(vec![Event::ParentRemoved { parent }])
    }

    /// An assignment whose end has come, but which nobody has ended yet, ends first and does not stand in the way.
    fn archive(&self, children: &BTreeSet<RoleId>, now: DateTime<Utc>) -> Result<Vec<Event>, Error> {
        if !children.is_empty() {
            return Err(Error::HasChildren(children.len()));
        }
        match self.assignments.live_count(now) {
            0 => Ok(self.assignments.end_due(now).into_iter().chain([Event::Archived {}]).collect()),
            count => Err(Error::StillAssigned(count)),
        }
    }
}
