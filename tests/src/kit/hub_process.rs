//! The real program in a process of its own, to be asked over HTTP and to be killed.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use hub::embedded::{Running, stop_leftovers};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::environment::{directory, program};
use super::eventually::eventually;

/// How long a hub may take to serve, on a machine that runs other tests beside it.
const READY_LIMIT: Duration = Duration::from_secs(90);

/// How long it may take to stop in order.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// `hub up` in a new directory, on free ports. Dropping it kills it and its servers, and removes the directory.
#[derive(Debug)]
pub struct HubProcess {
    child: Option<Child>,
    running: Option<Running>,
    variables: BTreeMap<String, String>,
    files: TempDir,
}

impl HubProcess {
    /// Starts one and waits until it serves.
    ///
    /// # Panics
    /// When it does not serve in time; the message holds what it said.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more variables in its environment, for example `("HUB_LOG", "debug")`.
    ///
    /// # Panics
    /// As [`HubProcess::start`].
    pub async fn start_with(variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut hub = Self { child: None, running: None, variables, files: directory() };
        hub.start_again().await;
        hub
    }

    /// Starts it again on the same directory, on new ports.
    ///
    /// # Panics
    /// As [`HubProcess::start`], or when it runs.
    pub async fn start_again(&mut self) {
        assert!(self.child.is_none(), "the hub runs already");
        let output = File::options()
            .create(true)
            .append(true)
            .open(self.output_file())
            .expect("the directory of the test can be written");
        let child = command(self.files.path())
            .args(["up", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"])
            .arg("--directory")
            .arg(self.directory())
            .envs(&self.variables)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file has more than one handle"))
            .stderr(output)
            .spawn()
            .expect("the program can be started");
        let pid = child.id();
        self.child = Some(child);
        let running = eventually(READY_LIMIT, async || {
            if let Some(status) = self.ended() {
                panic!("hub ended ({status}):\n{}", self.output());
            }
            Running::read(&self.directory()).filter(|running| running.pid == pid)
        })
        .await;
        self.running = Some(running);
    }

    /// Base URL of both APIs, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.running().url
    }

    /// URL of the metrics.
    #[must_use]
    pub fn metrics_url(&self) -> &str {
        &self.running().metrics_url
    }

    /// URL of its database.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.running().database_url
    }

    /// URL of its NATS.
    #[must_use]
    pub fn nats_url(&self) -> &str {
        &self.running().nats_url
    }

    /// A client of its NATS with the rights of the hub itself.
    ///
    /// # Errors
    /// When NATS does not answer.
    ///
    /// # Panics
    /// When the file with the credentials is not there.
    pub async fn nats_client(&self) -> Result<async_nats::Client, async_nats::ConnectError> {
        let text = std::fs::read_to_string(self.directory().join("nats.creds"));
        let text = text.expect("a hub that serves has written its credentials");
        let options = async_nats::ConnectOptions::with_credentials(&text).expect("credentials are written whole");
        options.connect(self.nats_url()).await
    }

    /// The bearer key of the first administrator.
    ///
    /// # Panics
    /// When the file is not there.
    #[must_use]
    pub fn admin_key(&self) -> String {
        std::fs::read_to_string(self.directory().join("admin.key"))
            .expect("a hub that serves has written its key")
            .trim()
            .to_owned()
    }

    /// Its `--directory`.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.files.path().join(".hub")
    }

    /// Everything it has said, on both streams, over all starts.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.output_file()).unwrap_or_default()
    }

    /// The process id.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("the hub runs"))
    }

    /// Kills it without any warning; its servers go on, as after a real crash.
    pub fn kill(&mut self) {
        self.running = None;
        if let Some(mut child) = self.child.take() {
            // Killing fails only when it has ended already; waiting only when somebody else has waited.
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Sends a signal and waits for the end.
    ///
    /// # Panics
    /// When it does not end within a minute.
    pub async fn stop(&mut self, signal: Signal) -> ExitStatus {
        kill_process(self.pid(), signal).expect("the hub runs");
        self.wait().await
    }

    /// Waits for the end without asking for it.
    ///
    /// # Panics
    /// When it does not end within a minute.
    pub async fn wait(&mut self) -> ExitStatus {
        let status = eventually(STOP_LIMIT, async || self.ended()).await;
        self.child = None;
        self.running = None;
        status
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the hub serves")
    }

    fn output_file(&self) -> PathBuf {
        self.files.path().join("output.txt")
    }
}

impl Drop for HubProcess {
    fn drop(&mut self) {
        self.kill();
        if let Err(error) = stop_leftovers(&self.directory()) {
            println!("servers are left: {error:#}");
        }
    }
}

/// What a run of the program that ended by itself has said.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs the program in `working_directory` to its end.
///
/// # Panics
/// When it does not end within 90 s.
pub async fn run_hub(working_directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
    let mut command = command(working_directory);
    command.args(arguments).envs(variables.iter().copied());
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(READY_LIMIT, command.output())
        .await
        .expect("the program ends")
        .expect("the program can be started");
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A port that was free a moment ago.
///
/// # Panics
/// When the machine has none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}

/// The program with nothing in its environment that could change what it does.
pub(super) fn command(working_directory: &Path) -> Command {
    let mut command = Command::new(program("hub_under_test"));
    command.current_dir(working_directory);
    for (name, _) in std::env::vars() {
        let keep = ["HUB_POSTGRES_BIN", "HUB_NATS_SERVER"].contains(&name.as_str());
        if !keep && (name.starts_with("HUB_") || name == "DATABASE_URL" || name == "NATS_URL") {
            command.env_remove(name);
        }
    }
    command
}
