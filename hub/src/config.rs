//! What can be set, and where it is taken from: flags, then the environment, then one TOML file, then a default.
//!
//! The file is `--config`, else `HUB_CONFIG`, else `hub.toml` in the current directory if there is one. Its keys are
//! the names of the fields of [`Config`], flat. An unknown key is an error, so that a typing mistake cannot pass for a
//! setting. Relative paths are relative to the current directory.

mod edge;
mod nats;
mod sources;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hub_evidence::checkpoint::Origin;
use hub_outbound::Reach;
use thiserror::Error;

use self::sources::{Sources, parse, parsed, path, read, scheme};
pub use self::{
    edge::{Edge, EdgeFlags, TlsFiles},
    nats::{NatsAccess, NatsFlags},
};

/// The file that is read when no other is named.
const DEFAULT_FILE: &str = "hub.toml";

/// The largest number of connections that one process may be told to open.
const POOL_SIZE_MAX: u32 = 1_000;

/// One setting: its key in the file, which is also its flag with `-` for `_`, and its variable.
struct Key {
    name: &'static str,
    variable: &'static str,
}

/// Every key there is, sorted.
const KEYS: &[Key] = &[
    Key { name: "admin_key_file", variable: "HUB_ADMIN_KEY_FILE" },
    Key { name: "body_bytes_max", variable: "HUB_BODY_BYTES_MAX" },
    Key { name: "body_timeout_seconds", variable: "HUB_BODY_TIMEOUT_SECONDS" },
    Key { name: "connections_max", variable: "HUB_CONNECTIONS_MAX" },
    Key { name: "cors_allowed_origins", variable: "HUB_CORS_ALLOWED_ORIGINS" },
    Key { name: "database_pool_size", variable: "HUB_DATABASE_POOL_SIZE" },
    Key { name: "database_url", variable: "DATABASE_URL" },
    Key { name: "directory", variable: "HUB_DIRECTORY" },
    Key { name: "evidence_key_file", variable: "HUB_EVIDENCE_KEY_FILE" },
    Key { name: "evidence_name", variable: "HUB_EVIDENCE_NAME" },
    Key { name: "header_bytes_max", variable: "HUB_HEADER_BYTES_MAX" },
    Key { name: "header_timeout_seconds", variable: "HUB_HEADER_TIMEOUT_SECONDS" },
    Key { name: "idle_timeout_seconds", variable: "HUB_IDLE_TIMEOUT_SECONDS" },
    Key { name: "listen", variable: "HUB_LISTEN" },
    Key { name: "log", variable: "HUB_LOG" },
    Key { name: "log_format", variable: "HUB_LOG_FORMAT" },
    Key { name: "metrics_listen", variable: "HUB_METRICS_LISTEN" },
    Key { name: "nats_account", variable: "HUB_NATS_ACCOUNT" },
    Key { name: "nats_account_key_file", variable: "HUB_NATS_ACCOUNT_KEY_FILE" },
    Key { name: "nats_credentials_file", variable: "HUB_NATS_CREDENTIALS_FILE" },
    Key { name: "nats_public_urls", variable: "HUB_NATS_PUBLIC_URLS" },
    Key { name: "nats_server", variable: "HUB_NATS_SERVER" },
    Key { name: "nats_url", variable: "NATS_URL" },
    Key { name: "postgres_bin", variable: "HUB_POSTGRES_BIN" },
    Key { name: "proxy_header", variable: "HUB_PROXY_HEADER" },
    Key { name: "rate_limit_failed_logins_burst", variable: "HUB_RATE_LIMIT_FAILED_LOGINS_BURST" },
    Key { name: "rate_limit_failed_logins_per_second", variable: "HUB_RATE_LIMIT_FAILED_LOGINS_PER_SECOND" },
    Key { name: "rate_limit_principal_burst", variable: "HUB_RATE_LIMIT_PRINCIPAL_BURST" },
    Key { name: "rate_limit_principal_per_second", variable: "HUB_RATE_LIMIT_PRINCIPAL_PER_SECOND" },
    Key { name: "rate_limit_tenant_burst", variable: "HUB_RATE_LIMIT_TENANT_BURST" },
    Key { name: "rate_limit_tenant_per_second", variable: "HUB_RATE_LIMIT_TENANT_PER_SECOND" },
    Key { name: "request_timeout_seconds", variable: "HUB_REQUEST_TIMEOUT_SECONDS" },
    Key { name: "role", variable: "HUB_ROLE" },
    Key { name: "secret_key_file", variable: "HUB_SECRET_KEY_FILE" },
    Key { name: "stream_history_max", variable: "HUB_STREAM_HISTORY_MAX" },
    Key { name: "streams_max", variable: "HUB_STREAMS_MAX" },
    Key { name: "streams_of_tenant_max", variable: "HUB_STREAMS_OF_TENANT_MAX" },
    Key { name: "tls_certificate_file", variable: "HUB_TLS_CERTIFICATE_FILE" },
    Key { name: "tls_key_file", variable: "HUB_TLS_KEY_FILE" },
    Key { name: "trusted_proxies", variable: "HUB_TRUSTED_PROXIES" },
    Key { name: "uri_bytes_max", variable: "HUB_URI_BYTES_MAX" },
    Key { name: "vault_database_url", variable: "HUB_VAULT_DATABASE_URL" },
    Key { name: "vault_key_file", variable: "HUB_VAULT_KEY_FILE" },
    Key { name: "webhook_targets", variable: "HUB_WEBHOOK_TARGETS" },
    Key { name: "write_timeout_seconds", variable: "HUB_WRITE_TIMEOUT_SECONDS" },
];

