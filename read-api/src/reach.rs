//! Waiting until a read model, or the log itself, has got to what the caller has already seen.
//!
//! Who waits is woken in time by the board of the projections of this process, or by the one task that looks at the checkpoints of
//! those that run elsewhere. Then the position is read from PostgreSQL, and after it the rows on the same connection. So the rows are at
//! least as new as the position, even when PostgreSQL crashes and a read model loses its last moments, because the connection is lost
//! with them. The board is often further than PostgreSQL, since a projection moves its checkpoint late over events that concern no row
//! of it; it is believed when no crash was noticed from before it was asked until the connection had answered.

use std::time::Duration;

use hub_http::{Problem, ReadConsistency, ReadPosition};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    failure::failed,
    read::{Moment, ReadTransaction, Sight},
    state::Queries,
};

/// How far a projection has got: as far as the share of it that is furthest behind; null when it has never run.
pub(crate) const CHECKPOINT: &str = "SELECT min(position) FROM projection_checkpoints WHERE projection = $1";

/// The position of the last event.
pub(crate) const LOG_HEAD: &str = "SELECT position FROM log_head";

/// The board has so long to speak before the checkpoint in PostgreSQL is looked at too.
const BOARD_ALONE: Duration = Duration::from_millis(5);

/// At least so much time between two looks of one query at PostgreSQL.
const PAUSE: Duration = Duration::from_millis(2);

/// What a query reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The read model of the projection of this name.
    Projection(&'static str),
    /// The log itself, which is always complete.
    Log,
}

impl Source {
    async fn position(self, connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
        match self {
            Self::Projection(name) => {
                let position: Option<i64> = sqlx::query_scalar(CHECKPOINT).bind(name).fetch_one(connection).await?;
                Ok(position.unwrap_or(0))
            }
            Self::Log => sqlx::query_scalar(LOG_HEAD).fetch_one(connection).await,
        }
    }
}

/// A source that has got far enough, and the transaction to read it in.
#[derive(Debug)]
pub(crate) struct Reading {
    /// What is read on the connection is at least as new.
    pub(crate) position: ReadPosition,
    /// To be given back as soon as the rows are there.
    pub(crate) connection: ReadTransaction,
}

impl Queries {
    /// Begins to read `source`, once it has got to what the caller asks for; 503 `projection_behind` when that takes longer than the
    /// caller waits.
    pub(crate) async fn reach(
        &self,
        sight: impl Into<Sight>,
        source: Source,
        wanted: ReadConsistency,
    ) -> Result<Reading, Problem> {
        self.reach_in(Moment::OfStatement, sight.into(), source, wanted).await
    }

    async fn reach_in(
        &self,
        moment: Moment,
        sight: Sight,
        source: Source,
        wanted: ReadConsistency,
    ) -> Result<Reading, Problem> {
        let wait = self.wait(source, wanted).await;
        loop {
            let told = wait.told();
            // That the transaction has begun is an answer of PostgreSQL.
            let mut connection = self.database.read(sight, moment).await.map_err(failed)?;
            if let Some(position) = wait.suffices(told) {
                return Ok(Reading { position: ReadPosition(position), connection });
            }
            let position = source.position(&mut connection).await.map_err(failed)?;
            let position = wait.latest(told, position);
            if wait.reached(position) {
                return Ok(Reading { position: ReadPosition(position), connection });
            }
            drop(connection);
            wait.again(position).await?;
        }
    }

    /// The same for the read model of a projection.
    pub(crate) async fn reach_projection(
        &self,
        sight: impl Into<Sight>,
        name: &'static str,
        wanted: ReadConsistency,
    ) -> Result<Reading, Problem> {
        self.reach(sight, Source::Projection(name), wanted).await
    }

    /// The same when everything that is read must be of one moment.
    pub(crate) async fn reach_moment(
        &self,
        sight: impl Into<Sight>,
        name: &'static str,
        wanted: ReadConsistency,
    ) -> Result<Reading, Problem> {
        self.reach_in(Moment::OfTransaction, sight.into(), Source::Projection(name), wanted).await
    }

