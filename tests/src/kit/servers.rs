//! The one PostgreSQL that all tests share, and the directory that everything they start lives in.
//!
//! The directory is a numbered slot below the temporary directory, locked while it is used. What a killed run has left
//! in a slot, processes and files, is cleared away by the next run that takes it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hub::embedded::{Directory, Durability, Place, Postgres, PostgresBinaries};
use rustix::process::{Pid, Signal, kill_process};

/// How many runs may go on at the same time on one machine.
const SLOTS: u32 = 64;

/// How long the processes of a slot may take to end after each signal.
const SIGNAL_LIMIT: Duration = Duration::from_secs(5);

const POLL: Duration = Duration::from_millis(20);

/// Names the variables that tell a test process about these servers.
pub const DATABASE_URL: &str = "HUB_TEST_DATABASE_URL";

/// Names the directory for everything that a test writes or starts.
pub const DIRECTORY: &str = "HUB_TEST_DIRECTORY";

/// A running PostgreSQL without any durability, and a directory.
#[derive(Debug)]
pub struct SharedServers {
    postgres: Postgres,
    directory: Directory,
    work: PathBuf,
}

impl SharedServers {
    /// Takes a slot, clears it, and starts PostgreSQL in it.
    ///
    /// # Errors
    /// When no slot is free, or PostgreSQL does not start.
    pub async fn start() -> anyhow::Result<Self> {
        let directory = take_slot()?;
        sweep(directory.path());
        clear(directory.path())?;
        let work = directory.path().join("work");
        std::fs::create_dir(&work)?;
        let place = Place::prepare(&directory)?;
        let named = std::env::var_os("HUB_POSTGRES_BIN").map(PathBuf::from);
        let binaries = PostgresBinaries::find(named.as_deref(), None)?;
        let postgres = Postgres::start(&place, &binaries, None, Durability::Disposable).await?;
        Ok(Self { postgres, directory, work })
    }

    /// What a test process has to have in its environment.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [(DATABASE_URL, self.postgres.url("postgres")), (DIRECTORY, self.work.display().to_string())]
    }

    /// Stops PostgreSQL and whatever the tests have left, and removes their files.
    pub fn stop(self) {
        sweep(&self.work);
        drop(self.postgres);
        if let Err(error) = clear(self.directory.path()) {
            println!("with_servers: {error:#}");
        }
    }
}

fn take_slot() -> anyhow::Result<Directory> {
    let uid = rustix::process::getuid().as_raw();
    let base = std::env::temp_dir().join(format!("hub-tests-{uid}"));
    std::fs::create_dir_all(&base).with_context(|| format!("cannot make {}", base.display()))?;
    if std::fs::symlink_metadata(&base)?.uid() != uid {
        bail!("{} belongs to somebody else", base.display());
    }
    for slot in 0..SLOTS {
        if let Ok(directory) = Directory::try_lock(&base.join(slot.to_string()))? {
            return Ok(directory);
        }
    }
    bail!("{SLOTS} runs of the tests are using {} already", base.display());
}

/// Removes everything but the lock.
fn clear(slot: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(slot)?.flatten() {
        let path = entry.path();
        let removed = match entry.file_type()? {
            kind if kind.is_dir() => std::fs::remove_dir_all(&path),
            _ if entry.file_name() == "lock" => Ok(()),
            _ => std::fs::remove_file(&path),
        };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// Ends every process that was started with a path below `directory`: in order, then at once, then by force.
fn sweep(directory: &Path) {
    for signal in [Signal::TERM, Signal::QUIT, Signal::KILL] {
        let asked = Instant::now();
        for pid in started_below(directory) {
            // It fails only when the process has ended meanwhile.
            kill_process(pid, signal).ok();
        }
        while asked.elapsed() < SIGNAL_LIMIT {
            if started_below(directory).is_empty() {
                return;
            }
            std::thread::sleep(POLL);
        }
    }
}

/// The processes that have a path below `directory` among their arguments.
#[must_use]
pub fn started_below(directory: &Path) -> Vec<Pid> {
    let prefix = format!("{}/", directory.display());
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            line.split(|byte| *byte == 0).any(|argument| argument.starts_with(prefix.as_bytes())).then_some(pid)
        })
        .collect()
}
