//! Proofs as texts that can be handed on alone: C2SP tlog-proof for one entry, and what tlog-witness takes for a newer checkpoint.
//!
//! Both end with a signed checkpoint, to which the hashes before it lead: from an entry, or from an older checkpoint.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    checkpoint::{Checkpoint, CheckpointError, Opened, OrderError, Origin, parse_decimal},
    entry::{Entry, EntryError, LINE_BYTES_MAX},
    key::VerifierKeys,
    note::{NOTE_BYTES_MAX, Note, NoteError},
    tree::{Hash, PROOF_HASHES_MAX, ProofError, verify_inclusion},
};

/// Longest proof as text: the longest line of an entry in base64, the longest note, and the hashes.
pub const PROOF_BYTES_MAX: usize = LINE_BYTES_MAX.div_ceil(3) * 4 + NOTE_BYTES_MAX + 8 * 1024;

const INCLUSION_HEADER: &str = "c2sp.org/tlog-proof@v1";

/// That an entry is in a log. `Display` writes it as C2SP tlog-proof, version 1; such files are called `.tlog-proof`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryProof {
    /// Something that the proof does not cover: here, the entry's line, without which nothing can be verified.
    pub extra: Option<Vec<u8>>,
    /// Which leaf of the log it is, from 0.
    pub index: u64,
    /// From the leaf's sibling to below the root, at most 64.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint, not yet verified.
    pub note: Note,
}

/// That a checkpoint continues an older one. `Display` writes it as the body that a tlog-witness takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateProof {
    /// How many leaves the log had.
    pub old_size: u64,
    /// The consistency proof, at most 64.
    pub hashes: Vec<Hash>,
    /// The newer signed checkpoint, not yet verified.
    pub note: Note,
}

/// Why a text is no proof, or proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProofTextError {
    /// It has another form.
    #[error("the proof is malformed")]
    Format,
    /// It is longer than `PROOF_BYTES_MAX`.
    #[error("the proof is longer than {PROOF_BYTES_MAX} bytes")]
    TooLong,
    /// The note in it is malformed.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The checkpoint in it is malformed or not to be trusted.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The hashes do not lead from the entry to the checkpoint.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The checkpoint contradicts the older one.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The entry in it is malformed.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The entry says that it stands elsewhere than it is proven to.
    #[error("the entry of position {position} is proven to be leaf {index}")]
    Elsewhere {
        /// Its position, from 1.
        position: u64,
        /// The index of the leaf, from 0.
        index: u64,
    },
    /// The entry is of another tenant than the log.
    #[error("the entry is not of the tenant of the log {0}")]
    Tenant(Origin),
}

impl EntryProof {
    /// Reads a proof, and verifies nothing.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn parse(text: &str) -> Result<Self, ProofTextError> {
        let (head, note) = split(text)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(INCLUSION_HEADER) {
            return Err(ProofTextError::Format);
        }
        let extra = lines
            .next_if(|line| line.starts_with("extra "))
            .map(|line| BASE64_STANDARD.decode(&line["extra ".len()..]).map_err(|_| ProofTextError::Format));
        let index = number(lines.next(), "index ")?;
        Ok(Self { extra: extra.transpose()?, index, hashes: hashes(lines)?, note })
    }

    /// Whether the leaf with this hash is in the log `origin`, as at least one of the trusted keys has signed it.
    ///
    /// # Errors
    /// What is wrong with the checkpoint or the proof.
    pub fn verify(&self, leaf: &Hash, origin: &Origin, keys: &VerifierKeys) -> Result<Opened, ProofTextError> {
        let opened = Checkpoint::open(self.note.to_string().as_bytes(), origin, keys)?;
        let checkpoint = &opened.checkpoint;
        verify_inclusion(leaf, self.index, checkpoint.size(), &self.hashes, checkpoint.root())?;
        Ok(opened)
    }

    /// The entry that stands in the proof, if it is where it says in the log `origin`, of its tenant, and written as `Entry::to_line` does.
    ///
    /// # Errors
    /// When there is none, or what is wrong with it or the proof.
    pub fn verify_entry(&self, origin: &Origin, keys: &VerifierKeys) -> Result<(Entry<'_>, Opened), ProofTextError> {
        let line =
            self.extra.as_deref().and_then(|line| std::str::from_utf8(line).ok()).ok_or(ProofTextError::Format)?;
        let entry = Entry::parse(line)?;
        // The leaf covers what the line says and not its spelling, of which there shall be one all the same.
        if entry.to_line()? != line {
            return Err(ProofTextError::Format);
        }
        let opened = self.verify(&entry.leaf_hash(), origin, keys)?;
        if entry.leaf_index() != Some(self.index) {
            return Err(ProofTextError::Elsewhere { position: entry.tenant_position, index: self.index });
        }
        if origin.tenant_id() != Some(entry.tenant_id) {
            return Err(ProofTextError::Tenant(origin.clone()));
        }
        Ok((entry, opened))
    }
}

impl fmt::Display for EntryProof {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{INCLUSION_HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(formatter, "extra {}", BASE64_STANDARD.encode(extra))?;
        }
        writeln!(formatter, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(formatter, "{}", hash.to_base64()))?;
        write!(formatter, "\n{}", self.note)
    }
}

impl UpdateProof {
    /// Reads a proof, and verifies nothing.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn parse(text: &str) -> Result<Self, ProofTextError> {
        let (head, note) = split(text)?;
        let mut lines = head.split('\n');
        let old_size = number(lines.next(), "old ")?;
        Ok(Self { old_size, hashes: hashes(lines)?, note })
    }

    /// Whether the log, as at least one of the trusted keys has signed it, continues what `older` says of it.
    ///
    /// # Errors
    /// What is wrong with the checkpoint or the proof, or how it contradicts the older one.
    pub fn verify(&self, older: &Checkpoint, keys: &VerifierKeys) -> Result<Opened, ProofTextError> {
        if self.old_size != older.size() {
            return Err(ProofTextError::Format);
        }
        let opened = Checkpoint::open(self.note.to_string().as_bytes(), older.origin(), keys)?;
        opened.checkpoint.verify_continues(older, &self.hashes)?;
        Ok(opened)
    }
}

impl fmt::Display for UpdateProof {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "old {}", self.old_size)?;
        self.hashes.iter().try_for_each(|hash| writeln!(formatter, "{}", hash.to_base64()))?;
        write!(formatter, "\n{}", self.note)
    }
}

/// What stands before the first empty line, without its newline, and the note behind it.
fn split(text: &str) -> Result<(&str, Note), ProofTextError> {
    if text.len() > PROOF_BYTES_MAX {
        return Err(ProofTextError::TooLong);
    }
    let (head, note) = text.split_once("\n\n").ok_or(ProofTextError::Format)?;
    let note = Note::parse(note.as_bytes())?;
    Checkpoint::parse(note.text())?;
    Ok((head, note))
}

fn number(line: Option<&str>, prefix: &str) -> Result<u64, ProofTextError> {
    line.and_then(|line| line.strip_prefix(prefix)).and_then(parse_decimal).ok_or(ProofTextError::Format)
}

fn hashes<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<Hash>, ProofTextError> {
    let mut hashes = Vec::new();
    for line in lines {
        if hashes.len() == PROOF_HASHES_MAX {
            return Err(ProofError::TooLong.into());
        }
        hashes.push(Hash::from_base64(line).map_err(|_| ProofTextError::Format)?);
    }
    Ok(hashes)
}

#[cfg(test)]
mod tests;
