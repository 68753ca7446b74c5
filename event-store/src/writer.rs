//! Group commit: one task gathers the commands that wait and appends them as one batch with one statement.
//!
//! There is no timer: a batch is whatever waits when the last one is done. Commands of one stream follow each other in a batch if each
//! expects what the one before leaves. Two that touch the same command id, name or counter never share one, so the SQL function can check each
//! by itself; the later one goes into the next batch.

mod batch;
mod columns;

use std::{collections::VecDeque, time::Duration};

use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use uuid::Uuid;

use crate::{
    append::{Accepted, Append, AppendError, LAST_EVENTS, Rejection},
    clock::Clock,
    gate::Gate,
    tail::Tail,
};

use self::{
    batch::take_batch,
    columns::{Columns, Sealed, verdict_of},
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

/// Who appends: said once when the connection is opened, so that no batch is slower for it.
const ROLE: &str = "hub_append";

/// Connecting may take so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) type Answer = Result<Accepted, AppendError>;

/// What a command's decision rests on while that is itself on its way to the log.
pub(crate) trait Ticket: Send + Sync {
    /// Whether something that the command was decided upon was not accepted, so that it must not be appended.
    fn broken(&self) -> bool;

    /// The command was not accepted; whatever was decided upon it must not be appended either.
    fn refuse(&self);

    /// The command has its answer. A ticket that is dropped without one leaves it open what became of the command.
    fn settle(self: Box<Self>, answer: &Answer);
}

type Told = (Answer, Option<Box<dyn Ticket>>);

struct Waiting {
    sealed: Sealed,
    ticket: Option<Box<dyn Ticket>>,
    /// The place in the batch of the command that this one follows on its stream, 0 for none.
    follows: i32,
    since: Instant,
    answer: oneshot::Sender<Told>,
}

impl Waiting {
    /// Tells the caller. If it has gone away the ticket is settled here; the command stands.
    fn tell(self, answer: Answer) {
        if let Err((answer, Some(ticket))) = self.answer.send((answer, self.ticket)) {
            ticket.settle(&answer);
        }
    }

    fn broken(&self) -> bool {
        self.ticket.as_ref().is_some_and(|ticket| ticket.broken())
    }

    /// Lets those fall who were decided upon this command if it was not accepted now; before any of them is looked at.
    fn judge(&self, answer: &Answer) {
        let accepted = answer.as_ref().is_ok_and(|accepted| !accepted.replayed);
        if let Some(ticket) = &self.ticket
            && !accepted
        {
            ticket.refuse();
        }
    }

    /// What a command is told whose decision rests on what never came to be; only a repository hears it, and decides again.
    fn overtaken(&self) -> Answer {
        Err(Rejection::SequenceConflict { actual: self.sealed.append.expected_sequence.unwrap_or(0) }.into())
    }
}

/// The way to the writer task; cheap to clone.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Waiting>,
    clock: Clock,
}

/// A free place in the queue.
pub(crate) struct Slot<'a> {
    permit: mpsc::Permit<'a, Waiting>,
    clock: &'a Clock,
}

/// The answer that a command will have.
pub(crate) struct Verdict(oneshot::Receiver<Told>);

impl Verdict {
    /// Waits for it, and settles the command's ticket.
    pub(crate) async fn answer(self) -> Answer {
        match self.0.await {
            Ok((answer, ticket)) => {
                if let Some(ticket) = ticket {
                    ticket.settle(&answer);
                }
                answer
            }
            Err(_) => Err(ended()),
        }
    }
}

impl Slot<'_> {
    /// Puts the command at the end of the queue.
    ///
    /// # Errors
    /// `Invalid` when it cannot be written as JSON.
    pub(crate) fn send(self, append: Append, ticket: Option<Box<dyn Ticket>>) -> Result<Verdict, AppendError> {
        let sealed = Sealed::new(append, (self.clock)())?;
        let (answer, verdict) = oneshot::channel();
        self.permit.send(Waiting { sealed, ticket, follows: 0, since: Instant::now(), answer });
        Ok(Verdict(verdict))
    }
}

impl Writer {
    /// Starts the writer task; it ends when the last clone of the writer is gone and the queue is empty.
    pub(crate) fn start(options: PgConnectOptions, clock: Clock, tail: Tail) -> Self {
        let (queue, commands) = mpsc::channel(QUEUE_SIZE);
        let task = Task { options, connection: None, tail, gate: Gate::default() };
        tokio::spawn(task.run(commands));
        Self { queue, clock }
    }

    /// A place at the end of the queue.
    ///
    /// # Errors
    /// `Overloaded` when there is none.
    pub(crate) fn reserve(&self) -> Result<Slot<'_>, AppendError> {
        let permit = self.queue.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => AppendError::Overloaded,
            mpsc::error::TrySendError::Closed(()) => ended(),
        })?;
        Ok(Slot { permit, clock: &self.clock })
    }
}

