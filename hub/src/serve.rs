//! One process of the platform: its role, on listeners and servers that it is given, until it is told to stop.

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use async_nats::ConnectOptions;
use hub_access::{AccessGate, Board, api::Authorization};
use hub_commands::{
    Commands,
    access_record::AccessRecords,
    nats_credential::Issuing,
    reapply_erasures,
    self_check::{BY_ITSELF, SelfChecks},
    signing_key::SigningKeys,
};
use hub_consumers::Consumers;
use hub_delivery::Deliveries;
use hub_event_store::{relay::Relay, store::EventStore, tail::Tail, upcast::Upcasters};
use hub_http::{CursorKey, Gate};
use hub_projections::{positions::Positions, runner::Runner};
use hub_read_api::{Queries, StreamSettings};
use hub_seal::{Sealer, SelfCheck, Signer, WitnessFile};
use hub_sealing::Sealing;
use hub_token::{
    Keys, Settings, Verifier,
    outbound::{Outbound, Reach},
};
use hub_vault::Vault;
use metrics_exporter_prometheus::PrometheusHandle;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    api, api::Served, clock::Clock, config, config::Role, controls, disclosures::ReportRuns, gauges, key,
    key::SecretKey, listener::Connections, nats::NatsServer, pool, pool::Part, self_check, telemetry, webhooks,
};

/// A pull of an event subscription is answered so long before its request would be cut off.
const PULL_MARGIN: Duration = Duration::from_secs(3);

/// The program begins without NATS when it is not there after so long.
const NATS_GRACE: Duration = Duration::from_millis(500);

/// How long requests that are under way may take to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// How long background work may take to end after the requests.
const BACKGROUND_LIMIT: Duration = Duration::from_secs(5);

/// Everything a process is given from outside. The database is migrated already.
#[derive(Debug)]
pub struct Surroundings {
    /// Where the API listens.
    pub listener: TcpListener,
    /// Where `/metrics` listens.
    pub metrics_listener: TcpListener,
    /// Renders what the rooms record.
    pub metrics: PrometheusHandle,
    /// Connections to the migrated database.
    pub pool: PgPool,
}

/// What a process does, and with what.
pub struct ServeOptions {
    /// What comes from outside.
    pub surroundings: Surroundings,
    /// The part of the work.
    pub role: Role,
    /// NATS; always there when the role needs it.
    pub nats: Option<NatsServer>,
    /// What credentials for NATS are issued with, when integrators may read there.
    pub nats_issuing: Option<Issuing>,
    /// What connections are held to.
    pub connections: Connections,
    /// What requests are held to.
    pub edge: config::Edge,
    /// The time.
    pub clock: Clock,
    /// What cursors are signed with and secrets are sealed with, each by a key derived from it.
    pub secret_key: SecretKey,
    /// The keys of personal data, in a role that serves requests.
    pub vault: Option<Vault>,
    /// Who signs checkpoints, in a role that executes commands.
    pub signer: Option<Signer>,
    /// Where the last checkpoint is kept that was signed on this machine.
    pub witness: Option<WitnessFile>,
    /// Whether an identity provider may be on this machine, for development.
    pub loopback_providers: bool,
    /// Where webhooks may lead.
    pub webhook_targets: Reach,
    /// Files with keys, by the names of their settings, whose modes are checked.
    pub key_files: Vec<(&'static str, PathBuf)>,
}

impl fmt::Debug for ServeOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ServeOptions").field("role", &self.role).finish_non_exhaustive()
    }
}

/// The addresses that the process really has, which matters for port 0.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Of the API.
    pub listen: SocketAddr,
    /// Of `/metrics`.
    pub metrics: SocketAddr,
}

/// The upcasters of every context: one line each, the oldest version first.
#[must_use]
pub fn upcasters() -> Upcasters {
    Upcasters::new(Vec::new())
}

