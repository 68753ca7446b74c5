//! What the lines of a bundle say, each alone.

use std::{collections::hash_map::RandomState, hash::BuildHasher as _, ops::Range};

use serde::de::IgnoredAny;
use uuid::Uuid;

use crate::{
    entry::{Entry, Timestamp},
    tree::Hash,
};

/// Lines and what they say.
pub(super) struct Digested {
    bytes: Vec<u8>,
    /// One for each, or why it is no entry.
    pub(super) lines: Vec<Result<Line, String>>,
}

/// What a line says, as far as it concerns other lines.
pub(super) struct Line {
    /// Where it stands among the bytes.
    place: Range<usize>,
    pub(super) position: u64,
    pub(super) tenant_id: Uuid,
    pub(super) leaf: Hash,
    pub(super) occurred_at: Timestamp,
    pub(super) sequence: i64,
    /// Stands for its stream: the aggregate's id and a hash of its type.
    pub(super) stream: (Uuid, u64),
    /// What is wrong with it alone.
    pub(super) fault: Option<String>,
}

impl Line {
    /// Its length, with its newline.
    pub(super) fn bytes(&self) -> u64 {
        self.place.len() as u64
    }
}

impl Digested {
    /// Reads lines, each with its newline.
    pub(super) fn new(bytes: Vec<u8>, kinds: &RandomState) -> Self {
        let mut lines = Vec::new();
        let mut end = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let begin = end;
            end += line.len();
            lines.push(digest(line, begin..end, kinds));
        }
        Self { bytes, lines }
    }

    /// What an entry is, for people.
    pub(super) fn name(&self, line: &Line) -> String {
        match parse(&self.bytes[line.place.clone()]) {
            Ok((entry, _)) => format!("{} {}, {}", entry.event_type, entry.event_id, stream(&entry)),
            Err(what) => what,
        }
    }

    /// What its stream is, for people.
    pub(super) fn stream(&self, line: &Line) -> String {
        parse(&self.bytes[line.place.clone()]).map_or_else(|what| what, |(entry, _)| stream(&entry))
    }
}

fn stream(entry: &Entry<'_>) -> String {
    format!("{} {}", entry.aggregate_type, entry.aggregate_id)
}

/// The entry of a line, and whether it is spelt in the way that is right.
fn parse(line: &[u8]) -> Result<(Entry<'_>, bool), String> {
    let line = std::str::from_utf8(line).map_err(|_| "its line is no UTF-8".to_owned())?;
    match Entry::parse_exact(line) {
        Some(entry) => Ok((entry, true)),
        None => Ok((Entry::parse(line).map_err(|error| error.to_string())?, false)),
    }
}

fn digest(line: &[u8], place: Range<usize>, kinds: &RandomState) -> Result<Line, String> {
    let (entry, exact) = parse(line)?;
    Ok(Line {
        place,
        position: entry.tenant_position,
        tenant_id: entry.tenant_id,
        leaf: entry.leaf_hash(),
        occurred_at: entry.occurred_at,
        sequence: entry.sequence,
        stream: (entry.aggregate_id, kinds.hash_one(&*entry.aggregate_type)),
        fault: fault(&entry, exact),
    })
}

fn fault(entry: &Entry<'_>, exact: bool) -> Option<String> {
    for (name, text) in [("payload", &entry.payload), ("metadata", &entry.metadata)] {
        if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
            return Some(format!("its {name} is no JSON: {error}"));
        }
    }
    (!exact).then(|| "its line is spelt in another way than the one that is right".to_owned())
}