/// The settings as flags. Every verb takes them; what a verb has no use for, it leaves alone.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Settings")]
pub struct Flags {
    /// TOML file with settings [env: HUB_CONFIG] [default: hub.toml if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where `hub up` keeps its data [env: HUB_DIRECTORY] [default: .hub]
    #[arg(long, global = true, value_name = "DIRECTORY")]
    pub directory: Option<String>,
    /// Address of both APIs [env: HUB_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Address of /metrics [env: HUB_METRICS_LISTEN] [default: 127.0.0.1:9090; `hub up` takes a free port when that is busy]
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    pub metrics_listen: Option<String>,
    /// PostgreSQL that exists already; not for `hub up` [env: DATABASE_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Most connections that one process opens [env: HUB_DATABASE_POOL_SIZE] [default: 24]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub database_pool_size: Option<String>,
    /// NATS that exists already; not for `hub up` [env: NATS_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub nats_url: Option<String>,
    /// What is logged, for example `debug` or `info,hub=debug` [env: HUB_LOG] [default: info,sqlx=warn]
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
    /// How it is logged: text or json [env: HUB_LOG_FORMAT] [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Key of the first administrator [env: HUB_ADMIN_KEY_FILE] [default: admin.key in the directory]
    #[arg(long, global = true, value_name = "FILE")]
    pub admin_key_file: Option<String>,
    /// Key that signs cursors, the same for all processes [env: HUB_SECRET_KEY_FILE] [default: secret.key in the directory]
    #[arg(long, global = true, value_name = "FILE")]
    pub secret_key_file: Option<String>,
    /// Key that signs checkpoints, of the process that seals [env: HUB_EVIDENCE_KEY_FILE] [default: evidence.key in the directory]
    #[arg(long, global = true, value_name = "FILE")]
    pub evidence_key_file: Option<String>,
    /// Name of this platform in its checkpoints, when that key is made [env: HUB_EVIDENCE_NAME] [default: hub.localhost]
    #[arg(long, global = true, value_name = "HOST")]
    pub evidence_name: Option<String>,
    /// Key that wraps the keys of personal data, the same for all processes [env: HUB_VAULT_KEY_FILE] [default: vault.key in the directory]
    #[arg(long, global = true, value_name = "FILE")]
    pub vault_key_file: Option<String>,
    /// PostgreSQL for the keys of personal data [env: HUB_VAULT_DATABASE_URL] [default: a schema beside the events; `hub up` has a database]
    #[arg(long, global = true, value_name = "URL")]
    pub vault_database_url: Option<String>,
    /// Where webhooks may lead: https, http (without TLS, too), or loopback (this machine, too) [env: HUB_WEBHOOK_TARGETS] [default: https; `hub up` has loopback]
    #[arg(long, global = true, value_name = "TARGETS")]
    pub webhook_targets: Option<String>,
    /// Directory of `postgres` and `initdb` [env: HUB_POSTGRES_BIN] [default: searched]
    #[arg(long, global = true, value_name = "DIRECTORY")]
    pub postgres_bin: Option<String>,
    /// The program nats-server [env: HUB_NATS_SERVER] [default: searched]
    #[arg(long, global = true, value_name = "FILE")]
    pub nats_server: Option<String>,
    /// What stands between the network and the handlers.
    #[command(flatten)]
    pub edge: EdgeFlags,
    /// Who is let into NATS.
    #[command(flatten)]
    pub nats: NatsFlags,
    /// Set by the verb that has a role.
    #[arg(skip)]
    pub role: Option<String>,
}

