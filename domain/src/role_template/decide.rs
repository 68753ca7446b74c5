//! What a template allows, and what its events take and count on the platform.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::{
    aggregate::Decide,
    effect::{Effect, Reach},
    role::{PERMISSION_COUNT_MAX, Permission},
};

use super::{Command, Error, Event, RoleTemplate, VERSION_COUNT_MAX, Version};

/// The scope in which keys are unique.
pub const KEY: &str = "role_template_key";
/// Counts the templates that are not retired; its maximum is [`TEMPLATE_COUNT_MAX`](super::TEMPLATE_COUNT_MAX).
pub const TEMPLATES: &str = "role_templates";

impl Decide for RoleTemplate {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (self, command) {
            (Self::Absent, Command::Create { key, name, description, permissions }) => {
                let permissions = checked(permissions)?;
                Ok(vec![Event::Created { key, name, description, permissions }])
            }
            (Self::Absent, _) => Err(Error::NotFound),
            (Self::Retired, _) => Err(Error::Retired),
            (Self::Published(_), Command::Create { .. }) => Err(Error::AlreadyExists),
            (Self::Published(latest), Command::Publish { permissions }) => latest.publish(permissions),
            (Self::Published(_), Command::Retire) => Ok(vec![Event::Retired {}]),
        }
    }

    fn effects(&self, _id: Uuid, event: &Event) -> Vec<Effect> {
        match (self, event) {
            (_, Event::Created { key, .. }) => vec![
                Effect::Take { reach: Reach::Platform, scope: KEY, key: key.to_string() },
                Effect::Count { counter: TEMPLATES, delta: 1 },
            ],
            (Self::Published(Version { key, .. }), Event::Retired {}) => vec![
                Effect::Release { reach: Reach::Platform, scope: KEY, key: key.to_string() },
                Effect::Count { counter: TEMPLATES, delta: -1 },
            ],
            (_, Event::Published { .. }) => Vec::new(),
            (Self::Absent | Self::Retired, Event::Retired {}) => Vec::new(), // No such history is ever written.
        }
    }
}

fn checked(permissions: Vec<Permission>) -> Result<Vec<Permission>, Error> {
    if !(1..=PERMISSION_COUNT_MAX).contains(&permissions.len()) {
        return Err(Error::PermissionsOutOfBounds);
    }
    let mut seen = BTreeSet::new();
    match permissions.iter().find(|permission| !seen.insert(permission.id)) {
        Some(twice) => Err(Error::PermissionIdTwice(twice.id)),
        None => Ok(permissions),
    }
}

impl Version {
    /// Permissions that say what those of the latest version say make no new one, whatever their ids are.
    fn publish(&self, permissions: Vec<Permission>) -> Result<Vec<Event>, Error> {
        let permissions = checked(permissions)?;
        let same = self.permissions.len() == permissions.len()
            && self.permissions.iter().zip(&permissions).all(|(held, new)| held.says_the_same(new));
        if same {
            return Ok(vec![]);
        }
        if self.version >= VERSION_COUNT_MAX {
            return Err(Error::TooManyVersions);
        }
        Ok(vec![Event::Published { version: self.version + 1, permissions }])
    }
}
