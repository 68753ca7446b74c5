//! Reading the members of a bundle: each as the file that the manifest names, unpacked within its bounds.

use std::{io, io::Read as _, ops::ControlFlow, path::Path};

use super::{Manifest, write::read_bounded};
use crate::{
    entry::LINE_BYTES_MAX,
    tree::{Hash, Sha256},
};

/// So many bytes of lines are handed over at once, or one line that is longer.
const CHUNK_BYTES: usize = 256 * 1024;

/// The largest window of a compressed member, as a power of two: what the writer uses needs less.
const WINDOW_LOG_MAX: u32 = 23;

/// What is handed from one thread to the next: `Lines` is their bytes at first, and then what they say.
pub(super) enum Handed<Lines> {
    /// A member begins.
    Member(usize),
    /// Lines of it.
    Lines(Lines),
    /// Nothing more can be read.
    Broken(String),
}

/// Unpacks one member after the other until nobody wants more. Answers which are not the files that they should be.
pub(super) fn read(
    directory: &Path,
    manifest: &Manifest,
    mut hand: impl FnMut(Handed<Vec<u8>>) -> ControlFlow<()>,
) -> io::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (index, member) in manifest.members.iter().enumerate() {
        if hand(Handed::Member(index)).is_break() {
            return Ok(wrong);
        }
        let packed = match read_bounded(&directory.join(&member.path), member.bytes) {
            Ok(packed) => packed,
            Err(error) if lacking(&error) => {
                let what = format!("{}: {error}", member.path);
                wrong.push(what.clone());
                // Nobody listens when an entry was wrong before.
                let _ = hand(Handed::Broken(what));
                return Ok(wrong);
            }
            Err(error) => return Err(error),
        };
        if wrong.is_empty()
            && let Some(what) = differs(&packed, member.bytes, &member.sha256)
        {
            wrong.push(format!("{}: {what}", member.path));
        }
        let unpacked = unpack(&packed, member.content_bytes, |lines| hand(Handed::Lines(lines)));
        match unpacked {
            Ok(ControlFlow::Continue(length)) if length == member.content_bytes => {}
            Ok(ControlFlow::Continue(_)) => {
                wrong.push(format!("{}: it unpacks to fewer bytes than the manifest says", member.path));
            }
            Ok(ControlFlow::Break(())) => return Ok(wrong),
            Err(error) => {
                let what = format!("{} cannot be unpacked: {error}", member.path);
                wrong.push(what.clone());
                let _ = hand(Handed::Broken(what));
                return Ok(wrong);
            }
        }
    }
    Ok(wrong)
}

/// Whether the bundle lacks the file, rather than that this machine cannot read it.
pub(super) fn lacking(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput | io::ErrorKind::NotADirectory)
}

/// How a file is not what the manifest says.
pub(super) fn differs(bytes: &[u8], length: u64, sha256: &Hash) -> Option<String> {
    if bytes.len() as u64 != length {
        return Some(format!("its length is not the {length} bytes that the manifest says"));
    }
    (Sha256::new().with(bytes).finish() != *sha256).then(|| "its SHA-256 is not what the manifest says".to_owned())
}

/// Unpacks a member of at most `content_bytes_max` and hands its lines on, some at a time, each with its newline. Answers how long they are.
///
/// # Errors
/// When it is not compressed as it should be, is longer, has a line that is too long, or none at its end.
pub fn unpack(
    packed: &[u8],
    content_bytes_max: u64,
    mut take: impl FnMut(Vec<u8>) -> ControlFlow<()>,
) -> io::Result<ControlFlow<(), u64>> {
    let malformed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut decoder = zstd::Decoder::with_buffer(packed)?.single_frame();
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    let mut content_bytes = 0;
    let mut begun: Vec<u8> = Vec::new();
    loop {
        let mut chunk = std::mem::take(&mut begun);
        // Without a newline, or it would have been handed on.
        let searched = chunk.len();
        let read = (&mut decoder).take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        if read == 0 {
            begun = chunk;
            break;
        }
        content_bytes += read as u64;
        if content_bytes > content_bytes_max {
            return Err(malformed("it is longer than it should be"));
        }
        match chunk[searched..].iter().rposition(|byte| *byte == b'\n') {
            Some(end) => {
                let end = searched + end;
                begun.extend_from_slice(&chunk[end + 1..]);
                chunk.truncate(end + 1);
                if take(chunk).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            None => begun = chunk,
        }
        if begun.len() > LINE_BYTES_MAX {
            return Err(malformed("a line is too long"));
        }
    }
    if !begun.is_empty() {
        return Err(malformed("its last line has no end"));
    }
    if !decoder.finish().is_empty() {
        return Err(malformed("something is behind it"));
    }
    Ok(ControlFlow::Continue(content_bytes))
}
