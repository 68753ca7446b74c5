//! Who sends a command, as the domain names principals.

use hub_domain::role::Principal;
use hub_http::{Problem, Scope, TenantCaller};

/// Whoever sends the command, from the tenant or from the platform.
///
/// # Errors
/// `forbidden` for a name that no role can be held under.
pub(crate) fn acting(caller: &TenantCaller) -> Result<Principal, Problem> {
    caller.caller.principal.parse().map_err(|_| Problem::forbidden("this needs the key or token of a principal"))
}

/// Whoever sends the command, which must be somebody of the tenant's own: a name of the platform's would mean somebody else in the tenant.
///
/// # Errors
/// `forbidden` for a caller from the platform.
pub(crate) fn acting_member(caller: &TenantCaller) -> Result<Principal, Problem> {
    match caller.caller.scope {
        Scope::Tenant(_) => acting(caller),
        Scope::Platform => Err(Problem::forbidden("this needs a key or token of the tenant's own")),
    }
}
