//! What a role has from a template, and how a newer version takes its place.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::RoleTemplateId;

use super::{Custom, Error, Event, PERMISSION_COUNT_MAX, Permission, PermissionId, decide::distinct};

/// The version of a template that a role has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub template_id: RoleTemplateId,
    pub version: u32,
    /// Those of the role's permissions that came with it and were not revoked.
    pub permissions: BTreeSet<PermissionId>,
}

impl Custom {
    /// Only what came from the template is replaced; what the tenant granted itself stays.
    pub(super) fn renew(
        &self,
        template_id: RoleTemplateId,
        version: u32,
        permissions: Vec<Permission>,
    ) -> Result<Vec<Event>, Error> {
        let Some(held) = self.template.as_ref().filter(|held| held.template_id == template_id) else {
            return Err(Error::NotFromTemplate(template_id));
        };
        if version == held.version {
            return Ok(vec![]);
        }
        if version < held.version {
            return Err(Error::TemplateVersionOld(held.version));
        }
        let permissions = distinct(permissions)?;
        let own = |id: &PermissionId| self.permissions.contains_key(id) && !held.permissions.contains(id);
        if let Some(taken) = permissions.iter().find(|permission| own(&permission.id)) {
            return Err(Error::PermissionIdTaken(taken.id));
        }
        if self.permissions.len() - held.permissions.len() + permissions.len() > PERMISSION_COUNT_MAX {
            return Err(Error::TooManyPermissions);
        }
        let replaced = held.permissions.clone();
        Ok(vec![Event::TemplateApplied { template_id, version, permissions, replaced }])
    }
}