/// Does the work of the role until `shutdown`, then ends requests first and background work after them, each within a bound. Calls
/// `ready` once, when requests are answered.
///
/// # Errors
/// When a listener or a part of the work fails.
pub async fn run(options: ServeOptions, shutdown: CancellationToken, ready: impl FnOnce(Bound)) -> anyhow::Result<()> {
    let ServeOptions {
        surroundings,
        role,
        nats,
        nats_issuing,
        connections,
        edge,
        clock,
        secret_key,
        vault,
        signer,
        witness,
        loopback_providers,
        webhook_targets,
        key_files,
    } = options;
    let Surroundings { listener, metrics_listener, metrics, pool } = surroundings;
    let bound = Bound { listen: listener.local_addr()?, metrics: metrics_listener.local_addr()? };

    if let Some(vault) = &vault {
        reapply_erasures(&pool, vault, clock()).await.context("what was erased is not known to be gone")?;
    }
    let nats = match nats.filter(|_| role.needs_nats()) {
        Some(server) => Some(connect(&server).await?),
        None => None,
    };
    let tail = Tail::default();
    let positions = Positions::default();
    let board = Board::default();
    let reach = if loopback_providers { Reach::PublicAndLoopback } else { Reach::Public };
    let keys = Keys::new(Outbound::new(reach), Settings::default());
    let webhook_outbound = Outbound::new(webhook_targets);
    let access = AccessGate::new(pool.clone(), board.clone(), clock.clone()).with_tokens(Verifier::new(keys));
    let gate: Arc<dyn Gate> = Arc::new(access.clone());
    let background_end = CancellationToken::new();
    let mut background = Background::new(background_end.clone());

    background.spawn("tail", {
        let (tail, pool) = (tail.clone(), pool.clone());
        async move |end| tail.run(pool, end).await
    });
    background.spawn("board of facts", {
        let pool = pool.clone();
        async move |end| board.run(pool, end).await
    });
    background.spawn("configuration", {
        let (listen, metrics_listen, tls) = (bound.listen, bound.metrics, edge.tls.is_some());
        let told = hub_compliance::Configuration { listen, tls, metrics_listen, key_files };
        let (pool, clock) = (pool.clone(), clock.clone());
        async move |end| told.run(pool, clock, end).await
    });
    background.spawn("uses of keys", {
        let (uses, pool) = (access.uses(), pool.clone());
        async move |end| uses.run(pool, end).await
    });
    background.spawn("uses of permissions", {
        let (uses, clock) = (access.permission_uses(), clock.clone());
        async move |end| uses.run(clock, end).await
    });
    if role.relays() || role.projects() || signer.is_some() {
        let pool = pool.clone();
        background.spawn("gauges", async move |end| gauges::run(pool, end).await);
    }
    let serves = role.serves_commands() || role.serves_queries();
    let store = serves.then(|| EventStore::start(pool.clone(), tail.clone(), upcasters(), clock.clone()));
    if let (Some(store), Some(vault)) = (store.clone(), vault.clone()) {
        background.spawn("access records", {
            let (refusals, records) = (access.refusals(), AccessRecords::new(store.clone(), vault.clone()));
            async move |end| refusals.run(|draft| records.write(draft), end).await
        });
        background.spawn("records of sensitive reads", {
            let (reads, records) = (access.sensitive_reads(), AccessRecords::new(store, vault));
            async move |end| reads.run(|draft| records.write(draft), end).await
        });
    }
    let commands = store.clone().filter(|_| role.serves_commands()).map(|store| {
        let secret_key = *secret_key.bytes();
        let random = Arc::new(key::random::<32>);
        let commands = Commands::new(hub_commands::Settings { store, gate: gate.clone(), secret_key, random })
            .with_loopback_providers(loopback_providers)
            .with_outbound(webhook_outbound.clone())
            .with_permissions(api::catalogue().into_iter().map(|entry| entry.permission));
        let commands = match nats_issuing {
            Some(issuing) => commands.with_nats(issuing),
            None => commands,
        };
        match vault.clone() {
            Some(vault) => commands.with_vault(vault),
            None => commands,
        }
    });
    if let Some(commands) = commands.clone() {
        background.spawn("process managers", async move |end| hub_commands::process::run(commands, end).await);
    }
    if let Some(store) = store.clone().filter(|_| role.serves_commands()) {
        let sealing = Sealing::new(secret_key.bytes());
        let orders = Arc::new(webhooks::Orders::new(store));
        let deliveries = Deliveries::new(pool.clone(), tail.clone(), clock.clone(), webhook_outbound, sealing, orders);
        background.spawn("deliveries of webhooks", async move |end| deliveries.run(end).await);
    }
    if let Some(store) = store.clone().filter(|_| role.serves_commands()) {
        let (pool, clock) = (pool.clone(), clock.clone());
        background.spawn("controls", async move |end| controls::run(store, pool, clock, end).await);
    }
    let mut contradiction = None;
    if let Some(signer) = signer {
        let pool = pool::for_part(&pool, Part::Seal);
        signer.publish(&pool, clock()).await?;
        if let Some(store) = store.clone()
            && let Err(error) = SigningKeys::new(store).sign_with(signer.verifier_keys()).await
        {
            tracing::error!(%error, "which keys sign cannot be written down; the next start does it");
        }
        let mut sealer = Sealer::new(pool.clone(), tail.clone(), signer, clock.clone());
        if let Some(file) = witness {
            sealer = sealer.with_witness(file);
        }
        contradiction = Some(sealer.contradiction());
        if let Some(store) = store.clone() {
            let checks = SelfChecks::new(store, BY_ITSELF);
            let (check, written, contradiction) =
                (SelfCheck::new(pool, clock.clone()), checks.clone(), sealer.contradiction());
            let write = move |report| {
                let checks = written.clone();
                async move { checks.write(self_check::completed(report)).await }
            };
            background.spawn("self-check", async move |end| check.run(write, end).await);
            background.spawn("witness", async move |end| self_check::tell(checks, contradiction, end).await);
        }
        background.spawn("sealer", async move |end| sealer.run(end).await);
    }
    if role.relays() {
        let nats = nats.clone().context("the relay needs a NATS")?;
        let relay = Relay::new(pool.clone(), nats, tail.clone());
        background.spawn("relay", async move |end| relay.run(end).await);
    }
    if role.projects() {
        let project = pool::for_part(&pool, Part::Project);
        let runner = Runner::new(project, nats.clone(), tail.clone(), upcasters(), hub_projections::all())
            .with_builders(pool.clone())
            .with_positions(positions.clone());
        background.spawn("projections", async move |end| runner.run(end).await);
    }
    let consuming = store.clone();
    let queries = store.filter(|_| role.serves_queries()).map(|store| {
        let queries = Queries::new(hub_read_api::Settings {
            pool: pool::for_queries(&pool),
            tail,
            positions: positions.clone(),
            gate: gate.clone(),
            cursor_key: cursor_key(&secret_key),
            streams_max: edge.streams_max,
            shutdown: shutdown.clone(),
        })
        .with_streams(StreamSettings {
            of_tenant_max: edge.streams_of_tenant_max,
            history_max: edge.stream_history_max,
            ..StreamSettings::default()
        })
        .with_upcasters(upcasters())
        .with_reports(Arc::new(ReportRuns::new(store)));
        match vault {
            Some(vault) => queries.with_vault(vault),
            None => queries,
        }
    });

    let authorization =
        queries.as_ref().map(|queries| Authorization::new(access, queries.resources(), &api::catalogue()));
    let consumers = consuming.zip(queries.as_ref()).map(|(store, queries)| {
        Consumers::new(hub_consumers::Settings {
            pool: pool::for_consumers(&pool),
            store,
            clock: clock.clone(),
            gate,
            resources: queries.resources(),
            cursor_key: cursor_key(&secret_key),
            wait_max: edge.request_timeout.saturating_sub(PULL_MARGIN),
            shutdown: shutdown.clone(),
        })
    });
    let served = Served { commands, queries, consumers, authorization };
    let health = api::health_with(&pool, nats.as_ref(), contradiction);
    let (router, _) = api::router_within(api::layers(&edge), served, health);
    let serving = connections.serve(listener, router, shutdown.clone());
    let telemetry = telemetry::serve_metrics(metrics_listener, metrics, shutdown.clone());
    ready(bound);
    let requests = async { tokio::try_join!(serving, telemetry) };
    let outcome = tokio::select! {
        outcome = requests => outcome.map(|_| ()),
        lost = background.lost() => Err(lost),
        () = past_the_limit(&shutdown) => {
            tracing::warn!("requests were cut off after {} s", DRAIN_LIMIT.as_secs());
            Ok(())
        }
    };
    background.end().await;
    outcome
}

