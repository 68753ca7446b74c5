//! `hub serve --role all` in a process of its own, on servers that a test holds; several of them may share one database.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use super::eventually::eventually;
use super::hub_process::command;

/// How long it may take to serve, on a machine that runs other tests beside it.
const READY_LIMIT: Duration = Duration::from_secs(90);

/// The program in the role of everything. Dropping it kills it.
#[derive(Debug)]
pub struct ServeProcess {
    child: Option<Child>,
    url: Option<String>,
    directory: PathBuf,
    name: &'static str,
    database_url: String,
    nats_url: String,
}

impl ServeProcess {
    /// One that does not run yet. Its keys are in `directory`, which processes of one database share; `name` tells their logs apart.
    #[must_use]
    pub fn new(directory: &Path, name: &'static str, database_url: &str, nats_url: &str) -> Self {
        Self {
            child: None,
            url: None,
            directory: directory.to_owned(),
            name,
            database_url: database_url.to_owned(),
            nats_url: nats_url.to_owned(),
        }
    }

    /// Starts it, on new ports, and waits until it serves.
    ///
    /// # Panics
    /// When it runs, or does not serve in time; the message holds what it said.
    pub async fn start(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let said_before = self.output().len();
        let output = File::options()
            .create(true)
            .append(true)
            .open(self.output_file())
            .expect("the directory of the test can be written");
        let child = command(&self.directory)
            .args(["serve", "--role", "all", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"])
            .arg("--directory")
            .arg(&self.directory)
            .env("DATABASE_URL", &self.database_url)
            .env("NATS_URL", &self.nats_url)
            .env("HUB_LOG_FORMAT", "json")
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file has more than one handle"))
            .stderr(output)
            .spawn()
            .expect("the program can be started");
        self.child = Some(child);
        let url = eventually(READY_LIMIT, async || {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                panic!("it ended ({status}):\n{}", self.output());
            }
            announced(&self.output()[said_before..])
        })
        .await;
        self.url = Some(url);
    }

    /// Base URL of both APIs, without a slash at the end; the last one when it does not run.
    ///
    /// # Panics
    /// When it was never started.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_deref().expect("it was started")
    }

    /// The bearer key of the first administrator.
    ///
    /// # Panics
    /// When the file is not there.
    #[must_use]
    pub fn admin_key(&self) -> String {
        let file = self.directory.join("admin.key");
        std::fs::read_to_string(file).expect("a hub that serves has written its key").trim().to_owned()
    }

    /// Kills it without any warning.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Killing fails only when it has ended already; waiting only when somebody else has waited.
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Everything it has said, over all starts.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.output_file()).unwrap_or_default()
    }

    fn output_file(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.name))
    }
}

impl Drop for ServeProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The URL in the line that says that it serves.
fn announced(output: &str) -> Option<String> {
    output.lines().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        (line["message"] == "serving").then(|| Some(format!("http://{}", line["listen"].as_str()?)))?
    })
}
