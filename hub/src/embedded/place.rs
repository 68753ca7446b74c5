//! Where the servers keep their data, and the account that owns it.
//!
//! Normally that is `servers` in the directory of the hub. When hub runs as root below a directory that the servers'
//! account cannot enter (`/root` on most systems), it is a directory below `/var/lib/service-hub`, and `servers` is a
//! link to it, so that later starts find the data whatever has changed meanwhile.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use super::account::Account;
use super::directory::Directory;
use crate::key::hex;

/// Home of the data that cannot be where it was asked for.
const ELSEWHERE: &str = "/var/lib/service-hub";

/// A directory that belongs to the servers' account, and one for their logs.
#[derive(Clone, Debug)]
pub struct Place {
    root: PathBuf,
    logs: PathBuf,
    account: Option<Account>,
}

impl Place {
    /// Makes the directories of the servers, or finds them.
    ///
    /// # Errors
    /// When they cannot be made, or no unprivileged account exists.
    pub fn prepare(directory: &Directory) -> anyhow::Result<Self> {
        let account = Account::unprivileged()?;
        let link = directory.path().join("servers");
        if let Some(account) = &account
            && !link.exists()
            && let Some(barred) = account.barred(directory.path())?
        {
            let root = elsewhere(directory.path())?;
            tracing::info!(
                "the account {} cannot enter {}, so the servers keep their data in {}",
                account.name,
                barred.display(),
                root.display()
            );
            link_to(&root, &link).with_context(|| format!("cannot make the link {}", link.display()))?;
        }
        let logs = directory.path().join("log");
        let make = || -> std::io::Result<PathBuf> {
            std::fs::create_dir_all(&logs)?;
            std::fs::create_dir_all(&link)?;
            link.canonicalize()
        };
        let root = make().with_context(|| format!("cannot make {}", link.display()))?;
        let place = Self { root, logs, account };
        place.hand_over(&place.root)?;
        Ok(place)
    }

    /// The place of a directory that may be in use, when there is one.
    pub(crate) fn existing(directory: &Path) -> Option<PathBuf> {
        directory.join("servers").canonicalize().ok()
    }

    /// Absolute path of the data of the server `name`.
    #[must_use]
    pub fn data(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The file that the server `name` writes its log to.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// The version of PostgreSQL that wrote the data here, when there is data.
    #[must_use]
    pub fn postgres_major(&self) -> Option<u32> {
        std::fs::read_to_string(self.data("postgres").join("PG_VERSION")).ok()?.trim().parse().ok()
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Gives one file or directory to the servers' account, for nobody else to read.
    pub(crate) fn hand_over(&self, path: &Path) -> anyhow::Result<()> {
        let give = || -> std::io::Result<()> {
            let mode = if path.is_dir() { 0o700 } else { 0o600 };
            std::fs::set_permissions(path, Permissions::from_mode(mode))?;
            match &self.account {
                Some(account) => chown(path, Some(account.uid), Some(account.gid)),
                None => Ok(()),
            }
        };
        give().with_context(|| format!("cannot give {} to the servers", path.display()))
    }
}

fn elsewhere(directory: &Path) -> anyhow::Result<PathBuf> {
    let digest = Sha256::digest(directory.as_os_str().as_encoded_bytes());
    let root = Path::new(ELSEWHERE).join(hex(&digest[..8]));
    let make = || -> std::io::Result<()> {
        std::fs::create_dir_all(&root)?;
        std::fs::set_permissions(ELSEWHERE, Permissions::from_mode(0o755))
    };
    make().with_context(|| format!("cannot make {}", root.display()))?;
    Ok(root)
}

fn link_to(root: &Path, link: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(link) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(root, link)
}
