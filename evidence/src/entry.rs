//! The leaves of a tenant's log: the exact bytes of an event, and the line from which they can be made again.
//!
//! What a leaf covers is written at `Entry::leaf_bytes`, and was written before this second implementation of it. The line is one JSON
//! object whose members are exactly what the leaf covers, and the event's place in the tenant's log. Payload and metadata, which are
//! JSON themselves, stand in it as strings: as values they would lose the white space around them, could contain newlines, and
//! most JSON libraries could not give back their bytes.

mod exact;
mod timestamp;

use std::{borrow::Cow, io};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::timestamp::{ParseTimestampError, Timestamp};
use crate::tree::{Hash, Sha256};

/// What the bytes of a leaf begin with.
pub const LEAF_LABEL: &str = "hub.event.v1";
/// Longest line, with its newline.
pub const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An event of a tenant's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry<'a> {
    /// Place in the tenant's log, from 1. The leaf does not cover it: it is where the leaf stands.
    pub tenant_position: u64,
    /// The event's own id.
    pub event_id: Uuid,
    /// The tenant whose event it is.
    pub tenant_id: Uuid,
    /// What it happened to, such as `subscription`.
    #[serde(borrow)]
    pub aggregate_type: Cow<'a, str>,
    /// Which of these it happened to.
    pub aggregate_id: Uuid,
    /// Place among what happened to it, from 1.
    pub sequence: i64,
    /// What happened, such as `subscription.upgraded`.
    #[serde(borrow)]
    pub event_type: Cow<'a, str>,
    /// Version of the payload's shape, from 1.
    pub event_version: i32,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// The payload: JSON text, byte for byte as stored.
    #[serde(borrow)]
    pub payload: Cow<'a, str>,
    /// Who did it and why: JSON text, byte for byte as stored.
    #[serde(borrow)]
    pub metadata: Cow<'a, str>,
}

/// Why a line is no entry, or an entry cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The line is longer than `LINE_BYTES_MAX`.
    #[error("the entry is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// It is not the JSON object that it should be.
    #[error("the entry is malformed: {0}")]
    Format(#[from] serde_json::Error),
    /// Positions begin with 1.
    #[error("the entry has no position")]
    Position,
    /// The output takes no more.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

impl<'a> Entry<'a> {
    /// Reads a line, with or without its newline. What has no escapes in it is borrowed from the line.
    ///
    /// # Errors
    /// When it is too long, no JSON, has a member that should not be there, lacks one, or has one twice.
    pub fn parse(line: &'a str) -> Result<Self, EntryError> {
        if line.len() > LINE_BYTES_MAX {
            return Err(EntryError::TooLong);
        }
        let entry: Self = serde_json::from_str(line)?;
        if entry.tenant_position == 0 {
            return Err(EntryError::Position);
        }
        Ok(entry)
    }

    /// Writes the line with its newline.
    ///
    /// # Errors
    /// When there is no position, the line is too long to be read again, or the output takes no more.
    pub fn write(&self, mut output: impl io::Write) -> Result<(), EntryError> {
        output.write_all(self.to_line()?.as_bytes())?;
        Ok(())
    }

    /// The line with its newline.
    ///
    /// # Errors
    /// When there is no position or the line is too long to be read again.
    pub fn to_line(&self) -> Result<String, EntryError> {
        self.to_line_within(LINE_BYTES_MAX)
    }

    fn to_line_within(&self, bytes_max: usize) -> Result<String, EntryError> {
        if self.tenant_position == 0 {
            return Err(EntryError::Position);
        }
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        if line.len() > bytes_max { Err(EntryError::TooLong) } else { Ok(line) }
    }

    /// The leaf's index in the tree of the tenant's log, from 0; nothing without a position.
    #[must_use]
    pub fn leaf_index(&self) -> Option<u64> {
        self.tenant_position.checked_sub(1)
    }

    /// The bytes of the leaf: `hub.event.v1`, event id, tenant id (16 bytes each), aggregate type, aggregate id (16), sequence (8), event
    /// type, event version (4), time in microseconds since 1970 (8), payload, metadata.
    ///
    /// Numbers are big-endian and signed; texts are UTF-8 with their length in bytes before them (4).
    ///
    /// # Panics
    /// When a text has 4 GiB, which no line has.
    #[must_use]
    pub fn leaf_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.leaf_parts(|part| bytes.extend_from_slice(part));
        bytes
    }

    /// The hash of the leaf: SHA-256 of a byte 0 and `leaf_bytes`, which are not put together for it.
    ///
    /// # Panics
    /// When a text has 4 GiB, which no line has.
    #[must_use]
    pub fn leaf_hash(&self) -> Hash {
        let mut hash = Sha256::of_leaf();
        self.leaf_parts(|part| hash.update(part));
        hash.finish()
    }

    fn leaf_parts(&self, mut add: impl FnMut(&[u8])) {
        add(LEAF_LABEL.as_bytes());
        add(self.event_id.as_bytes());
        add(self.tenant_id.as_bytes());
        add_text(&mut add, &self.aggregate_type);
        add(self.aggregate_id.as_bytes());
        add(&self.sequence.to_be_bytes());
        add_text(&mut add, &self.event_type);
        add(&self.event_version.to_be_bytes());
        add(&self.occurred_at.micros().to_be_bytes());
        add_text(&mut add, &self.payload);
        add_text(&mut add, &self.metadata);
    }
}

fn add_text(mut add: impl FnMut(&[u8]), text: &str) {
    let length = u32::try_from(text.len()).expect("no text has 4 GiB");
    add(&length.to_be_bytes());
    add(text.as_bytes());
}

#[cfg(test)]
mod tests;
