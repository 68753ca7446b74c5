//! Checks by the clock: a sample in every hour, and everything in the first one of the night.

use std::{fmt, time::Duration};

use chrono::{DateTime, Timelike as _, Utc};
use hub_event_store::election::{bounded, elect};
use sqlx::{Connection as _, PgPool};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Finding, Kind, Report, Scope, check};
use crate::sealer::Clock;

/// Takes the lock of whoever checks by the clock, for as long as the connection lives.
pub(crate) const ELECT: &str = "SELECT pg_try_advisory_lock(7236831006)";

/// Gauge: how much the last check found not to be as it was sealed.
pub(crate) const FINDINGS: &str = "hub_seal_check_findings";

/// All is checked in the first hour of a day (UTC) from this one on.
const NIGHT: u32 = 2;

/// Between two looks at the clock, and between two attempts to be the one who checks.
const REST: Duration = Duration::from_secs(5);

/// Checks by the clock.
pub struct SelfCheck {
    pool: PgPool,
    clock: Clock,
}

impl fmt::Debug for SelfCheck {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SelfCheck").finish_non_exhaustive()
    }
}

impl SelfCheck {
    /// One on this clock.
    #[must_use]
    pub fn new(pool: PgPool, clock: Clock) -> Self {
        Self { pool, clock }
    }

    /// Checks in every hour, and everything in the first one of the night, when no other process does, until `end`. What was found goes to
    /// `write`, which may fail.
    pub async fn run<W, F>(self, write: W, end: CancellationToken)
    where
        W: Fn(Report) -> F,
        F: Future<Output = ()>,
    {
        while !end.is_cancelled() {
            let led = tokio::select! {
                () = end.cancelled() => return,
                led = self.lead(&write) => led,
            };
            if let Err(error) = led {
                tracing::debug!(%error, "a self-check came to nothing, trying again");
            }
            tokio::select! {
                () = end.cancelled() => {}
                () = sleep(REST) => {}
            }
        }
    }

    async fn lead<W, F>(&self, write: &W) -> Result<(), sqlx::Error>
    where
        W: Fn(Report) -> F,
        F: Future<Output = ()>,
    {
        // Before, so that whoever sees the lock knows from when on the hours count.
        let mut last = (self.clock)();
        let Some(mut lock) = elect(&self.pool, ELECT).await? else { return Ok(()) };
        loop {
            sleep(REST).await;
            // Also proves that the connection, and with it the lock, still lives.
            bounded(lock.ping()).await?;
            let now = (self.clock)();
            let Some(kind) = due(last, now) else { continue };
            let report = check(&self.pool, Scope::of_all(kind), |_, _| {}).await?;
            last = now;
            tell(&report);
            write(report).await;
        }
    }
}
/// What is to be checked at `now` when the last check began at `last`.
fn due(last: DateTime<Utc>, now: DateTime<Utc>) -> Option<Kind> {
    let night = now.date_naive().and_hms_opt(NIGHT, 0, 0).expect("there is such an hour").and_utc();
    if last < night && now >= night {
        return Some(Kind::Full);
    }
    ((last.date_naive(), last.hour()) != (now.date_naive(), now.hour()) && now > last).then_some(Kind::Sample)
}

fn tell(report: &Report) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    metrics::gauge!(FINDINGS).set(report.finding_count as f64);
    for Finding { tenant_id, position, what } in &report.findings {
        tracing::error!(%tenant_id, position, what, "a self-check found what is not as it was sealed");
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, due};

    #[test]
    fn a_sample_is_due_each_hour_and_everything_each_night() {
        let at = |text: &str| format!("2026-01-{text}:00Z").parse().unwrap();
        for (last, now, expected) in [
            ("01T12:00", "01T12:59", None),
            ("01T12:59", "01T13:00", Some(Kind::Sample)),
            ("01T12:59", "01T12:10", None),
            ("01T01:59", "01T02:00", Some(Kind::Full)),
            ("01T02:00", "01T02:30", None),
            ("01T02:30", "01T03:00", Some(Kind::Sample)),
            ("01T12:00", "02T12:00", Some(Kind::Full)),
            ("01T23:59", "02T00:00", Some(Kind::Sample)),
        ] {
            assert_eq!(due(at(last), at(now)), expected, "{last} {now}");
        }
    }
}
