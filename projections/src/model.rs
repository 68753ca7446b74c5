//! What a read model is: a row type, its key, and a pure fold from events to rows.
//!
//! A fold has no clock, no IO and no other row, so a table built anew equals the one that grew event by event.

use std::{fmt, hash::Hash, time::Duration};

use chrono::{DateTime, SubsecRound, Utc};
use hub_event_store::event::{DecodeError, Recorded};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::personal::PersonalField;

/// A read model; its author writes no SQL beyond the table's migration.
///
/// The table's columns are the row's fields, of types that PostgreSQL reads from the field's JSON: `uuid`, `text` (also for enums),
/// `bigint`, `boolean`, `timestamptz`, `date`, and `jsonb` for everything nested. Generated columns may be added.
pub trait ReadModel: Send + Sync + 'static {
    /// One row; also the body of answers. Times that come from a payload go through [`to_micros`].
    type Row: Serialize + DeserializeOwned + JsonSchema + Clone + PartialEq + fmt::Debug + Send + Sync + Unpin + 'static;
    /// A struct whose fields are the key columns.
    type Key: Serialize + DeserializeOwned + Clone + Ord + Hash + fmt::Debug + Send + Sync + 'static;

    /// The projection's name, as checkpoints and operators know it.
    const NAME: &'static str;
    /// The table that holds the rows.
    const TABLE: &'static str;
    /// The key columns in the order of the table's primary key.
    const KEY: &'static [&'static str];
    /// Raised when the fold or the row changes; the table is then built anew beside the old one.
    const VERSION: i32 = 1;
    /// What happens to an event that cannot be taken in.
    const ON_POISON: OnPoison = OnPoison::Park;
    /// Whether no event has to do with a row that an earlier event made; then rows are written without being read, and need not be kept
    /// in memory.
    const APPENDS_ONLY: bool = false;
    /// After an event the live table waits so long for more, to write many at once; for tables that are dear to write, or written at every
    /// event, and that nobody looks at in the next moment.
    const LINGER: Duration = Duration::ZERO;

    /// Whether events of this type change any row; all others are passed over.
    fn concerns(event_type: &str) -> bool;

    /// The row's own key.
    fn key_of(row: &Self::Row) -> Self::Key;

    /// The keys of the rows that the event changes.
    ///
    /// # Errors
    /// When the event cannot be read.
    fn keys(event: &Recorded) -> Result<Vec<Self::Key>, FoldError>;

    /// The personal texts of a row, which are sealed in its table and opened for an answer.
    fn personal(_row: &mut Self::Row) -> Vec<PersonalField<'_>> {
        Vec::new()
    }

    /// The row under `key` after the event; `None` deletes it.
    ///
    /// # Errors
    /// When the event cannot be read, or does not fit the row.
    fn fold(row: Option<Self::Row>, key: &Self::Key, event: &Recorded) -> Result<Option<Self::Row>, FoldError>;
}

/// What a projection does with an event that it cannot take in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnPoison {
    /// The event and all later ones of its stream are kept aside and shown; the others go on.
    Park,
    /// The projection stands still until somebody has looked at it.
    Stop,
}

/// Why an event cannot be folded.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("`{event_type}` came for a row that does not exist")]
    RowMissing { event_type: String },
    #[error("`{event_type}` came for a row that exists already")]
    RowExists { event_type: String },
    #[error("{0}")]
    OutOfRange(String),
}

impl FoldError {
    /// The event needs a row that is not there.
    #[must_use]
    pub fn row_missing(event: &Recorded) -> Self {
        Self::RowMissing { event_type: event.event_type.clone() }
    }

    /// The event makes a row that is there already.
    #[must_use]
    pub fn row_exists(event: &Recorded) -> Self {
        Self::RowExists { event_type: event.event_type.clone() }
    }
}

/// The key of every table that has one row an aggregate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AggregateKey {
    /// The tenant that owns the aggregate.
    pub tenant_id: Uuid,
    /// The aggregate's id.
    pub id: Uuid,
}

impl AggregateKey {
    /// The columns of the key.
    pub const COLUMNS: &'static [&'static str] = &["tenant_id", "id"];

    /// The key of the aggregate that the event belongs to.
    #[must_use]
    pub fn of(event: &Recorded) -> Self {
        Self { tenant_id: event.tenant_id, id: event.aggregate_id }
    }
}

/// A time as PostgreSQL keeps it, so that a row is the same in memory and in its table.
#[must_use]
pub fn to_micros(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(6)
}

/// Whether events of this type belong to the aggregate.
#[must_use]
pub fn of_aggregate(event_type: &str, aggregate_type: &str) -> bool {
    event_type.strip_prefix(aggregate_type).is_some_and(|rest| rest.starts_with('.'))
}
