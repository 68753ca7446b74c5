//! Moments and positions: where in a tenant's log a reader begins who wants what happened at a time or later.
//!
//! The log is in the order in which events were recorded. So are their times, but for what the clocks of several processes differ by, and for
//! events that were imported, which bear the times of long ago behind what was there before them.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// When one event of a tenant happened.
pub(crate) const TIME_OF: &str = "SELECT occurred_at FROM events WHERE tenant_id = $1 AND tenant_position = $2";

/// Whether a tenant has streams that came from elsewhere.
pub(crate) const HAS_IMPORTED: &str = "SELECT EXISTS (SELECT FROM cqrs_streams WHERE tenant_id = $1)";

/// The first event of a tenant, in the order of the log, that happened at a time or later.
pub(crate) const FIRST_SINCE: &str = "SELECT tenant_position FROM events \
     WHERE tenant_id = $1 AND tenant_position <= $2 AND occurred_at >= $3 ORDER BY tenant_position LIMIT 1";

/// The position before the first event of a tenant that happened at `time` or later, in a log that ends at `head`. It takes a look at some
/// twenty events; at every one up to the first that counts, if the tenant has imported ones.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn position_before(
    connection: &mut PgConnection,
    tenant_id: Uuid,
    time: DateTime<Utc>,
    head: i64,
) -> Result<i64, sqlx::Error> {
    if sqlx::query_scalar(HAS_IMPORTED).bind(tenant_id).fetch_one(&mut *connection).await? {
        let query = sqlx::query_scalar(FIRST_SINCE).bind(tenant_id).bind(head).bind(time);
        let first: Option<i64> = query.fetch_optional(connection).await?;
        return Ok(first.map_or(head, |first| first - 1));
    }
    // Up to and with `low` all is earlier; after `high` nothing is.
    let (mut low, mut high) = (0, head);
    while low < high {
        let middle = low + (high - low + 1) / 2;
        let query = sqlx::query_scalar(TIME_OF).bind(tenant_id).bind(middle);
        let happened: Option<DateTime<Utc>> = query.fetch_optional(&mut *connection).await?;
        if happened.is_some_and(|happened| happened >= time) { high = middle - 1 } else { low = middle }
    }
    Ok(low)
}
