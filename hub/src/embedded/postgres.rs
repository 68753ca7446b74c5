//! A PostgreSQL server of our own, on a free loopback port, with a password that only this hub knows.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use rustix::process::Signal;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::binaries::PostgresBinaries;
use super::place::Place;
use super::process::{Process, Step, prepare};
use super::{blocking, log};
use crate::key::{hex, random, write_private};

/// The role that owns everything.
const USER: &str = "hub";

/// How long the making of a new data directory may take.
const INITDB_LIMIT: Duration = Duration::from_secs(120);

/// How long the server may take to answer; after a crash it first reads its log.
const START_LIMIT: Duration = Duration::from_secs(300);

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(30);

/// How often another port is tried when somebody takes the free one that was found.
const PORT_ATTEMPTS: u32 = 5;

/// Fast shutdown: sessions are ended and everything is written. Then without writing, which the next start repairs.
const STOP: &[Step] = &[(Signal::INT, Duration::from_secs(30)), (Signal::QUIT, Duration::from_secs(10))];

/// Made for a small machine that runs everything at once. Given on the command line, so that they hold for data
/// directories that were made by an older hub, too.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("max_connections", "200"),
    ("shared_buffers", "256MB"),
    ("wal_compression", "on"),
    ("max_wal_size", "2GB"),
    ("random_page_cost", "1.1"),
    ("jit", "off"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("log_destination", "stderr"),
    ("logging_collector", "off"),
    ("log_checkpoints", "off"),
    ("log_line_prefix", "%m [%p] "),
];

/// Whether what was committed must survive a power cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Durability {
    /// Yes: for data that matters.
    Durable,
    /// No, for databases of tests, which are thrown away: several times faster. A killed process loses nothing either way.
    Disposable,
}

/// A running server. Dropping it stops it at once; [`Postgres::stop`] does so in order.
pub struct Postgres {
    process: Process,
    port: u16,
    password: String,
    log: PathBuf,
    log_start: u64,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Postgres")
            .field("port", &self.port)
            .field("pid", &self.process.id())
            .finish_non_exhaustive()
    }
}

impl Postgres {
    /// Makes the data directory when there is none, starts the server on `port` or a free one, and waits until it answers.
    ///
    /// # Errors
    /// When it does not start; the message ends with the last lines of its log.
    pub async fn start(
        place: &Place,
        binaries: &PostgresBinaries,
        port: Option<u16>,
        durability: Durability,
    ) -> anyhow::Result<Self> {
        let password = initialise(place, binaries, durability).await?;
        let path = place.log("postgres");
        for attempt in 1..=PORT_ATTEMPTS {
            let log_start = log::length(&path);
            let chosen = match port {
                Some(port) => port,
                None => free_port()?,
            };
            let command = command(place, binaries, chosen, durability);
            let process = Process::start(command, place, &path, Signal::QUIT).context("cannot start PostgreSQL")?;
            let mut server = Self { process, port: chosen, password: password.clone(), log: path.clone(), log_start };
            match server.wait_until_ready().await {
                Ok(()) => return Ok(server),
                Err(_) if port.is_none() && attempt < PORT_ATTEMPTS && server.port_was_taken() => {}
                Err(error) => return Err(error),
            }
        }
        bail!("PostgreSQL found no free port in {PORT_ATTEMPTS} attempts");
    }

