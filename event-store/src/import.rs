//! Bulk append for importers: batches of many streams' events, each whole or not at all, resumable by a cursor that moves with them.
//!
//! An importer opens an `Import` by an id of its own, reads where its cursor stands (the number of events that it has appended so
//! far), and goes on from there. Because the cursor moves in the transaction of the batch, a repetition after a lost answer or a kill
//! neither loses an event nor appends one twice. Every stream counts as one command of the import, whose id is derived from both.
//! Names and counters are no part of an import; a unique name that a stream should hold must be claimed by a command.

mod columns;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use sqlx::{Connection, FromRow, PgConnection, PgPool, postgres::PgConnectOptions};
use uuid::Uuid;

use crate::event::{Leaf, decode, leaf_hash};

use self::columns::Columns;

/// At most so many events are in one batch.
pub const BATCH_SIZE_MAX: usize = 10_000;

/// A batch whose connection broke is sent again so often.
const ATTEMPT_COUNT_MAX: u32 = 3;

/// Between two attempts.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// One batch, its wait for the writer lock included, may take so long.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);

/// Connecting may take so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes an import known; the first one to do so says what it is and when it began.
pub(crate) const REGISTER: &str = "INSERT INTO imports (import_id, source, event_count, started_at, updated_at) \
     VALUES ($1, $2, 0, $3, $3) ON CONFLICT (import_id) DO NOTHING";

/// An import as it stands.
pub(crate) const STATE: &str = "SELECT source, event_count, started_at FROM imports WHERE import_id = $1";

/// The one SQL function that appends a batch of an import; see the migration for its contract.
pub(crate) const IMPORT: &str = "SELECT verdict, position, place, actual \
     FROM import_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, \
     $24, $25, $26, $27, $28)";

/// What an import appends: an event whose place in its stream is given.
#[derive(Debug, Clone)]
pub struct ImportEvent {
    /// The tenant that owns the stream.
    pub tenant_id: Uuid,
    /// The aggregate's type: a lower case letter, then lower case letters, digits and underscores.
    pub aggregate_type: String,
    /// The aggregate's id.
    pub aggregate_id: Uuid,
    /// Place in its stream, from 1.
    pub sequence: i64,
    /// `<aggregate type>.<event>`.
    pub event_type: String,
    /// The version of the payload's shape, from 1.
    pub event_version: i32,
    /// When it happened, to the microsecond.
    pub occurred_at: DateTime<Utc>,
    /// The payload, byte for byte as it will be stored.
    pub payload: Box<RawValue>,
    /// What else was known of it where it comes from; kept in the metadata as `source`.
    pub source: Option<Box<RawValue>>,
    /// What postgres-es calls the stream, if it comes from there.
    pub origin: Option<Origin>,
}

impl ImportEvent {
    /// The event as its aggregate's own type.
    ///
    /// # Errors
    /// When the payload does not fit the type.
    pub fn decode<E: DeserializeOwned>(&self) -> Result<E, serde_json::Error> {
        decode(&self.aggregate_type, &self.event_type, &self.payload)
    }
}

/// A stream's name in a table of postgres-es.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its aggregate type there.
    pub aggregate_type: String,
    /// Its aggregate id there.
    pub aggregate_id: String,
}

/// What identifies an import; everything that it writes is derived from this and the events alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The import's id, which names it for good.
    pub import_id: Uuid,
    /// Who it is in the metadata of the events, such as `import:postgres-es`.
    pub actor: String,
}

/// The metadata of an imported event, in the order in which it is written.
#[derive(Serialize)]
struct Written<'a> {
    actor: &'a str,
    command_id: Uuid,
    correlation_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a RawValue>,
}

/// An event with everything that is derived for it, as it will stand in the log.
#[derive(Debug)]
pub struct Derived {
    /// UUIDv7 of the time at which it happened; the rest is derived from the import, the stream and the sequence.
    pub event_id: Uuid,
    /// The metadata, byte for byte.
    pub metadata: String,
    /// The leaf hash.
    pub leaf_hash: [u8; 32],
}

