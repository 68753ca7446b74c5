//! The verbs of the program, one file each.

mod audit;
pub(crate) mod compliance;
mod demo;
mod enrol;
mod events;
mod import;
mod listen;
mod platform;
mod progress;
mod projections;
mod replay;
mod serve;
mod up;
mod webhooks;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::{Parser, Subcommand};
use sqlx::PgPool;
use tokio::net::TcpListener;

use crate::config::{Config, Flags};
use crate::embedded::OpenDatabase;
use crate::{pool, telemetry};

/// Where `/metrics` listens when nothing else was said.
const METRICS_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9090);

/// Exit code after a second signal, as shells count it.
const INTERRUPTED: u8 = 130;

/// Service Hub: the platform core of a provider of managed services.
#[derive(Debug, Parser)]
#[command(name = "hub", version, about)]
struct Program {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Take evidence out of the platform, and verify it without one
    Audit(audit::Arguments),
    /// Have the controls of the platform checked
    Compliance(compliance::Arguments),
    /// Play a year of a provider with dozens of tenants on a platform that runs
    Demo(demo::Arguments),
    /// Make one more administrator, with a key in the administrator's key file
    Enrol,
    /// Write the log out
    Events(events::Arguments),
    /// Bring events in from somewhere else
    Import(import::Arguments),
    /// Follow a tenant's events and send them to a program on this machine, signed as webhooks are
    Listen(listen::Arguments),
    /// Look at the read models, or build one anew
    Projections(projections::Arguments),
    /// Prove the log, the facts and the read models
    Replay(replay::Arguments),
    /// Run one part of the platform, or all, with a PostgreSQL and a NATS that exist
    Serve(serve::Arguments),
    /// Run everything on this machine, with a PostgreSQL and a NATS of its own
    Up,
    /// Look at a tenant's webhooks
    Webhooks(webhooks::Arguments),
}

/// Reads the command line and does what it says. An error is one line on standard error and exit code 1, or 2 where 1 says something else.
#[must_use]
pub fn run() -> ExitCode {
    let program = Program::parse();
    let failure = match &program.verb {
        Verb::Audit(arguments) => audit::failure(arguments),
        _ => ExitCode::FAILURE,
    };
    match start(program) {
        Ok(code) => code,
        Err(error) => {
            let line = format!("{error:#}").replace('\n', " ");
            // Nothing can be done when nobody listens to the error.
            writeln!(std::io::stderr(), "hub: {line}").ok();
            failure
        }
    }
}

fn start(program: Program) -> anyhow::Result<ExitCode> {
    if let Verb::Audit(arguments) = &program.verb
        && let Some(code) = audit::offline(arguments)
    {
        return Ok(code);
    }
    let mut flags = program.flags;
    if let Verb::Serve(arguments) = &program.verb {
        flags.role.clone_from(&arguments.role);
    }
    let config = Config::load(&flags)?;
    telemetry::start_log(&config.log, config.log_format)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the threads")?.block_on(
        async {
            match program.verb {
                Verb::Audit(arguments) => audit::run(&config, arguments).await,
                Verb::Compliance(arguments) => compliance::run(&config, arguments).await,
                Verb::Demo(arguments) => demo::run(config, arguments).await,
                Verb::Enrol => enrol::run(&config).await,
                Verb::Events(arguments) => events::run(&config, arguments).await,
                Verb::Import(arguments) => import::run(&config, arguments).await,
                Verb::Listen(arguments) => listen::run(&config, arguments).await,
                Verb::Projections(arguments) => projections::run(&config, arguments).await,
                Verb::Replay(arguments) => replay::run(&config, arguments).await,
                Verb::Serve(_) => serve::run(config).await,
                Verb::Up => up::run(config).await,
                Verb::Webhooks(arguments) => webhooks::run(&config, arguments).await,
            }
        },
    )
}

/// Listens, or says in one line why not. `key` is the setting that changes the address.
async fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) => Err(anyhow!(
            "cannot listen on {address}: {}; choose another with --{} or HUB_{}",
            if error.kind() == std::io::ErrorKind::AddrInUse {
                "another program uses that port".to_owned()
            } else {
                error.to_string()
            },
            key.replace('_', "-"),
            key.to_uppercase()
        )),
    }
}

/// So many connections are enough for a verb that does one thing.
const VERB_POOL_SIZE: u32 = 4;

/// Does something with the database that was given, that of the hub which runs in the directory, or that of the data in it.
async fn with_database<T>(config: &Config, work: impl AsyncFnOnce(PgPool) -> anyhow::Result<T>) -> anyhow::Result<T> {
    with_database_and_vault(config, async |pool, _| work(pool).await).await
}

/// The same with the URL of the vault that `hub up` has, when the database is one of `hub up`.
async fn with_database_and_vault<T>(
    config: &Config,
    work: impl AsyncFnOnce(PgPool, Option<String>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let database = OpenDatabase::open(config).await?;
    let vault_url = database.vault_url().map(str::to_owned);
    let outcome = match pool::open(database.url(), VERB_POOL_SIZE).await {
        Ok(pool) => {
            let outcome = work(pool.clone(), vault_url).await;
            pool::close(&pool).await;
            outcome
        }
        Err(error) => Err(error),
    };
    database.close().await;
    outcome
}

/// Writes to standard output; a reader that has gone away is not an error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("cannot write the answer"),
        Ok(()) | Err(_) => Ok(()),
    }
}
