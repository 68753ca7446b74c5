//! A nats-server of our own with JetStream, on a free loopback port.
//!
//! With an account it lets in only users whose credentials the account has signed for; `hub up` has one. Without, which is for tests, it asks
//! nobody. Either way PostgreSQL is the truth, and what comes from NATS is compared with it before it is taken in: who gets in uninvited
//! can at worst make the projections read from PostgreSQL.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use rustix::process::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::nats_account::NatsAccount;
use super::place::Place;
use super::process::{Process, Step};
use super::{blocking, log};

/// How long the server may take to answer; it reads its streams first.
const START_LIMIT: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(10);

/// In order: what is in memory is written, clients are told.
const STOP: &[Step] = &[(Signal::TERM, Duration::from_secs(10))];

/// A running server. Dropping it stops it at once; [`Nats::stop`] does so in order.
#[derive(Debug)]
pub struct Nats {
    process: Process,
    port: u16,
    log: PathBuf,
    log_start: u64,
}

impl Nats {
    /// Starts the server on `port` or a free one, and waits until it answers.
    ///
    /// # Errors
    /// When it does not start; the message ends with the last lines of its log.
    pub async fn start(place: &Place, program: &Path, port: Option<u16>) -> anyhow::Result<Self> {
        Self::start_for(place, program, port, None).await
    }

    /// The same for the users of an account and nobody else.
    ///
    /// # Errors
    /// As [`Nats::start`].
    pub async fn start_for(
        place: &Place,
        program: &Path,
        port: Option<u16>,
        account: Option<&NatsAccount>,
    ) -> anyhow::Result<Self> {
        let prepared = place.clone();
        let (name, access) = account.map(|account| (account.name.clone(), access(account))).unzip();
        let configuration = blocking(move || {
            if let Some(name) = name {
                forget_other_accounts(&prepared, &name)?;
            }
            configure(&prepared, port, &access.unwrap_or_default())
        })
        .await?;
        let path = place.log("nats");
        let log_start = log::length(&path);
        let mut command = Command::new(program);
        command.arg("-c").arg(configuration);
        let process = Process::start(command, place, &path, Signal::KILL)
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut server = Self { process, port: 0, log: path, log_start };
        server.wait_until_ready(place).await?;
        Ok(server)
    }

    /// The TCP port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Waits until it ends without having been told to.
    pub async fn died(&mut self) -> anyhow::Error {
        match self.process.wait().await {
            Ok(status) => {
                anyhow!("nats-server has ended by itself ({status}): {}", log::summary(&self.log, self.log_start))
            }
            Err(error) => anyhow!("nats-server is lost: {error}"),
        }
    }

    /// Stops it in order within 10 s, or at once when `hurry` is cancelled.
    pub async fn stop(self, hurry: &CancellationToken) {
        self.process.stop(STOP, hurry).await;
    }

    async fn wait_until_ready(&mut self, place: &Place) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.ended() {
                bail!("nats-server does not start ({status}): {}", log::summary(&self.log, self.log_start));
            }
            if self.port == 0 {
                self.port = announced_port(place, self.process.id()).unwrap_or(0);
            }
            if self.port != 0 && greets(self.port).await {
                return Ok(());
            }
            if started.elapsed() > START_LIMIT {
                bail!(
                    "nats-server did not answer within {} s: {}",
                    START_LIMIT.as_secs(),
                    log::summary(&self.log, self.log_start)
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Writes the configuration and clears what an earlier server announced. Port -1 lets the server choose a free one,
/// which it announces in a file, so that nobody can take it in between.
fn configure(place: &Place, port: Option<u16>, access: &str) -> anyhow::Result<PathBuf> {
    let announced = place.data("nats.ports");
    let store = place.data("nats");
    for directory in [&announced, &store] {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        place.hand_over(directory)?;
    }
    for old in std::fs::read_dir(&announced)?.flatten() {
        std::fs::remove_file(old.path())?;
    }
    let configuration = place.data("nats.conf");
    let text = format!(
        "# Written by hub at every start.\n\
         server_name: hub\n\
         host: \"127.0.0.1\"\n\
         port: {}\n\
         pid_file: {}\n\
         ports_file_dir: {}\n\
         jetstream {{\n  \
           store_dir: {}\n  \
           max_memory_store: 64MB\n  \
           max_file_store: 16GB\n\
         }}\n\
         {access}",
        port.map_or(-1, i32::from),
        quoted(&place.data("nats.pid")),
        quoted(&announced),
        quoted(&store),
    );
    std::fs::write(&configuration, text).with_context(|| format!("cannot write {}", configuration.display()))?;
    place.hand_over(&configuration)?;
    Ok(configuration)
}

/// The part of the configuration that tells who is let in: nothing of it is secret.
fn access(account: &NatsAccount) -> String {
    let NatsAccount { name, operator_claims, claims, system: (system, system_claims), .. } = account;
    format!(
        "operator: {operator_claims}\n\
         system_account: {system}\n\
         resolver: MEMORY\n\
         resolver_preload {{\n  \
           {name}: {claims}\n  \
           {system}: {system_claims}\n\
         }}\n"
    )
}

/// Removes the streams of other accounts, such as those of the time when everybody was let in: no user of this one sees them, and PostgreSQL
/// has what they held.
fn forget_other_accounts(place: &Place, name: &str) -> anyhow::Result<()> {
    let streams = place.data("nats").join("jetstream");
    let entries = match std::fs::read_dir(&streams) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("cannot read {}", streams.display()))?,
    };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        if !path.ends_with(name) {
            tracing::info!("the streams in {} belong to nobody any more and are removed", path.display());
            std::fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// A path as a string of the configuration, in which quotes and backslashes are the same as in JSON.
fn quoted(path: &Path) -> serde_json::Value {
    serde_json::Value::from(path.to_string_lossy())
}

/// The port in `nats-server_<pid>.ports`, once it is there: `{"nats":["nats://127.0.0.1:4222"],...}`.
fn announced_port(place: &Place, pid: i32) -> Option<u16> {
    let wanted = format!("_{pid}.ports");
    let file = std::fs::read_dir(place.data("nats.ports"))
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with(&wanted))?;
    let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let url = ports.get("nats")?.get(0)?.as_str()?;
    url.rsplit(':').next()?.parse().ok()
}

/// Whether a server says its first word on that port.
async fn greets(port: u16) -> bool {
    let greet = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.ok()?;
        Some(&word == b"INFO")
    };
    matches!(tokio::time::timeout(Duration::from_secs(1), greet).await, Ok(Some(true)))
}
