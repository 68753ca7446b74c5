//! The store as one handle: append, look up what a command led to, read the log, follow its end.

use std::{fmt, sync::Arc};

use sqlx::{PgPool, Row};
use uuid::Uuid;

use crate::{
    append::{Accepted, Append, AppendError, EVENT_COUNT_MAX, OUTCOME, Rejection},
    clock::Clock,
    event::optional_json,
    gate::Gate,
    log::{Log, fetch},
    partition::names_fit,
    quiet::Quiet,
    tail::Tail,
    upcast::Upcasters,
    writer::{Slot, Writer, writer_options},
};

/// The event store; cheap to clone, one per process.
#[derive(Clone)]
pub struct EventStore {
    inner: Arc<Inner>,
}

struct Inner {
    pool: PgPool,
    log: Log,
    writer: Writer,
    tail: Tail,
    upcasters: Upcasters,
    clock: Clock,
    reading: Gate,
    quiet: Quiet,
}

impl EventStore {
    /// Starts the store on `pool`; the writer has a connection of its own with the pool's options. Needs a tokio runtime.
    #[must_use]
    pub fn start(pool: PgPool, tail: Tail, upcasters: Upcasters, clock: Clock) -> Self {
        let writer = Writer::start(writer_options(&pool.connect_options()), clock.clone(), tail.clone());
        let log = Log::new(pool.clone());
        Self {
            inner: Arc::new(Inner {
                pool,
                log,
                writer,
                tail,
                upcasters,
                clock,
                reading: Gate::default(),
                quiet: Quiet::default(),
            }),
        }
    }

    /// Appends one command's events together with all its conditions and its outcome, or nothing.
    ///
    /// # Errors
    /// A `Rejection` when a condition does not hold; otherwise the store could not say what happened.
    pub async fn append(&self, append: Append) -> Result<Accepted, AppendError> {
        checked(&append)?;
        self.inner.writer.reserve()?.send(append, None)?.answer().await
    }

    /// A place in the queue of the writer.
    ///
    /// # Errors
    /// `Overloaded` when there is none.
    pub(crate) fn reserve(&self) -> Result<Slot<'_>, AppendError> {
        self.inner.writer.reserve()
    }

    /// Where those who depend on a stream ask it to rest.
    pub(crate) fn quiet(&self) -> &Quiet {
        &self.inner.quiet
    }

    /// What the command led to when it first came, if it has.
    ///
    /// # Errors
    /// `CommandIdReused` when the id belongs to a command with another fingerprint.
    pub async fn outcome(&self, command_id: Uuid, fingerprint: &[u8; 32]) -> Result<Option<Accepted>, AppendError> {
        let query = sqlx::query(OUTCOME).bind(command_id);
        let rows = self.read(fetch(&self.inner.pool, query)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let stored: Vec<u8> = row.try_get("fingerprint").map_err(unavailable)?;
        if stored != fingerprint {
            return Err(Rejection::CommandIdReused.into());
        }
        let accepted = || -> Result<Accepted, sqlx::Error> {
            Ok(Accepted {
                tenant_id: row.try_get("tenant_id")?,
                aggregate_id: row.try_get("aggregate_id")?,
                position: row.try_get("position")?,
                sequence: row.try_get("sequence")?,
                event_count: row.try_get("event_count")?,
                replayed: true,
                outcome: optional_json(row, "outcome")?,
            })
        };
        accepted().map(Some).map_err(unavailable)
    }

    /// Reads for a command; at once `Unavailable` when another has just found that PostgreSQL does not answer.
    pub(crate) async fn read<T>(
        &self,
        reading: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, AppendError> {
        self.inner.reading.pass()?;
        reading.await.map_err(|error| {
            // A pool whose connections are all at work is no sign that PostgreSQL is gone, but one that could have opened another is.
            let gone = match &error {
                sqlx::Error::Io(_) => true,
                sqlx::Error::PoolTimedOut => self.inner.pool.size() < self.inner.pool.options().get_max_connections(),
                _ => false,
            };
            if gone {
                self.inner.reading.close();
            }
            unavailable(error)
        })
    }

    /// The log, for reading.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.inner.log
    }

    /// The end of the log as this process knows it.
    #[must_use]
    pub fn tail(&self) -> &Tail {
        &self.inner.tail
    }

    /// The upcasters of all contexts.
    #[must_use]
    pub fn upcasters(&self) -> &Upcasters {
        &self.inner.upcasters
    }

    /// The present time.
    #[must_use]
    pub fn now(&self) -> chrono::DateTime<chrono::Utc> {
        (self.inner.clock)()
    }

    /// The pool that the store reads with.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.inner.pool
    }
}

/// Whether the writer can take it.
pub(crate) fn checked(append: &Append) -> Result<(), AppendError> {
    if append.events.len() > EVENT_COUNT_MAX {
        return Err(AppendError::Invalid(format!("a command appends at most {EVENT_COUNT_MAX} events")));
    }
    if !append.events.is_empty() && append.expected_sequence.is_none() {
        return Err(AppendError::Invalid("a command with events names the sequence it expects".to_owned()));
    }
    let aggregate_type = append.stream.aggregate_type;
    if let Some(event) = append.events.iter().find(|event| !names_fit(aggregate_type, &event.event_type)) {
        let named = &event.event_type;
        return Err(AppendError::Invalid(format!("`{named}` of `{aggregate_type}` cannot be part of a subject")));
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function of map_err")]
pub(crate) fn unavailable(error: sqlx::Error) -> AppendError {
    AppendError::Unavailable(error.to_string())
}

impl fmt::Debug for EventStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStore").field("tail", &self.inner.tail).finish_non_exhaustive()
    }
}
