//! Where the shared servers are, and where a test may write.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use super::servers::{DATABASE_URL, DIRECTORY};

/// What `with_servers` has told this process.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) database_url: String,
    directory: PathBuf,
    /// Holds the servers when nobody else does: they stop when the pipe to its standard input closes, which the system
    /// does at the end of this process.
    _holder: Option<Child>,
}

static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();

/// Takes the servers from the variables, or starts them beside this process.
pub(super) fn environment() -> &'static Environment {
    ENVIRONMENT.get_or_init(|| match (std::env::var(DATABASE_URL), std::env::var(DIRECTORY)) {
        (Ok(database_url), Ok(directory)) => Environment { database_url, directory: directory.into(), _holder: None },
        _ => hold(),
    })
}

fn hold() -> Environment {
    let program = program("with_servers");
    let mut child = Command::new(&program)
        .arg("--hold")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Ctrl-C at the terminal ends this process, and by that the holder.
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
    let output = child.stdout.take().expect("its output is piped");
    let mut database_url = None;
    let mut directory = None;
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        match line.split_once('=') {
            Some((DATABASE_URL, value)) => database_url = Some(value.to_owned()),
            Some((DIRECTORY, value)) => directory = Some(PathBuf::from(value)),
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    let (Some(database_url), Some(directory)) = (database_url, directory) else {
        panic!("{} did not start the servers for the tests", program.display());
    };
    Environment { database_url, directory, _holder: Some(child) }
}

/// A new directory that the servers' account may enter, removed when it is dropped.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn directory() -> TempDir {
    tempfile::Builder::new()
        .prefix("test-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(&environment().directory)
        .expect("the directory of the tests can be written")
}

/// A program of this package, which cargo builds together with the tests: it lies beside the test executable, or one
/// directory above it.
///
/// # Panics
/// When it does not exist.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let executable = std::env::current_exe().expect("a process knows its program");
    executable
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is not beside {}", executable.display()))
}

/// The root of the sources.
///
/// # Panics
/// Never: this package is a directory of the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is a directory of the workspace")
}
