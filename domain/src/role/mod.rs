//! A role: permissions under a name, inherited from other roles and held by principals, from its creation to its archiving.
//!
//! Life: absent, live (a system role that nobody changes, or a custom one), archived. A role inherits what its parents permit;
//! the parents of all roles of a tenant form no cycle. Principals hold a role from a time until a time or without end; who holds
//! a role is the same matter for system and custom roles. An archived role accepts nothing and gives its key back.

pub mod assignment;
pub mod condition;
pub mod decide;
pub mod error;
pub mod hierarchy;
pub mod permission;
pub mod system;
pub mod template;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::{
    aggregate,
    fact::RoleFact,
    id::{RoleId, RoleTemplateId},
    text::{Key, Name, Remark},
};

pub use self::{
    assignment::{ASSIGNMENT_COUNT_MAX, Assignment, AssignmentId, Assignments, Principal, Unassignment},
    condition::{Clause, Condition, Value, parsed_condition},
    error::{CODES, Error},
    hierarchy::{DEPTH_MAX, Hierarchy, PARENT_COUNT_MAX},
    permission::{
        ACTION_COUNT_MAX, Actions, KeyPattern, PERMISSION_COUNT_MAX, Permission, PermissionEffect, PermissionId,
        parsed_actions,
    },
    system::{SystemRole, system_role_id},
    template::Applied,
};

/// At most so many live roles a tenant, system roles included; held by the counter [`decide::ROLES`].
pub const ROLE_COUNT_MAX: i64 = 500;

/// What has happened to a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// The role came to be; a system role with all its permissions, a custom one with none.
    Created { key: Key, name: Name, description: Remark, system: bool, permissions: Vec<Permission> },
    /// The role came to be as a copy of what `source` permitted at that moment; parents and assignments are not copied.
    Cloned { source: RoleId, key: Key, name: Name, description: Remark, permissions: Vec<Permission> },
    /// The role permits, or denies, something more.
    PermissionGranted { permission: Permission },
    /// The role no longer has this permission.
    PermissionRevoked { permission: Permission },
    /// The role inherits from `parent`.
    ParentAdded { parent: RoleId },
    /// The role no longer inherits from `parent`.
    ParentRemoved { parent: RoleId },
    /// The principal holds the role from `from` (included) until `until` (excluded), or without end.
    Assigned {
        assignment_id: AssignmentId,
        principal: Principal,
        from: DateTime<Utc>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<DateTime<Utc>>,
    },
    /// The assignment was taken away, perhaps before it had begun.
    Unassigned { assignment_id: AssignmentId, principal: Principal },
    /// The assignment's end, `until`, has come.
    AssignmentEnded { assignment_id: AssignmentId, principal: Principal, until: DateTime<Utc> },
    /// The role has the permissions of this version of the template, in place of those it still had from the version before.
    TemplateApplied {
        template_id: RoleTemplateId,
        version: u32,
        permissions: Vec<Permission>,
        replaced: BTreeSet<PermissionId>,
    },
    /// The end of the role's life.
    Archived {},
}

/// What a role can be ordered to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Create {
        key: Key,
        name: Name,
        description: Remark,
    },
    /// Makes one of the roles that every tenant has; the stream is the one of [`system_role_id`].
    CreateSystem {
        system: SystemRole,
    },
    /// Makes this role a copy; built from the source's state by [`Role::cloning`].
    CreateClone {
        source: RoleId,
        key: Key,
        name: Name,
        description: Remark,
        permissions: Vec<Permission>,
    },
    /// Makes the role with what a template says; the template's state names `version` and `permissions`.
    CreateFromTemplate {
        key: Key,
        name: Name,
        description: Remark,
        template_id: RoleTemplateId,
        version: u32,
        permissions: Vec<Permission>,
    },
    /// Takes over a newer version of the template that the role was made from.
    ApplyTemplate {
        template_id: RoleTemplateId,
        version: u32,
        permissions: Vec<Permission>,
    },
    GrantPermission {
        permission: Permission,
    },
    RevokePermission {
        permission_id: PermissionId,
    },
    /// `role_id` is this role; `hierarchy` is the whole one of the tenant.
    AddParent {
        role_id: RoleId,
        parent: RoleId,
        hierarchy: Hierarchy,
    },
    RemoveParent {
        parent: RoleId,
    },
    /// `from` is `now` when it is not given.
    Assign {
        assignment_id: AssignmentId,
        principal: Principal,
        from: Option<DateTime<Utc>>,
        until: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    },
    /// `ended` are those of [`Role::lasting_holders_without`] who have ended; none of them counts as an owner of the tenant.
    Unassign {
        which: Unassignment,
        ended: BTreeSet<Principal>,
        now: DateTime<Utc>,
    },
    EndAssignment {
        assignment_id: AssignmentId,
        now: DateTime<Utc>,
    },
    /// `children` are the roles that inherit from this one: [`Hierarchy::children`].
    Archive {
        children: BTreeSet<RoleId>,
        now: DateTime<Utc>,
    },
}

/// A role at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum Role {
    /// Not created.
    #[default]
    Absent,
    /// One of the roles that every tenant has; only who holds it changes.
    System(System),
    /// Created by the tenant.
    Custom(Custom),
    /// Archived for ever.
    Archived,
}

/// What a system role is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct System {
    pub key: Key,
    pub permissions: BTreeMap<PermissionId, Permission>,
    pub assignments: Assignments,
}

/// What a custom role is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Custom {
    pub key: Key,
    pub permissions: BTreeMap<PermissionId, Permission>,
    pub parents: BTreeSet<RoleId>,
    pub assignments: Assignments,
    /// `None` for a role that was not made from a template.
    pub template: Option<Applied>,
}

