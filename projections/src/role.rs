//! Roles: one row each with permissions, parents and assignments, for lists, details and questions about who may do what.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use hub_domain::{
    id::RoleId,
    role::{AssignmentId, Event, Permission, Principal, Role},
    text::{Key, Name, Remark},
};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{AggregateKey, FoldError, ReadModel, of_aggregate};

/// The read model.
#[derive(Debug)]
pub struct Roles;

/// One role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Role")]
pub struct RoleRow {
    pub tenant_id: Uuid,
    pub id: Uuid,
    pub key: Key,
    pub name: Name,
    pub description: Remark,
    /// One of the roles that every tenant has and nobody changes.
    pub system: bool,
    pub status: RoleStatus,
    /// The role that this one was copied from.
    pub cloned_from: Option<RoleId>,
    pub permissions: Vec<Permission>,
    /// The roles that this one inherits from directly.
    pub parents: Vec<RoleId>,
    /// Those that were neither taken away nor have been ended; compare their times.
    pub assignments: Vec<AssignmentEntry>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The sequence of the role's stream.
    pub sequence: i64,
}

/// Whether a role can be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoleStatus {
    Live,
    Archived,
}

/// A principal holds the role from `from` (included) until `until` (excluded), or without end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RoleAssignment")]
pub struct AssignmentEntry {
    pub assignment_id: AssignmentId,
    pub principal: Principal,
    pub from: DateTime<Utc>,
    pub until: Option<DateTime<Utc>>,
}

impl ReadModel for Roles {
    type Row = RoleRow;
    type Key = AggregateKey;

    const NAME: &'static str = "roles";
    const TABLE: &'static str = "roles";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, Role::TYPE)
    }

    fn key_of(row: &RoleRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(row: Option<RoleRow>, key: &AggregateKey, event: &Recorded) -> Result<Option<RoleRow>, FoldError> {
        let blank = |role_key, name, description, permissions| RoleRow {
            tenant_id: key.tenant_id,
            id: key.id,
            key: role_key,
            name,
            description,
            system: false,
            status: RoleStatus::Live,
            cloned_from: None,
            permissions,
            parents: Vec::new(),
            assignments: Vec::new(),
            created_at: event.occurred_at,
            updated_at: event.occurred_at,
            sequence: event.sequence,
        };
        match (row, event.decode()?) {
            (None, Event::Created { key, name, description, system, permissions }) => {
                Ok(Some(RoleRow { system, ..blank(key, name, description, permissions) }))
            }
            (None, Event::Cloned { source, key, name, description, permissions }) => {
                Ok(Some(RoleRow { cloned_from: Some(source), ..blank(key, name, description, permissions) }))
            }
            (None, _) => Err(FoldError::row_missing(event)),
            (Some(row), change) => row.after(change, event).map(Some),
        }
    }
}

impl RoleRow {
    fn after(mut self, change: Event, event: &Recorded) -> Result<Self, FoldError> {
        self.updated_at = event.occurred_at;
        self.sequence = event.sequence;
        match change {
            Event::Created { .. } | Event::Cloned { .. } => return Err(FoldError::row_exists(event)),
            Event::PermissionGranted { permission } => self.permissions.push(permission),
            Event::PermissionRevoked { permission } => self.permissions.retain(|held| held.id != permission.id),
            Event::TemplateApplied { permissions, replaced, .. } => {
                self.permissions.retain(|held| !replaced.contains(&held.id));
                self.permissions.extend(permissions);
            }
            Event::ParentAdded { parent } => self.parents.push(parent),
            Event::ParentRemoved { parent } => self.parents.retain(|held| *held != parent),
            Event::Assigned { assignment_id, principal, from, until } => {
                self.assignments.push(AssignmentEntry { assignment_id, principal, from, until });
            }
            Event::Unassigned { assignment_id, .. } | Event::AssignmentEnded { assignment_id, .. } => {
                self.assignments.retain(|held| held.assignment_id != assignment_id);
            }
            Event::Archived {} => {
                self.status = RoleStatus::Archived;
                self.parents.clear();
                self.assignments.clear();
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use hub_domain::{
        id::RoleId,
        role::{Actions, AssignmentId, Event, Permission, PermissionEffect, PermissionId},
    };
    use uuid::Uuid;

    use super::{RoleRow, RoleStatus, Roles};
    use crate::testing::{History, rows, start};

    fn permission(n: u128) -> Permission {
        Permission {
            id: PermissionId(Uuid::from_u128(n)),
            resource: "subscription".parse().unwrap(),
            actions: Actions::new(["read".parse().unwrap()]).unwrap(),
            effect: PermissionEffect::Allow,
            condition: None,
        }
    }

    fn created() -> Event {
        Event::Created {
            key: "support".parse().unwrap(),
            name: "Support".parse().unwrap(),
            description: "".parse().unwrap(),
            system: false,
            permissions: vec![],
        }
    }

    fn assigned(n: u128) -> Event {
        Event::Assigned {
            assignment_id: AssignmentId(Uuid::from_u128(n)),
            principal: "user:ada".parse().unwrap(),
            from: start(),
            until: None,
        }
    }

    fn row(events: Vec<Event>) -> RoleRow {
        let mut history = History::default();
        for event in events {
            history.role(event);
        }
        rows::<Roles>(&history).unwrap().remove(0)
    }

    #[test]
    fn a_created_role_is_live_and_empty() {
        let row = row(vec![created()]);
        assert_eq!((row.key.as_str(), row.status, row.system), ("support", RoleStatus::Live, false));
        assert!(row.permissions.is_empty() && row.parents.is_empty() && row.assignments.is_empty());
    }

    #[test]
    fn a_clone_names_its_source_and_brings_its_permissions() {
        let source = RoleId(Uuid::from_u128(7));
        let cloned = Event::Cloned {
            source,
            key: "copy".parse().unwrap(),
            name: "Copy".parse().unwrap(),
            description: "".parse().unwrap(),
            permissions: vec![permission(1)],
        };
        let row = row(vec![cloned]);
        assert_eq!((row.cloned_from, row.permissions.len()), (Some(source), 1));
    }

    #[test]
    fn permissions_and_parents_come_and_go() {
        let parent = RoleId(Uuid::from_u128(9));
        let granted = |n| Event::PermissionGranted { permission: permission(n) };
        let with = vec![created(), granted(1), granted(2), Event::ParentAdded { parent }];
        assert_eq!(row(with.clone()).parents, [parent]);
        let without = [Event::PermissionRevoked { permission: permission(1) }, Event::ParentRemoved { parent }];
        let row = row(with.into_iter().chain(without).collect());
        assert_eq!((row.permissions, row.parents.len()), (vec![permission(2)], 0));
    }

    #[test]
    fn assignments_end_by_being_taken_away_or_by_their_time() {
        let (one, two) = (AssignmentId(Uuid::from_u128(1)), AssignmentId(Uuid::from_u128(2)));
        let principal = || "user:ada".parse().unwrap();
        let row = row(vec![
            created(),
            assigned(1),
            assigned(2),
            assigned(3),
            Event::Unassigned { assignment_id: one, principal: principal() },
            Event::AssignmentEnded { assignment_id: two, principal: principal(), until: start() },
        ]);
        assert_eq!(row.assignments.len(), 1);
        assert_eq!(row.assignments[0].assignment_id.0, Uuid::from_u128(3));
    }

    #[test]
    fn an_archived_role_stays_as_a_row_that_nobody_holds() {
        let row = row(vec![created(), assigned(1), Event::Archived {}]);
        assert_eq!((row.status, row.assignments.len()), (RoleStatus::Archived, 0));
    }
}