impl Identity {
    /// The command that a whole stream of this import counts as.
    #[must_use]
    pub fn command_id(&self, event: &ImportEvent) -> Uuid {
        let name = format!("{}/{}/{}", event.tenant_id, event.aggregate_type, event.aggregate_id);
        Uuid::new_v5(&self.import_id, name.as_bytes())
    }

    /// The event's id, metadata and leaf hash; `command_id` is that of its stream.
    ///
    /// # Panics
    /// Never: metadata is plain data.
    #[must_use]
    pub fn derive(&self, event: &ImportEvent, command_id: Uuid) -> Derived {
        let metadata =
            Written { actor: &self.actor, command_id, correlation_id: self.import_id, source: event.source.as_deref() };
        let metadata = serde_json::to_string(&metadata).expect("metadata is plain data");
        let millis = u64::try_from(event.occurred_at.timestamp_millis()).unwrap_or(0);
        let event_id =
            uuid::Builder::from_unix_timestamp_millis(millis, &place_bytes(command_id, event.sequence)).into_uuid();
        let leaf_hash = leaf_hash(&Leaf {
            event_id,
            tenant_id: event.tenant_id,
            aggregate_type: &event.aggregate_type,
            aggregate_id: event.aggregate_id,
            sequence: event.sequence,
            event_type: &event.event_type,
            event_version: event.event_version,
            occurred_at: event.occurred_at,
            payload: event.payload.get(),
            metadata: &metadata,
        });
        Derived { event_id, metadata, leaf_hash }
    }

    /// Whether the event with this id is the one that this import appended at `sequence` of the stream of `command_id`.
    #[must_use]
    pub fn made(&self, event_id: Uuid, command_id: Uuid, sequence: i64) -> bool {
        let expected = uuid::Builder::from_unix_timestamp_millis(0, &place_bytes(command_id, sequence)).into_uuid();
        event_id.as_bytes()[6..] == expected.as_bytes()[6..]
    }
}

/// What stands for chance in the id of an imported event.
fn place_bytes(command_id: Uuid, sequence: i64) -> [u8; 10] {
    let place = Uuid::new_v5(&command_id, &sequence.to_be_bytes());
    *place.as_bytes().first_chunk().expect("a UUID has 16 bytes")
}

/// Whether a text can name an aggregate type or an event: a lower case letter, then lower case letters, digits and underscores.
#[must_use]
pub fn name_is_plain(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Why a batch was not appended, or why nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Nothing was appended: a stream of the batch is not where the batch begins.
    #[error(
        "{aggregate_type} {aggregate_id} of tenant {tenant_id} is at sequence {actual}, the import goes on after {expected}"
    )]
    Conflict { tenant_id: Uuid, aggregate_type: String, aggregate_id: Uuid, expected: i64, actual: i64 },
    /// Nothing was appended: another process appends for the same import.
    #[error("the import has appended {actual} events, not {expected}: is it running twice?")]
    CursorMoved { expected: i64, actual: i64 },
    /// The import is known, but as something else.
    #[error("the import was begun as `{known}`, this is `{given}`")]
    OtherSource { known: String, given: String },
    /// Nothing was appended: the batch or PostgreSQL's opinion of it is wrong.
    #[error("the batch cannot be appended: {0}")]
    Invalid(String),
    /// It is not known whether the batch was appended; opening the import again tells.
    #[error("the store is not available: {0}")]
    Unavailable(#[from] sqlx::Error),
}

#[derive(Debug, FromRow)]
struct State {
    source: String,
    event_count: i64,
    started_at: DateTime<Utc>,
}

#[derive(Debug, FromRow)]
struct Verdict {
    verdict: i16,
    position: i64,
    place: i64,
    actual: i64,
}

/// An import that goes on; it has a connection of its own.
#[derive(Debug)]
pub struct Import {
    identity: Identity,
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    event_count: i64,
    started_at: DateTime<Utc>,
}

