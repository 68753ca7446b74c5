//! The whole program `hub` in a process of its own, and the bare axum handler that it is compared with.
//!
//! Both are this very executable, told by a variable to be something else, so that they are built alike and never missing.

use std::{
    convert::Infallible,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use axum::{Json, Router, body::Body, routing::get};
use bytes::Bytes;
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::{connection::Connection, machine::peak_memory_mib, servers::Servers};

/// Tells this executable to be another program.
const PART: &str = "HUB_BENCH_PART";

/// The file whose content the bare handler answers.
const BODY: &str = "HUB_BENCH_BODY";

/// Where the bare handler listens.
const LISTEN: &str = "HUB_BENCH_LISTEN";

/// What a bare stream sends at once.
const PIECE_BYTES: usize = 64 << 10;

/// How long a program may take to answer.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// How long it may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(20);

/// The database of the whole program.
pub const DATABASE: &str = "hub_program";

/// Is another program if the environment says so.
pub fn play_part() -> Option<ExitCode> {
    match std::env::var(PART).ok()?.as_str() {
        "hub" => Some(hub::run()),
        "axum" => Some(bare(row)),
        "sse" => Some(bare(stream)),
        _ => None,
    }
}

/// A program that runs; dropping it kills it.
#[derive(Debug)]
pub struct Program {
    child: Child,
    /// Address and port.
    pub host: String,
    /// The administrator's key; empty for the bare handler.
    pub key: String,
}

impl Program {
    /// `hub serve` in a role, on the database of the program.
    pub async fn hub(servers: &Servers, role: &str) -> anyhow::Result<Self> {
        let host = free_address()?;
        let work = servers.work();
        let key_file = work.join("admin.key");
        let mut command = part("hub")?;
        command
            .args(["serve", "--role", role, "--listen", &host, "--metrics-listen", "127.0.0.1:0"])
            .args(["--database-url", &servers.url(DATABASE), "--nats-url", &servers.nats_url()])
            // All clients share one key; their requests are counted like any others, and none is refused.
            .args(["--rate-limit-principal-per-second", "10000000"]);
        for name in ["admin", "secret", "evidence", "vault"] {
            command.arg(format!("--{name}-key-file")).arg(work.join(format!("{name}.key")));
        }
        let mut program = Self::start(command, host, &work.join("hub.log"), "/health/ready").await?;
        let key = std::fs::read_to_string(&key_file).context("hub has written no key")?;
        program.key = key.trim().to_owned();
        Ok(program)
    }

    /// A handler that does nothing but answer `body` as JSON.
    pub async fn axum(servers: &Servers, body: &[u8]) -> anyhow::Result<Self> {
        Self::bare(servers, "axum", body).await
    }

    /// A handler that does nothing but send `body`, which it has ready, piece by piece as server-sent events.
    pub async fn sse(servers: &Servers, body: &[u8]) -> anyhow::Result<Self> {
        Self::bare(servers, "sse", body).await
    }

    async fn bare(servers: &Servers, name: &str, body: &[u8]) -> anyhow::Result<Self> {
        let host = free_address()?;
        let file = servers.work().join(format!("{name}.body"));
        std::fs::write(&file, body).context("cannot write the body of the bare handler")?;
        let mut command = part(name)?;
        command.env(BODY, file).env(LISTEN, &host);
        Self::start(command, host, &servers.work().join("axum.log"), "/").await
    }

    async fn start(mut command: Command, host: String, log: &Path, ready: &str) -> anyhow::Result<Self> {
        let output = std::fs::File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).kill_on_drop(true);
        let mut child = command.spawn().context("cannot start this executable again")?;
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("the program ended ({status}), see {}", log.display());
            }
            if let Ok(mut connection) = Connection::open(&host, "").await
                && connection.get(ready, None).await.is_ok_and(|answer| answer.status.is_success())
            {
                return Ok(Self { child, host, key: String::new() });
            }
            if started.elapsed() > READY_LIMIT {
                bail!("the program did not answer within {} s, see {}", READY_LIMIT.as_secs(), log.display());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// A new connection to it.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(&self.host, &self.key).await
    }

    /// This many connections.
    pub async fn connections(&self, count: usize) -> anyhow::Result<Vec<Connection>> {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(self.connect().await?);
        }
        Ok(connections)
    }

    /// The largest resident set it has had, in MiB.
    pub fn peak_memory_mib(&self) -> Option<u64> {
        peak_memory_mib(self.child.id()?)
    }

    /// Stops it in order.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .context("the program has ended by itself")?;
        }
        tokio::time::timeout(STOP_LIMIT, self.child.wait()).await.context("the program does not stop")??;
        Ok(())
    }
}

fn part(name: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(PART, name);
    Ok(command)
}

/// A free port, which somebody else might take in the moment before it is used; then the start fails.
fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// The body is serialised for each request, as a handler with a row in memory would do it.
fn row(body: Vec<u8>) -> anyhow::Result<Router> {
    let body: &'static Value = Box::leak(Box::new(serde_json::from_slice(&body)?));
    Ok(Router::new().route("/", get(move || async move { Json(body) })))
}

/// The body is sent as it is, in pieces of the size that a stream of the program has near the end of the log.
fn stream(body: Vec<u8>) -> anyhow::Result<Router> {
    let body = Bytes::from(body);
    let pieces = (0..body.len()).step_by(PIECE_BYTES).map(|at| body.slice(at..body.len().min(at + PIECE_BYTES)));
    let pieces: Arc<[Bytes]> = pieces.collect();
    let handler = move || async move {
        let count = pieces.len();
        let pieces = (0..count).map(move |place| Ok::<_, Infallible>(pieces[place].clone()));
        ([("content-type", "text/event-stream")], Body::from_stream(futures::stream::iter(pieces)))
    };
    Ok(Router::new().route("/", get(handler)))
}

/// One route, no layers.
fn bare(router: fn(Vec<u8>) -> anyhow::Result<Router>) -> ExitCode {
    let serve = async || -> anyhow::Result<()> {
        let file = PathBuf::from(std::env::var(BODY)?);
        let listener = tokio::net::TcpListener::bind(std::env::var(LISTEN)?).await?;
        let router = router(std::fs::read(file)?)?;
        axum::serve(listener, router).with_graceful_shutdown(terminated()).await?;
        Ok(())
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime needs threads only");
    match runtime.block_on(serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut signal = signal(SignalKind::terminate()).expect("a process can listen for signals");
    signal.recv().await;
}
