//! Group commit: one task gathers the commands that wait and appends them as one batch with one statement.
//!
//! There is no timer: a batch is whatever waits when the last one is done. Two commands that touch the same stream, command id, name
//! or counter never share a batch, so the SQL function can check each by itself; the later one goes into the next batch.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::{
    Connection, PgConnection, Row,
    postgres::{PgConnectOptions, PgRow},
};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::{
    append::{APPEND, Accepted, Append, AppendError, Direction, LAST_EVENTS, Rejection},
    clock::Clock,
    event::{Leaf, StreamId, leaf_hash},
    gate::Gate,
    tail::Tail,
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
            while held.len() < BATCH_SIZE_MAX {
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
        let found: Vec<Uuid> =
            tokio::time::timeout(STATEMENT_TIMEOUT + RETRY_DELAY, query).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
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

/// Takes from the front of the queue what can be checked independently; what must wait keeps its order.
fn take_batch(held: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let mut batch = Vec::with_capacity(held.len());
    let (mut written, mut read) = (HashSet::new(), HashSet::new());
    let mut later = VecDeque::new();
    while let Some(waiting) = held.pop_front() {
        let writes = Thing::written_by(&waiting.append);
        let reads = Thing::read_by(&waiting.append);
        let free = batch.len() < BATCH_SIZE_MAX
            && writes.iter().all(|thing| !written.contains(thing) && !read.contains(thing))
            && reads.iter().all(|thing| !written.contains(thing));
        // What waits also blocks: nobody overtakes on the same stream.
        written.extend(writes);
        read.extend(reads);
        if free {
            batch.push(waiting);
        } else {
            later.push_back(waiting);
        }
    }
    *held = later;
    batch
}

/// What commands can stand in each other's way about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Thing {
    Stream(Uuid, &'static str, Uuid),
    Command(Uuid),
    Name(Uuid, &'static str, String),
    Counter(Uuid, &'static str),
}

impl Thing {
    fn written_by(append: &Append) -> Vec<Self> {
        [Self::stream(&append.stream), Self::Command(append.metadata.command_id)]
            .into_iter()
            .chain(append.claims.iter().map(|claim| Self::Name(claim.realm_id, claim.scope, claim.key.clone())))
            .chain(append.counters.iter().map(|counter| Self::Counter(counter.tenant_id, counter.name)))
            .collect()
    }

    fn read_by(append: &Append) -> Vec<Self> {
        append.guards.iter().map(|guard| Self::stream(&guard.stream)).collect()
    }

    fn stream(stream: &StreamId) -> Self {
        Self::Stream(stream.tenant_id, stream.aggregate_type, stream.aggregate_id)
    }
}

/// The batch as the arrays that the SQL function takes.
#[derive(Default)]
struct Columns<'a> {
    id: Vec<Uuid>,
    fingerprint: Vec<&'a [u8]>,
    tenant: Vec<Uuid>,
    kind: Vec<&'a str>,
    aggregate: Vec<Uuid>,
    expected: Vec<Option<i64>>,
    count: Vec<i32>,
    outcome: Vec<Option<&'a str>>,
    at: Vec<DateTime<Utc>>,
    event_command: Vec<i32>,
    event_index: Vec<i32>,
    event_id: Vec<Uuid>,
    event_type: Vec<&'a str>,
    event_version: Vec<i32>,
    event_payload: Vec<&'a str>,
    event_metadata: Vec<String>,
    event_at: Vec<DateTime<Utc>>,
    event_hash: Vec<Vec<u8>>,
    claim_command: Vec<i32>,
    claim_realm: Vec<Uuid>,
    claim_scope: Vec<&'a str>,
    claim_key: Vec<&'a str>,
    claim_take: Vec<bool>,
    counter_command: Vec<i32>,
    counter_tenant: Vec<Uuid>,
    counter_name: Vec<&'a str>,
    counter_delta: Vec<i64>,
    counter_maximum: Vec<Option<i64>>,
    counter_expected: Vec<Option<i64>>,
    guard_command: Vec<i32>,
    guard_tenant: Vec<Uuid>,
    guard_type: Vec<&'a str>,
    guard_aggregate: Vec<Uuid>,
    guard_sequence: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn of(appends: &'a [Append], now: DateTime<Utc>) -> Self {
        let mut columns = Self::default();
        for (place, append) in (1..).zip(appends) {
            columns.push(place, append, now);
        }
        columns
    }

    fn push(&mut self, place: i32, append: &'a Append, now: DateTime<Utc>) {
        self.id.push(append.metadata.command_id);
        self.fingerprint.push(&append.fingerprint);
        self.tenant.push(append.stream.tenant_id);
        self.kind.push(append.stream.aggregate_type);
        self.aggregate.push(append.stream.aggregate_id);
        self.expected.push(append.expected_sequence);
        self.count.push(i32::try_from(append.events.len()).expect("a command's events are bounded"));
        self.outcome.push(append.outcome.as_deref().map(RawValue::get));
        self.at.push(now);
        self.push_events(place, append, now);
        for claim in &append.claims {
            self.claim_command.push(place);
            self.claim_realm.push(claim.realm_id);
            self.claim_scope.push(claim.scope);
            self.claim_key.push(&claim.key);
            self.claim_take.push(claim.direction == Direction::Take);
        }
        for counter in &append.counters {
            self.counter_command.push(place);
            self.counter_tenant.push(counter.tenant_id);
            self.counter_name.push(counter.name);
            self.counter_delta.push(counter.delta);
            self.counter_maximum.push(counter.maximum);
            self.counter_expected.push(counter.expected);
        }
        for guard in &append.guards {
            self.guard_command.push(place);
            self.guard_tenant.push(guard.stream.tenant_id);
            self.guard_type.push(guard.stream.aggregate_type);
            self.guard_aggregate.push(guard.stream.aggregate_id);
            self.guard_sequence.push(guard.sequence);
        }
    }

    fn push_events(&mut self, place: i32, append: &'a Append, now: DateTime<Utc>) {
        if append.events.is_empty() {
            return;
        }
        let metadata = serde_json::to_string(&append.metadata).expect("metadata is plain data");
        let expected = append.expected_sequence.expect("an append with events names the sequence it expects");
        for (index, event) in (1..).zip(&append.events) {
            let hash = leaf_hash(&Leaf {
                event_id: event.event_id,
                tenant_id: append.stream.tenant_id,
                aggregate_type: append.stream.aggregate_type,
                aggregate_id: append.stream.aggregate_id,
                sequence: expected + i64::from(index),
                event_type: &event.event_type,
                event_version: event.event_version,
                occurred_at: now,
                payload: event.payload.get(),
                metadata: &metadata,
            });
            self.event_command.push(place);
            self.event_index.push(index);
            self.event_id.push(event.event_id);
            self.event_type.push(&event.event_type);
            self.event_version.push(event.event_version);
            self.event_payload.push(event.payload.get());
            self.event_metadata.push(metadata.clone());
            self.event_at.push(now);
            self.event_hash.push(hash.to_vec());
        }
    }

    fn query(&self) -> sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments> {
        sqlx::query(APPEND)
            .bind(&self.id)
            .bind(&self.fingerprint)
            .bind(&self.tenant)
            .bind(&self.kind)
            .bind(&self.aggregate)
            .bind(&self.expected)
            .bind(&self.count)
            .bind(&self.outcome)
            .bind(&self.at)
            .bind(&self.event_command)
            .bind(&self.event_index)
            .bind(&self.event_id)
            .bind(&self.event_type)
            .bind(&self.event_version)
            .bind(&self.event_payload)
            .bind(&self.event_metadata)
            .bind(&self.event_at)
            .bind(&self.event_hash)
            .bind(&self.claim_command)
            .bind(&self.claim_realm)
            .bind(&self.claim_scope)
            .bind(&self.claim_key)
            .bind(&self.claim_take)
            .bind(&self.counter_command)
            .bind(&self.counter_tenant)
            .bind(&self.counter_name)
            .bind(&self.counter_delta)
            .bind(&self.counter_maximum)
            .bind(&self.counter_expected)
            .bind(&self.guard_command)
            .bind(&self.guard_tenant)
            .bind(&self.guard_type)
            .bind(&self.guard_aggregate)
            .bind(&self.guard_sequence)
    }
}

fn verdict_of(row: &PgRow) -> Result<Answer, sqlx::Error> {
    let verdict: i16 = row.try_get("verdict")?;
    let position: i64 = row.try_get("position")?;
    let sequence: i64 = row.try_get("sequence")?;
    let detail = || row.try_get::<Option<String>, _>("detail").map(Option::unwrap_or_default);
    let rejection = match verdict {
        0 | 1 => {
            return Ok(Ok(Accepted {
                tenant_id: row.try_get("tenant_id")?,
                aggregate_id: row.try_get("aggregate_id")?,
                position,
                sequence,
                event_count: row.try_get("event_count")?,
                replayed: verdict == 1,
                outcome: optional_json(row, "outcome")?,
            }));
        }
        2 => Rejection::CommandIdReused,
        3 => Rejection::SequenceConflict { actual: sequence },
        4 => Rejection::NameTaken {
            scope: detail()?,
            key: row.try_get::<Option<String>, _>("outcome")?.unwrap_or_default(),
        },
        5 => Rejection::CounterAtMaximum { counter: detail()?, value: position },
        6 => Rejection::CounterMoved { counter: detail()?, value: position },
        7 => Rejection::GuardMoved { aggregate_type: detail()? },
        other => return Err(sqlx::Error::Protocol(format!("unknown verdict {other}"))),
    };
    Ok(Err(rejection.into()))
}

pub(crate) fn optional_json(row: &PgRow, column: &str) -> Result<Option<Box<RawValue>>, sqlx::Error> {
    let text: Option<String> = row.try_get(column)?;
    text.map(RawValue::from_string)
        .transpose()
        .map_err(|e| sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(e) })
}