impl Role {
    /// The command that makes another role a copy of this one, which is `source`.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Archived`] when this role is not live.
    pub fn cloning(&self, source: RoleId, key: Key, name: Name, description: Remark) -> Result<Command, Error> {
        let permissions = match self {
            Self::Absent => return Err(Error::NotFound),
            Self::Archived => return Err(Error::Archived),
            Self::System(System { permissions, .. }) | Self::Custom(Custom { permissions, .. }) => permissions,
        };
        let permissions = permissions.values().cloned().collect();
        Ok(Command::CreateClone { source, key, name, description, permissions })
    }

    /// When the next assignment ends; `None` when none has an end.
    #[must_use]
    pub fn due_at(&self) -> Option<DateTime<Utc>> {
        self.assignments()?.due_at()
    }

    /// The commands whose time has come at `now`, at most one for each assignment.
    #[must_use]
    pub fn due_commands(&self, now: DateTime<Utc>) -> Vec<Command> {
        self.assignments().map(|assignments| assignments.due_commands(now)).unwrap_or_default()
    }

    /// Whether the role can be held: created and not archived.
    #[must_use]
    pub fn live(&self) -> bool {
        self.assignments().is_some()
    }

    /// What decisions read of the role; `None` when it is not live.
    #[must_use]
    pub fn fact(&self) -> Option<RoleFact> {
        let (key, system, permissions, parents) = match self {
            Self::Absent | Self::Archived => return None,
            Self::System(role) => (&role.key, true, &role.permissions, BTreeSet::new()),
            Self::Custom(role) => (&role.key, false, &role.permissions, role.parents.clone()),
        };
        Some(RoleFact { key: key.clone(), system, permissions: permissions.values().cloned().collect(), parents })
    }

    /// Who holds the role now and without end.
    #[must_use]
    pub fn lasting_holders(&self, now: DateTime<Utc>) -> BTreeSet<&Principal> {
        self.assignments().map(|assignments| assignments.lasting_holders(now)).unwrap_or_default()
    }

    /// The same once these assignments are taken away.
    #[must_use]
    pub fn lasting_holders_without(&self, which: &Unassignment, now: DateTime<Utc>) -> BTreeSet<&Principal> {
        self.assignments().map(|assignments| assignments.lasting_holders_without(which, now)).unwrap_or_default()
    }

    fn assignments(&self) -> Option<&Assignments> {
        match self {
            Self::Absent | Self::Archived => None,
            Self::System(System { assignments, .. }) | Self::Custom(Custom { assignments, .. }) => Some(assignments),
        }
    }

    fn assignments_mut(&mut self) -> Option<&mut Assignments> {
        match self {
            Self::Absent | Self::Archived => None,
            Self::System(System { assignments, .. }) | Self::Custom(Custom { assignments, .. }) => Some(assignments),
        }
    }

    fn custom(key: Key, permissions: Vec<Permission>) -> Self {
        let permissions = by_id(permissions);
        Self::Custom(Custom {
            key,
            permissions,
            parents: BTreeSet::new(),
            assignments: Assignments::default(),
            template: None,
        })
    }
}

fn by_id(permissions: Vec<Permission>) -> BTreeMap<PermissionId, Permission> {
    permissions.into_iter().map(|permission| (permission.id, permission)).collect()
}

impl Aggregate for Role {
    const TYPE: &'static str = "role";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Created { key, permissions, system: true, .. } => {
                *self =
                    Self::System(System { key, permissions: by_id(permissions), assignments: Assignments::default() });
            }
            Event::Created { key, permissions, system: false, .. } | Event::Cloned { key, permissions, .. } => {
                *self = Self::custom(key, permissions);
            }
            Event::Assigned { assignment_id, principal, from, until } => {
                if let Some(assignments) = self.assignments_mut() {
                    assignments.insert(assignment_id, Assignment { principal, from, until });
                }
            }
            Event::Unassigned { assignment_id, .. } | Event::AssignmentEnded { assignment_id, .. } => {
                if let Some(assignments) = self.assignments_mut() {
                    assignments.remove(assignment_id);
                }
            }
            Event::PermissionGranted { .. }
            | Event::PermissionRevoked { .. }
            | Event::ParentAdded { .. }
            | Event::ParentRemoved { .. }
            | Event::TemplateApplied { .. } => match self {
                Self::Custom(custom) => custom.apply(event),
                Self::Absent | Self::System(_) | Self::Archived => {} // No such history is ever written.
            },
            Event::Archived {} => *self = Self::Archived,
        }
    }
}

impl Custom {
    fn apply(&mut self, event: Event) {
        match event {
            Event::PermissionGranted { permission } => drop(self.permissions.insert(permission.id, permission)),
            Event::PermissionRevoked { permission } => {
                self.permissions.remove(&permission.id);
                if let Some(template) = &mut self.template {
                    template.permissions.remove(&permission.id);
                }
            }
            Event::TemplateApplied { template_id, version, permissions, replaced } => {
                self.permissions.retain(|id, _| !replaced.contains(id));
                let ids = permissions.iter().map(|permission| permission.id).collect();
                self.permissions.extend(by_id(permissions));
                self.template = Some(Applied { template_id, version, permissions: ids });
            }
            Event::ParentAdded { parent } => drop(self.parents.insert(parent)),
            Event::ParentRemoved { parent } => drop(self.parents.remove(&parent)),
            Event::Created { .. }
            | Event::Cloned { .. }
            | Event::Assigned { .. }
            | Event::Unassigned { .. }
            | Event::AssignmentEnded { .. }
            | Event::Archived {} => {} // Applied to the role as a whole.
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", Role::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
