//! Group commit: one task gathers the commands that wait and appends them as one batch with one statement.
//!
//! There is no timer: a batch is whatever waits when the last one is done. Two commands that touch the same stream, command id, name
//! or counter never share a batch, so the SQL function can check each by itself; the later one goes into the next batch.

mod batch;
mod columns;

use std::{collections::VecDeque, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::{
    append::{Accepted, Append, AppendError, LAST_EVENTS},
    clock::Clock,
    gate::Gate,
    tail::Tail,
};

use self::{
    batch::take_batch,
    columns::{Columns, verdict_of},
};

/// At most so many commands are in one batch.
const BATCH_SIZE_MAX: usize = 512;

/// At most so many commands wait; the next one is told that the store is overloaded.
const QUEUE_SIZE: usize = 4_096;

/// A batch whose connection broke is sent again so often before its commands are told that the store is not available.
const ATTEMPT_COUNT_MAX: u32 = 3;

/// Between two attempts.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// One statement, its wait for the writer lock included, may take so long.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connecting may take so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

type Answer = Result<Accepted, AppendError>;

struct Waiting {
    append: Append,
    answer: oneshot::Sender<Answer>,
}

/// The way to the writer task; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Waiting>,
}

impl Writer {
    /// Starts the writer task; it ends when the last clone of the writer is gone and the queue is empty.
    pub(crate) fn start(options: PgConnectOptions, clock: Clock, tail: Tail) -> Self {
        let (queue, commands) = mpsc::channel(QUEUE_SIZE);
        let task = Task { options, connection: None, clock, tail, gate: Gate::default() };
        tokio::spawn(task.run(commands));
        Self { queue }
    }

    /// Appends one command and waits for its verdict.
    pub(crate) async fn append(&self, append: Append) -> Answer {
        let (answer, verdict) = oneshot::channel();
        self.queue.try_send(Waiting { append, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AppendError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => AppendError::Unavailable("the writer has ended".to_owned()),
        })?;
        verdict.await.unwrap_or_else(|_| Err(AppendError::Unavailable("the writer has ended".to_owned())))
    }
}

