//! Keys, roles and tenants as a whole process has them: over HTTP, with real keys, real roles and the gate that decides in production.

mod attacks;
mod audit_reports;
mod bearer;
mod compliance;
mod document;
mod evidence;
mod facts;
mod forgetting;
mod keys;
mod lists;
mod loading;
mod personal;
mod principals;
mod queries;
mod refusals;
mod reports;
mod table;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use aide::openapi::OpenApi;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::ConnectInfo,
    http::{HeaderMap, Request, Response, StatusCode, header::AUTHORIZATION, request::Builder},
};
use hub::{api::Served, disclosures::ReportRuns};
use hub_access::{AccessGate, Board, PermissionUses, Refusals, api::Authorization};
use hub_commands::{Commands, access_record::AccessRecords, api_key::Enrolment, process};
use hub_consumers::Consumers;
use hub_domain::api_key::KeyText;
use hub_event_store::{store::EventStore, tail::Tail};
use hub_evidence::key::SigningKey;
use hub_http::{ConsistencyToken, CursorKey};
use hub_projections::{
    positions::Positions,
    runner::{Runner, Settings as Pace},
};
use hub_read_api::Queries;
use hub_seal::{Sealer, Signer};
use hub_tests::kit::{Database, TestClock, eventually, vault_in};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt as _;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::nats_credentials::nats_issuing;

/// No answer takes longer, on a machine that runs other tests beside it.
const LIMIT: Duration = Duration::from_secs(60);

/// Projections that look often, so that tests do not wait.
const PROMPT: Pace = Pace {
    lease: Duration::from_secs(5),
    poll_interval: Duration::from_millis(50),
    grace: Duration::from_millis(10),
    batch_size_max: 100,
};

/// One process of the platform, with its commands, its queries, and the key of its first administrator.
struct Platform {
    database: Arc<Database>,
    clock: TestClock,
    commands: Commands,
    uses: PermissionUses,
    /// What is noted of sensitive reads, and who writes it down; most tests do without.
    reads: (Refusals, AccessRecords),
    /// What is noted of refusals, which is recorded each second.
    refusals: Refusals,
    router: Router,
    openapi: OpenApi,
    document: Value,
    administrator: String,
    /// The log up to here is what the test has seen.
    seen: AtomicI64,
    _end: DropGuard,
}

/// A key as its owner has it.
#[derive(Clone, Debug)]
struct Key {
    id: Uuid,
    text: String,
}

