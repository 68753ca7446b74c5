//! One process of the platform: its role, on listeners and servers that it is given, until it is told to stop.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Role;
use crate::key::SecretKey;
use crate::telemetry;

/// How long requests that are under way may take to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Everything a process is given from outside. The database is migrated already.
#[derive(Debug)]
pub struct Surroundings {
    /// Where the API listens.
    pub listener: TcpListener,
    /// Where `/metrics` listens.
    pub metrics_listener: TcpListener,
    /// Renders what the rooms record.
    pub metrics: PrometheusHandle,
    /// Connections to the migrated database.
    pub pool: PgPool,
}

/// What a process does, and with what.
pub struct ServeOptions {
    /// What comes from outside.
    pub surroundings: Surroundings,
    /// The part of the work.
    pub role: Role,
    /// The database again, for connections outside the pool. Holds the password.
    pub database_url: String,
    /// NATS; always there when the role needs it.
    pub nats_url: Option<String>,
    /// The time.
    pub clock: Clock,
    /// What cursors are signed with.
    pub secret_key: SecretKey,
}

impl std::fmt::Debug for ServeOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ServeOptions").field("role", &self.role).finish_non_exhaustive()
    }
}

/// The addresses that the process really has, which matters for port 0.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Of the API.
    pub listen: SocketAddr,
    /// Of `/metrics`.
    pub metrics: SocketAddr,
}

/// Does the work of the role until `shutdown`, then ends what is under way within a bound. Calls `ready` once, when
/// requests are answered.
///
/// # Errors
/// When a listener or a part of the work fails.
pub async fn run(options: ServeOptions, shutdown: CancellationToken, ready: impl FnOnce(Bound)) -> anyhow::Result<()> {
    let Surroundings { listener, metrics_listener, metrics, pool: _ } = options.surroundings;
    let bound = Bound { listen: listener.local_addr()?, metrics: metrics_listener.local_addr()? };
    let routes = Router::new().route("/health/live", get(async || "ok\n"));
    let serving = axum::serve(listener, routes).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let telemetry = telemetry::serve_metrics(metrics_listener, metrics, shutdown.clone());
    ready(bound);
    let work = async { tokio::try_join!(async { serving.await.context("the API listener failed") }, telemetry) };
    tokio::select! {
        outcome = work => outcome.map(|_| ()),
        () = past_the_limit(&shutdown) => {
            tracing::warn!("requests were cut off after {} s", DRAIN_LIMIT.as_secs());
            Ok(())
        }
    }
}

/// Ends some time after the wish to stop.
async fn past_the_limit(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(DRAIN_LIMIT).await;
}
