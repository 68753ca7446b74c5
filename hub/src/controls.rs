//! The controls of the platform in one process: what it tells of itself, and the run of all controls where commands are served.

use std::path::{Path, PathBuf};

use hub_commands::control_check::ControlChecks;
use hub_compliance::{Runner, runner::Written};
use hub_event_store::store::EventStore;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{clock::Clock, config::Config};

/// The files with keys that the settings name, by the names of the settings.
#[must_use]
pub fn key_files(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let own: [(&'static str, &Path); 4] = [
        ("admin_key_file", &config.admin_key_file),
        ("evidence_key_file", &config.evidence_key_file),
        ("secret_key_file", &config.secret_key_file),
        ("vault_key_file", &config.vault_key_file),
    ];
    let tls = config.edge.tls.iter().map(|files| ("tls_key_file", &*files.key));
    let nats = [
        ("nats_account_key_file", &config.nats.account_key_file),
        ("nats_credentials_file", &config.nats.credentials_file),
    ];
    let nats = nats.into_iter().filter_map(|(name, file)| Some((name, file.as_deref()?)));
    own.into_iter().chain(tls).chain(nats).map(|(name, path)| (name, path.to_owned())).collect()
}

/// Runs the controls when they are due or asked for, and writes down what they came to, until `end`.
pub async fn run(store: EventStore, pool: PgPool, clock: Clock, end: CancellationToken) {
    run_by(Runner::new(pool, clock), store, end).await;
}

/// The same by a runner with settings of its own.
pub async fn run_by(runner: Runner, store: EventStore, end: CancellationToken) {
    let checks = ControlChecks::new(store);
    let write = move |written| {
        let checks = checks.clone();
        async move {
            let done = match written {
                Written::Evaluated(evaluation, severity) => checks.evaluated(evaluation, severity).await,
                Written::Completed(run_id, command) => checks.completed(run_id, command).await,
            };
            done.map_err(|error| error.to_string())
        }
    };
    runner.run(write, end).await;
}
