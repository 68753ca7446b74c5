//! Templates of roles: one row each with its latest version, for lists and details.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use hub_domain::{
    role::Permission,
    role_template::{Event, RoleTemplate},
    text::{Key, Name, Remark},
};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{AggregateKey, FoldError, ReadModel, of_aggregate};

/// The read model.
#[derive(Debug)]
pub struct RoleTemplates;

/// One template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RoleTemplate")]
pub struct RoleTemplateRow {
    /// The platform.
    pub tenant_id: Uuid,
    pub id: Uuid,
    pub key: Key,
    pub name: Name,
    pub description: Remark,
    pub status: RoleTemplateStatus,
    /// The latest one, from 1.
    pub version: u32,
    /// Those of the latest version.
    pub permissions: Vec<Permission>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The sequence of the template's stream.
    pub sequence: i64,
}

/// Whether roles are made from a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoleTemplateStatus {
    Published,
    Retired,
}

impl ReadModel for RoleTemplates {
    type Row = RoleTemplateRow;
    type Key = AggregateKey;

    const NAME: &'static str = "role_templates";
    const TABLE: &'static str = "role_templates";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, RoleTemplate::TYPE)
    }

    fn key_of(row: &RoleTemplateRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(
        row: Option<RoleTemplateRow>,
        key: &AggregateKey,
        event: &Recorded,
    ) -> Result<Option<RoleTemplateRow>, FoldError> {
        match (row, event.decode()?) {
            (None, Event::Created { key: template_key, name, description, permissions }) => Ok(Some(RoleTemplateRow {
                tenant_id: key.tenant_id,
                id: key.id,
                key: template_key,
                name,
                description,
                status: RoleTemplateStatus::Published,
                version: 1,
                permissions,
                created_at: event.occurred_at,
                updated_at: event.occurred_at,
                sequence: event.sequence,
            })),
            (None, _) => Err(FoldError::row_missing(event)),
            (Some(row), change) => row.after(change, event).map(Some),
        }
    }
}

impl RoleTemplateRow {
    fn after(mut self, change: Event, event: &Recorded) -> Result<Self, FoldError> {
        self.updated_at = event.occurred_at;
        self.sequence = event.sequence;
        match change {
            Event::Created { .. } => return Err(FoldError::row_exists(event)),
            Event::Published { version, permissions } => {
                self.version = version;
                self.permissions = permissions;
            }
            Event::Retired {} => self.status = RoleTemplateStatus::Retired,
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use hub_domain::{
        role::{Actions, Permission, PermissionEffect, PermissionId},
        role_template::{Event, RoleTemplate},
    };
    use uuid::Uuid;

    use super::{RoleTemplateRow, RoleTemplateStatus, RoleTemplates};
    use crate::testing::{AGGREGATE, History, TENANT, rows};

    fn permission(n: u128) -> Permission {
        Permission {
            id: PermissionId(Uuid::from_u128(n)),
            resource: "subscription".parse().unwrap(),
            actions: Actions::new(["read".parse().unwrap()]).unwrap(),
            effect: PermissionEffect::Allow,
            condition: None,
        }
    }

    fn after(events: Vec<Event>) -> RoleTemplateRow {
        let created = Event::Created {
            key: "operator".parse().unwrap(),
            name: "Operator".parse().unwrap(),
            description: "".parse().unwrap(),
            permissions: vec![permission(1)],
        };
        let mut history = History::default();
        for event in [created].into_iter().chain(events) {
            history.push::<RoleTemplate>(TENANT, AGGREGATE, &event);
        }
        rows::<RoleTemplates>(&history).unwrap().remove(0)
    }

    #[test]
    fn a_template_shows_its_latest_version() {
        let row = after(vec![]);
        assert_eq!((row.version, row.permissions), (1, vec![permission(1)]));
        let row = after(vec![Event::Published { version: 2, permissions: vec![permission(2)] }]);
        assert_eq!((row.version, row.permissions), (2, vec![permission(2)]));
    }

    #[test]
    fn a_retired_template_is_still_shown() {
        assert_eq!(after(vec![Event::Retired {}]).status, RoleTemplateStatus::Retired);
    }
}
