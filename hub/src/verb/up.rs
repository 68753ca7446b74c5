//! `hub up`: everything on this machine, with servers of its own.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hub_commands::nats_credential::Issuing;
use hub_outbound::Reach;
use hub_projections::checkpoint;
use hub_seal::Signer;
use sqlx::PgPool;
use tokio::net::TcpListener;

use super::{METRICS_LISTEN, bind};
use crate::clock::system_clock;
use crate::config::{Config, Role};
use crate::controls::key_files;
use crate::embedded::{
    Binaries, DATABASE, Directory, NatsAccount, Place, Running, Servers, VAULT_DATABASE, stop_leftovers,
};
use crate::enrol::enrol_from_file;
use crate::evidence_key::{self, signing_keys};
use crate::key::AdministratorKey;
use crate::listener::Connections;
use crate::nats::NatsServer;
use crate::serve::{Bound, ServeOptions, Surroundings};
use crate::shutdown::Shutdown;
use crate::{key, migrate, pool, serve, telemetry, vault};

/// How long the roles may take to end; they have shorter limits of their own.
const ROLES_LIMIT: Duration = Duration::from_secs(20);

pub(super) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    if config.database_url.is_some() || config.nats_url.is_some() {
        tracing::info!("`hub up` uses servers of its own; DATABASE_URL and NATS_URL are for `hub serve`");
    }
    let connections = Connections::new(&config.edge)?;
    let scheme = connections.scheme();
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let directory = Directory::lock(&config.directory)?;
    Running::remove(directory.path());
    let listeners =
        Listeners { connections, api: bind(config.listen, "listen").await?, metrics: bind_metrics(&config).await? };
    let Prepared { directory, place, binaries, nats_account } = prepare(&config, directory).await?;
    let mut servers = tokio::select! {
        servers = Servers::start_for(&place, &binaries, Some(nats_account.clone())) => servers?,
        () = shutdown.drain.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    let (database_url, nats_url) = (servers.postgres.url(DATABASE), servers.nats.url());
    let vault_url = servers.postgres.url(VAULT_DATABASE);
    let announce = |bound: Bound, key: &AdministratorKey| {
        let running = Running {
            pid: std::process::id(),
            url: format!("{scheme}://{}", bound.listen),
            metrics_url: format!("http://{}/metrics", bound.metrics),
            database_url: database_url.clone(),
            vault_url: vault_url.clone(),
            nats_url: nats_url.clone(),
        };
        if let Err(error) = running.write(directory.path()) {
            tracing::warn!("{error:#}; other verbs will not find this hub");
        }
        greet(&config, &running, key, started.elapsed());
    };
    let reached = Reached::new((&database_url, &vault_url, &nats_url), &config, &nats_account);
    let roles = roles(&config, reached, listeners, &shutdown, announce);
    tokio::pin!(roles);
    let outcome = tokio::select! {
        outcome = &mut roles => outcome,
        error = servers.supervise(&place, &binaries) => {
            tracing::error!("{error:#}; stopping");
            shutdown.drain.cancel();
            if tokio::time::timeout(ROLES_LIMIT, roles).await.is_err() {
                tracing::warn!("the roles did not end within {} s", ROLES_LIMIT.as_secs());
            }
            Err(error)
        }
        () = past_the_limit(&shutdown) => Ok(()),
    };
    Running::remove(directory.path());
    servers.stop(&shutdown.hurry).await;
    outcome?;
    if shutdown.hurry.is_cancelled() {
        return Ok(ExitCode::from(super::INTERRUPTED));
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// The sockets, taken before anything is started, so that a busy port ends the start early.
struct Listeners {
    connections: Connections,
    api: TcpListener,
    metrics: TcpListener,
}

/// Ends when the roles have had their time after the wish to stop, or at the second wish.
async fn past_the_limit(shutdown: &Shutdown) {
    let slow = async {
        shutdown.drain.cancelled().await;
        tokio::time::sleep(ROLES_LIMIT).await;
        tracing::warn!("the roles did not end within {} s", ROLES_LIMIT.as_secs());
    };
    tokio::select! {
        () = slow => {}
        () = shutdown.hurry.cancelled() => {}
    }
}

/// The files and programs, before anything is started.
struct Prepared {
    directory: Directory,
    place: Place,
    binaries: Binaries,
    nats_account: Arc<NatsAccount>,
}

async fn prepare(config: &Config, directory: Directory) -> anyhow::Result<Prepared> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || {
        stop_leftovers(directory.path())?;
        let place = Place::prepare(&directory)?;
        let binaries = Binaries::find(&config, place.postgres_major())?;
        let nats_account = Arc::new(NatsAccount::of_directory(directory.path(), system_clock()())?);
        Ok(Prepared { directory, place, binaries, nats_account })
    })
    .await
    .context("a task of the start was lost")?
}

/// The address that was asked for; without one the usual port, or a free one when another program has that.
async fn bind_metrics(config: &Config) -> anyhow::Result<TcpListener> {
    if let Some(address) = config.metrics_listen {
        return bind(address, "metrics_listen").await;
    }
    match TcpListener::bind(METRICS_LISTEN).await {
        Ok(listener) => Ok(listener),
        Err(_) => bind((METRICS_LISTEN.ip(), 0).into(), "metrics_listen").await,
    }
}

