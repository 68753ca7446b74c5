//! The PostgreSQL and the nats-server of one run: hub's own embedded ones, with the settings that `hub up` gives them.
//!
//! A second nats-server, idle at all other times, is for the relay alone: a log that is published anew each round would look to the
//! program like the loss of its own stream.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use hub::{
    config::{Config, Flags},
    embedded::{self, Binaries, Directory, Nats, Place, stop_leftovers},
};
use sqlx::{
    Executor as _, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio_util::sync::CancellationToken;

use crate::subject::pgbench;

/// The settings that say whether a commit survives a power cut, and those that matter most for speed.
const SHOWN: &[&str] = &[
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "commit_delay",
    "shared_buffers",
    "max_wal_size",
    "wal_compression",
    "jit",
];

/// Both servers, and a directory for what is measured.
#[derive(Debug)]
pub struct Servers {
    embedded: embedded::Servers,
    place: Place,
    /// The directory of PostgreSQL's programs, pgbench among them.
    pub programs: PathBuf,
    directory: Directory,
    relay_nats: Nats,
    relay_place: Place,
    // Held until the end.
    _relay_directory: Directory,
}

impl Servers {
    /// Starts both in `path`, without what an earlier run has left there.
    pub async fn start(path: &Path) -> anyhow::Result<Self> {
        let directory = Directory::lock(path)?;
        stop_leftovers(directory.path())?;
        let place = Place::prepare(&directory)?;
        clear(&place)?;
        remove(&directory.path().join(pgbench::DIRECTORY))?;
        let config = Config::from_sources(&Flags::default(), &|name| std::env::var(name).ok(), None)?;
        let binaries = Binaries::find(&config, None)?;
        let relay_directory = Directory::lock(&directory.path().join("relay"))?;
        stop_leftovers(relay_directory.path())?;
        let relay_place = Place::prepare(&relay_directory)?;
        clear(&relay_place)?;
        let embedded = embedded::Servers::start(&place, &binaries).await?;
        let relay_nats = Nats::start(&relay_place, &binaries.nats, None).await?;
        Ok(Self {
            embedded,
            place,
            programs: binaries.postgres.directory,
            directory,
            relay_nats,
            relay_place,
            _relay_directory: relay_directory,
        })
    }

    /// Where temporary files may be written.
    pub fn work(&self) -> &Path {
        self.directory.path()
    }

    /// The URL of a database, with the password.
    pub fn url(&self, database: &str) -> String {
        self.embedded.postgres.url(database)
    }

    /// The URL of NATS.
    pub fn nats_url(&self) -> String {
        self.embedded.nats.url()
    }

    /// The URL of the NATS that only the relay is measured with.
    pub fn relay_nats_url(&self) -> String {
        self.relay_nats.url()
    }

    /// Makes an empty database, unless there is one, and answers a small pool for preparing it.
    pub async fn create(&self, database: &str) -> anyhow::Result<PgPool> {
        self.embedded.postgres.create_database(database).await?;
        self.pool(database, 2).await
    }

    /// Makes a database with the schema of hub.
    pub async fn create_migrated(&self, database: &str) -> anyhow::Result<PgPool> {
        let pool = self.create(database).await?;
        hub::migrate::migrate(&pool).await.context("cannot migrate a database of the benchmark")?;
        Ok(pool)
    }

    /// A pool of exactly `size` connections, all of them open.
    pub async fn pool(&self, database: &str, size: u32) -> anyhow::Result<PgPool> {
        let options: PgConnectOptions = self.url(database).parse()?;
        let pool = PgPoolOptions::new().max_connections(size).min_connections(size).test_before_acquire(true);
        pool.connect_with(options).await.with_context(|| format!("cannot connect to {database}"))
    }

    /// Writes all that is dirty, so that the one measured next does not pay for the one before.
    pub async fn settle(&self) -> anyhow::Result<()> {
        let pool = self.pool("postgres", 1).await?;
        pool.execute("CHECKPOINT").await?;
        pool.close().await;
        Ok(())
    }

    /// The settings in one line.
    pub async fn settings(&self) -> anyhow::Result<String> {
        let pool = self.pool("postgres", 1).await?;
        let mut line = String::from("PostgreSQL:");
        for name in SHOWN {
            let value: String = sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(&pool).await?;
            write!(line, " {name}={value}")?;
        }
        pool.close().await;
        Ok(line)
    }

    /// Stops all and removes their data; at once when `hurry` is cancelled.
    pub async fn stop(self, hurry: &CancellationToken) {
        self.relay_nats.stop(hurry).await;
        self.embedded.stop(hurry).await;
        for place in [&self.place, &self.relay_place] {
            if let Err(error) = clear(place) {
                eprintln!("bench: {error:#}");
            }
        }
    }
}

fn clear(place: &Place) -> anyhow::Result<()> {
    ["postgres", "nats"].iter().try_for_each(|name| remove(&place.data(name)))
}

/// Removes a directory, if it is there.
fn remove(directory: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}
