//! Notices that PostgreSQL goes, so that nobody believes what it may have forgotten when it comes back.
//!
//! A connection that only waits ends at the moment when the server does. The server takes longer than that to come back.

use std::time::Duration;

use hub_event_store::election::bounded;
use sqlx::{PgPool, postgres::PgListener};
use tokio_util::sync::CancellationToken;

use crate::positions::Positions;

/// Nobody speaks on it; only its end is of interest.
const CHANNEL: &str = "hub_sentinel";

/// Between two attempts to connect.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Watches until `shutdown`.
pub(super) async fn run(pool: PgPool, positions: Positions, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        match bounded(listener(&pool)).await {
            Ok(mut listener) => {
                positions.watched(true);
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = ended(&mut listener) => tracing::debug!("the connection to PostgreSQL has ended"),
                }
                positions.watched(false);
            }
            Err(error) => tracing::debug!(%error, "PostgreSQL cannot be watched"),
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(RETRY_DELAY) => {}
        }
    }
}

async fn listener(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

async fn ended(listener: &mut PgListener) {
    while let Ok(Some(_)) = listener.try_recv().await {}
}
