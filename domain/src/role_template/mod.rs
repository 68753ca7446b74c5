//! A template of roles: permissions that the platform offers under a name, in versions.
//!
//! Life: absent, published, retired. The first version comes with the template. A role that a tenant makes from it has the permissions of the
//! version that was the latest then, and follows when the tenant says so. From a retired template no role is made and no version follows.
//! It belongs to the platform: its streams are those of [`PLATFORM_TENANT`](crate::id::PLATFORM_TENANT).

pub mod decide;
#[cfg(test)]
mod tests;

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::{
    aggregate,
    refusal::{Code, Kind, Refusal},
    role::{PERMISSION_COUNT_MAX, Permission, PermissionId},
    text::{Key, Name, Remark},
};

/// At most so many templates that are not retired; held by the counter [`decide::TEMPLATES`].
pub const TEMPLATE_COUNT_MAX: i64 = 200;
/// At most so many versions a template, the first included.
pub const VERSION_COUNT_MAX: u32 = 100;

/// What has happened to a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// The template came to be with version 1.
    Created { key: Key, name: Name, description: Remark, permissions: Vec<Permission> },
    /// These are all the permissions of the new version.
    Published { version: u32, permissions: Vec<Permission> },
    /// The end of the template; roles that were made from it stay as they are.
    Retired {},
}

/// What a template can be ordered to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Create { key: Key, name: Name, description: Remark, permissions: Vec<Permission> },
    Publish { permissions: Vec<Permission> },
    Retire,
}

/// Why a template refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no such template")]
    NotFound,
    #[error("the template exists already")]
    AlreadyExists,
    #[error("the template is retired and accepts nothing")]
    Retired,
    #[error("a template has 1 to {PERMISSION_COUNT_MAX} permissions")]
    PermissionsOutOfBounds,
    #[error("two permissions of the template have the id {0}")]
    PermissionIdTwice(PermissionId),
    #[error("a template has at most {VERSION_COUNT_MAX} versions")]
    TooManyVersions,
}

/// There are [`TEMPLATE_COUNT_MAX`] templates.
///
/// No state of one template knows how many others there are: the store counts [`TEMPLATES`](decide::TEMPLATES) in the transaction that appends.
pub const LIMIT_REACHED: Code = Code {
    code: "role_template_limit_reached",
    kind: Kind::LimitReached,
    meaning: "The platform has as many templates as are allowed.",
};

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code { code: "role_template_not_found", kind: Kind::NotFound, meaning: "There is no such template." },
    Code {
        code: "role_template_already_exists",
        kind: Kind::Conflict,
        meaning: "A template with this id exists already.",
    },
    Code {
        code: "role_template_retired",
        kind: Kind::Conflict,
        meaning: "The template is retired: it accepts no command, and no role is made from it.",
    },
    Code { code: "role_template_key_taken", kind: Kind::Conflict, meaning: "Another template holds this key." },
    Code {
        code: "role_template_permissions_out_of_bounds",
        kind: Kind::Invalid,
        meaning: "A template has at least one permission, and at most as many as a role.",
    },
    Code {
        code: "role_template_permission_id_twice",
        kind: Kind::Invalid,
        meaning: "Two permissions of the template have the same id.",
    },
    Code {
        code: "role_template_too_many_versions",
        kind: Kind::LimitReached,
        meaning: "The template has as many versions as are allowed.",
    },
    LIMIT_REACHED,
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "role_template_not_found",
            Self::AlreadyExists => "role_template_already_exists",
            Self::Retired => "role_template_retired",
            Self::PermissionsOutOfBounds => "role_template_permissions_out_of_bounds",
            Self::PermissionIdTwice(_) => "role_template_permission_id_twice",
            Self::TooManyVersions => "role_template_too_many_versions",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::AlreadyExists | Self::Retired => Kind::Conflict,
            Self::PermissionsOutOfBounds | Self::PermissionIdTwice(_) => Kind::Invalid,
            Self::TooManyVersions => Kind::LimitReached,
        }
    }
}

/// A template at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum RoleTemplate {
    /// Not created.
    #[default]
    Absent,
    /// Roles are made from it.
    Published(Version),
    /// Retired for ever.
    Retired,
}

/// The latest version of a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    pub key: Key,
    /// From 1.
    pub version: u32,
    pub permissions: Vec<Permission>,
}

impl RoleTemplate {
    /// The latest version, for a role that is made from the template or follows it.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Retired`].
    pub fn latest(&self) -> Result<&Version, Error> {
        match self {
            Self::Absent => Err(Error::NotFound),
            Self::Published(version) => Ok(version),
            Self::Retired => Err(Error::Retired),
        }
    }
}

impl Aggregate for RoleTemplate {
    const TYPE: &'static str = "role_template";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Created { key, permissions, .. } => {
                *self = Self::Published(Version { key, version: 1, permissions });
            }
            Event::Published { version, permissions } => {
                if let Self::Published(latest) = self {
                    *latest = Version { key: latest.key.clone(), version, permissions };
                }
            }
            Event::Retired {} => *self = Self::Retired,
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", RoleTemplate::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
