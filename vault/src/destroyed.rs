//! The list of keys that were destroyed, in a file outside of every database, so that no restored backup brings one back.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use chrono::{DateTime, SecondsFormat, Utc};
use uuid::Uuid;

/// No line is longer.
const LINE_BYTES_MAX: u64 = 256;

/// A file with one destroyed key a line: the time, the tenant, and the key or `tenant` for all keys of the tenant.
#[derive(Debug, Clone)]
pub struct DestroyedList(PathBuf);

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Destroyed {
    pub(crate) at: DateTime<Utc>,
    pub(crate) tenant_id: Uuid,
    /// Nothing for all keys of the tenant.
    pub(crate) key_id: Option<Uuid>,
}

impl DestroyedList {
    /// The list in this file, which need not be there yet.
    #[must_use]
    pub const fn new(file: PathBuf) -> Self {
        Self(file)
    }

    /// Adds a line that is on the disk when this returns.
    pub(crate) fn add(&self, destroyed: Destroyed) -> io::Result<()> {
        let Destroyed { at, tenant_id, key_id } = destroyed;
        let what = key_id.map_or_else(|| "tenant".to_owned(), |key_id| key_id.to_string());
        let line = format!("{} {tenant_id} {what}\n", at.to_rfc3339_opts(SecondsFormat::Micros, true));
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.0)?;
        file.lock()?;
        cut_unfinished(&mut file)?;
        file.write_all(line.as_bytes())?;
        file.sync_all()
    }

    /// Calls `each` for every line. A last line that was cut off is passed over: whoever wrote it has not destroyed anything yet.
    pub(crate) fn read(&self, mut each: impl FnMut(Destroyed)) -> io::Result<()> {
        let file = match File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut lines = BufReader::new(file);
        let mut line = String::new();
        for number in 1.. {
            line.clear();
            if lines.read_line(&mut line)? == 0 || !line.ends_with('\n') {
                break;
            }
            let destroyed = parsed(&line).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{} line {number} is no entry", self.0.display()))
            })?;
            each(destroyed);
        }
        Ok(())
    }
}

/// Removes a last line that has no end; the caller has the lock, so nobody is still writing it.
fn cut_unfinished(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(LINE_BYTES_MAX)))?;
    file.read_to_end(&mut tail)?;
    let unfinished = tail.iter().rev().take_while(|byte| **byte != b'\n').count();
    if unfinished == 0 { Ok(()) } else { file.set_len(length - unfinished as u64) }
}

fn parsed(line: &str) -> Option<Destroyed> {
    let mut words = line.split_whitespace();
    let at = words.next()?.parse().ok()?;
    let tenant_id = words.next()?.parse().ok()?;
    let key_id = match words.next()? {
        "tenant" => None,
        key_id => Some(key_id.parse().ok()?),
    };
    words.next().is_none().then_some(Destroyed { at, tenant_id, key_id })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{Destroyed, DestroyedList, OpenOptions, Uuid};

    fn all(list: &DestroyedList) -> std::io::Result<Vec<Destroyed>> {
        let mut all = Vec::new();
        list.read(|destroyed| all.push(destroyed)).map(|()| all)
    }

    #[test]
    fn what_was_added_is_read_again_without_a_line_that_was_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("vault.destroyed");
        let list = DestroyedList::new(file.clone());
        assert_eq!(all(&list).unwrap(), []);
        let at = "2026-11-21T12:00:00.000001Z".parse().unwrap();
        let one = Destroyed { at, tenant_id: Uuid::from_u128(1), key_id: Some(Uuid::from_u128(2)) };
        let tenant = Destroyed { key_id: None, ..one };
        list.add(one).unwrap();
        list.add(tenant).unwrap();
        let mut raw = OpenOptions::new().append(true).open(&file).unwrap();
        raw.write_all(b"2026-11-21T12:00:00.00").unwrap();
        assert_eq!(all(&list).unwrap(), [one, tenant]);
        list.add(one).unwrap();
        assert_eq!(all(&list).unwrap(), [one, tenant, one], "the cut line is gone, and the one after it is whole");
    }

    #[test]
    fn a_line_that_is_no_entry_is_an_error_with_its_number() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("vault.destroyed");
        std::fs::write(&file, "hello\n").unwrap();
        assert!(all(&DestroyedList::new(file)).unwrap_err().to_string().contains("line 1"));
    }
}
