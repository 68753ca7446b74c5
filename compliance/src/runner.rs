//! Runs all controls: once each day, and whenever somebody has asked for it, in one process of the platform.
//!
//! A run has an id, of the day or of the request, and everything that is written of it is named by that. So a run that was interrupted is
//! taken up again, and one that two processes do for a moment is written once.

use std::{fmt, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use hub_domain::{
    control_check::{Evaluation, Outcome},
    control_run,
    finding::Severity,
    id::PLATFORM_TENANT,
};
use hub_event_store::election::{bounded, elect};
use sqlx::{Connection as _, PgPool};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{catalogue::catalogue, checks::evaluate};

/// Takes the lock of whoever runs the controls, for as long as the connection lives.
pub(crate) const ELECT: &str = "SELECT pg_try_advisory_lock(7236831007)";

/// Runs that were asked for and are not completed, the oldest first; most times the counter alone tells that there are none.
pub(crate) const WAITING: &str = "SELECT e.aggregate_id FROM events e \
     JOIN streams s ON s.tenant_id = e.tenant_id AND s.aggregate_type = e.aggregate_type AND s.aggregate_id = e.aggregate_id \
     WHERE e.tenant_id = $1 AND e.aggregate_type = 'control_run' AND e.sequence = 1 AND e.event_type = 'control_run.requested' \
       AND s.sequence = 1 AND EXISTS (SELECT FROM counters c WHERE c.tenant_id = $1 AND c.name = $2 AND c.value > 0) \
     ORDER BY e.position LIMIT $3";

/// Whether there is anything of a run of a day, which is its end.
pub(crate) const IS_COMPLETED: &str =
    "SELECT EXISTS (SELECT FROM streams WHERE tenant_id = $1 AND aggregate_type = 'control_run' AND aggregate_id = $2)";

/// Namespace of the ids of the runs of days.
const NAMESPACE: Uuid = Uuid::from_u128(0x4c1d_72a9_0f36_4e58_b0d2_95ea_6b7c_138f);

/// Between two looks for something to do.
const REST: Duration = Duration::from_secs(2);

/// After a run that failed.
const REST_FAILED: Duration = Duration::from_secs(60);

/// A process that has just begun to lead leaves the run of the day for so long: what has just been started is still behind with everything.
const GRACE: Duration = Duration::from_secs(600);

/// A day of runs begins so long after midnight (UTC), when everything was hashed anew.
const DAY_BEGIN: TimeDelta = TimeDelta::hours(4);

/// The time, as the platform has it.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// What is to be written down.
#[derive(Debug, Clone)]
pub enum Written {
    /// What a check came to, and what a failure of its control means.
    Evaluated(Evaluation, Severity),
    /// The end of the run.
    Completed(Uuid, control_run::Command),
}

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// PostgreSQL does not answer.
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    /// What it came to could not be written down.
    #[error("{0}")]
    Unwritten(String),
}

/// Runs the controls by the clock and on request.
pub struct Runner {
    pool: PgPool,
    clock: Clock,
    grace: Duration,
}

impl fmt::Debug for Runner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Runner").finish_non_exhaustive()
    }
}

impl Runner {
    /// One on this clock.
    #[must_use]
    pub fn new(pool: PgPool, clock: Clock) -> Self {
        Self { pool, clock, grace: GRACE }
    }

    /// The same, which leaves the run of the day for another time after it has begun to lead.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// Runs what is due when no other process does, until `end`. `write` takes what each control came to, and says when it could not.
    pub async fn run<W, F>(self, write: W, end: CancellationToken)
    where
        W: Fn(Written) -> F,
        F: Future<Output = Result<(), String>>,
    {
        while !end.is_cancelled() {
            let led = tokio::select! {
                () = end.cancelled() => return,
                led = self.lead(&write) => led,
            };
            if let Err(error) = led {
                tracing::warn!(%error, "a run of the controls came to nothing, trying again");
            }
            tokio::select! {
                () = end.cancelled() => {}
                () = sleep(REST_FAILED) => {}
            }
        }
    }

    async fn lead<W, F>(&self, write: &W) -> Result<(), RunError>
    where
        W: Fn(Written) -> F,
        F: Future<Output = Result<(), String>>,
    {
        let Some(mut lock) = elect(&self.pool, ELECT).await? else { return Ok(()) };
        let since = Instant::now();
        loop {
            for run_id in self.waiting().await? {
                self.all(run_id, write).await?;
            }
            if since.elapsed() >= self.grace {
                let run_id = run_of((self.clock)());
                let query = sqlx::query_scalar(IS_COMPLETED).bind(PLATFORM_TENANT.0).bind(run_id);
                if !query.fetch_one(&self.pool).await? {
                    self.all(run_id, write).await?;
                }
            }
            sleep(REST).await;
            // Also proves that the connection, and with it the lock, still lives.
            bounded(lock.ping()).await?;
        }
    }

    async fn waiting(&self) -> Result<Vec<Uuid>, sqlx::Error> {
        sqlx::query_scalar(WAITING)
            .bind(PLATFORM_TENANT.0)
            .bind(control_run::decide::WAITING)
            .bind(control_run::WAITING_COUNT_MAX)
            .fetch_all(&self.pool)
            .await
    }

    /// Checks every control, and writes down each before the next. A control that cannot be checked keeps none of the others from it.
    async fn all<W, F>(&self, run_id: Uuid, write: &W) -> Result<(), RunError>
    where
        W: Fn(Written) -> F,
        F: Future<Output = Result<(), String>>,
    {
        let catalogue = catalogue();
        let (mut pass_count, mut fail_count, mut not_applicable_count, mut failed) = (0, 0, 0, None);
        for control in &catalogue.controls {
            let evaluation = match evaluate(&self.pool, control, run_id, (self.clock)()).await {
                Ok(evaluation) => evaluation,
                Err(error) => {
                    tracing::warn!(%error, control = control.id, "a control could not be checked");
                    failed = Some(error);
                    continue;
                }
            };
            match evaluation.outcome {
                Outcome::Pass => pass_count += 1,
                Outcome::Fail => fail_count += 1,
                Outcome::NotApplicable => not_applicable_count += 1,
            }
            write(Written::Evaluated(evaluation, control.severity)).await.map_err(RunError::Unwritten)?;
        }
        // The others stand; the run is taken up again for this one.
        if let Some(error) = failed {
            return Err(error.into());
        }
        let version = catalogue.version.clone();
        let command = control_run::Command::Complete { version, pass_count, fail_count, not_applicable_count };
        write(Written::Completed(run_id, command)).await.map_err(RunError::Unwritten)?;
        tracing::info!(%run_id, pass_count, fail_count, not_applicable_count, "the controls were run");
        Ok(())
    }
}

/// The run of the day that `now` belongs to.
fn run_of(now: DateTime<Utc>) -> Uuid {
    Uuid::new_v5(&NAMESPACE, (now - DAY_BEGIN).date_naive().to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::run_of;

    #[test]
    fn a_day_has_one_run_and_begins_after_the_night() {
        let at = |text: &str| run_of(format!("2026-01-{text}:00Z").parse().unwrap());
        assert_eq!(at("01T04:00"), at("02T03:59"));
        assert_ne!(at("01T03:59"), at("01T04:00"));
    }
}
