//! What decisions about access read: rows that an event sets or removes in the transaction that appends it.
//!
//! A read model is a moment behind the log, which a revoked right must not be. So an aggregate whose events decide who may do what tells with
//! each of them which facts begin or end to hold. A fact has a name within its stream; together they are exactly what the stream's events say,
//! so they can be made again from the log at any time.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    id::RoleId,
    role::{Permission, Principal},
    text::Key,
};

/// Counts what could bring somebody more rights in a tenant: grants, parents and sets of duties that come to be. Whoever judges all of a
/// tenant's grants together expects the value that belongs to what was judged.
pub const GRANTS: &str = "access_grants";

/// One row that decisions read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fact {
    Role(RoleFact),
    Grant(GrantFact),
    Credential(CredentialFact),
    IdentityProvider(IdentityProviderFact),
    DutySet(DutySetFact),
    Ended(EndedFact),
}

/// What a live role permits by itself, and what it inherits from. The stream is the role's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleFact {
    pub key: Key,
    pub system: bool,
    pub permissions: Vec<Permission>,
    pub parents: BTreeSet<RoleId>,
}

/// A principal holds a role of the stream's tenant from a time (included) until a time (excluded), or without end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantFact {
    pub principal: Principal,
    pub home: Home,
    pub role_id: RoleId,
    pub from: DateTime<Utc>,
    pub until: Option<DateTime<Utc>>,
    pub source: GrantSource,
}

/// Where a principal is known, since two tenants may each have their `user:ada`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Home {
    /// In the tenant that the fact belongs to.
    Tenant,
    /// On the platform: its staff.
    Platform,
}

/// What brought a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantSource {
    Assignment,
    ApiKey,
    AccessRequest,
    BreakGlass,
    SupportAccess,
}

/// What an API key is recognised by, and what bounds it. The stream is the key's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialFact {
    pub principal: Principal,
    /// Each valid secret: its public id, and the SHA-256 of the whole key in lower-case hexadecimal.
    pub secrets: BTreeMap<String, SecretFact>,
    /// `<resource>:<action>`, each part a key or `*`.
    pub scopes: BTreeSet<String>,
    /// Networks in CIDR notation; from everywhere when empty.
    pub networks: BTreeSet<String>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// One of the secrets of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFact {
    pub sha256: String,
    /// Not valid from this time on.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Whose access tokens a tenant accepts. The stream is the provider's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityProviderFact {
    pub issuer: String,
    pub audience: String,
    pub jwks_uri: String,
}

/// Roles of which one principal holds at most `held_max` at a time, inherited ones included. The stream is the set's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DutySetFact {
    pub key: Key,
    pub roles: BTreeSet<RoleId>,
    pub held_max: usize,
}

/// A principal that is at home in the tenant of the fact, and that is let in nowhere whatever it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedFact {
    pub principal: Principal,
}

/// The name, within its stream, of a fact that a stream has many of.
#[must_use]
pub fn part(kind: &str, id: Uuid) -> String {
    format!("{kind}/{id}")
}
