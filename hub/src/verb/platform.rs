//! The platform that a verb talks to over its API, and the key it shows.

use std::path::PathBuf;

use anyhow::bail;

use super::demo::read_key;
use crate::{config::Config, embedded::Running};

/// Where a platform is when nothing else is known.
const URL: &str = "http://127.0.0.1:8080";

/// How a platform is named on the command line.
#[derive(Debug, clap::Args)]
pub(super) struct Platform {
    /// Address of the platform [default: the hub that runs in the directory, else http://127.0.0.1:8080]
    #[arg(long, value_name = "URL", env = "HUB_URL")]
    api_url: Option<String>,
    /// Key of somebody who may read this of the tenant; better in the environment than in the list of processes
    #[arg(long, value_name = "KEY", env = "HUB_KEY", hide_env_values = true)]
    key: Option<String>,
    /// File with such a key; counts more than HUB_KEY [default: the administrator's key in the directory]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl Platform {
    /// Its address, without a slash at the end, and the key.
    ///
    /// # Errors
    /// When the address is no `http` address, or there is no key.
    pub(super) fn found(self, config: &Config) -> anyhow::Result<(String, String)> {
        let url = self.api_url.or_else(|| Running::read(&config.directory).map(|running| running.url));
        let url = url.unwrap_or_else(|| URL.to_owned());
        if !url.starts_with("http://") {
            bail!("`{url}` is no address such as {URL}: this verb speaks plain HTTP only");
        }
        let key = match (self.key, self.key_file) {
            (Some(key), None) => key.trim().to_owned(),
            (_, file) => read_key(&file.unwrap_or_else(|| config.admin_key_file.clone()))?,
        };
        Ok((url.trim_end_matches('/').to_owned(), key))
    }
}
