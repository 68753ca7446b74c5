//! `/health/live` says that the process answers; `/health/ready` says whether it can do its work.
//!
//! Ready runs a list of named checks at once, each with a time limit. A required check that fails answers 503; an
//! optional one only shows as `degraded`, because the service goes on without it (NATS, for example).

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use aide::{
    axum::{ApiRouter, routing::get_with},
    transform::TransformOperation,
};
use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::{task::JoinSet, time::timeout};

use crate::openapi::described;

/// The tag of the health operations.
pub const TAG: &str = "health";

/// The ids of the health operations, which anybody may call.
pub const OPERATIONS: &[&str] = &["live", "ready"];

/// What a check comes to: nothing to say, or what is wrong in words that strangers may read.
pub type CheckResult = Result<(), String>;

type CheckFunction = dyn Fn() -> Pin<Box<dyn Future<Output = CheckResult> + Send>> + Send + Sync;

/// One named check.
#[derive(Clone)]
pub struct Check {
    name: &'static str,
    required: bool,
    run: Arc<CheckFunction>,
}

impl Check {
    /// A check without which the service cannot work.
    pub fn required<F, O>(name: &'static str, run: F) -> Self
    where
        F: Fn() -> O + Send + Sync + 'static,
        O: Future<Output = CheckResult> + Send + 'static,
    {
        Self { name, required: true, run: Arc::new(move || Box::pin(run())) }
    }

    /// A check of something that the service can do without for a while.
    pub fn optional<F, O>(name: &'static str, run: F) -> Self
    where
        F: Fn() -> O + Send + Sync + 'static,
        O: Future<Output = CheckResult> + Send + 'static,
    {
        Self { required: false, ..Self::required(name, run) }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Check")
            .field("name", &self.name)
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}

/// The checks behind `/health/ready`, and how long each may take.
#[derive(Clone, Debug)]
pub struct Health {
    checks: Arc<[Check]>,
    time_limit: Duration,
}

impl Health {
    /// Runs `checks`, each for `time_limit` at most.
    pub fn new(checks: impl IntoIterator<Item = Check>, time_limit: Duration) -> Self {
        Self { checks: checks.into_iter().collect(), time_limit }
    }

    /// Runs every check once, all at the same time.
    pub async fn report(&self) -> Report {
        let mut running = JoinSet::new();
        for (index, check) in self.checks.iter().enumerate() {
            let (run, limit) = (Arc::clone(&check.run), self.time_limit);
            running.spawn(async move {
                let timed_out = || Err(format!("no answer within {} ms", limit.as_millis()));
                (index, timeout(limit, run()).await.unwrap_or_else(|_| timed_out()))
            });
        }
        // A check that panics never reports, so this is what stands for it.
        let mut results = vec![Err("the check itself failed".to_owned()); self.checks.len()];
        while let Some(joined) = running.join_next().await {
            if let Ok((index, result)) = joined {
                results[index] = result;
            }
        }
        let checks = self.checks.iter().zip(results).map(|(check, result)| CheckReport {
            name: check.name,
            required: check.required,
            ok: result.is_ok(),
            detail: result.err(),
        });
        let checks: Vec<CheckReport> = checks.collect();
        let status = if checks.iter().any(|check| check.required && !check.ok) {
            Status::NotReady
        } else if checks.iter().any(|check| !check.ok) {
            Status::Degraded
        } else {
            Status::Ready
        };
        Report { status, checks }
    }
}

/// Whether the service can do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "HealthStatus")]
pub enum Status {
    /// Everything is well.
    Ready,
    /// Something optional fails; requests are served.
    Degraded,
    /// Something required fails; send no requests.
    NotReady,
}

/// The answer of `/health/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "HealthReport")]
pub struct Report {
    /// The sum of the checks.
    pub status: Status,
    /// Each check, in the order they were given.
    pub checks: Vec<CheckReport>,
}

/// What one check came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "HealthCheck")]
pub struct CheckReport {
    /// Name of the check.
    pub name: &'static str,
    /// Whether the service cannot work without it.
    pub required: bool,
    /// Whether it is well.
    pub ok: bool,
    /// What is wrong.
    pub detail: Option<String>,
}

/// `GET /health/live` and `GET /health/ready`, open to anybody.
pub fn routes(health: Health) -> ApiRouter {
    ApiRouter::new()
        .api_route("/health/live", get_with(live, describe_live))
        .api_route("/health/ready", get_with(ready, describe_ready))
        .with_state(health)
}

async fn live() -> &'static str {
    "ok\n"
}

async fn ready(State(health): State<Health>) -> aide::NoApi<axum::response::Response> {
    let report = health.report().await;
    let status = match report.status {
        Status::Ready | Status::Degraded => StatusCode::OK,
        Status::NotReady => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(report)).into_response().into()
}

fn describe_live(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    described(operation, "live", TAG, "Is the process alive?", "Answers as long as the process can answer at all.")
}

fn describe_ready(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description =
        "Runs the checks. `degraded` is still ready: something fails that can be done without for a while.";
    described(operation, "ready", TAG, "Can the service do its work?", description)
        .response_with::<200, Json<Report>, _>(|response| response.description("Ready or degraded."))
        .response_with::<503, Json<Report>, _>(|response| response.description("Not ready."))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use serde_json::json;

    use super::*;
    use crate::testing::{body_json, send};

    fn router(checks: Vec<Check>) -> Router {
        routes(Health::new(checks, Duration::from_millis(20))).into()
    }

    #[tokio::test]
    async fn ready_is_the_sum_of_its_checks() {
        let good = || Check::required("store", async || Ok(()));
        let bad = || Check::optional("nats", async || Err("gone".to_owned()));
        let response = send(&router(vec![good()]), "GET", "/health/ready", &[], "").await;
        assert_eq!((response.status().as_u16(), body_json(response).await["status"].clone()), (200, json!("ready")));
        let response = send(&router(vec![good(), bad()]), "GET", "/health/ready", &[], "").await;
        assert_eq!(response.status(), 200);
        let report = body_json(response).await;
        assert_eq!(report["status"], "degraded");
        assert_eq!(report["checks"][1], json!({"name": "nats", "required": false, "ok": false, "detail": "gone"}));
    }

    #[tokio::test]
    async fn a_check_that_hangs_or_panics_fails_and_ends() {
        let hangs = Check::required("hangs", std::future::pending);
        let panics = Check::required("panics", async || panic!("broken"));
        let response = send(&router(vec![hangs, panics]), "GET", "/health/ready", &[], "").await;
        assert_eq!(response.status(), 503);
        let report = body_json(response).await;
        assert_eq!(report["checks"][0]["detail"], "no answer within 20 ms");
        assert_eq!(report["checks"][1]["ok"], false);
    }

    #[tokio::test]
    async fn live_needs_no_check() {
        let bad = Check::required("store", async || Err("gone".to_owned()));
        assert_eq!(send(&router(vec![bad]), "GET", "/health/live", &[], "").await.status(), 200);
    }
}