/// Servers that run, and how to reach them.
struct Reached {
    database_url: String,
    vault_url: String,
    nats: NatsServer,
    issuing: Issuing,
}

impl Reached {
    fn new(
        (database_url, vault_url, nats_url): (&str, &str, &str),
        config: &Config,
        nats_account: &NatsAccount,
    ) -> Self {
        let public_urls = &config.nats.public_urls;
        let urls = if public_urls.is_empty() { vec![nats_url.to_owned()] } else { public_urls.clone() };
        Self {
            database_url: database_url.to_owned(),
            vault_url: vault_url.to_owned(),
            nats: NatsServer { url: nats_url.to_owned(), credentials: Some(nats_account.credentials().to_owned()) },
            issuing: Issuing { issuer: nats_account.issuer().clone(), urls },
        }
    }
}

/// Migrates, makes the keys, and does the work of every role until the wish to stop.
async fn roles(
    config: &Config,
    reached: Reached,
    listeners: Listeners,
    shutdown: &Shutdown,
    announce: impl FnOnce(Bound, &AdministratorKey),
) -> anyhow::Result<()> {
    let pool = pool::open(&reached.database_url, config.database_pool_size).await?;
    let outcome = roles_on(config, pool.clone(), reached, listeners, shutdown, announce).await;
    if outcome.is_err() {
        // Or the server that is about to stop would be missed by connections that nobody needs any more.
        pool::close(&pool).await;
    }
    outcome
}

/// The same on an open pool.
async fn roles_on(
    config: &Config,
    pool: PgPool,
    reached: Reached,
    listeners: Listeners,
    shutdown: &Shutdown,
    announce: impl FnOnce(Bound, &AdministratorKey),
) -> anyhow::Result<()> {
    let clock = system_clock();
    migrate::migrate(&pool).await.context("cannot migrate the database")?;
    // The directory is locked, so a lease can only be that of a hub that was killed.
    checkpoint::release_all(&pool).await.context("cannot take over the projections")?;
    hub_delivery::release_all(&pool).await.context("cannot take over the deliveries of webhooks")?;
    let secret_key = key::secret(&config.secret_key_file)?;
    key::claim(&pool, &secret_key, &config.secret_key_file).await?;
    let vault = vault::open(config, &pool, Some(&reached.vault_url)).await?;
    // The directory holds the data and the key, so whoever can lose the key can have another one.
    let administrator = enrol_from_file(&pool, &clock, &secret_key, &config.admin_key_file, true).await?;
    let administrator = administrator.context("the administrator was not enrolled")?;
    if shutdown.drain.is_cancelled() {
        return Ok(());
    }
    let options = ServeOptions {
        surroundings: Surroundings {
            listener: listeners.api,
            metrics_listener: listeners.metrics,
            metrics: telemetry::start_metrics()?,
            pool,
        },
        role: Role::All,
        nats: Some(reached.nats),
        nats_issuing: Some(reached.issuing),
        connections: listeners.connections,
        edge: config.edge.clone(),
        clock,
        secret_key,
        vault: Some(vault),
        signer: Some(Signer::new(signing_keys(&config.evidence_key_file, &config.evidence_name)?)?),
        witness: Some(evidence_key::witness(&config.evidence_key_file)),
        // Somebody tries it out on his own machine.
        loopback_providers: true,
        webhook_targets: config.webhook_targets.unwrap_or(Reach::PublicAndLoopback),
        key_files: key_files(config).into_iter().chain(NatsAccount::key_files(&config.directory)).collect(),
    };
    serve::run(options, shutdown.drain.clone(), |bound| {
        announce(bound, &administrator);
    })
    .await
}

/// Tells the person at the terminal where everything is. The key is shown at the first start only.
fn greet(config: &Config, running: &Running, key: &AdministratorKey, took: Duration) {
    let directory = config.directory.display();
    let key_file = config.admin_key_file.display();
    let url = &running.url;
    let mut text = format!(
        "\nService Hub {} serves after {:.1} s\n\n  API       {url}/v1\n  OpenAPI   {url}/openapi.json\n  \
         Metrics   {}\n  Data      {directory} (PostgreSQL and NATS of its own, logs in {directory}/log)\n  \
         Key       {key_file}\n",
        env!("CARGO_PKG_VERSION"),
        took.as_secs_f32(),
        running.metrics_url,
    );
    if key.made() {
        text += &format!("            {} (shown this once)\n", key.text());
    }
    if config.webhook_targets.is_none() {
        text += "\nFor development, webhooks and identity providers may be on this machine and without TLS; `hub serve` allows neither.\n";
    }
    text += &format!(
        "\nTry\n\n  curl -H \"Authorization: Bearer $(cat {key_file})\" {url}/v1/tenants\n\n\
         Ctrl-C stops everything; the data stays.\n\n"
    );
    // A terminal that is gone is no reason to stop serving.
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        tracing::debug!("nobody reads the greeting");
    }
}
