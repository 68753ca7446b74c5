//! The directory of one hub, held by a lock while a hub runs on it.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// A directory that this process alone works on, until it is dropped.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Closing it gives the lock back; the system does that for a process that is killed, too.
    _lock: File,
}

impl Directory {
    /// Makes the directory when it does not exist, and locks it.
    ///
    /// # Errors
    /// One line when another process holds it, or when it cannot be written.
    pub fn lock(path: &Path) -> anyhow::Result<Self> {
        match Self::try_lock(path)? {
            Ok(directory) => Ok(directory),
            Err(holder) => bail!(
                "another hub{holder} is running on {}: stop it, or choose another with --directory",
                path.display()
            ),
        }
    }

    /// As [`Directory::lock`], but another holder is an answer (` (process 123)`) and no error.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn try_lock(path: &Path) -> anyhow::Result<Result<Self, String>> {
        let open = || -> std::io::Result<(PathBuf, File)> {
            std::fs::create_dir_all(path)?;
            if rustix::process::geteuid().is_root() {
                // The servers' account has to pass through. Every secret in here has its own mode.
                std::fs::set_permissions(path, Permissions::from_mode(0o755))?;
            }
            let file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path.join("lock"))?;
            Ok((path.canonicalize()?, file))
        };
        let (canonical, mut file) = open().with_context(|| format!("cannot use the directory {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                return Ok(Err(match file.read_to_string(&mut holder) {
                    Ok(_) if !holder.trim().is_empty() => format!(" (process {})", holder.trim()),
                    _ => String::new(),
                }));
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock the directory {}", path.display()));
            }
        }
        let mut write = || -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write().with_context(|| format!("cannot write in the directory {}", path.display()))?;
        Ok(Ok(Self { path: canonical, _lock: file }))
    }

    /// Its absolute path, without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::Directory;

    #[test]
    fn a_directory_has_one_holder_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("hub");
        let first = Directory::lock(&path).unwrap();
        let refusal = Directory::lock(&path).unwrap_err().to_string();
        assert!(refusal.contains(&format!("another hub (process {})", std::process::id())), "{refusal}");
        drop(first);
        Directory::lock(&path).unwrap();
    }
}
