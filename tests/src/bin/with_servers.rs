//! Runs a command with a PostgreSQL for tests, or holds one: `with_servers COMMAND ARGUMENTS`, `with_servers --hold`.
//!
//! The servers stop when the command ends, whatever happened, and its exit code is passed on. SIGTERM and SIGHUP are
//! passed to the command; Ctrl-C reaches it without help. `--hold` prints the variables for a test process, an empty
//! line, and stops when its standard input ends.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use hub_tests::kit::servers::SharedServers;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    match run(std::env::args_os().skip(1).collect()).await {
        Ok(code) => code,
        Err(error) => {
            println!("with_servers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let Some((program, rest)) = arguments.split_first() else {
        bail!("give a command, or --hold");
    };
    // From here on no signal ends this process before the servers have stopped.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let servers = SharedServers::start().await?;
    if program == "--hold" {
        for (name, value) in servers.environment() {
            println!("{name}={value}");
        }
        println!();
        let until_the_end = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let outcome = tokio::task::spawn_blocking(until_the_end).await;
        servers.stop();
        outcome.context("the wait was lost")?.context("cannot wait")?;
        return Ok(ExitCode::SUCCESS);
    }
    let child = Command::new(program).args(rest).envs(servers.environment()).spawn();
    let outcome = match child {
        Err(error) => Err(error).with_context(|| format!("cannot start {}", program.display())),
        Ok(mut child) => loop {
            tokio::select! {
                status = child.wait() => break status.context("the command is lost"),
                _ = terminate.recv() => pass_on(&child, Signal::TERM),
                _ = hang_up.recv() => pass_on(&child, Signal::HUP),
                _ = interrupt.recv() => {}
            }
        },
    };
    servers.stop();
    let status = outcome?;
    let code = status.code().or_else(|| status.signal().map(|number| 128 + number));
    Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

fn pass_on(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(pid) = pid {
        // It fails only when the command has ended meanwhile.
        kill_process(pid, signal).ok();
    }
}