fn ended() -> AppendError {
    AppendError::Unavailable("the writer has ended".to_owned())
}

struct Task {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
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
            metrics::gauge!("hub_append_queue_commands").set(gauge(held.len() + commands.len()));
            // A ticket breaks only between two batches, so one look at each is enough.
            let (fallen, standing) = held.into_iter().partition::<VecDeque<_>, _>(Waiting::broken);
            held = standing;
            for waiting in fallen {
                let answer = waiting.overtaken();
                waiting.tell(answer);
            }
            let batch = take_batch(&mut held);
            if !batch.is_empty() {
                self.write(batch).await;
            }
        }
    }

    async fn write(&mut self, batch: Vec<Waiting>) {
        let answers = self.append_batch(&batch).await;
        metrics::histogram!("hub_append_batch_commands").record(gauge(batch.len()));
        let duration = metrics::histogram!("hub_append_duration_seconds");
        let mut event_count = 0;
        for (waiting, answer) in batch.into_iter().zip(answers) {
            if let Ok(accepted) = &answer
                && !accepted.replayed
            {
                event_count += u64::try_from(accepted.event_count).unwrap_or(0);
                self.tail.advance(accepted.position);
            }
            duration.record(waiting.since.elapsed().as_secs_f64());
            waiting.judge(&answer);
            waiting.tell(answer);
        }
        metrics::counter!("hub_events_appended_total").increment(event_count);
    }

    async fn append_batch(&mut self, batch: &[Waiting]) -> Vec<Answer> {
        if let Err(closed) = self.gate.pass() {
            return batch.iter().map(|_| Err(closed.clone())).collect();
        }
        match self.send(batch).await {
            Ok(answers) => answers,
            Err(Failure::Connection(reason)) => {
                let unavailable = self.lost(&reason);
                batch.iter().map(|_| Err(unavailable.clone())).collect()
            }
            // One command whose data PostgreSQL refuses must not take the others with it.
            Err(Failure::Data(reason)) if batch.len() == 1 => vec![Err(AppendError::Invalid(reason))],
            Err(Failure::Data(_)) => {
                let mut answers = Vec::with_capacity(batch.len());
                for waiting in batch {
                    let answer = if waiting.broken() { waiting.overtaken() } else { self.append_alone(waiting).await };
                    waiting.judge(&answer);
                    answers.push(answer);
                }
                answers
            }
        }
    }

    async fn append_alone(&mut self, waiting: &Waiting) -> Answer {
        self.gate.pass()?;
        match self.send(std::slice::from_ref(waiting)).await {
            Ok(mut answer) => answer.pop().expect("one command has one verdict"),
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
    async fn send(&mut self, batch: &[Waiting]) -> Result<Vec<Answer>, Failure> {
        let mut attempt = 1;
        loop {
            let sent = match self.try_send(batch).await {
                Ok(verdicts) if attempt > 1 => self.recognise(batch, verdicts).await,
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

    async fn try_send(&mut self, batch: &[Waiting]) -> Result<Vec<Answer>, sqlx::Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let connecting = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&self.options));
                self.connection.insert(connecting.await.map_err(|_| sqlx::Error::PoolTimedOut)??)
            }
        };
        // A command that is sent by itself follows nobody in its batch.
        let alone = batch.len() == 1;
        let follows = |waiting: &Waiting| if alone { 0 } else { waiting.follows };
        let columns = Columns::of(batch.iter().map(|waiting| (&waiting.sealed, follows(waiting))));
        // The server ends the statement by itself; this is for a server that no longer answers at all.
        let rows = tokio::time::timeout(STATEMENT_TIMEOUT + RETRY_DELAY, columns.query().fetch_all(connection))
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)??;
        if rows.len() != batch.len() {
            return Err(sqlx::Error::Protocol(format!("{} verdicts for {} commands", rows.len(), batch.len())));
        }
        rows.iter().map(verdict_of).collect()
    }

    /// Tells the duplicates that an earlier attempt of this batch has made from those whose command was there long before. A
    /// command without events is left a duplicate: its answer is the same either way.
    async fn recognise(&mut self, batch: &[Waiting], mut verdicts: Vec<Answer>) -> Result<Vec<Answer>, sqlx::Error> {
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
        for (waiting, verdict) in batch.iter().zip(&mut verdicts) {
            if let (Some(last), Ok(accepted)) = (waiting.sealed.append.events.last(), verdict) {
                accepted.replayed = accepted.replayed && !found.contains(&last.event_id);
            }
        }
        Ok(verdicts)
    }
}

fn gauge(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The connection that the writer uses: its statements end by themselves.
pub(crate) fn writer_options(options: &PgConnectOptions) -> PgConnectOptions {
    let timeout = format!("{}ms", STATEMENT_TIMEOUT.as_millis());
    let settings = [("statement_timeout", timeout.as_str()), ("role", ROLE)];
    options.clone().application_name("hub-writer").options(settings)
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
