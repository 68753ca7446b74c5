//! `hub serve`: one role, with servers that exist.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use hub_outbound::Reach;
use hub_seal::Signer;

use super::{METRICS_LISTEN, bind};
use crate::clock::system_clock;
use crate::config::Config;
use crate::controls::key_files;
use crate::evidence_key::{self, signing_keys};
use crate::listener::Connections;
use crate::nats::{self, NatsServer};
use crate::serve::{Bound, ServeOptions, Surroundings};
use crate::shutdown::Shutdown;
use crate::{enrol::enrol_from_file, key, migrate, pool, serve, telemetry, vault};

/// What only this verb takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// all, commands, queries, relay or projections [env: HUB_ROLE] [default: all]
    #[arg(long)]
    pub(super) role: Option<String>,
}

pub(super) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let Some(database_url) = config.database_url.clone() else {
        bail!("`hub serve` needs a PostgreSQL: give --database-url or DATABASE_URL, or use `hub up`");
    };
    if config.role.needs_nats() && config.nats_url.is_none() {
        bail!("`hub serve` in this role needs a NATS: give --nats-url or NATS_URL, or use `hub up`");
    }
    let connections = Connections::new(&config.edge)?;
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let listener = bind(config.listen, "listen").await?;
    let metrics_listener = bind(config.metrics_listen.unwrap_or(METRICS_LISTEN), "metrics_listen").await?;
    let clock = system_clock();
    let opened = async {
        let pool = pool::open(&database_url, config.database_pool_size).await?;
        migrate::migrate(&pool).await.context("cannot migrate the database")?;
        anyhow::Ok(pool)
    };
    let pool = tokio::select! {
        pool = opened => pool?,
        () = shutdown.drain.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    for file in [&config.secret_key_file, &config.admin_key_file, &config.evidence_key_file, &config.vault_key_file] {
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
    }
    let secret_key = key::secret(&config.secret_key_file)?;
    key::claim(&pool, &secret_key, &config.secret_key_file).await?;
    let vault = match config.role.serves_commands() || config.role.serves_queries() {
        true => Some(vault::open(&config, &pool, None).await?),
        false => None,
    };
    let (mut signer, mut witness) = (None, None);
    if config.role.serves_commands() {
        let keys = signing_keys(&config.evidence_key_file, &config.evidence_name)?;
        signer = Some(Signer::new(keys)?);
        witness = Some(evidence_key::witness(&config.evidence_key_file));
        let file = &config.admin_key_file;
        match enrol_from_file(&pool, &clock, &secret_key, file, false).await? {
            Some(administrator) if administrator.made() => {
                tracing::info!("the administrator key is in {}", file.display());
            }
            Some(_) => {}
            None => tracing::info!("an administrator was enrolled before; `hub enrol` makes another one"),
        }
    }
    let nats = match config.nats_url.clone() {
        Some(url) => Some(NatsServer { url, credentials: nats::credentials(&config.nats)? }),
        None => None,
    };
    let nats_issuing = match config.role.serves_commands() {
        true => nats::issuing(&config.nats)?,
        false => None,
    };
    let key_files = key_files(&config);
    let options = ServeOptions {
        surroundings: Surroundings { listener, metrics_listener, metrics: telemetry::start_metrics()?, pool },
        role: config.role,
        nats,
        nats_issuing,
        connections,
        edge: config.edge,
        clock,
        secret_key,
        signer,
        vault,
        witness,
        loopback_providers: false,
        webhook_targets: config.webhook_targets.unwrap_or(Reach::Public),
        key_files,
    };
    let announce = |bound: Bound| {
        tracing::info!(listen = %bound.listen, metrics = %bound.metrics, role = ?config.role, "serving");
    };
    tokio::select! {
        outcome = serve::run(options, shutdown.drain.clone(), announce) => {
            outcome.map(|()| ExitCode::SUCCESS)
        }
        () = shutdown.hurry.cancelled() => Ok(ExitCode::from(super::INTERRUPTED)),
    }
}
