//! Ours held against what others wrote: reference libraries from the registries of Python, JavaScript and Rust.
//!
//! `scripts/interop.sh` installs them in pinned versions. Where there is no Python or no node the tests with it say so and
//! end; `HUB_INTEROP_REQUIRED=1` makes that a failure.

mod receivers;
mod signatures;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use hub_tests::kit::workspace;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

/// Longer than a few hundred lines take anybody.
const LIMIT: Duration = Duration::from_secs(60);

/// The code of `scripts/interop.sh` for a language that is not on this machine.
const MISSING: i32 = 3;

/// Whose libraries are asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Language {
    Python,
    Node,
}

impl Language {
    /// Installs them when that has not been done. `None` without the language.
    fn home(self) -> Option<PathBuf> {
        let name = match self {
            Self::Python => "python",
            Self::Node => "node",
        };
        let script = workspace().join("scripts/interop.sh");
        let output = Command::new(script).arg(name).current_dir(workspace()).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(MISSING) && std::env::var_os("HUB_INTEROP_REQUIRED").is_none() {
            println!("skipped: {said}");
            return None;
        }
        assert!(output.status.success(), "{said}");
        Some(String::from_utf8(output.stdout).unwrap().trim().into())
    }

    /// The program of `tests/interop/<language>`, to be started. `None` without the language.
    pub(crate) fn program(self, name: &str) -> Option<Command> {
        let folder = workspace().join("tests/interop");
        self.command(match self {
            Self::Python => folder.join("python").join(name).with_extension("py"),
            Self::Node => folder.join("node").join(name).with_extension("cjs"),
        })
    }

    /// That file, to be run with the libraries.
    pub(crate) fn command(self, file: PathBuf) -> Option<Command> {
        let home = self.home()?;
        let mut command = match self {
            Self::Python => Command::new(home),
            Self::Node => {
                let mut command = Command::new("node");
                command.env("NODE_PATH", home).args(["--require", "tsx/cjs"]);
                command
            }
        };
        command.arg(file);
        Some(command)
    }

    /// What the program answers to each line, as JSON. `None` without the language.
    pub(crate) async fn ask(self, name: &str, lines: &[Value]) -> Option<Vec<Value>> {
        let mut child = tokio::process::Command::from(self.program(name)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let asked: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let write = async move { stdin.write_all(asked.as_bytes()).await };
        let (written, output) =
            timeout(LIMIT, async { tokio::join!(write, child.wait_with_output()) }).await.expect("it answers in time");
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        written.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let answers: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers.len(), lines.len(), "{said}");
        Some(answers)
    }
}
