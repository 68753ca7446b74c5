//! The files that the servers write to: opened for appending, kept small, and read back for messages.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// Beyond this size a log is put aside at the next start; one older file is kept.
const SIZE_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// How much of the end of a log is looked at for a message.
const TAIL_BYTES: u64 = 8 * 1024;

/// How many lines of it a message repeats.
const TAIL_LINES: usize = 3;

pub(crate) fn open(path: &Path) -> std::io::Result<File> {
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > SIZE_MAX_BYTES) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// How long the log is now; what is written later begins there.
pub(crate) fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// What was written after `from`, at most the last 8 KiB.
pub(crate) fn since(path: &Path, from: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// The last lines as one line, with the place where the rest is.
pub(crate) fn summary(path: &Path, from: u64) -> String {
    let text = since(path, from);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(TAIL_LINES)..].join(" | ");
    if last.is_empty() { format!("see {}", path.display()) } else { format!("{last} (see {})", path.display()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{length, open, since, summary};

    #[test]
    fn only_what_came_after_the_mark_is_repeated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.log");
        writeln!(open(&path).unwrap(), "old").unwrap();
        let mark = length(&path);
        let mut log = open(&path).unwrap();
        writeln!(log, "one\ntwo\n\nthree\nfour").unwrap();
        assert_eq!(since(&path, mark), "one\ntwo\n\nthree\nfour\n");
        assert!(summary(&path, mark).starts_with("two | three | four (see "));
    }

    #[test]
    fn a_log_that_is_too_long_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.log");
        open(&path).unwrap().set_len(super::SIZE_MAX_BYTES + 1).unwrap();
        drop(open(&path).unwrap());
        assert_eq!(length(&path), 0);
        assert!(directory.path().join("server.log.1").exists());
    }
}
