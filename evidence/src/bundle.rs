//! A part of a tenant's log as a directory of files, from which it can be verified offline.
//!
//! `manifest.json` names every other file with its size and hash; it is not signed and nothing is believed because it says so. The entries
//! are lines in compressed members of bounded size, `leaves.bin` has the hash of each as it was sealed, and the proofs in the manifest and
//! beside it tie these hashes to `checkpoint.note`, which is signed. `verify` reads a bundle in one pass with a bounded memory, whatever
//! somebody has put into it. `docs/guides/evidence-format.md` describes each file.

mod digest;
mod entries;
mod manifest;
mod members;
mod report;
mod verify;
mod write;

pub use self::{
    manifest::{FileRecord, Manifest, ManifestError, MemberRecord},
    members::unpack,
    report::{Check, CheckName, Outcome, Report, Wrong},
    verify::{Trust, VerifyError, verify},
    write::{LeavesWriter, Packed, Packer, put, read_bounded},
};
use crate::tree::HASH_BYTES;

/// What the manifest calls the format.
pub const FORMAT: &str = "hub.audit-bundle.v1";
/// The file that names all others.
pub const MANIFEST: &str = "manifest.json";
/// The directory of the entries.
pub const ENTRIES: &str = "entries";
/// The hash of each entry as it was sealed, 32 bytes each.
pub const LEAVES: &str = "leaves.bin";
/// The signed checkpoint that everything leads to.
pub const CHECKPOINT: &str = "checkpoint.note";
/// An older signed checkpoint.
pub const PREVIOUS: &str = "previous.note";
/// That the checkpoint continues the older one, as tlog-witness writes it.
pub const CONSISTENCY: &str = "consistency.proof";
/// That the checkpoint stands in the platform's log, as tlog-proof writes it.
pub const PLATFORM: &str = "platform.tlog-proof";
/// The keys that the platform has published, for comparison only.
pub const KEYS: &str = "keys.txt";

/// Longest manifest, in bytes.
pub const MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most members.
pub const MEMBERS_MAX: usize = 200_000;
/// Most entries of a member.
pub const MEMBER_ENTRIES_MAX: u64 = 10_000;
/// A member is ended by the entry that makes its lines so long, in bytes.
pub const MEMBER_BYTES: u64 = 32 * 1024 * 1024;
/// Longest lines of a member, in bytes: one more entry may have come to `MEMBER_BYTES`.
pub const MEMBER_BYTES_MAX: u64 = MEMBER_BYTES + crate::entry::LINE_BYTES_MAX as u64;
/// Longest member as a file: what compression may add to lines that it cannot make shorter.
pub const PACKED_BYTES_MAX: u64 = MEMBER_BYTES_MAX + MEMBER_BYTES_MAX / 128 + 1024;
/// Longest of the files that are no members, but for `leaves.bin`.
pub const SMALL_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// The length of `leaves.bin` for so many entries.
#[must_use]
pub fn leaves_bytes(entry_count: u64) -> u64 {
    entry_count.saturating_mul(HASH_BYTES as u64)
}

/// The path of a member inside the bundle, counted from 0.
#[must_use]
pub fn member_path(index: usize) -> String {
    format!("{ENTRIES}/{index:06}.ndjson.zst")
}