/// An answer, read to its end; of a stream only the head.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Platform {
    /// On a database of its own.
    async fn start() -> Self {
        let key = KeyText::generate(random());
        let platform = Self::on(Arc::new(Database::new().await), TestClock::default(), key.reveal());
        // A machine that is busy with other tests may keep it from its connection.
        let enrolled = eventually(2 * LIMIT, async || platform.commands.enrol(&key, false).await.ok()).await;
        assert_eq!(enrolled, Enrolment::Administrator);
        platform
    }

    /// Another process on the same database.
    fn beside(&self) -> Self {
        let other = Self::on(Arc::clone(&self.database), self.clock.clone(), &self.administrator);
        other.seen.store(self.seen.load(Ordering::SeqCst), Ordering::SeqCst);
        other
    }

    fn on(database: Arc<Database>, clock: TestClock, administrator: &str) -> Self {
        let (pool, end) = (database.pool.clone(), CancellationToken::new());
        let (tail, board, positions) = (Tail::default(), Board::default(), Positions::default());
        let access = AccessGate::new(pool.clone(), board.clone(), clock.clock());
        let (gate, uses) = (Arc::new(access.clone()), access.permission_uses());
        tokio::spawn({
            let (tail, pool, end) = (tail.clone(), pool.clone(), end.clone());
            async move { tail.run(pool, end).await }
        });
        tokio::spawn({
            let (pool, end) = (pool.clone(), end.clone());
            async move { board.run(pool, end).await }
        });
        let upcasters = hub::serve::upcasters;
        let projections = hub_projections::all();
        let runner = Runner::new(pool.clone(), None, tail.clone(), upcasters(), projections)
            .with_settings(PROMPT)
            .with_positions(positions.clone());
        tokio::spawn(runner.run(end.clone()));
        let store = EventStore::start(pool.clone(), tail.clone(), upcasters(), clock.clock());
        tokio::spawn({
            let (refusals, records, end) =
                (access.refusals(), AccessRecords::new(store.clone(), vault_in(&pool)), end.clone());
            async move { refusals.run(|draft| records.write(draft), end).await }
        });
        let reads = (access.sensitive_reads(), AccessRecords::new(store.clone(), vault_in(&pool)));
        let refusals = access.refusals();
        let report_runs = Arc::new(ReportRuns::new(store.clone()));
        let signer = Signer::new(vec![SigningKey::from_seed("hub.test", Zeroizing::new([9; 32])).unwrap()]).unwrap();
        tokio::spawn({
            let (pool, tail, clock, end) = (pool.clone(), tail.clone(), clock.clock(), end.clone());
            async move {
                signer.publish(&pool, clock()).await.expect("the key signs from the beginning");
                Sealer::new(pool, tail, signer, clock).run(end).await;
            }
        });
        let consuming = store.clone();
        let commands = Commands::new(hub_commands::Settings {
            store,
            gate: gate.clone(),
            secret_key: [7; 32],
            random: Arc::new(random),
        })
        .with_vault(vault_in(&pool))
        .with_nats(nats_issuing())
        .with_permissions(hub::api::catalogue().into_iter().map(|entry| entry.permission));
        let queries = Queries::new(hub_read_api::Settings {
            pool: pool.clone(),
            tail,
            positions,
            gate: gate.clone(),
            cursor_key: CursorKey::new([8; 32]),
            streams_max: 10,
            shutdown: end.clone(),
        })
        .with_upcasters(upcasters())
        .with_reports(report_runs)
        .with_vault(vault_in(&pool));
        let authorization = Authorization::new(access, queries.resources(), &hub::api::catalogue());
        let consumers = Consumers::new(hub_consumers::Settings {
            pool: hub::pool::for_consumers(&pool),
            store: consuming,
            clock: clock.clock(),
            gate,
            resources: queries.resources(),
            cursor_key: CursorKey::new([8; 32]),
            wait_max: LIMIT,
            shutdown: end.clone(),
        });
        let served = Served {
            commands: Some(commands.clone()),
            queries: Some(queries),
            consumers: Some(consumers),
            authorization: Some(authorization),
        };
        let (router, openapi) = hub::api::router(served, hub::api::health(&pool, None));
        Self {
            database,
            clock,
            commands,
            uses,
            reads,
            refusals,
            router,
            document: serde_json::to_value(&openapi).unwrap(),
            openapi,
            administrator: administrator.to_owned(),
            seen: AtomicI64::new(0),
            _end: end.drop_guard(),
        }
    }

    /// The answer while it is still being sent.
    async fn open(&self, request: Request<Body>) -> Response<Body> {
        let answer = tokio::time::timeout(LIMIT, self.router.clone().oneshot(request)).await;
        answer.expect("every wait has an end").unwrap()
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let answer = read(self.open(request).await).await;
        if let Some(position) = answer.position() {
            self.seen.fetch_max(position, Ordering::SeqCst);
        }
        answer
    }

    /// What a request carries so that it sees everything that this test has done.
    fn seen(&self) -> String {
        ConsistencyToken(self.seen.load(Ordering::SeqCst)).to_string()
    }

    /// As somebody who has seen all that was done.
    async fn post(&self, key: &str, path: &str, body: Value) -> Answer {
        let request = with_key(Request::post(path), key).header("consistency-token", self.seen());
        self.send(with_json(request, &body)).await
    }

    /// The same; the read models wait as well.
    async fn get(&self, key: &str, path: &str) -> Answer {
        let request = with_key(Request::get(path), key).header("consistency-token", self.seen());
        self.send(request.header("prefer", "wait=10").body(Body::empty()).unwrap()).await
    }

    /// As somebody who has seen nothing.
    async fn get_at_once(&self, key: &str, path: &str) -> Answer {
        self.send(with_key(Request::get(path), key).body(Body::empty()).unwrap()).await
    }

    /// As the administrator, who succeeds.
    async fn done(&self, path: &str, body: Value) -> Value {
        let answer = self.post(&self.administrator, path, body).await;
        assert!(answer.status.is_success(), "{path}: {answer:?}");
        answer.body()
    }

    /// A tenant that is active.
    async fn tenant(&self, slug: &str) -> Uuid {
        let body = json!({
            "slug": slug, "name": slug, "contact_email": "it@acme.example", "tier": "starter", "region": "eu-central",
            "currency": "EUR",
        });
        let id = id_of(&self.done("/v1/tenants", body).await);
        self.done(&format!("/v1/tenants/{id}/activate"), Value::Null).await;
        id
    }

    /// A key of a tenant with these roles, by their ids or as system roles by their keys.
    async fn key(&self, tenant_id: Uuid, roles: &[&str]) -> Key {
        self.key_with(tenant_id, json!({ "name": "Test", "roles": roles })).await
    }

    async fn key_with(&self, tenant_id: Uuid, body: Value) -> Key {
        let answer = self.done(&format!("/v1/tenants/{tenant_id}/api-keys"), body).await;
        Key { id: id_of(&answer), text: answer["key"].as_str().unwrap().to_owned() }
    }

    /// What happens by itself does, until this is dropped.
    fn by_itself(&self) -> DropGuard {
        let end = CancellationToken::new();
        tokio::spawn(process::run(self.commands.clone(), end.clone()));
        end.drop_guard()
    }

    /// Assigns a role of the tenant.
    async fn assign(&self, tenant_id: Uuid, role_id: Uuid, principal: &str) -> Value {
        let path = format!("/v1/tenants/{tenant_id}/roles/{role_id}/assign");
        self.done(&path, json!({ "principal": principal })).await
    }

    /// A custom role of a tenant with these permissions.
    async fn role(&self, tenant_id: Uuid, key: &str, permissions: &[Value]) -> Uuid {
        let roles = format!("/v1/tenants/{tenant_id}/roles");
        let id = id_of(&self.done(&roles, json!({ "key": key, "name": key })).await);
        for permission in permissions {
            self.done(&format!("{roles}/{id}/grant-permission"), permission.clone()).await;
        }
        id
    }
}

