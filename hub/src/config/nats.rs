//! The settings of who is let into a NATS that exists already. Described in `docs/guides/nats.md`.

use std::path::PathBuf;

use super::{Error, Sources, path, scheme};

/// Most addresses that integrators are told.
const URL_COUNT_MAX: usize = 16;

/// The settings as flags.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "NATS and who reads there")]
pub struct NatsFlags {
    /// Public key of the account, when the key file has a signing key of it [env: HUB_NATS_ACCOUNT] [default: the key's own]
    #[arg(long, global = true, value_name = "KEY")]
    pub nats_account: Option<String>,
    /// Seed that signs integrators' credentials; not for `hub up` [env: HUB_NATS_ACCOUNT_KEY_FILE] [default: none, and none are issued]
    #[arg(long, global = true, value_name = "FILE")]
    pub nats_account_key_file: Option<String>,
    /// Credentials that this process connects with; not for `hub up` [env: HUB_NATS_CREDENTIALS_FILE] [default: none]
    #[arg(long, global = true, value_name = "FILE")]
    pub nats_credentials_file: Option<String>,
    /// Where integrators connect to, with commas between [env: HUB_NATS_PUBLIC_URLS] [default: none; `hub up` has its own address]
    #[arg(long, global = true, value_name = "URLS")]
    pub nats_public_urls: Option<String>,
}

impl NatsFlags {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let flag = match name {
            "nats_account" => &self.nats_account,
            "nats_account_key_file" => &self.nats_account_key_file,
            "nats_credentials_file" => &self.nats_credentials_file,
            "nats_public_urls" => &self.nats_public_urls,
            _ => return None,
        };
        flag.as_deref()
    }
}

/// Who is let into NATS, and by whom.
#[derive(Clone, Debug, Default)]
pub struct NatsAccess {
    /// Public key of the account.
    pub account: Option<String>,
    /// The seed that signs for its users.
    pub account_key_file: Option<PathBuf>,
    /// What this process connects with.
    pub credentials_file: Option<PathBuf>,
    /// Where integrators connect to.
    pub public_urls: Vec<String>,
}

impl NatsAccess {
    pub(super) fn from_sources(sources: &Sources<'_>) -> Result<Self, Error> {
        let access = Self {
            account: sources.get(
                "nats_account",
                "the public key of an account, 56 characters that begin with A",
                |text| (text.len() == 56 && text.starts_with('A')).then(|| text.to_owned()),
            )?,
            account_key_file: sources.get("nats_account_key_file", "a path", path)?,
            credentials_file: sources.get("nats_credentials_file", "a path", path)?,
            public_urls: sources
                .get("nats_public_urls", "at most 16 nats://, tls://, ws:// or wss:// URLs with commas between", urls)?
                .unwrap_or_default(),
        };
        if access.account.is_some() && access.account_key_file.is_none() {
            return Err(Error::Missing { key: "nats_account_key_file", with: "nats_account" });
        }
        if access.account_key_file.is_some() && access.public_urls.is_empty() {
            return Err(Error::Missing { key: "nats_public_urls", with: "nats_account_key_file" });
        }
        Ok(access)
    }
}

fn urls(text: &str) -> Option<Vec<String>> {
    let url = |text: &str| scheme(text.trim(), &["nats://", "tls://", "ws://", "wss://"]);
    let urls: Vec<String> = text.split(',').map(url).collect::<Option<_>>()?;
    (urls.len() <= URL_COUNT_MAX).then_some(urls)
}