struct Task {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    clock: Clock,
    tail: Tail,
    gate: Gate,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Waiting>) {
        let mut held = VecDeque::new();
        loop {
            if held.is_empty() {
                match commands.recv().await {
                    Some(waiting) => held.push_back(waiting),
                    None => return,
                }
                // Let the commands that are just arriving join the batch.
                tokio::task::yield_now().await;
            }
            // More than one batch, so that commands that wait for each other do not keep all others waiting too.
            while held.len() < QUEUE_SIZE {
                match commands.try_recv() {
                    Ok(waiting) => held.push_back(waiting),
                    Err(_) => break,
                }
            }
            let batch = take_batch(&mut held);
            self.write(batch).await;
        }
    }

    async fn write(&mut self, batch: Vec<Waiting>) {
        let (appends, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|w| (w.append, w.answer)).unzip();
        let verdicts = self.append_batch(&appends).await;
        metrics::histogram!("hub_append_batch_commands")
            .record(f64::from(u32::try_from(appends.len()).unwrap_or(u32::MAX)));
        for (verdict, answer) in verdicts.into_iter().zip(answers) {
            if let Ok(accepted) = &verdict
                && !accepted.replayed
            {
                metrics::counter!("hub_events_appended_total")
                    .increment(u64::try_from(accepted.event_count).unwrap_or(0));
                self.tail.advance(accepted.position);
            }
            // A caller that has gone away does not need its answer; the command stands.
            drop(answer.send(verdict));
        }
    }

    async fn append_batch(&mut self, appends: &[Append]) -> Vec<Answer> {
        if let Err(closed) = self.gate.pass() {
            return appends.iter().map(|_| Err(closed.clone())).collect();
        }
        match self.send(appends).await {
            Ok(verdicts) => verdicts,
            Err(Failure::Connection(reason)) => {
                let unavailable = self.lost(&reason);
                appends.iter().map(|_| Err(unavailable.clone())).collect()
            }
            // One command whose data PostgreSQL refuses must not take the others with it.
            Err(Failure::Data(reason)) if appends.len() == 1 => vec![Err(AppendError::Invalid(reason))],
            Err(Failure::Data(_)) => {
                let mut verdicts = Vec::with_capacity(appends.len());
                for append in appends {
                    verdicts.push(self.append_alone(append).await);
                }
                verdicts
            }
        }
    }

    async fn append_alone(&mut self, append: &Append) -> Answer {
        self.gate.pass()?;
        match self.send(std::slice::from_ref(append)).await {
            Ok(mut verdict) => verdict.pop().expect("one command has one verdict"),
            Err(Failure::Connection(reason)) => Err(self.lost(&reason)),
            Err(Failure::Data(reason)) => Err(AppendError::Invalid(reason)),
        }
    }

    /// Nobody needs to try again for a moment.
    fn lost(&self, reason: &str) -> AppendError {
        tracing::warn!(reason, "appending failed, the store is not available");
        self.gate.close();
        AppendError::Unavailable(reason.to_owned())
    }

    /// Sends the batch until it has a verdict. A repetition is safe: what was committed in an attempt whose answer was lost is found
    /// by its command id, and counts as accepted now if the events in the log are those of this batch.
    async fn send(&mut self, appends: &[Append]) -> Result<Vec<Answer>, Failure> {
        let now = (self.clock)();
        let mut attempt = 1;
        loop {
            let sent = match self.try_send(appends, now).await {
                Ok(verdicts) if attempt > 1 => self.recognise(appends, verdicts).await,
                sent => sent,
            };
            match sent {
                Ok(verdicts) => return Ok(verdicts),
                Err(error) => {
                    let failure = Failure::of(&error);
                    if let Failure::Connection(_) = failure {
                        self.connection = None;
                        // Who does not answer at all will not do so a moment later.
                        if attempt < ATTEMPT_COUNT_MAX && !matches!(error, sqlx::Error::PoolTimedOut) {
                            attempt += 1;
                            tokio::time::sleep(RETRY_DELAY).await;
                            continue;
                        }
                    }
                    return Err(failure);
                }
            }
        }
    }

    async fn try_send(&mut self, appends: &[Append], now: DateTime<Utc>) -> Result<Vec<Answer>, sqlx::Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let connecting = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&self.options));
                self.connection.insert(connecting.await.map_err(|_| sqlx::Error::PoolTimedOut)??)
            }
        };
        let columns = Columns::of(appends, now);
        // The server ends the statement by itself; this is for a server that no longer answers at all.
        let rows = tokio::time::timeout(STATEMENT_TIMEOUT + RETRY_DELAY, columns.query().fetch_all(connection))
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)??;
        if rows.len() != appends.len() {
            return Err(sqlx::Error::Protocol(format!("{} verdicts for {} commands", rows.len(), appends.len())));
        }
        rows.iter().map(verdict_of).collect()
    }

    /// Tells the duplicates that an earlier attempt of this batch has made from those whose command was there long before. A
    /// command without events is left a duplicate: its answer is the same either way.
    async fn recognise(&mut self, appends: &[Append], mut verdicts: Vec<Answer>) -> Result<Vec<Answer>, sqlx::Error> {
        let Some(connection) = &mut self.connection else { return Ok(verdicts) };
        let positions: Vec<i64> =
            verdicts.iter().flatten().filter(|accepted| accepted.replayed).map(|accepted| accepted.position).collect();
        if positions.is_empty() {
            return Ok(verdicts);
        }
        let query = sqlx::query_scalar(LAST_EVENTS).bind(positions).fetch_all(connection);
        let found: Vec<Uuid> = tokio::time::timeout(STATEMENT_TIMEOUT + RETRY_DELAY, query)
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)??;
        for (append, verdict) in appends.iter().zip(&mut verdicts) {
            if let (Some(last), Ok(accepted)) = (append.events.last(), verdict) {
                accepted.replayed = accepted.replayed && !found.contains(&last.event_id);
            }
        }
        Ok(verdicts)
    }
}

/// The connection that the writer uses: its statements end by themselves.
pub(crate) fn writer_options(options: &PgConnectOptions) -> PgConnectOptions {
    let timeout = format!("{}ms", STATEMENT_TIMEOUT.as_millis());
    options.clone().application_name("hub-writer").options([("statement_timeout", timeout.as_str())])
}

enum Failure {
    /// Nobody knows what happened to the batch.
    Connection(String),
    /// PostgreSQL refused the data; nothing of the batch was appended.
    Data(String),
}

impl Failure {
    fn of(error: &sqlx::Error) -> Self {
        // SQLSTATE classes: 22 data exception, 23 integrity constraint violation, 54 program limit exceeded.
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        match code {
            Some(code) if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => {
                Self::Data(error.to_string())
            }
            Some(_) | None => Self::Connection(error.to_string()),
        }
    }
}
