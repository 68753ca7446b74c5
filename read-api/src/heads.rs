//! The ends of tenants' logs.

use hub_http::{Problem, TenantScope};
use sqlx::PgConnection;

use crate::failure::failed;

/// The position of a tenant's last event, counted in the tenant's own positions.
pub(crate) const TENANT_HEAD: &str = "SELECT position FROM tenant_heads WHERE tenant_id = $1";

/// The same for many tenants.
pub(crate) const TENANT_HEADS: &str = "SELECT tenant_id, position FROM tenant_heads WHERE tenant_id = ANY($1)";

/// The position of the tenant's last event; 404 `not_found` for a tenant that nothing ever happened to.
pub(crate) async fn tenant_head(tenant: TenantScope, connection: &mut PgConnection) -> Result<i64, Problem> {
    let head = sqlx::query_scalar(TENANT_HEAD).bind(tenant.id()).fetch_optional(connection).await.map_err(failed)?;
    head.ok_or_else(Problem::not_found)
}