    /// Begins to wait for what the caller asks for; the first look at PostgreSQL is due when this returns.
    pub(crate) async fn wait(&self, source: Source, wanted: ReadConsistency) -> Wait<'_> {
        let wait = Wait { queries: self, source, at_least: wanted.at_least, end: Instant::now() + wanted.wait };
        if let (Some(at_least), Source::Projection(name)) = (wanted.at_least, source) {
            wait.for_board(name, at_least).await;
        }
        wait
    }
}

/// A query that looks at its source until it has got far enough.
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    queries: &'a Queries,
    source: Source,
    at_least: Option<i64>,
    end: Instant,
}

/// What the board said, and in which stretch of watching PostgreSQL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    position: i64,
    stretch: u64,
}

impl Wait<'_> {
    /// What the board says; to be asked before PostgreSQL is.
    pub(crate) fn told(&self) -> Option<Told> {
        let Source::Projection(name) = self.source else { return None };
        let positions = &self.queries.positions;
        let stretch = positions.stretch()?;
        Some(Told { position: *positions.follow(name).borrow(), stretch })
    }

    /// The position that a source has got to: what PostgreSQL has answered, or what was told before if it still counts.
    pub(crate) fn latest(&self, told: Option<Told>, position: i64) -> i64 {
        let told = told.filter(|told| self.queries.positions.stretch() == Some(told.stretch));
        told.map_or(position, |told| told.position.max(position))
    }

    /// What was told before PostgreSQL last answered, if it still counts and is what the caller asks for.
    fn suffices(&self, told: Option<Told>) -> Option<i64> {
        let at_least = self.at_least?;
        Some(self.latest(told, 0)).filter(|&position| position > 0 && position >= at_least)
    }

    /// Whether a source at `position` has got far enough.
    pub(crate) fn reached(&self, position: i64) -> bool {
        self.at_least.is_none_or(|at_least| position >= at_least)
    }

    /// Returns when it is worth to look again after `position` was seen; 503 `projection_behind` when the time is over.
    pub(crate) async fn again(&self, position: i64) -> Result<(), Problem> {
        if Instant::now() >= self.end || self.queries.shutdown.is_cancelled() {
            return Err(Problem::projection_behind(position));
        }
        let next = self.end.min(Instant::now() + PAUSE);
        tokio::select! {
            () = async { tokio::join!(self.for_source(), sleep_until(next)); } => {}
            () = sleep_until(self.end) => {}
            () = self.queries.shutdown.cancelled() => {}
        }
        Ok(())
    }

    /// Waits for a projection that runs in this process and has not got there, but not for long: it may have moved elsewhere.
    async fn for_board(&self, name: &'static str, at_least: i64) {
        let mut board = self.queries.positions.follow(name);
        let known = *board.borrow();
        if known > 0 && known < at_least {
            let end = self.end.min(Instant::now() + BOARD_ALONE);
            // Whatever comes of it, the next look tells.
            drop(timeout_at(end, board.wait_for(|position| *position >= at_least)).await);
        }
    }

    async fn for_source(&self) {
        let at_least = self.at_least.unwrap_or(0);
        match self.source {
            Source::Projection(name) => {
                let mut board = self.queries.positions.follow(name);
                let mut checkpoint = self.queries.checkpoints.follow(name);
                // What the board says may not be in PostgreSQL yet, and the checkpoint may have gone back in a crash.
                let news = *board.borrow() < at_least;
                tokio::select! {
                    reached = board.wait_for(|position| *position >= at_least), if news => drop(reached),
                    reached = checkpoint.wait_for(|position| *position >= at_least) => drop(reached),
                }
            }
            Source::Log => drop(self.queries.tail.follow().wait_for(|position| *position >= at_least).await),
        }
    }
}