    /// The TCP port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of one of its databases, with the password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// Makes an empty database when there is none of that name.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn create_database(&self, name: &str) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        let known: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_database WHERE datname = $1")
            .bind(name)
            .fetch_optional(&mut connection)
            .await?;
        if known.is_none() {
            let quoted = name.replace('"', "\"\"");
            sqlx::query(&format!("CREATE DATABASE \"{quoted}\""))
                .execute(&mut connection)
                .await
                .with_context(|| format!("cannot create the database {name}"))?;
        }
        connection.close().await?;
        Ok(())
    }

    /// Waits until it ends without having been told to.
    pub async fn died(&mut self) -> anyhow::Error {
        match self.process.wait().await {
            Ok(status) => {
                anyhow!("PostgreSQL has ended by itself ({status}): {}", log::summary(&self.log, self.log_start))
            }
            Err(error) => anyhow!("PostgreSQL is lost: {error}"),
        }
    }

    /// Stops it in order within 40 s, or at once when `hurry` is cancelled.
    pub async fn stop(self, hurry: &CancellationToken) {
        self.process.stop(STOP, hurry).await;
    }

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username(USER)
            .password(&self.password)
            .database("postgres")
            .disable_statement_logging()
            .connect()
            .await
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.ended() {
                bail!("PostgreSQL does not start ({status}): {}", log::summary(&self.log, self.log_start));
            }
            match tokio::time::timeout(CONNECT_LIMIT, self.connect()).await {
                Ok(Ok(connection)) => return Ok(connection.close().await?),
                Ok(Err(error)) if wrong_password(&error) => {
                    bail!("PostgreSQL refuses the password in {}", password_file_name())
                }
                _ if started.elapsed() > START_LIMIT => bail!(
                    "PostgreSQL did not answer within {} s: {}",
                    START_LIMIT.as_secs(),
                    log::summary(&self.log, self.log_start)
                ),
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }

    fn port_was_taken(&self) -> bool {
        log::since(&self.log, self.log_start).contains("could not bind")
    }
}

fn wrong_password(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "28P01")
}

fn password_file_name() -> &'static str {
    "postgres.password"
}

fn command(place: &Place, binaries: &PostgresBinaries, port: u16, durability: Durability) -> Command {
    let mut command = Command::new(binaries.program("postgres"));
    command.arg("-D").arg(place.data("postgres")).arg("-p").arg(port.to_string());
    // Commits still wait for their write to the system, or a server that is killed would take some with it.
    let disposable = [("fsync", "off"), ("full_page_writes", "off"), ("max_connections", "400")];
    let more = match durability {
        Durability::Durable => &[][..],
        Durability::Disposable => &disposable[..],
    };
    for (name, value) in SETTINGS.iter().chain(more) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    command
}

/// Makes the data directory when there is none, under another name first, so that there is never half of one. Returns
/// the password.
async fn initialise(place: &Place, binaries: &PostgresBinaries, durability: Durability) -> anyhow::Result<String> {
    let data = place.data("postgres");
    let password_file = place.data(password_file_name());
    if data.join("PG_VERSION").exists() {
        let password = std::fs::read_to_string(&password_file)
            .with_context(|| format!("cannot read {}", password_file.display()))?;
        return Ok(password.trim().to_owned());
    }
    let fresh = place.data("postgres.new");
    let password = hex(&random::<16>());
    let prepared = (place.clone(), fresh.clone(), password_file.clone(), password.clone());
    blocking(move || {
        let (place, fresh, password_file, password) = prepared;
        if fresh.exists() {
            std::fs::remove_dir_all(&fresh).with_context(|| format!("cannot remove {}", fresh.display()))?;
        }
        std::fs::create_dir(&fresh).with_context(|| format!("cannot make {}", fresh.display()))?;
        place.hand_over(&fresh)?;
        write_private(&password_file, &password)?;
        place.hand_over(&password_file)
    })
    .await?;
    run_initdb(place, binaries, &fresh, &password_file, durability).await?;
    std::fs::rename(&fresh, &data).with_context(|| format!("cannot make {}", data.display()))?;
    Ok(password)
}

async fn run_initdb(
    place: &Place,
    binaries: &PostgresBinaries,
    data: &Path,
    password_file: &Path,
    durability: Durability,
) -> anyhow::Result<()> {
    let mut command = Command::new(binaries.program("initdb"));
    command
        .arg("-D")
        .arg(data)
        .arg(format!("--pwfile={}", password_file.display()))
        .arg(format!("--username={USER}"))
        .args(["--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums"])
        .args(["--auth=scram-sha-256", "--no-instructions"]);
    if durability == Durability::Disposable {
        command.arg("--no-sync");
    }
    prepare(&mut command, place);
    command.process_group(0).kill_on_drop(true).stdin(Stdio::null());
    let output = tokio::time::timeout(INITDB_LIMIT, command.output())
        .await
        .with_context(|| format!("initdb did not end within {} s", INITDB_LIMIT.as_secs()))?
        .context("cannot start initdb")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        bail!("initdb failed ({}): {}", output.status, said.join(" | "));
    }
    Ok(())
}

/// A port that was free a moment ago.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .context("this machine has no free loopback port")?;
    Ok(listener.local_addr()?.port())
}
