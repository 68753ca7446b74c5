//! Rules above all roles: what no role of a tenant can permit, and what only its owner can do.

use hub_http::{Permission, Scope};

/// What only the platform's own principals do: reports of providers, the money side, letting a tenant in, trusting an integrator with the broker.
pub const OF_PLATFORM: &[(&str, &str)] = &[
    ("nats_credential", "issue"),
    ("service_instance", "report-failure"),
    ("service_instance", "report-health"),
    ("service_instance", "report-success"),
    ("subscription", "mark-paid"),
    ("subscription", "mark-past-due"),
    ("subscription", "open-next-period"),
    ("tenant", "activate"),
    ("tenant", "off-board"),
    ("tenant", "register"),
];

/// What only the tenant's own owners do, by their system role and by no other.
pub const OF_OWNER: &[(&str, &str)] = &[("support_access", "grant")];

/// What everybody may ask who is let in at all: who he is and what he may do.
pub const OF_EVERYBODY: &[(&str, &str)] = &[("self", "read")];

fn names(rules: &[(&str, &str)], permission: Permission) -> bool {
    rules.contains(&(permission.resource, permission.action))
}

/// Whether a principal of this scope may never do it, whatever roles it has.
#[must_use]
pub fn forbidden(scope: Scope, permission: Permission) -> bool {
    match scope {
        Scope::Tenant(_) => names(OF_PLATFORM, permission),
        Scope::Platform => names(OF_OWNER, permission),
    }
}

/// Whether only the system role of owners permits it.
#[must_use]
pub fn of_owner(permission: Permission) -> bool {
    names(OF_OWNER, permission)
}

/// Whether it needs no role.
#[must_use]
pub fn of_everybody(permission: Permission) -> bool {
    names(OF_EVERYBODY, permission)
}
