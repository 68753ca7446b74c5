//! Why a role refuses, and the codes that say so.

use crate::{
    id::{RoleId, RoleTemplateId},
    refusal::{Code, Kind, Refusal},
    text::Key,
};

use super::{
    assignment::{ASSIGNMENT_COUNT_MAX, AssignmentId, Principal},
    hierarchy::{DEPTH_MAX, PARENT_COUNT_MAX},
    permission::{PERMISSION_COUNT_MAX, PermissionId},
};

/// Why a role refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no such role")]
    NotFound,
    #[error("the role exists already")]
    AlreadyExists,
    #[error("the role is archived and accepts nothing")]
    Archived,
    #[error("a system role cannot be changed or archived")]
    SystemImmutable,
    #[error("the key {0} belongs to a system role")]
    KeyReserved(Key),
    #[error("the role has another permission with the id {0}")]
    PermissionIdTaken(PermissionId),
    #[error("the role grants exactly this already, by the permission {0}")]
    PermissionAlreadyGranted(PermissionId),
    #[error("the role has no permission {0}")]
    PermissionUnknown(PermissionId),
    #[error("a role has at most {PERMISSION_COUNT_MAX} permissions")]
    TooManyPermissions,
    #[error("the tenant has no live role {} to be a parent", .0.0)]
    ParentUnknown(RoleId),
    #[error("the role {} is not a parent of this role", .0.0)]
    ParentNotSet(RoleId),
    #[error("the role {} cannot inherit from {}, which is the same role or inherits from it", .child.0, .parent.0)]
    Cycle { child: RoleId, parent: RoleId },
    #[error("a chain of inheritance has at most {DEPTH_MAX} roles")]
    HierarchyTooDeep,
    #[error("a role has at most {PARENT_COUNT_MAX} parents")]
    TooManyParents,
    #[error("the role has another assignment with the id {0}")]
    AssignmentIdTaken(AssignmentId),
    #[error("{0} holds the role already within this time")]
    AlreadyAssigned(Principal),
    #[error("the role has no assignment {0}")]
    AssignmentUnknown(AssignmentId),
    #[error("{0} does not hold the role")]
    NotAssigned(Principal),
    #[error("an assignment begins before it ends")]
    AssignmentPeriodEmpty,
    #[error("an assignment does not end in the past")]
    AssignmentInThePast,
    #[error("the end of the assignment {0} has not come")]
    AssignmentNotDue(AssignmentId),
    #[error("a role has at most {ASSIGNMENT_COUNT_MAX} assignments")]
    TooManyAssignments,
    #[error("the tenant's last owner without end cannot be unassigned")]
    LastOwner,
    #[error("the role was not made from the template {}", .0.0)]
    NotFromTemplate(RoleTemplateId),
    #[error("the role has version {0} of the template already, which is newer")]
    TemplateVersionOld(u32),
    #[error("the role still has {0} assignments")]
    StillAssigned(usize),
    #[error("{0} roles still inherit from the role")]
    HasChildren(usize),
}

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code { code: "role_not_found", kind: Kind::NotFound, meaning: "There is no such role." },
    Code { code: "role_already_exists", kind: Kind::Conflict, meaning: "A role with this id exists already." },
    Code { code: "role_archived", kind: Kind::Conflict, meaning: "The role is archived and accepts no command." },
    Code {
        code: "role_system_immutable",
        kind: Kind::Conflict,
        meaning: "A system role's permissions and parents cannot be changed, and it cannot be archived.",
    },
    Code { code: "role_key_taken", kind: Kind::Conflict, meaning: "Another role of the tenant holds this key." },
    Code { code: "role_key_reserved", kind: Kind::Invalid, meaning: "The key belongs to a system role." },
    Code {
        code: "role_permission_id_taken",
        kind: Kind::Conflict,
        meaning: "The role has another permission with this id.",
    },
    Code {
        code: "role_permission_already_granted",
        kind: Kind::Conflict,
        meaning: "The role has a permission that says exactly the same.",
    },
    Code { code: "role_permission_unknown", kind: Kind::Conflict, meaning: "The role has no such permission." },
    Code {
        code: "role_too_many_permissions",
        kind: Kind::LimitReached,
        meaning: "The role has as many permissions as are allowed.",
    },
    Code {
        code: "role_parent_unknown",
        kind: Kind::Conflict,
        meaning: "The tenant has no live role with the parent's id.",
    },
    Code { code: "role_parent_not_set", kind: Kind::Conflict, meaning: "The role does not inherit from that role." },
    Code {
        code: "role_cycle",
        kind: Kind::Conflict,
        meaning: "The parent is the role itself or inherits from it, directly or through others.",
    },
    Code {
        code: "role_hierarchy_too_deep",
        kind: Kind::LimitReached,
        meaning: "A chain of inheritance would have more roles than are allowed.",
    },
    Code {
        code: "role_too_many_parents",
        kind: Kind::LimitReached,
        meaning: "The role has as many parents as are allowed.",
    },
    Code {
        code: "role_assignment_id_taken",
        kind: Kind::Conflict,
        meaning: "The role has another assignment with this id.",
    },
    Code {
        code: "role_already_assigned",
        kind: Kind::Conflict,
        meaning: "The principal holds the role already within the time asked for.",
    },
    Code { code: "role_assignment_unknown", kind: Kind::Conflict, meaning: "The role has no such assignment." },
    Code { code: "role_not_assigned", kind: Kind::Conflict, meaning: "The principal does not hold the role." },
    Code {
        code: "role_assignment_period_empty",
        kind: Kind::Invalid,
        meaning: "The assignment would end before it begins.",
    },
    Code {
        code: "role_assignment_in_the_past",
        kind: Kind::Invalid,
        meaning: "The end of the assignment has already passed.",
    },
    Code {
        code: "role_assignment_not_due",
        kind: Kind::Conflict,
        meaning: "The end of the assignment has not come yet.",
    },
    Code {
        code: "role_too_many_assignments",
        kind: Kind::LimitReached,
        meaning: "The role has as many assignments as are allowed.",
    },
    Code {
        code: "role_last_owner",
        kind: Kind::Conflict,
        meaning: "The tenant would be left without an owner whose assignment has begun and has no end.",
    },
    Code { code: "role_not_from_template", kind: Kind::Conflict, meaning: "The role was not made from this template." },
    Code {
        code: "role_template_version_old",
        kind: Kind::Conflict,
        meaning: "The role has a newer version of the template already.",
    },
    Code {
        code: "role_still_assigned",
        kind: Kind::Conflict,
        meaning: "The role cannot be archived while somebody holds it or is going to.",
    },
    Code {
        code: "role_has_children",
        kind: Kind::Conflict,
        meaning: "The role cannot be archived while other roles inherit from it.",
    },
    Code {
        code: "role_too_many_roles",
        kind: Kind::LimitReached,
        meaning: "The tenant has as many roles as are allowed.",
    },
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "role_not_found",
            Self::AlreadyExists => "role_already_exists",
            Self::Archived => "role_archived",
            Self::SystemImmutable => "role_system_immutable",
            Self::KeyReserved(_) => "role_key_reserved",
            Self::PermissionIdTaken(_) => "role_permission_id_taken",
            Self::PermissionAlreadyGranted(_) => "role_permission_already_granted",
            Self::PermissionUnknown(_) => "role_permission_unknown",
            Self::TooManyPermissions => "role_too_many_permissions",
            Self::ParentUnknown(_) => "role_parent_unknown",
            Self::ParentNotSet(_) => "role_parent_not_set",
            Self::Cycle { .. } => "role_cycle",
            Self::HierarchyTooDeep => "role_hierarchy_too_deep",
            Self::TooManyParents => "role_too_many_parents",
            Self::AssignmentIdTaken(_) => "role_assignment_id_taken",
            Self::AlreadyAssigned(_) => "role_already_assigned",
            Self::AssignmentUnknown(_) => "role_assignment_unknown",
            Self::NotAssigned(_) => "role_not_assigned",
            Self::AssignmentPeriodEmpty => "role_assignment_period_empty",
            Self::AssignmentInThePast => "role_assignment_in_the_past",
            Self::AssignmentNotDue(_) => "role_assignment_not_due",
            Self::TooManyAssignments => "role_too_many_assignments",
            Self::LastOwner => "role_last_owner",
            Self::NotFromTemplate(_) => "role_not_from_template",
            Self::TemplateVersionOld(_) => "role_template_version_old",
            Self::StillAssigned(_) => "role_still_assigned",
            Self::HasChildren(_) => "role_has_children",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::KeyReserved(_) | Self::AssignmentPeriodEmpty | Self::AssignmentInThePast => Kind::Invalid,
            Self::TooManyPermissions | Self::HierarchyTooDeep | Self::TooManyParents | Self::TooManyAssignments => {
                Kind::LimitReached
            }
            Self::AlreadyExists
            | Self::Archived
            | Self::SystemImmutable
            | Self::PermissionIdTaken(_)
            | Self::PermissionAlreadyGranted(_)
            | Self::PermissionUnknown(_)
            | Self::ParentUnknown(_)
            | Self::ParentNotSet(_)
            | Self::Cycle { .. }
            | Self::AssignmentIdTaken(_)
            | Self::AlreadyAssigned(_)
            | Self::AssignmentUnknown(_)
            | Self::NotAssigned(_)
            | Self::AssignmentNotDue(_)
            | Self::LastOwner
            | Self::NotFromTemplate(_)
            | Self::TemplateVersionOld(_)
            | Self::StillAssigned(_)
            | Self::HasChildren(_) => Kind::Conflict,
        }
    }
}
