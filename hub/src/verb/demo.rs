//! `hub demo`: a believable year on a platform that runs, through its public API.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::config::Config;
use crate::demo::client::Client;
use crate::demo::{CONCURRENCY_MAX, Options, TENANTS_MAX, run as play, summary};
use crate::embedded::Running;

/// Where a platform is when nothing else is known.
const URL: &str = "http://127.0.0.1:8080";

/// How a shell says a key that was given as such, or asks for it.
const KEY_WORDS: &str = "${HUB_KEY:?put the key there}";

/// What only this verb takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Address of the platform [default: the hub that runs in the directory, else http://127.0.0.1:8080]
    #[arg(long, value_name = "URL", env = "HUB_URL")]
    url: Option<String>,
    /// Key of an administrator; better in the environment than in the list of processes
    #[arg(long, value_name = "KEY", env = "HUB_KEY", hide_env_values = true)]
    key: Option<String>,
    /// File with the key of an administrator; counts more than --key [default: the administrator's key in the directory]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// How many tenants there are
    #[arg(long, value_name = "NUMBER", default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..=i64::from(TENANTS_MAX)))]
    tenants: u16,
    /// The same seed tells the same story; a second time it changes nothing
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// How many tenants are played at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=i64::from(CONCURRENCY_MAX)))]
    concurrency: u16,
}

pub(super) async fn run(config: Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { url, key, key_file, tenants, seed, concurrency } = arguments;
    let url = url.or_else(|| Running::read(&config.directory).map(|running| running.url));
    let url = url.unwrap_or_else(|| URL.to_owned());
    let (key, key_words) = match (key, key_file) {
        (Some(key), None) => (key, KEY_WORDS.to_owned()),
        (_, file) => {
            let file = file.unwrap_or(config.admin_key_file);
            (read_key(&file)?, format!("$(cat {})", quoted(&file)))
        }
    };
    let client = Client::new(&url, &key)?;
    let options = Options { tenants, seed, concurrency };
    let year = play(&client, options).await?;
    let links = summary::try_links(&client, summary::links(&year)).await;
    let text = summary::text(&year, options, &links, client.base(), &key_words);
    std::io::stdout().write_all(text.as_bytes()).context("cannot write the summary")?;
    Ok(ExitCode::SUCCESS)
}

/// The key in a file, or why there is none.
pub(super) fn read_key(file: &Path) -> anyhow::Result<String> {
    let place = file.display();
    let key = std::fs::read_to_string(file).with_context(|| {
        format!("cannot read the key in {place}; `hub up` makes it, or give one with --key-file or HUB_KEY")
    })?;
    if key.trim().is_empty() {
        bail!("{place} holds no key");
    }
    Ok(key.trim().to_owned())
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{quoted, read_key};

    #[test]
    fn a_missing_or_empty_key_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("admin.key");
        assert!(read_key(&file).unwrap_err().to_string().contains("hub up"));
        std::fs::write(&file, "\n").unwrap();
        assert!(read_key(&file).unwrap_err().to_string().contains("holds no key"));
        std::fs::write(&file, "hub_1\n").unwrap();
        assert_eq!(read_key(&file).unwrap(), "hub_1");
    }

    #[test]
    fn a_path_is_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted(Path::new(".hub/admin.key")), ".hub/admin.key");
        assert_eq!(quoted(Path::new("my hub/it's")), "'my hub/it'\\''s'");
    }
}
