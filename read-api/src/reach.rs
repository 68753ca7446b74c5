//! Waiting until a read model, or the log itself, has got to what the caller has already seen.
//!
//! The position is read before the rows, so the rows are at least as new as the position that is answered.

use std::time::Duration;

use hub_http::{Problem, ReadConsistency, ReadPosition};
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use crate::{failure::failed, state::Queries};

/// How far a projection has got.
pub(crate) const CHECKPOINT: &str = "SELECT position FROM projection_checkpoints WHERE projection = $1";

/// The position of the last event.
pub(crate) const LOG_HEAD: &str = "SELECT position FROM log_head";

/// The first look after the position was not yet there; each further one waits twice as long.
const DELAY_MIN: Duration = Duration::from_millis(5);

/// The longest time between two looks.
const DELAY_MAX: Duration = Duration::from_millis(100);

/// What a query reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The read model of the projection of this name.
    Projection(&'static str),
    /// The log itself, which is always complete.
    Log,
}

impl Source {
    async fn position(self, pool: &PgPool) -> Result<i64, sqlx::Error> {
        match self {
            Self::Projection(name) => {
                let position = sqlx::query_scalar(CHECKPOINT).bind(name).fetch_optional(pool).await?;
                Ok(position.unwrap_or(0))
            }
            Self::Log => sqlx::query_scalar(LOG_HEAD).fetch_one(pool).await,
        }
    }
}

impl Queries {
    /// The position that `source` has got to, once it is at least what the caller asks for; 503 `projection_behind` when that takes
    /// longer than the caller waits.
    pub(crate) async fn reach(&self, source: Source, wanted: ReadConsistency) -> Result<ReadPosition, Problem> {
        let end = Instant::now() + wanted.wait;
        let mut delay = DELAY_MIN;
        loop {
            let position = source.position(&self.pool).await.map_err(failed)?;
            if wanted.at_least.is_none_or(|at_least| position >= at_least) {
                return Ok(ReadPosition(position));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.shutdown.is_cancelled() {
                return Err(Problem::projection_behind(position));
            }
            sleep(delay.min(left)).await;
            delay = (delay * 2).min(DELAY_MAX);
        }
    }

    /// The position of the read model of a projection, as `reach` has it.
    pub(crate) async fn reach_projection(
        &self,
        name: &'static str,
        wanted: ReadConsistency,
    ) -> Result<ReadPosition, Problem> {
        self.reach(Source::Projection(name), wanted).await
    }
}
