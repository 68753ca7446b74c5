//! Logs on standard error, and metrics for Prometheus on a listener of their own.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use axum::Router;
use axum::http::header;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// How often the recorder folds its raw histogram samples, which bounds the memory they take between two scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Upper edges, in seconds, of every histogram whose name ends in `_seconds`.
const SECONDS_BUCKETS: &[f64] =
    &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Starts the log of the process, on standard error. `filter` is in the language of `RUST_LOG`, for example
/// `info,sqlx=warn`.
///
/// # Errors
/// When the filter cannot be read, or a log has been started before.
pub fn start_log(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_new(filter).map_err(|error| anyhow!("the log filter `{filter}` cannot be read: {error}"))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => subscriber.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    }
    .map_err(|error| anyhow!("the log cannot be started: {error}"))
}

/// Makes the process record the metrics of every room, and returns the handle that renders them.
///
/// # Errors
/// When a recorder has been installed before.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS_BUCKETS)
        .context("the histogram buckets are refused")?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| anyhow!("the metrics cannot be started: {error}"))?;
    hub_access::metrics::describe_metrics();
    hub_commands::describe_metrics();
    hub_consumers::describe_metrics();
    hub_delivery::describe_metrics();
    hub_event_store::describe_metrics();
    hub_http::layers::describe_metrics();
    hub_projections::describe_metrics();
    hub_read_api::describe_metrics();
    hub_seal::describe_metrics();
    crate::listener::describe_metrics();
    Ok(handle)
}

/// Serves `GET /metrics` until `shutdown`, without waiting for scrapes that are under way.
///
/// # Errors
/// When the listener fails.
pub async fn serve_metrics(
    listener: TcpListener,
    handle: PrometheusHandle,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let rendered = handle.clone();
    let routes = Router::new().route(
        "/metrics",
        get(move || async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], rendered.render()) }),
    );
    let mut upkeep = tokio::time::interval(UPKEEP_INTERVAL);
    let served = std::future::IntoFuture::into_future(axum::serve(listener, routes));
    tokio::pin!(served);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            outcome = &mut served => return outcome.context("the metrics listener failed"),
            _ = upkeep.tick() => handle.run_upkeep(),
        }
    }
}
