//! Gauges that must be right also when the work they measure stands still: lag and state of the projections, of the relay and of the sealer.

use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// How often the gauges are set.
const INTERVAL: Duration = Duration::from_secs(2);

/// How far each projection is behind the log, in events and in seconds since the first of them, and whether it has stopped.
pub const PROJECTIONS: &str = "
SELECT c.projection, h.position - c.position, coalesce(extract(epoch FROM now() - e.occurred_at)::float8, 0), c.stopped
FROM (SELECT projection, min(position) AS position, bool_or(status = 'stopped') AS stopped
      FROM projection_checkpoints GROUP BY projection) c
CROSS JOIN log_head h
LEFT JOIN events e ON e.position = c.position + 1";

/// How far the relay is behind the log.
pub const RELAY: &str = "SELECT h.position - c.position FROM log_head h CROSS JOIN relay_cursor c";

/// How many events wait for their seal, and for how long the first of each log has been waiting at most.
pub const SEALS: &str = "
SELECT coalesce(sum(u.head - u.size), 0)::bigint, coalesce(max(extract(epoch FROM now() - e.occurred_at)), 0)::float8
FROM (SELECT h.tenant_id, h.position AS head, coalesce(s.size, 0) AS size
      FROM tenant_heads h LEFT JOIN sealed_trees s ON s.tenant_id = h.tenant_id
      WHERE h.position > coalesce(s.size, 0)) u
LEFT JOIN events e ON e.tenant_id = u.tenant_id AND e.tenant_position = u.size + 1";

/// Sets the gauges again and again until `end`.
pub async fn run(pool: PgPool, end: CancellationToken) {
    metrics::describe_gauge!(
        "hub_projection_stopped",
        "1 when a projection has met an event that it cannot take in and waits for somebody."
    );
    metrics::describe_gauge!(
        "hub_projection_lag_seconds",
        "Age of the first event in the log that a projection has not taken in yet."
    );
    metrics::describe_gauge!("hub_relay_lag_events", "Events in the log that are not published yet.");
    metrics::describe_gauge!("hub_seal_lag_events", "Events in the log that have no seal yet.");
    metrics::describe_gauge!(
        "hub_seal_lag_seconds",
        metrics::Unit::Seconds,
        "For how long the first event without a seal has been waiting for it."
    );
    loop {
        // Without PostgreSQL nothing moves, and what is shown stays as it was.
        if let Err(error) = set(&pool).await {
            tracing::debug!(%error, "cannot measure the lag");
        }
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

async fn set(pool: &PgPool) -> Result<(), sqlx::Error> {
    let projections: Vec<(String, i64, f64, bool)> = sqlx::query_as(PROJECTIONS).fetch_all(pool).await?;
    for (projection, lag, age, stopped) in projections {
        metrics::gauge!("hub_projection_lag_events", "projection" => projection.clone()).set(whole(lag));
        metrics::gauge!("hub_projection_lag_seconds", "projection" => projection.clone()).set(age.max(0.0));
        metrics::gauge!("hub_projection_stopped", "projection" => projection).set(whole(i64::from(stopped)));
    }
    let lag: i64 = sqlx::query_scalar(RELAY).fetch_one(pool).await?;
    metrics::gauge!("hub_relay_lag_events").set(whole(lag));
    let (events, age): (i64, f64) = sqlx::query_as(SEALS).fetch_one(pool).await?;
    metrics::gauge!("hub_seal_lag_events").set(whole(events));
    metrics::gauge!("hub_seal_lag_seconds").set(age.max(0.0));
    Ok(())
}

/// A count as the gauge wants it; no lag that matters is beyond the range.
fn whole(count: i64) -> f64 {
    f64::from(i32::try_from(count.max(0)).unwrap_or(i32::MAX))
}
