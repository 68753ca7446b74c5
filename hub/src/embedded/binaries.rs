//! Finds the programs of PostgreSQL and NATS, and says what to install when they are missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::config::Config;

/// Where packages of the usual systems put the programs of PostgreSQL, one directory per major version.
const POSTGRES_ROOTS: &[&str] = &["/usr/lib/postgresql", "/usr/local/lib/postgresql", "/opt/postgresql"];

/// Where programs may be that are not in the PATH of everybody.
const SYSTEM_DIRECTORIES: &[&str] = &["/usr/local/bin", "/usr/local/sbin", "/usr/sbin", "/usr/bin"];

/// `postgres` and `initdb` of one version.
#[derive(Clone, Debug)]
pub struct PostgresBinaries {
    /// The directory that holds both.
    pub directory: PathBuf,
    /// The major version, for example 15.
    pub major: u32,
}

/// What the embedded servers are started from.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// PostgreSQL of the version that the data needs.
    pub postgres: PostgresBinaries,
    /// The nats-server program.
    pub nats: PathBuf,
}

impl Binaries {
    /// Finds both. `data_major` is the version that wrote the data, when there is data.
    ///
    /// # Errors
    /// One line that names the package to install when a program is missing, or when the data is of another version.
    pub fn find(config: &Config, data_major: Option<u32>) -> anyhow::Result<Self> {
        Ok(Self {
            postgres: PostgresBinaries::find(config.postgres_bin.as_deref(), data_major)?,
            nats: nats(config.nats_server.as_deref())?,
        })
    }
}

impl PostgresBinaries {
    /// Finds the newest PostgreSQL, or the one of `data_major`.
    ///
    /// # Errors
    /// As [`Binaries::find`].
    pub fn find(named: Option<&Path>, data_major: Option<u32>) -> anyhow::Result<Self> {
        let mut found = match named {
            Some(directory) => {
                vec![inspect(directory).with_context(|| format!("HUB_POSTGRES_BIN is {}", directory.display()))?]
            }
            None => search(),
        };
        found.sort_by_key(|binaries| binaries.major);
        let Some(newest) = found.last() else {
            bail!(
                "the PostgreSQL server is not installed: `make install`, or `apt-get install postgresql`, \
                 or set HUB_POSTGRES_BIN to the directory that holds `postgres` and `initdb`"
            );
        };
        let Some(wanted) = data_major else {
            return Ok(newest.clone());
        };
        match found.iter().find(|binaries| binaries.major == wanted) {
            Some(binaries) => Ok(binaries.clone()),
            None => bail!(
                "the data was written by PostgreSQL {wanted}, but {} is PostgreSQL {}: install PostgreSQL {wanted} \
                 (`apt-get install postgresql-{wanted}`) or use another directory",
                newest.directory.display(),
                newest.major
            ),
        }
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

fn nats(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(file) = named {
        if !file.is_file() {
            bail!("HUB_NATS_SERVER is {}: there is no such program", file.display());
        }
        return Ok(file.to_owned());
    }
    match directories().into_iter().map(|directory| directory.join("nats-server")).find(|file| file.is_file()) {
        Some(file) => Ok(file),
        None => bail!(
            "nats-server is not installed: `make install`, or `apt-get install nats-server`, \
             or set HUB_NATS_SERVER to the program"
        ),
    }
}

fn search() -> Vec<PostgresBinaries> {
    let mut candidates = directories();
    for root in POSTGRES_ROOTS {
        let Ok(versions) = std::fs::read_dir(root) else {
            continue;
        };
        candidates.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    candidates.iter().filter_map(|directory| inspect(directory).ok()).collect()
}

fn directories() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .chain(SYSTEM_DIRECTORIES.iter().map(PathBuf::from))
        .collect()
}

/// The programs in `directory`, with their version. A link is followed, because PostgreSQL looks for its files beside
/// the program itself.
fn inspect(directory: &Path) -> anyhow::Result<PostgresBinaries> {
    let postgres = directory.join("postgres");
    let resolved = postgres.canonicalize().with_context(|| format!("there is no program {}", postgres.display()))?;
    let directory = resolved.parent().unwrap_or(directory).to_owned();
    if !directory.join("initdb").is_file() {
        bail!("there is no program {}", directory.join("initdb").display());
    }
    let output = Command::new(&resolved)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", resolved.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match major(&text) {
        Some(major) => Ok(PostgresBinaries { directory, major }),
        None => bail!("{} --version says `{}`", resolved.display(), text.trim()),
    }
}

/// The 15 in `postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)`.
fn major(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL)")?.1.trim_start();
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn the_major_version_is_read_from_releases_and_previews() {
        assert_eq!(major("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)\n"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major("something else 15"), None);
    }
}
