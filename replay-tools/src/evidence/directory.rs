//! The directory of an export: begun, gone on with, finished; never somebody else's.

use std::{
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use hub_evidence::{
    bundle::{
        ENTRIES, FileRecord, MANIFEST, MEMBER_BYTES_MAX, MEMBER_ENTRIES_MAX, MemberRecord, PACKED_BYTES_MAX, Packed,
        member_path, put, read_bounded, unpack,
    },
    entry::{Entry, Timestamp},
    tree::Hash,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::EvidenceError;

/// What is being exported, until it is finished.
const STATE: &str = "export.json";

/// Longest state: the older checkpoint is in it.
const STATE_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// What was asked for, as it is compared when somebody asks again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) tenant_id: Uuid,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) last: Option<String>,
    pub(super) as_is: bool,
}

/// What came of it: the log goes on, an export does not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) asked: Asked,
    /// The place of the first event.
    pub(super) from: u64,
    /// The place of the last one.
    pub(super) to: u64,
    /// The size of the checkpoint.
    pub(super) size: u64,
}

/// A directory that holds this export and nothing else.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
}

/// A member that was finished before.
pub(super) struct Finished {
    pub(super) record: MemberRecord,
    pub(super) first_at: Timestamp,
    pub(super) last_at: Timestamp,
}

impl Directory {
    /// Opens it, or makes it. Answers how far the same export came before.
    pub(super) fn open(path: &Path, asked: &Asked) -> Result<(Self, Option<State>), EvidenceError> {
        let directory = Self { path: path.to_owned() };
        let refused = |what| EvidenceError::Directory { path: path.to_owned(), what };
        fs::create_dir_all(path).map_err(|source| directory.failed(source))?;
        let state = match read_bounded(&path.join(STATE), STATE_BYTES_MAX) {
            Ok(bytes) => {
                let state: State =
                    serde_json::from_slice(&bytes).map_err(|_| refused("holds an export that cannot be read"))?;
                if state.asked != *asked {
                    return Err(refused("holds another export that is not finished"));
                }
                Some(state)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if path.join(MANIFEST).exists() {
                    return Err(refused("holds a finished bundle already"));
                }
                let mut files = fs::read_dir(path).map_err(|source| directory.failed(source))?;
                if files.any(|file| file.is_ok_and(|file| file.file_name() != ENTRIES)) {
                    return Err(refused("holds something else"));
                }
                None
            }
            Err(source) => return Err(directory.failed(source)),
        };
        fs::create_dir_all(path.join(ENTRIES)).map_err(|source| directory.failed(source))?;
        Ok((directory, state))
    }

    pub(super) fn failed(&self, source: io::Error) -> EvidenceError {
        EvidenceError::File { path: self.path.clone(), source }
    }

    /// Keeps what the same export goes on with.
    pub(super) fn begin(&self, state: &State) -> Result<(), EvidenceError> {
        let state = serde_json::to_vec(state).map_err(|error| self.failed(error.into()))?;
        put(&self.path, STATE, &state).map_err(|source| self.failed(source))?;
        Ok(())
    }

    /// Says that there is nothing to go on with.
    pub(super) fn end(&self) -> Result<(), EvidenceError> {
        fs::remove_file(self.path.join(STATE)).map_err(|source| self.failed(source))
    }

    /// Writes the next member.
    pub(super) fn put(&self, packed: &Packed, index: usize) -> Result<MemberRecord, EvidenceError> {
        packed.put(&self.path, member_path(index)).map_err(|source| self.failed(source))
    }

    /// Removes members that another attempt left behind the last one.
    pub(super) fn keep_only(&self, members: &[MemberRecord]) -> Result<(), EvidenceError> {
        for file in fs::read_dir(self.path.join(ENTRIES)).map_err(|source| self.failed(source))? {
            let file = file.map_err(|source| self.failed(source))?;
            let path = format!("{ENTRIES}/{}", file.file_name().to_string_lossy());
            if !members.iter().any(|member| member.path == path) {
                fs::remove_file(file.path()).map_err(|source| self.failed(source))?;
            }
        }
        Ok(())
    }

    /// The member of this index, if it was finished and has the entries from `from` on that were sealed with `leaves`, none behind them.
    pub(super) fn finished(&self, index: usize, from: u64, leaves: &[Hash]) -> Option<Finished> {
        let path = member_path(index);
        let packed = read_bounded(&self.path.join(&path), PACKED_BYTES_MAX).ok()?;
        let mut next = from;
        let (mut first_at, mut last_at) = (None::<Timestamp>, None::<Timestamp>);
        let unpacked = unpack(&packed, MEMBER_BYTES_MAX, |lines| {
            let lines = String::from_utf8(lines).unwrap_or_default();
            for line in lines.split_inclusive('\n') {
                let sealed = usize::try_from(next - from).ok().and_then(|place| leaves.get(place));
                let entry = Entry::parse_exact(line).filter(|entry| entry.tenant_position == next);
                let Some(entry) = entry.filter(|entry| Some(&entry.leaf_hash()) == sealed) else {
                    return ControlFlow::Break(());
                };
                first_at = Some(first_at.map_or(entry.occurred_at, |first| first.min(entry.occurred_at)));
                last_at = Some(last_at.map_or(entry.occurred_at, |last| last.max(entry.occurred_at)));
                next += 1;
            }
            if lines.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let Ok(ControlFlow::Continue(content_bytes)) = unpacked else { return None };
        if next == from || next - from > MEMBER_ENTRIES_MAX {
            return None;
        }
        let FileRecord { path, bytes, sha256 } = FileRecord::of(path, &packed);
        let record = MemberRecord { path, from, to: next - 1, content_bytes, bytes, sha256 };
        Some(Finished { record, first_at: first_at?, last_at: last_at? })
    }
}
