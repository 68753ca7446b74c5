//! Read models in step with the log: whatever NATS does, whoever works, whatever cannot be read.

mod building;
mod crash;
mod following;
mod poison;
mod schema;
mod sharing;

use std::{fmt, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use hub_domain::{
    personal::Pii,
    subscription::{self, Interval, Plan, Subscription},
    tenant::{self, SuspensionReason, Tenant, Tier},
};
use hub_event_store::{
    append::Append,
    event::{Metadata, NewEvent, Recorded, StreamId},
    log::Log,
    relay::Relay,
    repository::{Effects, Order, Prepared, Repository},
    store::EventStore,
    tail::Tail,
    upcast::Upcasters,
};
use hub_projections::{
    checkpoint,
    keyed::KeyedProjection,
    model::{AggregateKey, FoldError, OnPoison, ReadModel},
    positions::Positions,
    projection::Projection,
    rebuild::rebuild,
    runner::{Runner, Settings},
    status::{self, ProjectionStatus},
    verify::{Verified, verify},
};
use hub_tests::kit::{Database, TestClock, eventually};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

const TENANT: Uuid = Uuid::from_u128(7);

const LIMIT: Duration = Duration::from_secs(30);

/// Patient with nothing: what NATS does not bring is read from PostgreSQL at once.
const PROMPT: Settings = Settings {
    lease: Duration::from_secs(2),
    poll_interval: Duration::from_millis(100),
    grace: Duration::from_millis(50),
    batch_size_max: 100,
};

/// PostgreSQL is read only when a message shows that one is missing.
const TRUSTING: Settings = Settings {
    lease: Duration::from_secs(60),
    poll_interval: Duration::from_secs(60),
    grace: Duration::from_secs(60),
    batch_size_max: 100,
};

/// A letter box: how many letters came, and the last one. What happens to a torn letter depends on the kind of box.
struct Letters<const KIND: u8>;

/// A torn letter cannot be taken in.
const STRICT: u8 = 0;
/// Torn letters are letters too.
const LENIENT: u8 = 1;
/// As lenient, and counts by tens.
const SECOND_VERSION: u8 = 2;
/// As strict, and stops.
const STOPPING: u8 = 3;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
struct LettersRow {
    tenant_id: Uuid,
    id: Uuid,
    count: i64,
    last: String,
    last_at: DateTime<Utc>,
}

impl<const KIND: u8> ReadModel for Letters<KIND> {
    type Row = LettersRow;
    type Key = AggregateKey;
    const NAME: &'static str = "letters";
    const TABLE: &'static str = "letters";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;
    const VERSION: i32 = if KIND == SECOND_VERSION { 2 } else { 1 };
    const ON_POISON: OnPoison = if KIND == STOPPING { OnPoison::Stop } else { OnPoison::Park };

    fn concerns(event_type: &str) -> bool {
        event_type.starts_with("letter.")
    }

    fn key_of(row: &LettersRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(row: Option<LettersRow>, key: &AggregateKey, event: &Recorded) -> Result<Option<LettersRow>, FoldError> {
        #[derive(Deserialize)]
        struct Letter {
            to: String,
        }
        let strict = KIND == STRICT || KIND == STOPPING;
        match event.event_type.as_str() {
            "letter.torn" if strict => return Err(FoldError::OutOfRange("the letter is torn".to_owned())),
            "letter.burnt" => return Ok(None),
            _ => {}
        }
        let letter: Letter = serde_json::from_str(event.payload.get()).expect("the test writes letters");
        let step = if KIND == SECOND_VERSION { 10 } else { 1 };
        Ok(Some(LettersRow {
            tenant_id: key.tenant_id,
            id: key.id,
            count: row.map_or(0, |row| row.count) + step,
            last: letter.to,
            last_at: event.occurred_at,
        }))
    }
}

fn letters<const KIND: u8>() -> Vec<Arc<dyn Projection>> {
    vec![Arc::new(KeyedProjection::<Letters<KIND>>::new())]
}

/// A database with a letter box, and a store on it.
struct Hub {
    _database: Option<Database>,
    store: EventStore,
}

impl Hub {
    async fn new() -> Self {
        let database = Database::new().await;
        let hub = Self::on(database.pool.clone()).await;
        Self { _database: Some(database), ..hub }
    }

    /// On a database that somebody else keeps.
    async fn on(pool: PgPool) -> Self {
        sqlx::query(
            "CREATE TABLE letters (tenant_id uuid, id uuid, count bigint NOT NULL, last text NOT NULL, \
             last_at timestamptz NOT NULL, PRIMARY KEY (tenant_id, id))",
        )
        .execute(&pool)
        .await
        .unwrap();
        sqlx::query("CREATE INDEX letters_by_last ON letters (last)").execute(&pool).await.unwrap();
        let clock = TestClock::default().clock();
        Self { _database: None, store: EventStore::start(pool, Tail::default(), Upcasters::default(), clock) }
    }

    fn pool(&self) -> &PgPool {
        self.store.pool()
    }

    /// Puts letters into one box.
    async fn post(&self, letter_box: u128, tags: &[&str]) -> i64 {
        self.post_to(letter_box, tags, "Ada").await
    }

    async fn post_to(&self, letter_box: u128, tags: &[&str], to: &str) -> i64 {
        self.post_as(TENANT, letter_box, tags, to).await
    }

    async fn post_as(&self, tenant_id: Uuid, letter_box: u128, tags: &[&str], to: &str) -> i64 {
        let stream = StreamId { tenant_id, aggregate_type: "letter", aggregate_id: Uuid::from_u128(letter_box) };
        let sequence = self.store.log().page_of_stream(&stream, 0, 10_000).await.unwrap().len();
        let events = tags.iter().map(|tag| NewEvent {
            event_id: Uuid::now_v7(),
            event_type: format!("letter.{tag}"),
            event_version: 1,
            payload: RawValue::from_string(json!({ "to": to }).to_string()).unwrap(),
        });
        let append = Append {
            stream,
            expected_sequence: Some(i64::try_from(sequence).unwrap()),
            metadata: metadata(),
            fingerprint: [1; 32],
            events: events.collect(),
            claims: Vec::new(),
            counters: Vec::new(),
            facts: Vec::new(),
            guards: Vec::new(),
            outcome: None,
        };
        self.store.append(append).await.unwrap().position
    }

    /// Runs the projections until the answer is dropped.
    fn run(
        &self,
        nats: Option<async_nats::Client>,
        projections: Vec<Arc<dyn Projection>>,
        settings: Settings,
    ) -> Running {
        self.run_telling(nats, projections, settings, &Positions::default())
    }

    /// Runs the projections, which tell on the board how far they are.
    fn run_telling(
        &self,
        nats: Option<async_nats::Client>,
        projections: Vec<Arc<dyn Projection>>,
        settings: Settings,
        positions: &Positions,
    ) -> Running {
        let shutdown = CancellationToken::new();
        let tail = self.store.tail().clone();
        let runner = Runner::new(self.pool().clone(), nats, tail.clone(), Upcasters::default(), projections)
            .with_positions(positions.clone());
        let follow = {
            let (pool, shutdown) = (self.pool().clone(), shutdown.clone());
            tokio::spawn(async move { tail.run(pool, shutdown).await })
        };
        let run = tokio::spawn(runner.with_settings(settings).run(shutdown.clone()));
        Running { _shutdown: shutdown.drop_guard(), tasks: vec![run, follow] }
    }

    /// Runs the projections without telling them that the log has grown; only messages do.
    fn run_blind(&self, nats: async_nats::Client, projections: Vec<Arc<dyn Projection>>) -> Running {
        let shutdown = CancellationToken::new();
        let runner = Runner::new(self.pool().clone(), Some(nats), Tail::default(), Upcasters::default(), projections);
        let run = tokio::spawn(runner.with_settings(TRUSTING).run(shutdown.clone()));
        Running { _shutdown: shutdown.drop_guard(), tasks: vec![run] }
    }

    fn relay(&self, nats: async_nats::Client) -> Running {
        let shutdown = CancellationToken::new();
        let relay = Relay::new(self.pool().clone(), nats, self.store.tail().clone());
        let token = shutdown.clone();
        let task = tokio::spawn(async move { relay.run(token).await });
        Running { _shutdown: shutdown.drop_guard(), tasks: vec![task] }
    }

    async fn reaches(&self, projections: &[Arc<dyn Projection>], position: i64) {
        for projection in projections {
            eventually(LIMIT, async || {
                let reached = checkpoint::position(self.pool(), projection.name()).await.unwrap();
                (reached >= position).then_some(())
            })
            .await;
        }
    }

    /// `count` and `last` of each box, in the order of the boxes.
    async fn boxes(&self) -> Vec<(i64, String)> {
        sqlx::query_as("SELECT count, last FROM letters ORDER BY id").fetch_all(self.pool()).await.unwrap()
    }

    async fn status<const KIND: u8>(&self) -> ProjectionStatus {
        status::list(self.pool(), &letters::<KIND>()).await.unwrap().remove(0)
    }

    async fn verify(&self, projections: &[Arc<dyn Projection>], name: &str) -> Verified {
        verify(self.pool(), &Upcasters::default(), projections, name, &|_, _| {}).await.unwrap()
    }

    async fn rebuild(&self, projections: &[Arc<dyn Projection>], name: &str) -> i64 {
        let rebuilt = rebuild(self.pool(), &Upcasters::default(), projections, name, &|_, _| {}).await.unwrap();
        rebuilt.position
    }
}

/// Tasks that end when it is dropped; `stop` waits for that.
struct Running {
    _shutdown: DropGuard,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    async fn stop(self) {
        drop(self._shutdown);
        for task in self.tasks {
            tokio::time::timeout(LIMIT, task).await.unwrap().unwrap();
        }
    }

    /// As if the process had been killed.
    fn kill(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn metadata() -> Metadata {
    let command_id = Uuid::now_v7();
    Metadata {
        actor: "user:test".to_owned(),
        command_id,
        correlation_id: command_id,
        causation_id: None,
        traceparent: None,
    }
}

async fn execute<A>(repository: &Repository<A>, tenant_id: Uuid, id: Uuid, command: A::Command)
where
    A: cqrs_es::Aggregate<Services = ()> + Clone + 'static,
    A::Command: Clone + Send + Sync,
    A::Error: fmt::Debug,
{
    let order = Order { metadata: metadata(), fingerprint: [0; 32], repeatable: false, expected_sequence: None };
    let prepare = |_| {
        let command = command.clone();
        async move { Ok(Prepared::new(command)) }
    };
    repository.execute(tenant_id, id, &order, prepare).await.unwrap();
}

/// A believable little history of some tenants and their subscriptions; answers the position of its end.
async fn history(store: &EventStore, tenants: u128) -> i64 {
    let tenant_repository = Repository::<Tenant>::new(store.clone(), |_, _, _| Effects::default());
    let subscriptions = Repository::<Subscription>::new(store.clone(), |_, _, _| Effects::default());
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    for n in 1..=tenants {
        let id = Uuid::now_v7();
        let register = tenant::Command::Register {
            slug: format!("tenant-{n}").parse().unwrap(),
            name: "Acme".parse().unwrap(),
            contact_email: Pii::Clear("ops@acme.example".parse().unwrap()),
            tier: Tier::Starter,
            region: "eu-central".parse().unwrap(),
            currency: "EUR".parse().unwrap(),
        };
        let suspend = tenant::Command::Suspend { reason: SuspensionReason::Payment, note: "".parse().unwrap() };
        for command in [register, tenant::Command::Activate, suspend] {
            execute(&tenant_repository, id, id, command).await;
        }
        let subscription_id = Uuid::now_v7();
        let plan = Plan {
            code: "mail".parse().unwrap(),
            name: "Mail".parse().unwrap(),
            tier: "basic".parse().unwrap(),
            price: hub_domain::money::Money::new(900, "EUR".parse().unwrap()),
            interval: Interval::Month,
        };
        let starts_at = at("2025-01-31T10:00:00.123456789Z");
        let create = subscription::Command::Create { plan, seats: 2, trial_days: 0, starts_at, now: starts_at };
        let next = subscription::Command::OpenNextPeriod { now: at("2025-03-01T00:00:00Z") };
        for command in [create, subscription::Command::ChangeSeats { seats: 5 }, next] {
            execute(&subscriptions, id, subscription_id, command).await;
        }
    }
    Log::new(store.pool().clone()).head().await.unwrap()
}
