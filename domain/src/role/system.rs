//! The five roles that every tenant has from the beginning and that nobody changes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::AsRefStr;
use uuid::Uuid;

use crate::{
    id::{RoleId, TenantId},
    text::{Key, Name, Remark},
};

use super::permission::{Actions, Permission, PermissionEffect, PermissionId};

/// What the ids of system permissions are derived from.
const PERMISSIONS: Uuid = Uuid::from_u128(0x6f0c_2b0e_6d5b_4c0b_9a55_7f3a_1d0e_52c4);

/// A role that exists in every tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, AsRefStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SystemRole {
    Owner,
    Admin,
    Billing,
    Auditor,
    Viewer,
}

/// The id of a tenant's system role: UUIDv5 of the tenant's id and the role's key.
#[must_use]
pub fn system_role_id(tenant_id: TenantId, system: SystemRole) -> RoleId {
    RoleId(Uuid::new_v5(&tenant_id.0, system.as_ref().as_bytes()))
}

impl SystemRole {
    /// Each of them, the mightiest first.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Admin, Self::Billing, Self::Auditor, Self::Viewer];

    /// The system role that reserves `key`, if one does.
    #[must_use]
    pub fn from_key(key: &Key) -> Option<Self> {
        Self::ALL.into_iter().find(|system| system.as_ref() == key.as_str())
    }

    /// The role's key in every tenant.
    #[must_use]
    pub fn key(self) -> Key {
        self.as_ref().parse().expect("the names of system roles are keys")
    }

    /// The role's name for people.
    #[must_use]
    pub fn name(self) -> Name {
        let name = match self {
            Self::Owner => "Owner",
            Self::Admin => "Administrator",
            Self::Billing => "Billing",
            Self::Auditor => "Auditor",
            Self::Viewer => "Viewer",
        };
        name.parse().expect("the names of system roles are names")
    }

    /// What the role is for.
    #[must_use]
    pub fn description(self) -> Remark {
        let description = match self {
            Self::Owner => "May do everything, up to ending the tenant.",
            Self::Admin => "May do everything except end the tenant or change its tier and quotas.",
            Self::Billing => "Manages subscriptions and reads the account statement.",
            Self::Auditor => "Reads everything, the audit log included, and changes nothing.",
            Self::Viewer => "Reads the tenant, its subscriptions, service instances, roles and webhooks.",
        };
        description.parse().expect("the descriptions of system roles are remarks")
    }

    /// What the role allows and denies; the same in every tenant.
    #[must_use]
    pub fn permissions(self) -> Vec<Permission> {
        let grants: &[(PermissionEffect, &str, &[&str])] = match self {
            Self::Owner => &[(PermissionEffect::Allow, "*", &["*"])],
            Self::Admin => &[
                (PermissionEffect::Allow, "*", &["*"]),
                (PermissionEffect::Deny, "tenant", &["archive", "change-tier", "set-quota"]),
            ],
            Self::Billing => &[
                (PermissionEffect::Allow, "subscription", &["*"]),
                (PermissionEffect::Allow, "billing", &["*"]),
                (PermissionEffect::Allow, "tenant", &["read"]),
            ],
            Self::Auditor => &[(PermissionEffect::Allow, "*", &["read"])],
            Self::Viewer => &[
                (PermissionEffect::Allow, "tenant", &["read"]),
                (PermissionEffect::Allow, "subscription", &["read"]),
                (PermissionEffect::Allow, "service_instance", &["read"]),
                (PermissionEffect::Allow, "role", &["read"]),
                (PermissionEffect::Allow, "webhook", &["read"]),
            ],
        };
        grants.iter().map(|(effect, resource, actions)| self.permission(*effect, resource, actions)).collect()
    }

    fn permission(self, effect: PermissionEffect, resource: &str, actions: &[&str]) -> Permission {
        let pattern = |text: &str| text.parse().expect("system permissions name resources and actions by keys or `*`");
        let name = format!("{}/{}/{resource}", self.as_ref(), effect.as_ref());
        Permission {
            id: PermissionId(Uuid::new_v5(&PERMISSIONS, name.as_bytes())),
            resource: pattern(resource),
            actions: Actions::new(actions.iter().map(|action| pattern(action)))
                .expect("system permissions have a few actions"),
            effect,
            condition: None,
        }
    }
}
