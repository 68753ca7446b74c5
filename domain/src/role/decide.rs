//! What a role allows, and what its events take and count in the tenant.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use uuid::Uuid;

use crate::{
    aggregate::Decide,
    effect::{Effect, Reach},
    fact::{Fact, GRANTS, GrantFact, GrantSource, Home, part},
    id::RoleId,
    text::Key,
};

use super::{
    AssignmentId, Assignments, Command, Custom, Error, Event, Hierarchy, PARENT_COUNT_MAX, PERMISSION_COUNT_MAX,
    Permission, PermissionId, Principal, Role, System, SystemRole, Unassignment,
};

/// The scope in which keys are unique within their tenant.
pub const KEY: &str = "role_key";
/// Counts the live roles of a tenant; its maximum is [`super::ROLE_COUNT_MAX`].
pub const ROLES: &str = "roles";
/// Counts the changes of a tenant's hierarchy, so that two decisions on one picture of it never both hold: whoever sends
/// [`Command::AddParent`] or [`Command::Archive`] expects the value that belongs to the hierarchy the command carries.
pub const HIERARCHY: &str = "role_hierarchy";

/// The fact of a live role.
pub const ROLE: &str = "role";
/// The kind of the fact of an assignment; see [`part`].
pub const GRANT: &str = "grant";

impl Decide for Role {
    const STATE_VERSION: i32 = 2;

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
            (
                Self::Absent,
                Command::CreateFromTemplate { key, name, description, template_id, version, permissions },
            ) => {
                let key = unreserved(key)?;
                let permissions = distinct(permissions)?;
                Ok(vec![
                    Event::Created { key, name, description, system: false, permissions: vec![] },
                    Event::TemplateApplied { template_id, version, permissions, replaced: BTreeSet::new() },
                ])
            }
            (Self::Absent, _) => Err(Error::NotFound),
            (Self::Archived, _) => Err(Error::Archived),
            (Self::System(role), Command::CreateSystem { system }) if role.key == system.key() => Ok(vec![]),
            (
                Self::System(_) | Self::Custom(_),
                Command::Create { .. }
                | Command::CreateSystem { .. }
                | Command::CreateClone { .. }
                | Command::CreateFromTemplate { .. },
            ) => Err(Error::AlreadyExists),
            (
                Self::System(_),
                Command::ApplyTemplate { .. }
                | Command::GrantPermission { .. }
                | Command::RevokePermission { .. }
                | Command::AddParent { .. }
                | Command::RemoveParent { .. }
                | Command::Archive { .. },
            ) => Err(Error::SystemImmutable),
            (Self::Custom(role), Command::ApplyTemplate { template_id, version, permissions }) => {
                role.renew(template_id, version, permissions)
            }
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
            (Self::System(role), Command::Unassign { which, ended, now }) => role.unassign(which, &ended, now),
            (Self::Custom(role), Command::Unassign { which, .. }) => role.assignments.unassign(which),
            (
                Self::System(System { assignments, .. }) | Self::Custom(Custom { assignments, .. }),
                Command::EndAssignment { assignment_id, now },
            ) => assignments.end(assignment_id, now),
        }
    }

    fn effects(&self, id: Uuid, event: &Event) -> Vec<Effect> {
        let mut effects = self.places(event);
        effects.extend(self.shown(RoleId(id), event));
        effects
    }
}

impl Role {
    /// Names and counted places.
    fn places(&self, event: &Event) -> Vec<Effect> {
        match event {
            Event::Created { key, .. } | Event::Cloned { key, .. } => vec![
                Effect::Take { reach: Reach::Tenant, scope: KEY, key: key.to_string() },
                Effect::Count { counter: ROLES, delta: 1 },
            ],
            Event::ParentAdded { .. } => {
                vec![Effect::Count { counter: HIERARCHY, delta: 1 }, Effect::Count { counter: GRANTS, delta: 1 }]
            }
            Event::ParentRemoved { .. } => vec![Effect::Count { counter: HIERARCHY, delta: 1 }],
            Event::Assigned { .. } => vec![Effect::Count { counter: GRANTS, delta: 1 }],
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
            | Event::TemplateApplied { .. }
            | Event::Unassigned { .. }
            | Event::AssignmentEnded { .. } => Vec::new(),
        }
    }

    /// What decisions read from now on.
    fn shown(&self, role_id: RoleId, event: &Event) -> Vec<Effect> {
        match event {
            Event::Created { .. }
            | Event::Cloned { .. }
            | Event::PermissionGranted { .. }
            | Event::PermissionRevoked { .. }
            | Event::ParentAdded { .. }
            | Event::ParentRemoved { .. }
            | Event::TemplateApplied { .. } => {
                let mut after = self.clone();
                after.apply(event.clone());
                after
                    .fact()
                    .map(|fact| Effect::Show { part: ROLE.to_owned(), fact: Fact::Role(fact) })
                    .into_iter()
                    .collect()
            }
            Event::Assigned { assignment_id, principal, from, until } => {
                let fact = Fact::Grant(GrantFact {
                    principal: principal.clone(),
                    home: Home::Tenant,
                    role_id,
                    from: *from,
                    until: *until,
                    source: GrantSource::Assignment,
                });
                vec![Effect::Show { part: grant(*assignment_id), fact }]
            }
            Event::Unassigned { assignment_id, .. } | Event::AssignmentEnded { assignment_id, .. } => {
                vec![Effect::Hide { part: grant(*assignment_id) }]
            }
            Event::Archived {} => {
                let grants = self.assignments().into_iter().flat_map(Assignments::iter).map(|(id, _)| grant(id));
                grants.chain([ROLE.to_owned()]).map(|part| Effect::Hide { part }).collect()
            }
        }
    }
}

fn grant(id: AssignmentId) -> String {
    part(GRANT, id.0)
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

pub(super) fn distinct(permissions: Vec<Permission>) -> Result<Vec<Permission>, Error> {
    if permissions.len() > PERMISSION_COUNT_MAX {
        return Err(Error::TooManyPermissions);
    }
    let mut seen = BTreeSet::new();
    match permissions.iter().find(|permission| !seen.insert(permission.id)) {
        Some(twice) => Err(Error::PermissionIdTaken(twice.id)),
        None => Ok(permissions),
    }
}

impl System {
    /// Whoever is the last to own the tenant for good cannot be unassigned, so that somebody is left who may do everything; an owner who has
    /// ended may do nothing.
    fn unassign(
        &self,
        which: Unassignment,
        ended: &BTreeSet<Principal>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Event>, Error> {
        let last = self.key == SystemRole::Owner.key() && self.assignments.lose_the_last_lasting(&which, ended, now);
        let events = self.assignments.unassign(which)?;
        if last { Err(Error::LastOwner) } else { Ok(events) }
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
