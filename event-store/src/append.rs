//! The contract of an append: what one command asks of the log, and what it is told.

use serde_json::value::RawValue;
use uuid::Uuid;

use crate::event::{Metadata, NewEvent, StreamId};

/// The one SQL function that appends; see the migration for its contract.
pub(crate) const APPEND: &str = "SELECT verdict, position, sequence, event_count, tenant_id, aggregate_id, detail, outcome \
     FROM append_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, \
     $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44)";

/// The first outcome of a command.
pub(crate) const OUTCOME: &str = "SELECT fingerprint, tenant_id, aggregate_type, aggregate_id, sequence, position, event_count, outcome::text AS outcome \
     FROM command_outcomes WHERE command_id = $1";

/// The events at these positions.
pub(crate) const LAST_EVENTS: &str = "SELECT event_id FROM events WHERE position = ANY($1)";

/// At most so many events may come from one command.
pub const EVENT_COUNT_MAX: usize = 2_000;

/// What one command asks of the log; it happens whole or not at all.
#[derive(Debug, Clone)]
pub struct Append {
    /// The stream that grows.
    pub stream: StreamId,
    /// The stream's sequence before the append; `None` asks for no check.
    pub expected_sequence: Option<i64>,
    /// Who and why; its `command_id` makes the append idempotent.
    pub metadata: Metadata,
    /// Tells the same command from another that bears the same id by mistake.
    pub fingerprint: [u8; 32],
    /// The new events in their order; may be none, then only the outcome is kept.
    pub events: Vec<NewEvent>,
    /// Unique names taken and given back.
    pub claims: Vec<Claim>,
    /// Counters moved, limited or expected.
    pub counters: Vec<CounterChange>,
    /// Facts of the stream that begin or end to hold; of several with one name the last one counts.
    pub facts: Vec<FactChange>,
    /// Other streams that must not have moved since they were read.
    pub guards: Vec<Guard>,
    /// What the same command is to be told when it comes again.
    pub outcome: Option<Box<RawValue>>,
}

/// A unique name taken or given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Where the name is unique: the platform's id or a tenant's.
    pub realm_id: Uuid,
    /// What kind of name it is.
    pub scope: &'static str,
    /// The name.
    pub key: String,
    /// Taken, or given back.
    pub direction: Direction,
}

/// Whether a claim is taken or given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Take,
    Release,
}

/// A change of, or a condition on, one of a tenant's counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterChange {
    /// The tenant that owns the counter.
    pub tenant_id: Uuid,
    /// Its name.
    pub name: &'static str,
    /// Added to its value.
    pub delta: i64,
    /// The value may not rise above this.
    pub maximum: Option<i64>,
    /// The value must be this before.
    pub expected: Option<i64>,
}

/// A row that is set or removed in the transaction of the append, for those who must not be behind the log.
#[derive(Debug, Clone)]
pub struct FactChange {
    /// The name of the fact within its stream.
    pub part: String,
    /// What holds from now on; nothing when `None`.
    pub fact: Option<Box<RawValue>>,
}

/// A stream that was read and must still be where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The stream.
    pub stream: StreamId,
    /// Its sequence when it was read.
    pub sequence: i64,
}

/// Where an accepted command stands in the log.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The tenant of the stream.
    pub tenant_id: Uuid,
    /// The stream's aggregate id; for a repeated command the one of the first time.
    pub aggregate_id: Uuid,
    /// Position of its last event, or the head of the log if it had none.
    pub position: i64,
    /// The stream's sequence after it.
    pub sequence: i64,
    /// How many events it appended.
    pub event_count: i32,
    /// True when the command had been accepted before and nothing was appended now.
    pub replayed: bool,
    /// What was kept for the command's return.
    pub outcome: Option<Box<RawValue>>,
}

/// Why an append was refused by the log itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the command id was used before for another command")]
    CommandIdReused,
    #[error("the stream is at sequence {actual}")]
    SequenceConflict { actual: i64 },
    #[error("`{key}` is taken in {scope}")]
    NameTaken { scope: String, key: String },
    #[error("the counter {counter} is at {value}, its maximum")]
    CounterAtMaximum { counter: String, value: i64 },
    #[error("the counter {counter} has moved to {value}")]
    CounterMoved { counter: String, value: i64 },
    #[error("a {aggregate_type} that the command depends on has moved")]
    GuardMoved { aggregate_type: String },
}

/// Why an append has no verdict.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Nothing was sent; the queue is full.
    #[error("too many commands are waiting")]
    Overloaded,
    /// It is not known whether the command was appended; asking again with the same command id tells.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// PostgreSQL refuses the data itself.
    #[error("the events cannot be stored: {0}")]
    Invalid(String),
}
