//! Writing the files of a bundle: each under another name first, so that what has its name is whole.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
};

use super::{FileRecord, LEAVES, MEMBER_BYTES, MEMBER_ENTRIES_MAX, MemberRecord, PACKED_BYTES_MAX};
use crate::{
    entry::{Entry, EntryError},
    tree::{Hash, Sha256},
};

/// Fast, and still a seventh of the lines or less.
const COMPRESSION_LEVEL: i32 = 1;

/// What a file is called until it is whole.
const UNFINISHED: &str = ".unfinished";

/// Compresses the lines of one member.
pub struct Packer {
    encoder: zstd::Encoder<'static, Vec<u8>>,
    entry_count: u64,
    content_bytes: u64,
    places: Option<(u64, u64)>,
}

/// A member that has all its lines.
#[derive(Debug)]
pub struct Packed {
    bytes: Vec<u8>,
    content_bytes: u64,
    places: (u64, u64),
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Packer").field("entry_count", &self.entry_count).finish_non_exhaustive()
    }
}

impl Packer {
    /// One without lines.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new() -> io::Result<Self> {
        let encoder = zstd::Encoder::new(Vec::new(), COMPRESSION_LEVEL)?;
        Ok(Self { encoder, entry_count: 0, content_bytes: 0, places: None })
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// When its line would be too long.
    pub fn add(&mut self, entry: &Entry<'_>) -> Result<(), EntryError> {
        let line = entry.to_line()?;
        self.encoder.write_all(line.as_bytes())?;
        self.entry_count += 1;
        self.content_bytes += line.len() as u64;
        let first = self.places.map_or(entry.tenant_position, |(first, _)| first);
        self.places = Some((first, entry.tenant_position));
        Ok(())
    }

    /// Whether the next entry belongs to another member, of which each has `entry_count_max` entries at most.
    #[must_use]
    pub fn full(&self, entry_count_max: u64) -> bool {
        self.entry_count >= entry_count_max.min(MEMBER_ENTRIES_MAX) || self.content_bytes >= MEMBER_BYTES
    }

    /// The member, unless it has no lines.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn finish(self) -> io::Result<Option<Packed>> {
        let Some(places) = self.places else { return Ok(None) };
        Ok(Some(Packed { bytes: self.encoder.finish()?, content_bytes: self.content_bytes, places }))
    }
}

impl Packed {
    /// Writes it into the bundle.
    ///
    /// # Errors
    /// When the file cannot be written, or would be too long to be read again.
    pub fn put(&self, bundle: &Path, path: String) -> io::Result<MemberRecord> {
        if self.bytes.len() as u64 > PACKED_BYTES_MAX {
            return Err(io::Error::other("a member would be too long"));
        }
        let FileRecord { path, bytes, sha256 } = put(bundle, path, &self.bytes)?;
        let (from, to) = self.places;
        Ok(MemberRecord { path, from, to, content_bytes: self.content_bytes, bytes, sha256 })
    }
}

/// Writes a file into the bundle, whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn put(bundle: &Path, path: impl Into<String>, bytes: &[u8]) -> io::Result<FileRecord> {
    let path = path.into();
    let target = bundle.join(&path);
    let unfinished = unfinished(&target);
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, &target)?;
    Ok(FileRecord::of(path, bytes))
}

fn unfinished(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

/// Reads a regular file of at most `bytes_max` bytes; of a longer one as much and a byte more.
///
/// # Errors
/// When it cannot be read, or is something else than a regular file.
pub fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    regular(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file that is one: no link that leads elsewhere, and no pipe that never ends.
pub(super) fn regular(path: &Path) -> io::Result<File> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    File::open(path)
}

/// Writes `leaves.bin`.
pub struct LeavesWriter {
    target: PathBuf,
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl std::fmt::Debug for LeavesWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LeavesWriter").field("target", &self.target).finish_non_exhaustive()
    }
}

impl LeavesWriter {
    /// Begins the file anew.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(bundle: &Path) -> io::Result<Self> {
        let target = bundle.join(LEAVES);
        let file = BufWriter::new(File::create(unfinished(&target))?);
        Ok(Self { target, file, hash: Sha256::new(), bytes: 0 })
    }

    /// Adds the hash of the next entry.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, leaf: &Hash) -> io::Result<()> {
        self.file.write_all(leaf.as_bytes())?;
        self.hash.update(leaf.as_bytes());
        self.bytes += leaf.as_bytes().len() as u64;
        Ok(())
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> io::Result<FileRecord> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(unfinished(&self.target), &self.target)?;
        Ok(FileRecord { path: LEAVES.to_owned(), bytes: self.bytes, sha256: self.hash.finish() })
    }
}
