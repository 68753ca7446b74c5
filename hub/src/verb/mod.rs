//! The verbs of the program, one file each.

mod serve;
mod up;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;

use crate::config::{Config, Flags};
use crate::telemetry;

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
    /// Run one part of the platform, or all, with a PostgreSQL and a NATS that exist
    Serve(serve::Arguments),
    /// Run everything on this machine, with a PostgreSQL and a NATS of its own
    Up,
}

/// Reads the command line and does what it says. An error is one line on standard error and exit code 1.
#[must_use]
pub fn run() -> ExitCode {
    match start(Program::parse()) {
        Ok(code) => code,
        Err(error) => {
            let line = format!("{error:#}").replace('\n', " ");
            // Nothing can be done when nobody listens to the error.
            writeln!(std::io::stderr(), "hub: {line}").ok();
            ExitCode::FAILURE
        }
    }
}

fn start(program: Program) -> anyhow::Result<ExitCode> {
    let mut flags = program.flags;
    if let Verb::Serve(arguments) = &program.verb {
        flags.role.clone_from(&arguments.role);
    }
    let config = Config::load(&flags)?;
    telemetry::start_log(&config.log, config.log_format)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the threads")?.block_on(
        async {
            match program.verb {
                Verb::Serve(_) => serve::run(config).await,
                Verb::Up => up::run(config).await,
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
