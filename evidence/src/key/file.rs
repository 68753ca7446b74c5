//! Private keys in files that only their owner may read.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use zeroize::Zeroizing;

use super::{KeyError, SigningKey};

/// Longest file of a key.
pub const KEY_FILE_BYTES_MAX: usize = 1024;

const PERMISSIONS: u32 = 0o600;
const OTHERS: u32 = 0o077;

/// Why a key file cannot be written or read. No variant contains anything of the file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system does not let us.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Others than the owner may read or write it.
    #[error("the permissions are {found:03o}: a key must be readable by its owner only (600)")]
    Permissions {
        /// What they are.
        found: u32,
    },
    /// It is a directory, a device, or far too long.
    #[error("not a key file")]
    NotAKeyFile,
    /// What it says is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl SigningKey {
    /// Writes the key to a new file, for the owner only, and makes sure that it is on the disk. An existing file is never replaced.
    ///
    /// # Errors
    /// When there is such a file already, or it cannot be written; what was begun is removed.
    pub fn write_new(&self, path: &Path) -> Result<(), FileError> {
        let file = OpenOptions::new().write(true).create_new(true).mode(PERMISSIONS).open(path)?;
        if let Err(error) = self.write(file) {
            // Half a key is worth nothing, and would stand in the way of the next attempt.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()?;
        Ok(())
    }

    fn write(&self, mut file: File) -> Result<(), FileError> {
        file.write_all(self.to_text().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        Ok(())
    }

    /// Reads the key of a file.
    ///
    /// # Errors
    /// When it cannot be read, others may read it too, or it holds no key.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        // Looked at before it is opened, since opening a pipe would wait; and again when it is open, since it could be another one by then.
        check(&fs::metadata(path)?)?;
        let file = File::open(path)?;
        check(&file.metadata()?)?;
        let mut bytes = Zeroizing::new([0; KEY_FILE_BYTES_MAX + 1]);
        let length = read_all(file, bytes.as_mut_slice())?;
        if length > KEY_FILE_BYTES_MAX {
            return Err(FileError::NotAKeyFile);
        }
        let text = std::str::from_utf8(&bytes[..length]).map_err(|_| KeyError::Format)?;
        Ok(Self::from_text(text.strip_suffix('\n').unwrap_or(text))?)
    }
}

fn check(metadata: &fs::Metadata) -> Result<(), FileError> {
    if !metadata.is_file() || metadata.size() > KEY_FILE_BYTES_MAX as u64 {
        return Err(FileError::NotAKeyFile);
    }
    let permissions = metadata.permissions().mode() & 0o777;
    if permissions & OTHERS != 0 {
        return Err(FileError::Permissions { found: permissions });
    }
    Ok(())
}

/// Reads to the file's end or the buffer's; answers how many bytes.
fn read_all(mut file: File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt,
    };

    use super::{FileError, KEY_FILE_BYTES_MAX, SigningKey};

    #[test]
    fn a_key_is_read_back_from_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing.key");
        let key = SigningKey::generate("hub.example.com").unwrap();
        key.write_new(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read = SigningKey::read(&path).unwrap();
        assert_eq!(read.verifier_key(), key.verifier_key());
        assert_eq!(read.sign(b"message"), key.sign(b"message"));
    }

    #[test]
    fn a_key_is_never_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing.key");
        let [first, second] = [0, 1].map(|_| SigningKey::generate("hub.example.com").unwrap());
        first.write_new(&path).unwrap();
        assert!(matches!(second.write_new(&path), Err(FileError::Io(_))));
        assert_eq!(SigningKey::read(&path).unwrap().verifier_key(), first.verifier_key());
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing.key");
        SigningKey::generate("hub.example.com").unwrap().write_new(&path).unwrap();
        for (mode, allowed) in
            [(0o400, true), (0o600, true), (0o640, false), (0o604, false), (0o660, false), (0o602, false)]
        {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match SigningKey::read(&path) {
                Ok(_) => assert!(allowed, "{mode:o}"),
                Err(FileError::Permissions { found }) => assert_eq!((found, allowed), (mode, false)),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn what_is_no_key_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(SigningKey::read(directory.path()), Err(FileError::NotAKeyFile)));
        assert!(matches!(SigningKey::read(&directory.path().join("none")), Err(FileError::Io(_))));
        let path = directory.path().join("signing.key");
        for content in ["", "\n", "PRIVATE+KEY+", &"x".repeat(KEY_FILE_BYTES_MAX + 1), "\u{ff}"] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(SigningKey::read(&path), Err(FileError::Key(_) | FileError::NotAKeyFile)), "{content}");
        }
    }
}
