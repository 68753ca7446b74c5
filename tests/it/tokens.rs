//! Callers without keys and roles, for tests of what is behind the gate.

use std::sync::Arc;

use hub_http::{Caller, Gate, Scope, access::fixed::FixedTokens};

/// The token of that number.
pub(crate) fn token(number: u8) -> String {
    format!("token-{number}")
}

/// A gate at which each of these tokens may do everything in its scope.
pub(crate) fn gate<const N: usize>(callers: [(u8, &str, Scope); N]) -> Arc<dyn Gate> {
    let caller = |(number, principal, scope): (u8, &str, Scope)| {
        (token(number), Caller { principal: principal.to_owned(), scope, expires_at_ms: None, secret_id: None })
    };
    Arc::new(FixedTokens::new(callers.map(caller)))
}
