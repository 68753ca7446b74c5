//! How a command is described in the API's document: its texts, its tag, and every refusal that may answer it.

use aide::transform::TransformOperation;
use hub_domain::{
    refusal::{Code, Kind},
    tenant,
};
use hub_http::{
    RefusalKind,
    openapi::{described, refuses},
};

/// What a command answers that needs a tenant which is there.
const TENANT_CODES: [&str; 2] = ["tenant_not_found", "tenant_archived"];

/// What all operations of one context share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Documented {
    tag: &'static str,
    codes: &'static [Code],
}

impl Documented {
    /// Operations under `tag`, each of which may refuse with any of `codes`.
    pub(crate) const fn new(tag: &'static str, codes: &'static [Code]) -> Self {
        Self { tag, codes }
    }

    /// A command that its own aggregate decides.
    pub(crate) fn command<'t>(
        &self,
        operation: TransformOperation<'t>,
        id: &str,
        summary: &str,
        description: &str,
    ) -> TransformOperation<'t> {
        let refusals: Vec<_> = self.codes.iter().map(refusal).collect();
        refuses(described(operation, id, self.tag, summary, description), &refusals)
    }

    /// A command that also needs a tenant which is registered and not archived.
    pub(crate) fn creation<'t>(
        &self,
        operation: TransformOperation<'t>,
        id: &str,
        summary: &str,
        description: &str,
    ) -> TransformOperation<'t> {
        let of_tenant = tenant::CODES.iter().filter(|code| TENANT_CODES.contains(&code.code));
        let refusals: Vec<_> = self.codes.iter().chain(of_tenant).map(refusal).collect();
        refuses(described(operation, id, self.tag, summary, description), &refusals)
    }
}

/// The transport's word for a kind of refusal.
fn refusal(code: &Code) -> (RefusalKind, &'static str) {
    let kind = match code.kind {
        Kind::NotFound => RefusalKind::NotFound,
        Kind::Conflict => RefusalKind::Conflict,
        Kind::Invalid => RefusalKind::Invalid,
        Kind::Forbidden => RefusalKind::Forbidden,
        Kind::LimitReached => RefusalKind::LimitExceeded,
    };
    (kind, code.code)
}

#[cfg(test)]
mod tests {
    use hub_domain::tenant::CODES;

    use super::TENANT_CODES;

    #[test]
    fn the_codes_of_the_tenant_are_codes_of_the_tenant() {
        for code in TENANT_CODES {
            assert!(CODES.iter().any(|known| known.code == code), "{code}");
        }
    }
}
