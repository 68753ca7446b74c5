//! Identifiers as types, so that a tenant's id is never taken for a role's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Identifies a tenant; UUIDv7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct TenantId(pub Uuid);

/// Identifies a subscription; UUIDv7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SubscriptionId(pub Uuid);

/// Identifies a role; UUIDv7, or derived from tenant and key for the roles that every tenant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RoleId(pub Uuid);

/// Identifies a template of roles; UUIDv7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RoleTemplateId(pub Uuid);

/// Identifies one operation on a service instance, from its request to its report; UUIDv7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct OperationId(pub Uuid);

/// The platform itself as a tenant: the owner of events that belong to no customer.
pub const PLATFORM_TENANT: TenantId = TenantId(Uuid::from_u128(1));
