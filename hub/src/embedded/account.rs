//! The account that the servers run as: PostgreSQL refuses to run as root, and NATS has no need to.

use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// In this order; the first comes with the PostgreSQL package.
const CANDIDATES: &[&str] = &["postgres", "nobody"];

/// An unprivileged account of the system.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its user id.
    pub uid: u32,
    /// Its first group id.
    pub gid: u32,
}

impl Account {
    /// The account to change to, or `None` when this process is unprivileged itself.
    ///
    /// # Errors
    /// When this process is root and the system has no account to change to.
    pub fn unprivileged() -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let accounts = std::fs::read_to_string("/etc/passwd")
            .context("cannot read /etc/passwd to find an unprivileged account")?;
        match CANDIDATES.iter().find_map(|name| find(&accounts, name)) {
            Some(account) => Ok(Some(account)),
            None => bail!(
                "PostgreSQL does not run as root, and this system has no account `postgres` or `nobody`: \
                 start hub as another user"
            ),
        }
    }

    /// The outermost part of `path` that this account cannot enter, if any.
    ///
    /// # Errors
    /// When no process can be started to try.
    pub(crate) fn barred(&self, path: &Path) -> anyhow::Result<Option<PathBuf>> {
        let mut parts: Vec<&Path> = path.ancestors().collect();
        parts.reverse();
        for part in parts {
            // The change of directory happens after the change of account, so the start fails where the account may not go.
            let tried = Command::new("/bin/true")
                .uid(self.uid)
                .gid(self.gid)
                .current_dir(part)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            match tried {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    return Ok(Some(part.to_owned()));
                }
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot try whether {} may enter {}", self.name, part.display()));
                }
            }
        }
        Ok(None)
    }
}

fn find(accounts: &str, name: &str) -> Option<Account> {
    let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some(Account { name: name.to_owned(), uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let accounts = "root:x:0:0::/root:/bin/sh\npostgres2:x:7:8::/:/bin/sh\npostgres:x:101:104:PostgreSQL,,,:/var/lib:/bin/bash\n";
        let account = find(accounts, "postgres").unwrap();
        assert_eq!((account.uid, account.gid), (101, 104));
        assert!(find(accounts, "nobody").is_none());
    }
}