impl Import {
    /// What is known of an import: its source, how many events it has appended, and when it began.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn look_up(pool: &PgPool, import_id: Uuid) -> Result<Option<(String, i64, DateTime<Utc>)>, sqlx::Error> {
        let state: Option<State> = sqlx::query_as(STATE).bind(import_id).fetch_optional(pool).await?;
        Ok(state.map(|state| (state.source, state.event_count, state.started_at)))
    }

    /// Begins the import of `source`, or goes on with it where it stands; `now` is when it begins.
    ///
    /// # Errors
    /// `OtherSource` when the id was used for another source, `Unavailable` when PostgreSQL does not answer.
    pub async fn open(
        pool: &PgPool,
        identity: Identity,
        source: &str,
        now: DateTime<Utc>,
    ) -> Result<Self, ImportError> {
        sqlx::query(REGISTER).bind(identity.import_id).bind(source).bind(now).execute(pool).await?;
        let state: State = sqlx::query_as(STATE).bind(identity.import_id).fetch_one(pool).await?;
        if state.source != source {
            return Err(ImportError::OtherSource { known: state.source, given: source.to_owned() });
        }
        let options = pool.connect_options().as_ref().clone();
        let timeout = format!("{}ms", STATEMENT_TIMEOUT.as_millis());
        let options = options.application_name("hub-import").options([("statement_timeout", timeout.as_str())]);
        let State { event_count, started_at, .. } = state;
        Ok(Self { identity, options, connection: None, event_count, started_at })
    }

    /// How many events the import has appended, over all its runs.
    #[must_use]
    pub const fn event_count(&self) -> i64 {
        self.event_count
    }

    /// When it began, which is the same over all its runs.
    #[must_use]
    pub const fn started_at(&self) -> DateTime<Utc> {
        self.started_at
    }

    /// Appends the events in the order given, and moves the cursor by their number; answers the position of the last one.
    ///
    /// # Errors
    /// See [`ImportError`]; unless it is `Unavailable`, nothing was appended.
    pub async fn append(&mut self, events: &[ImportEvent], now: DateTime<Utc>) -> Result<i64, ImportError> {
        if events.is_empty() || events.len() > BATCH_SIZE_MAX {
            return Err(ImportError::Invalid(format!("a batch has from 1 to {BATCH_SIZE_MAX} events")));
        }
        let columns = Columns::of(&self.identity, events)?;
        let count = i64::try_from(events.len()).expect("a batch is bounded");
        let mut attempt = 1;
        let verdict = loop {
            match self.send(&columns, now).await {
                Ok(verdict) => break verdict,
                Err(error) if refused(&error) => return Err(ImportError::Invalid(error.to_string())),
                Err(error) if attempt >= ATTEMPT_COUNT_MAX => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(%error, "a batch of an import got no answer, it is sent again");
                    self.connection = None;
                    attempt += 1;
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
        };
        let expected = self.event_count;
        match verdict.verdict {
            0 => {
                self.event_count += count;
                Ok(verdict.position)
            }
            1 => {
                let place = usize::try_from(verdict.place - 1).expect("places begin at 1");
                Err(columns.conflict(place, verdict.actual))
            }
            // The attempt before this one was committed, only its answer was lost.
            2 if attempt > 1 && verdict.actual == expected + count => {
                self.event_count += count;
                Ok(0)
            }
            _ => Err(ImportError::CursorMoved { expected, actual: verdict.actual }),
        }
    }

    /// Ends the connection in order; what was appended stays either way.
    ///
    /// # Errors
    /// When PostgreSQL is gone.
    pub async fn close(self) -> Result<(), sqlx::Error> {
        match self.connection {
            Some(connection) => connection.close().await,
            None => Ok(()),
        }
    }

    async fn send(&mut self, columns: &Columns<'_>, now: DateTime<Utc>) -> Result<Verdict, sqlx::Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let connecting = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&self.options));
                self.connection.insert(connecting.await.map_err(|_| sqlx::Error::PoolTimedOut)??)
            }
        };
        let query = sqlx::query_as(IMPORT).bind(self.identity.import_id).bind(self.event_count).bind(now);
        // The server ends the statement by itself; this is for a server that no longer answers at all.
        tokio::time::timeout(STATEMENT_TIMEOUT + RETRY_DELAY, columns.bind(query).fetch_one(connection))
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?
    }
}

/// Whether PostgreSQL has answered that it will not do it: everything but a server that stops, a lack of resources or a time-out.
fn refused(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| !["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)))
}