impl Flags {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            "admin_key_file" => self.admin_key_file.as_deref(),
            "database_pool_size" => self.database_pool_size.as_deref(),
            "database_url" => self.database_url.as_deref(),
            "directory" => self.directory.as_deref(),
            "evidence_key_file" => self.evidence_key_file.as_deref(),
            "evidence_name" => self.evidence_name.as_deref(),
            "listen" => self.listen.as_deref(),
            "log" => self.log.as_deref(),
            "log_format" => self.log_format.as_deref(),
            "metrics_listen" => self.metrics_listen.as_deref(),
            "nats_server" => self.nats_server.as_deref(),
            "nats_url" => self.nats_url.as_deref(),
            "postgres_bin" => self.postgres_bin.as_deref(),
            "role" => self.role.as_deref(),
            "secret_key_file" => self.secret_key_file.as_deref(),
            "vault_database_url" => self.vault_database_url.as_deref(),
            "vault_key_file" => self.vault_key_file.as_deref(),
            "webhook_targets" => self.webhook_targets.as_deref(),
            name => self.edge.get(name).or_else(|| self.nats.get(name)),
        }
    }
}

/// Which part of the work a process does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Everything, in one process.
    All,
    /// The command API and the process managers.
    Commands,
    /// The query API.
    Queries,
    /// Publishing the events on NATS.
    Relay,
    /// Keeping the read models.
    Projections,
}

impl Role {
    /// Whether this process serves the command API.
    #[must_use]
    pub fn serves_commands(self) -> bool {
        matches!(self, Self::All | Self::Commands)
    }

    /// Whether this process serves the query API.
    #[must_use]
    pub fn serves_queries(self) -> bool {
        matches!(self, Self::All | Self::Queries)
    }

    /// Whether this process publishes events.
    #[must_use]
    pub fn relays(self) -> bool {
        matches!(self, Self::All | Self::Relay)
    }

    /// Whether this process keeps read models.
    #[must_use]
    pub fn projects(self) -> bool {
        matches!(self, Self::All | Self::Projections)
    }

    /// Whether this process has to be told a NATS server.
    #[must_use]
    pub fn needs_nats(self) -> bool {
        self.relays() || self.projects()
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text {
            "all" => Self::All,
            "commands" => Self::Commands,
            "queries" => Self::Queries,
            "relay" => Self::Relay,
            "projections" => Self::Projections,
            _ => return Err(()),
        })
    }
}

fn reach(text: &str) -> Option<Reach> {
    Some(match text {
        "https" => Reach::Public,
        "http" => Reach::PublicWithoutTls,
        "loopback" => Reach::PublicAndLoopback,
        _ => return None,
    })
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text {
            "text" => Self::Text,
            "json" => Self::Json,
            _ => return Err(()),
        })
    }
}

/// Why the settings cannot be used. Each is one line that names the place to correct.
#[derive(Debug, Error)]
pub enum Error {
    /// The named file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}, line {line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// The file has a key that nobody reads.
    #[error("{}: unknown key `{key}`; the keys are {known}", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key in it.
        key: String,
        /// All keys there are.
        known: String,
    },
    /// Of two keys that need each other one is missing.
    #[error("{with} needs {key} beside it")]
    Missing {
        /// The key that is missing.
        key: &'static str,
        /// The key that is there.
        with: &'static str,
    },
    /// A value cannot be used.
    #[error("{key}{value} is not {expected} (from {origin})")]
    Value {
        /// The key.
        key: &'static str,
        /// The value in quotes after a space, or nothing where it may hold a password.
        value: String,
        /// What would be right.
        expected: &'static str,
        /// Where it was said.
        origin: String,
    },
}

/// The settings of one process.
#[derive(Clone)]
pub struct Config {
    /// Where `hub up` keeps data, keys and logs.
    pub directory: PathBuf,
    /// What stands between the network and the handlers.
    pub edge: Edge,
    /// Where both APIs listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where `/metrics` listens, when it was said.
    pub metrics_listen: Option<SocketAddr>,
    /// A PostgreSQL that exists already.
    pub database_url: Option<String>,
    /// Most connections that this process opens.
    pub database_pool_size: u32,
    /// A NATS that exists already.
    pub nats_url: Option<String>,
    /// Who is let into it.
    pub nats: NatsAccess,
    /// What this process does.
    pub role: Role,
    /// What is logged, in the language of `RUST_LOG`.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// Key of the first administrator.
    pub admin_key_file: PathBuf,
    /// Key that signs cursors.
    pub secret_key_file: PathBuf,
    /// Key that signs checkpoints.
    pub evidence_key_file: PathBuf,
    /// Name of this platform in its checkpoints, when that key is made.
    pub evidence_name: String,
    /// Key that wraps the keys of personal data.
    pub vault_key_file: PathBuf,
    /// A PostgreSQL for those keys, when it was said.
    pub vault_database_url: Option<String>,
    /// Directory of the PostgreSQL programs, when it was said.
    pub postgres_bin: Option<PathBuf>,
    /// The nats-server program, when it was said.
    pub nats_server: Option<PathBuf>,
    /// Where webhooks may lead, when it was said.
    pub webhook_targets: Option<Reach>,
}