impl Answer {
    fn body(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    fn code(&self) -> String {
        self.body()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// What a receipt says of the log.
    fn position(&self) -> Option<i64> {
        let token = self.headers.get("consistency-token")?.to_str().ok()?;
        Some(token.parse::<ConsistencyToken>().ok()?.0)
    }

    #[track_caller]
    fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), &*self.code()), (status, code), "{self:?}");
    }

    #[track_caller]
    fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        self.body()
    }
}

/// The document of a process that serves everything.
pub(crate) async fn document() -> OpenApi {
    Platform::start().await.openapi
}

async fn read(response: Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let stream = parts.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
    let bytes = if stream { Vec::new() } else { to_bytes(body, 16 << 20).await.unwrap().to_vec() };
    Answer { status: parts.status, headers: parts.headers, bytes }
}

fn random() -> [u8; 32] {
    let halves = [Uuid::new_v4(), Uuid::new_v4()];
    std::array::from_fn(|place| halves[place / 16].as_bytes()[place % 16])
}

fn with_key(request: Builder, key: &str) -> Builder {
    request.header(AUTHORIZATION, format!("Bearer {key}"))
}

/// A body of JSON; none for null.
fn with_json(request: Builder, body: &Value) -> Request<Body> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    request.header("content-type", "application/json").body(Body::from(body)).unwrap()
}

/// As if it had come over a connection from there.
fn from_peer(mut request: Request<Body>, peer: &str) -> Request<Body> {
    let peer: IpAddr = peer.parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::new(peer, 4711)));
    request
}

fn id_of(body: &Value) -> Uuid {
    body["id"].as_str().unwrap_or_else(|| panic!("no id in {body}")).parse().unwrap()
}
