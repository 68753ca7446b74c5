//! Servers that a killed hub has left running: found by their pid files, recognised by their command line, stopped.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use rustix::process::{Pid, Signal, kill_process};

use super::place::Place;

/// How long a leftover server may take to stop in order.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How long after the request to stop at once.
const AT_ONCE_LIMIT: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(20);

/// Stops the servers of `directory` that nobody holds any more: the caller has the lock, or knows that its holder is
/// dead. Blocks for as long as they need, at most 80 s. Returns how many were stopped.
///
/// # Errors
/// When one of them cannot be stopped.
pub fn stop_leftovers(directory: &Path) -> anyhow::Result<u32> {
    let Some(root) = Place::existing(directory) else {
        return Ok(0);
    };
    let postgres = root.join("postgres");
    let configuration = root.join("nats.conf");
    let mut stopped = 0;
    if let Some(pid) = first_line_pid(&root.join("nats.pid")) {
        stopped += u32::from(stop(pid, &configuration, &[Signal::TERM])?);
    }
    let pid_file = postgres.join("postmaster.pid");
    if let Some(pid) = first_line_pid(&pid_file) {
        stopped += u32::from(stop(pid, &postgres, &[Signal::INT, Signal::QUIT])?);
        if Path::new("/proc").join(pid.as_raw_nonzero().to_string()).exists() {
            // After a power cut the number may belong to another program by now, and PostgreSQL would not start because
            // of it. Whether an old server still has the data open it sees from the shared memory as well.
            remove(&pid_file)?;
        }
    }
    Ok(stopped)
}

fn remove(file: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            bail!("cannot remove {}: {error}", file.display())
        }
        _ => Ok(()),
    }
}

fn first_line_pid(file: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(file).ok()?;
    Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
}

/// Stops `pid` when one of its arguments is `argument`; true when it was running.
fn stop(pid: Pid, argument: &Path, signals: &[Signal]) -> anyhow::Result<bool> {
    if !runs(pid, argument) {
        return Ok(false);
    }
    let number = pid.as_raw_nonzero();
    tracing::info!(pid = number, "stopping a server that a killed hub has left running");
    let limits = [STOP_LIMIT, AT_ONCE_LIMIT];
    for (signal, limit) in signals.iter().chain([&Signal::KILL]).zip(limits.iter().cycle()) {
        if let Err(error) = kill_process(pid, *signal) {
            if !runs(pid, argument) {
                return Ok(true);
            }
            bail!("cannot stop the server with process id {number}, left by a killed hub: {error}");
        }
        let asked = Instant::now();
        while asked.elapsed() < *limit {
            if !runs(pid, argument) {
                return Ok(true);
            }
            std::thread::sleep(POLL);
        }
    }
    bail!("the server with process id {number}, left by a killed hub, does not stop");
}

/// Whether `pid` is alive and was started with `argument`. A process that has ended and waits for its parent has no
/// command line any more.
fn runs(pid: Pid, argument: &Path) -> bool {
    let Ok(line) = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())) else {
        return false;
    };
    line.split(|byte| *byte == 0).any(|part| part == argument.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;
    use std::time::Instant;

    use rustix::process::{Pid, Signal};

    use super::{POLL, STOP_LIMIT, runs, stop};

    #[test]
    fn only_a_process_with_our_argument_is_stopped() {
        let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&stranger);
        assert!(!stop(pid, Path::new("/nowhere/postgres"), &[Signal::TERM]).unwrap());
        assert!(stranger.try_wait().unwrap().is_none());
        // The system shows the command line a moment after the start.
        let started = Instant::now();
        while !runs(pid, Path::new("60")) {
            assert!(started.elapsed() < STOP_LIMIT, "sleep never ran");
            std::thread::sleep(POLL);
        }
        assert!(stop(pid, Path::new("60"), &[Signal::TERM]).unwrap());
        stranger.wait().unwrap();
    }
}