impl std::fmt::Debug for Config {
    /// Leaves out the URLs, which may hold passwords.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Config")
            .field("directory", &self.directory)
            .field("listen", &self.listen)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Takes the settings from the flags, the environment of the process and the file.
    ///
    /// # Errors
    /// When the file cannot be read, has an unknown key, or any value cannot be used.
    pub fn load(flags: &Flags) -> Result<Self, Error> {
        let environment = |name: &str| std::env::var(name).ok();
        let named = flags.config.clone().or_else(|| environment("HUB_CONFIG").map(PathBuf::from));
        let file = match named {
            Some(path) => Some(read(&path)?),
            None if Path::new(DEFAULT_FILE).exists() => Some(read(Path::new(DEFAULT_FILE))?),
            None => None,
        };
        Self::from_sources(flags, &environment, file.as_ref())
    }

    /// The same from sources that are given: `file` is a path, for messages, and the text in it.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_sources(
        flags: &Flags,
        environment: &dyn Fn(&str) -> Option<String>,
        file: Option<&(PathBuf, String)>,
    ) -> Result<Self, Error> {
        let file = file.map(|(path, text)| parse(path, text)).transpose()?;
        let sources = Sources { flags, environment, file };
        let directory = sources.get("directory", "a path", path)?.unwrap_or_else(|| PathBuf::from(".hub"));
        Ok(Self {
            edge: Edge::from_sources(&sources)?,
            nats: NatsAccess::from_sources(&sources)?,
            listen: sources.get("listen", ADDRESS, parsed)?.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))),
            metrics_listen: sources.get("metrics_listen", ADDRESS, parsed)?,
            database_url: sources
                .get("database_url", "a postgres:// URL", |text| scheme(text, &["postgres://", "postgresql://"]))?,
            database_pool_size: sources
                .get("database_pool_size", "a number from 4 to 1000", |text| {
                    parsed(text).filter(|size| (4..=POOL_SIZE_MAX).contains(size))
                })?
                .unwrap_or(24),
            nats_url: sources.get("nats_url", "a nats:// URL", |text| scheme(text, &["nats://", "tls://"]))?,
            role: sources
                .get("role", "one of all, commands, queries, relay, projections", parsed)?
                .unwrap_or(Role::All),
            log: sources
                .get("log", "a log filter such as `info,sqlx=warn`", |text| {
                    tracing_subscriber::EnvFilter::try_new(text).ok().map(|_| text.to_owned())
                })?
                .unwrap_or_else(|| "info,sqlx=warn".to_owned()),
            log_format: sources.get("log_format", "text or json", parsed)?.unwrap_or(LogFormat::Text),
            admin_key_file: sources
                .get("admin_key_file", "a path", path)?
                .unwrap_or_else(|| directory.join("admin.key")),
            secret_key_file: sources
                .get("secret_key_file", "a path", path)?
                .unwrap_or_else(|| directory.join("secret.key")),
            evidence_key_file: sources
                .get("evidence_key_file", "a path", path)?
                .unwrap_or_else(|| directory.join("evidence.key")),
            evidence_name: sources
                .get("evidence_name", "a name such as hub.example.com", |text| {
                    Origin::platform(text).ok().map(|_| text.to_owned())
                })?
                .unwrap_or_else(|| "hub.localhost".to_owned()),
            vault_key_file: sources
                .get("vault_key_file", "a path", path)?
                .unwrap_or_else(|| directory.join("vault.key")),
            vault_database_url: sources.get("vault_database_url", "a postgres:// URL", |text| {
                scheme(text, &["postgres://", "postgresql://"])
            })?,
            postgres_bin: sources.get("postgres_bin", "a path", path)?,
            nats_server: sources.get("nats_server", "a path", path)?,
            webhook_targets: sources.get("webhook_targets", "https, http or loopback", reach)?,
            directory,
        })
    }
}

const ADDRESS: &str = "an address and a port such as 127.0.0.1:8080";

/// The keys whose values may hold a password, so that a message must not repeat them.
const SECRET: &[&str] = &["database_url", "nats_public_urls", "nats_url", "vault_database_url"];

#[cfg(test)]
mod tests;
