//! What remains after an erasure, and why the law allows or demands it: data that is answered to a request and written into the log.
//!
//! The texts become part of events, so a change here changes what later erasures say and never what earlier ones said.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Scope;

/// Something that remains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kept {
    /// A short name that never changes.
    pub part: Cow<'static, str>,
    /// What it is.
    pub what: Cow<'static, str>,
    /// On what basis it is kept.
    pub basis: Cow<'static, str>,
}

const SEALED_HISTORY: Kept = Kept {
    part: Cow::Borrowed("sealed_history"),
    what: Cow::Borrowed(
        "the events of the past with the sealed text in them, which nobody can open without the destroyed key",
    ),
    basis: Cow::Borrowed(
        "no longer personal data of anybody who could be told from it; the log stays complete and can be proven",
    ),
};

const ACTORS: Kept = Kept {
    part: Cow::Borrowed("actors"),
    what: Cow::Borrowed(
        "the names under which principals acted (`user:`, `key:`, `service:`), in the metadata of events and in who ordered, approved or held what",
    ),
    basis: Cow::Borrowed("GDPR Art. 5(2) and 17(3)(b) and (e): proof of who did what, and the defence of legal claims"),
};

const ACCOUNTS: Kept = Kept {
    part: Cow::Borrowed("accounts"),
    what: Cow::Borrowed("subscriptions and charges with plans, amounts and dates"),
    basis: Cow::Borrowed("GDPR Art. 17(3)(b): the duty to keep books under commercial and tax law"),
};

const ORGANISATION: Kept = Kept {
    part: Cow::Borrowed("organisation"),
    what: Cow::Borrowed("the tenant's slug, display name and domains, which name an organisation"),
    basis: Cow::Borrowed("not personal data; the slug stays taken so that nobody else is mistaken for the tenant"),
};

const PROOF: Kept = Kept {
    part: Cow::Borrowed("proof"),
    what: Cow::Borrowed("the random id of the destroyed key, who asked for the erasure and why, and this event"),
    basis: Cow::Borrowed("GDPR Art. 5(2) and 17(3)(b): proof that the request was met"),
};

/// Everything that remains after an erasure of `scope`.
#[must_use]
pub fn kept(scope: Scope) -> Vec<Kept> {
    match scope {
        Scope::Subject => vec![SEALED_HISTORY, ACTORS, ACCOUNTS, PROOF],
        Scope::Tenant => vec![SEALED_HISTORY, ACTORS, ACCOUNTS, ORGANISATION, PROOF],
    }
}
