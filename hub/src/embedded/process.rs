//! One server process: in a group of its own, so that Ctrl-C at the terminal reaches only the hub.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::place::Place;

/// How long a dropped process may take to obey before it is killed.
const DROP_LIMIT: Duration = Duration::from_secs(5);

/// How often a dropped process is looked at.
const DROP_POLL: Duration = Duration::from_millis(10);

/// One request to stop and the time the process has to obey it.
pub(crate) type Step = (Signal, Duration);

/// A child that never outlives this value, unless this whole process is killed.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    /// What stops it without waiting for its clients, and without damage.
    at_once: Signal,
}

impl Process {
    /// Starts `command` as the account of `place`, its output going to the log file.
    pub(crate) fn start(mut command: Command, place: &Place, log: &Path, at_once: Signal) -> io::Result<Self> {
        let output = super::log::open(log)?;
        prepare(&mut command, place);
        command.process_group(0).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn()?;
        let pid = child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
            .ok_or_else(|| io::Error::other("the process ended at once"))?;
        Ok(Self { child, pid, at_once })
    }

    pub(crate) fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// The status, when it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks it to stop, step by step, each with its own limit. What is left then, or when `hurry` is cancelled, is
    /// stopped at once.
    pub(crate) async fn stop(mut self, steps: &[Step], hurry: &CancellationToken) {
        for (signal, limit) in steps {
            if self.ended().is_some() {
                return;
            }
            self.send(*signal);
            tokio::select! {
                _ = tokio::time::timeout(*limit, self.child.wait()) => {}
                () = hurry.cancelled() => break,
            }
        }
        // What is left is stopped by the drop.
    }

    fn send(&self, signal: Signal) {
        // It fails only when the process has ended meanwhile, which is what is wanted.
        if let Err(error) = kill_process(self.pid, signal) {
            tracing::debug!(pid = self.id(), %error, "the signal found no process");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        self.send(self.at_once);
        let started = Instant::now();
        while started.elapsed() < DROP_LIMIT {
            if self.ended().is_some() {
                return;
            }
            std::thread::sleep(DROP_POLL);
        }
        self.send(Signal::KILL);
    }
}

/// Sets account, working directory and an environment that cannot change what the server does.
pub(crate) fn prepare(command: &mut Command, place: &Place) {
    command.current_dir(place.root()).env("LC_ALL", "C");
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
    if let Some(account) = place.account() {
        command.uid(account.uid).gid(account.gid);
    }
}
