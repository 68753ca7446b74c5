//! Which reads are sensitive: those of evidence and of who may do what, which are of use to whoever prepares an attack or covers one up.
//!
//! Who was let in to one of them stands in the log of the tenant that was read. Reports are no part of this list: each is recorded by itself,
//! before it is answered. The events themselves are no part of it either: programs follow them all day, and each record would be one more.

use hub_http::Permission;

/// What the routes ask for that read it.
pub const SENSITIVE: &[Permission] = &[
    read("access_request"),
    read("api_key"),
    read("audit"),
    read("authorization"),
    read("break_glass"),
    read("data_subject"),
    read("evidence"),
    read("identity_provider"),
    read("support_access"),
];

const fn read(resource: &'static str) -> Permission {
    Permission { resource, action: "read" }
}

/// Whether reading with this permission is recorded.
pub(crate) fn sensitive(permission: Permission) -> bool {
    SENSITIVE.contains(&permission)
}