/// Connects to NATS, now or when it is there: the log does not wait for it.
async fn connect(server: &NatsServer) -> anyhow::Result<async_nats::Client> {
    let options = match &server.credentials {
        Some(text) => ConnectOptions::with_credentials(text).context("the credentials for NATS cannot be used")?,
        None => ConnectOptions::new(),
    };
    let client = options
        .name("hub")
        .retry_on_initial_connect()
        .connect(&server.url)
        .await
        .context("the NATS URL cannot be used")?;
    // A server that is there is connected to in a moment, and then nobody has to begin without it.
    drop(tokio::time::timeout(NATS_GRACE, client.flush()).await);
    Ok(client)
}

/// The key of paging cursors.
fn cursor_key(secret_key: &SecretKey) -> CursorKey {
    CursorKey::new(Sha256::new().chain_update(b"hub cursors v1\0").chain_update(secret_key.bytes()).finalize().into())
}

/// The work beside the requests.
struct Background {
    end: CancellationToken,
    tasks: JoinSet<&'static str>,
}

impl Background {
    fn new(end: CancellationToken) -> Self {
        Self { end, tasks: JoinSet::new() }
    }

    fn spawn<W, F>(&mut self, name: &'static str, work: W)
    where
        W: FnOnce(CancellationToken) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let work = work(self.end.clone());
        self.tasks.spawn(async move {
            work.await;
            name
        });
    }

    /// Ends when one of the tasks has, which none does by itself.
    async fn lost(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok(name)) => anyhow!("the {name} ended"),
            Some(Err(error)) => anyhow!("a part of the work was lost: {error}"),
            None => std::future::pending().await,
        }
    }

    /// Asks all tasks to end and waits for them within a bound.
    async fn end(mut self) {
        self.end.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(BACKGROUND_LIMIT, ended).await.is_err() {
            tracing::warn!("background work was cut off after {} s", BACKGROUND_LIMIT.as_secs());
        }
    }
}

/// Ends some time after the wish to stop.
async fn past_the_limit(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(DRAIN_LIMIT).await;
}
