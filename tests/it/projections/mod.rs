//! Read models in step with the log: whatever NATS does, whoever works, whatever cannot be read.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use async_nats::jetstream;
use chrono::{DateTime, Utc};
use hub_domain::{
    subscription::{self, Interval, Plan, Subscription},
    tenant::{self, SuspensionReason, Tenant, Tier},
};
use hub_event_store::{
    append::Append,
    event::{Metadata, NewEvent, Recorded, StreamId},
    log::Log,
    partition::{STREAM_NAME, SUBJECT_ROOT, subject_of},
    relay::Relay,
    repository::{Effects, Order, Prepared, Repository},
    store::EventStore,
    tail::Tail,
    upcast::Upcasters,
};
use hub_projections::{
    QUERIES, all, checkpoint,
    keyed::KeyedProjection,
    model::{AggregateKey, FoldError, OnPoison, ReadModel},
    projection::Projection,
    rebuild::{RebuildError, rebuild},
    runner::{Runner, Settings},
    status::{self, ProjectionStatus, State, parked_events},
    verify::{Verified, verify},
};
use hub_tests::kit::{Database, Nats, TestClock, eventually};
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
    database: Database,
    store: EventStore,
}

impl Hub {
    async fn new() -> Self {
        let database = Database::new().await;
        sqlx::query(
            "CREATE TABLE letters (tenant_id uuid, id uuid, count bigint NOT NULL, last text NOT NULL, \
             last_at timestamptz NOT NULL, PRIMARY KEY (tenant_id, id))",
        )
        .execute(&database.pool)
        .await
        .unwrap();
        sqlx::query("CREATE INDEX letters_by_last ON letters (last)").execute(&database.pool).await.unwrap();
        let clock = TestClock::default().clock();
        let store = EventStore::start(database.pool.clone(), Tail::default(), Upcasters::default(), clock);
        Self { database, store }
    }

    fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    /// Puts letters into one box.
    async fn post(&self, letter_box: u128, tags: &[&str]) -> i64 {
        self.post_to(letter_box, tags, "Ada").await
    }

    async fn post_to(&self, letter_box: u128, tags: &[&str], to: &str) -> i64 {
        let stream =
            StreamId { tenant_id: TENANT, aggregate_type: "letter", aggregate_id: Uuid::from_u128(letter_box) };
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
        let shutdown = CancellationToken::new();
        let tail = self.store.tail().clone();
        let runner = Runner::new(self.pool().clone(), nats, tail.clone(), Upcasters::default(), projections);
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
            contact_email: "ops@acme.example".parse().unwrap(),
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

#[tokio::test]
async fn every_query_fits_the_migrated_schema() {
    let database = Database::new().await;
    let projections = all();
    let of_tables = projections.iter().flat_map(|projection| projection.queries());
    for (n, query) in QUERIES.iter().map(|query| (*query).to_owned()).chain(of_tables).enumerate() {
        let prepare = format!("PREPARE query_{n} AS {query}");
        sqlx::raw_sql(&prepare).execute(&database.pool).await.unwrap_or_else(|error| panic!("{query}: {error}"));
    }
}

#[tokio::test]
async fn every_table_has_the_fields_of_its_rows_and_their_key() {
    let database = Database::new().await;
    for projection in all() {
        let columns: Vec<String> = sqlx::query_scalar(
            "SELECT attname::text FROM pg_attribute \
             WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attname::text COLLATE \"C\"",
        )
        .bind(projection.table())
        .fetch_all(&database.pool)
        .await
        .unwrap();
        assert_eq!(columns, projection.columns(), "{}", projection.table());
        let key: Vec<String> = sqlx::query_scalar(
            "SELECT a.attname::text FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k (column_number, place) \
             JOIN pg_attribute a ON a.attnum = k.column_number \
             WHERE i.indrelid = $1::regclass AND i.indisprimary AND a.attrelid = i.indrelid ORDER BY k.place",
        )
        .bind(projection.table())
        .fetch_all(&database.pool)
        .await
        .unwrap();
        assert_eq!(key, projection.key(), "{}", projection.table());
        assert_eq!(key[0], "tenant_id", "{}: the tenant leads the key", projection.table());
    }
}

#[test]
fn no_two_projections_have_one_name_or_table() {
    let names: BTreeSet<_> = all().iter().map(|projection| projection.name()).collect();
    let tables: BTreeSet<_> = all().iter().map(|projection| projection.table()).collect();
    assert_eq!((names.len(), tables.len()), (all().len(), all().len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_model_follows_the_log_and_equals_its_fold() {
    let hub = Hub::new().await;
    let nats = Nats::start().await;
    let relay = hub.relay(nats.client().await);
    let projections = all();
    let running = hub.run(Some(nats.client().await), projections.clone(), PROMPT);
    let head = history(&hub.store, 5).await;
    hub.reaches(&projections, head).await;
    for projection in &projections {
        let verified = hub.verify(&projections, projection.name()).await;
        assert_eq!((verified.position, verified.differences), (head, vec![]), "{}", projection.name());
    }
    let count = |sql: &'static str| sqlx::query_scalar::<_, i64>(sql).fetch_one(hub.pool());
    assert_eq!(count("SELECT count(*) FROM tenants WHERE status = 'suspended'").await.unwrap(), 5);
    assert_eq!(count("SELECT count(*) FROM charges").await.unwrap(), 10);
    assert_eq!(count("SELECT sum(amount_minor)::bigint FROM charges").await.unwrap(), 5 * (2 + 5) * 900);
    assert_eq!(count("SELECT sum(net_minor)::bigint FROM mrr_movements").await.unwrap(), 5 * 5 * 900);
    assert_eq!(count("SELECT sum(count)::bigint FROM event_counts").await.unwrap(), head);
    assert_eq!(count("SELECT count(*) FROM audit_entries").await.unwrap(), head);
    let found =
        "SELECT count(*) FROM audit_entries WHERE search_words @@ plainto_tsquery('simple', 'ops@acme.example')";
    assert_eq!(count(found).await.unwrap(), 5);
    running.stop().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_table_equals_the_live_one_while_the_log_grows() {
    let hub = Hub::new().await;
    let projections = all();
    let running = hub.run(None, projections.clone(), PROMPT);
    history(&hub.store, 3).await;
    let growing = tokio::spawn({
        let store = hub.store.clone();
        async move { history_again(&store).await }
    });
    for projection in &projections {
        let rebuilt = hub.rebuild(&projections, projection.name()).await;
        assert!(rebuilt > 0);
        assert_eq!(hub.verify(&projections, projection.name()).await.differences, []);
    }
    let head = growing.await.unwrap();
    hub.reaches(&projections, head).await;
    for projection in &projections {
        let verified = hub.verify(&projections, projection.name()).await;
        assert_eq!((verified.position, verified.differences), (head, vec![]), "{}", projection.name());
    }
    running.stop().await;
}

/// More tenants, with slugs of their own.
async fn history_again(store: &EventStore) -> i64 {
    for _ in 0..5 {
        history(store, 2).await;
    }
    Log::new(store.pool().clone()).head().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nats_everything_is_read_from_postgresql() {
    let hub = Hub::new().await;
    let mut nats = Nats::start().await;
    let relay = hub.relay(nats.client().await);
    let projections = letters::<STRICT>();
    let running = hub.run(Some(nats.client().await), projections.clone(), PROMPT);
    let head = hub.post(1, &["sent", "sent"]).await;
    hub.reaches(&projections, head).await;
    nats.stop().await;
    for _ in 0..20 {
        hub.post(2, &["sent"]).await;
    }
    let head = hub.post(1, &["sent"]).await;
    hub.reaches(&projections, head).await;
    nats.restart().await;
    let head = hub.post(2, &["sent"]).await;
    hub.reaches(&projections, head).await;
    assert_eq!(hub.boxes().await, [(3, "Ada".to_owned()), (21, "Ada".to_owned())]);
    running.stop().await;
    relay.stop().await;
}

/// A carrier in the hands of the test.
async fn carrier(nats: &Nats) -> jetstream::Context {
    let jetstream = jetstream::new(nats.client().await);
    let config = jetstream::stream::Config {
        name: STREAM_NAME.to_owned(),
        subjects: vec![format!("{SUBJECT_ROOT}.>")],
        ..Default::default()
    };
    jetstream.create_stream(config).await.unwrap();
    jetstream
}

async fn consumed(jetstream: &jetstream::Context) {
    eventually(LIMIT, async || {
        let mut stream = jetstream.get_stream(STREAM_NAME).await.unwrap();
        (stream.info().await.unwrap().state.consumer_count > 0).then_some(())
    })
    .await;
}

async fn publish(jetstream: &jetstream::Context, event: &Recorded) {
    let payload = serde_json::to_vec(event).unwrap().into();
    jetstream.publish(subject_of(event), payload).await.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_repeated_and_reordered_messages_change_nothing() {
    let hub = Hub::new().await;
    let nats = Nats::start().await;
    let jetstream = carrier(&nats).await;
    let projections = letters::<STRICT>();
    // Nothing but a message wakes this runner.
    let running = hub.run_blind(nats.client().await, projections.clone());
    consumed(&jetstream).await;
    hub.post(1, &["sent"; 10]).await;
    let log = hub.store.log().page(0, 100).await.unwrap();
    for place in [0, 0, 1] {
        publish(&jetstream, &log[place]).await;
    }
    hub.reaches(&projections, 2).await;
    // The third is lost: everything is read from PostgreSQL.
    publish(&jetstream, &log[3]).await;
    hub.reaches(&projections, 10).await;
    for place in [2, 9, 8, 7, 0] {
        publish(&jetstream, &log[place]).await;
    }
    jetstream.publish("hub.events.0.rubbish", "no event".into()).await.unwrap().await.unwrap();
    let head = hub.post(1, &["sent"]).await;
    publish(&jetstream, &hub.store.log().page(head - 1, 1).await.unwrap()[0]).await;
    hub.reaches(&projections, head).await;
    assert_eq!(hub.boxes().await, [(11, "Ada".to_owned())]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_not_in_the_log_is_not_taken_in() {
    let hub = Hub::new().await;
    let nats = Nats::start().await;
    let jetstream = carrier(&nats).await;
    let projections = letters::<STRICT>();
    let running = hub.run_blind(nats.client().await, projections.clone());
    consumed(&jetstream).await;
    let head = hub.post(1, &["sent"; 2]).await;
    let log = hub.store.log().page(0, 100).await.unwrap();
    publish(&jetstream, &log[0]).await;
    hub.reaches(&projections, 1).await;
    // It comes at the right moment and looks right, and is of another log.
    let forged = Recorded { event_id: Uuid::now_v7(), ..log[1].clone() };
    publish(&jetstream, &forged).await;
    hub.reaches(&projections, head).await;
    // One that is ahead of the log moves nothing either, and the real one is taken in.
    publish(&jetstream, &Recorded { position: head + 1, sequence: head + 1, ..log[1].clone() }).await;
    let head = hub.post(1, &["sent"]).await;
    publish(&jetstream, &hub.store.log().page(head - 1, 1).await.unwrap()[0]).await;
    hub.reaches(&projections, head).await;
    assert_eq!(hub.boxes().await, [(3, "Ada".to_owned())]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_has_one_worker_and_another_takes_over() {
    let hub = Hub::new().await;
    let projections = all().into_iter().chain(letters::<STRICT>()).collect::<Vec<_>>();
    let one = hub.run(None, projections.clone(), PROMPT);
    let two = hub.run(None, projections.clone(), PROMPT);
    let writing = async {
        for _ in 0..30 {
            hub.post(1, &["sent", "sent"]).await;
        }
    };
    let crash = async {
        hub.reaches(&projections, 10).await;
        one.kill();
    };
    tokio::join!(writing, crash);
    hub.reaches(&projections, 60).await;
    assert_eq!(hub.boxes().await, [(60, "Ada".to_owned())]);
    for projection in &projections {
        assert_eq!(hub.verify(&projections, projection.name()).await.differences, [], "{}", projection.name());
    }
    two.stop().await;
    // Given back, not run out: the next one need not wait.
    let held: i64 = sqlx::query_scalar("SELECT count(*) FROM projection_checkpoints WHERE lease_owner IS NOT NULL")
        .fetch_one(hub.pool())
        .await
        .unwrap();
    assert_eq!(held, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_projection_holds_up_no_other() {
    let hub = Hub::new().await;
    let projections = all().into_iter().chain(letters::<STRICT>()).collect::<Vec<_>>();
    let mut blocking = hub.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE audit_entries IN EXCLUSIVE MODE").execute(&mut *blocking).await.unwrap();
    let running = hub.run(None, projections.clone(), PROMPT);
    let head = hub.post(1, &["sent"; 5]).await;
    let others: Vec<_> = projections.iter().filter(|p| p.name() != "audit_entries").cloned().collect();
    hub.reaches(&others, head).await;
    assert_eq!(checkpoint::position(hub.pool(), "audit_entries").await.unwrap(), 0);
    blocking.rollback().await.unwrap();
    hub.reaches(&projections, head).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_event_is_parked_with_its_stream_and_shown() {
    let hub = Hub::new().await;
    let projections = letters::<STRICT>();
    let running = hub.run(None, projections.clone(), PROMPT);
    hub.post(1, &["sent", "torn", "sent"]).await;
    hub.post(2, &["sent"]).await;
    let head = hub.post(1, &["sent"]).await;
    hub.reaches(&projections, head).await;
    assert_eq!(hub.boxes().await, [(1, "Ada".to_owned()), (1, "Ada".to_owned())]);
    let status = hub.status::<STRICT>().await;
    assert_eq!((status.state, status.parked, status.rows, status.lag), (State::Running, 3, 2, 0));
    let parked = parked_events(hub.pool(), "letters", 0, 10).await.unwrap();
    let shown: Vec<_> = parked.iter().map(|event| (event.position, event.error.as_str())).collect();
    let waits = "waits behind the event at position 2";
    assert_eq!(shown, [(2, "the letter is torn"), (3, waits), (5, waits)]);
    assert_eq!(hub.verify(&projections, "letters").await.differences, []);
    running.stop().await;

    // Somebody else goes on: the stream still waits.
    let running = hub.run(None, projections.clone(), PROMPT);
    let head = hub.post(1, &["sent"]).await;
    hub.reaches(&projections, head).await;
    assert_eq!(hub.status::<STRICT>().await.parked, 4);
    running.stop().await;

    // A fold that understands it, and everything is there.
    let lenient = letters::<LENIENT>();
    hub.rebuild(&lenient, "letters").await;
    assert_eq!(hub.boxes().await, [(5, "Ada".to_owned()), (1, "Ada".to_owned())]);
    assert_eq!(hub.status::<LENIENT>().await.parked, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_postgresql_refuses_is_traced_to_its_event() {
    let hub = Hub::new().await;
    let projections = letters::<STRICT>();
    hub.post(1, &["sent"; 30]).await;
    hub.post_to(2, &["sent"], "no \0 in texts").await;
    hub.post(3, &["sent"; 30]).await;
    hub.post_to(2, &["sent"], "nor \0 here").await;
    let head = hub.post(1, &["sent"]).await;
    let running = hub.run(None, projections.clone(), PROMPT);
    hub.reaches(&projections, head).await;
    assert_eq!(hub.boxes().await, [(31, "Ada".to_owned()), (30, "Ada".to_owned())]);
    let parked = parked_events(hub.pool(), "letters", 0, 10).await.unwrap();
    assert_eq!(parked.iter().map(|event| event.position).collect::<Vec<_>>(), [31, 62]);
    // Building it anew finds the same.
    hub.rebuild(&projections, "letters").await;
    assert_eq!(parked_events(hub.pool(), "letters", 0, 10).await.unwrap().len(), 2);
    assert_eq!(hub.boxes().await.len(), 2);
    assert_eq!(hub.verify(&projections, "letters").await.differences, []);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_that_must_not_have_holes_stops_and_says_why() {
    let hub = Hub::new().await;
    let projections = letters::<STOPPING>();
    let running = hub.run(None, projections.clone(), PROMPT);
    hub.post(1, &["sent", "sent", "torn", "sent"]).await;
    hub.post(2, &["sent"]).await;
    let stopped = eventually(LIMIT, async || {
        let status = hub.status::<STOPPING>().await;
        (status.state == State::Stopped).then_some(status)
    })
    .await;
    assert_eq!((stopped.position, stopped.parked, stopped.rows), (2, 0, 1));
    assert_eq!(stopped.last_error.unwrap(), "the event at position 3 cannot be taken in: the letter is torn");
    // Set going again without a cure it stops again; a rebuild cannot hide the hole either.
    assert!(checkpoint::resume(hub.pool(), "letters").await.unwrap());
    eventually(LIMIT, async || (hub.status::<STOPPING>().await.state == State::Stopped).then_some(())).await;
    let refused = rebuild(hub.pool(), &Upcasters::default(), &projections, "letters", &|_, _| {}).await;
    assert!(matches!(refused, Err(RebuildError::Poison { position: 3, .. })), "{refused:?}");
    running.stop().await;

    let lenient = letters::<LENIENT>();
    assert!(checkpoint::resume(hub.pool(), "letters").await.unwrap());
    let running = hub.run(None, lenient.clone(), PROMPT);
    hub.reaches(&lenient, 5).await;
    assert_eq!(hub.boxes().await, [(4, "Ada".to_owned()), (1, "Ada".to_owned())]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_is_built_beside_the_old_one() {
    let hub = Hub::new().await;
    let old = letters::<LENIENT>();
    let running = hub.run(None, old.clone(), PROMPT);
    let head = hub.post(1, &["sent", "sent"]).await;
    hub.reaches(&old, head).await;
    running.stop().await;
    assert_eq!(hub.boxes().await, [(2, "Ada".to_owned())]);
    let new = letters::<SECOND_VERSION>();
    let running = hub.run(None, new.clone(), PROMPT);
    let head = hub.post(1, &["sent"]).await;
    hub.reaches(&new, head).await;
    eventually(LIMIT, async || (hub.boxes().await == [(30, "Ada".to_owned())]).then_some(())).await;
    assert_eq!(hub.status::<SECOND_VERSION>().await.version, Some(2));
    running.stop().await;
    // The old program keeps its hands off, though it runs and others of its projections move.
    let others = all();
    let running = hub.run(None, old.iter().chain(&others).cloned().collect(), PROMPT);
    let head = hub.post(1, &["sent"]).await;
    hub.reaches(&others, head).await;
    let refused = rebuild(hub.pool(), &Upcasters::default(), &old, "letters", &|_, _| {}).await;
    assert!(matches!(refused, Err(RebuildError::Outdated { version: 2, .. })), "{refused:?}");
    assert_eq!(hub.boxes().await, [(30, "Ada".to_owned())]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_log_does_not_lead_to_are_found() {
    let hub = Hub::new().await;
    let projections = letters::<STRICT>();
    let running = hub.run(None, projections.clone(), PROMPT);
    for letter_box in 1..=3 {
        hub.post(letter_box, &["sent"]).await;
    }
    let head = hub.post(4, &["sent", "burnt"]).await;
    hub.reaches(&projections, head).await;
    running.stop().await;
    assert_eq!(hub.verify(&projections, "letters").await.differences, []);
    let stranger =
        format!("INSERT INTO letters SELECT tenant_id, '{}', 1, 'Eve', now() FROM letters LIMIT 1", Uuid::max());
    for tampering in [
        "UPDATE letters SET last = 'Eve' WHERE id = (SELECT min(id::text)::uuid FROM letters)",
        "DELETE FROM letters WHERE id = (SELECT max(id::text)::uuid FROM letters)",
        &stranger,
    ] {
        sqlx::raw_sql(tampering).execute(hub.pool()).await.unwrap();
    }
    let mut differences = hub.verify(&projections, "letters").await.differences;
    differences.sort_by_key(|difference| difference.key["id"].to_string());
    let [changed, missing, extra] = &differences[..] else { panic!("{differences:?}") };
    assert_eq!(changed.found.as_ref().unwrap()["last"], "Eve");
    assert_eq!(changed.expected.as_ref().unwrap()["last"], "Ada");
    assert_eq!((missing.found.is_some(), missing.expected.is_some()), (false, true));
    assert_eq!((extra.found.is_some(), extra.expected.is_some()), (true, false));
    assert_eq!(extra.key["id"], Uuid::max().to_string());
    // A rebuild is the cure.
    hub.rebuild(&projections, "letters").await;
    assert_eq!(hub.verify(&projections, "letters").await.differences, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_table_keeps_its_indexes_grants_and_row_security() {
    let hub = Hub::new().await;
    let projections = letters::<STRICT>();
    hub.post(1, &["sent"]).await;
    for statement in [
        "GRANT SELECT ON letters TO PUBLIC",
        "ALTER TABLE letters ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY letters_of_tenant ON letters FOR SELECT USING (tenant_id IS NOT NULL)",
    ] {
        sqlx::query(statement).execute(hub.pool()).await.unwrap();
    }
    for _ in 0..2 {
        hub.rebuild(&projections, "letters").await;
        let names = "SELECT relname::text FROM pg_index JOIN pg_class ON oid = indexrelid \
                     WHERE indrelid = 'letters'::regclass ORDER BY relname";
        let indexes: Vec<String> = sqlx::query_scalar(names).fetch_all(hub.pool()).await.unwrap();
        assert_eq!(indexes, ["letters_by_last", "letters_pkey"]);
        let (secured, policies, granted): (bool, i64, bool) = sqlx::query_as(
            "SELECT relrowsecurity, (SELECT count(*) FROM pg_policies WHERE tablename = 'letters' AND qual LIKE '%tenant_id%'), \
             relacl::text LIKE '%=r/%' FROM pg_class WHERE oid = 'letters'::regclass",
        )
        .fetch_one(hub.pool())
        .await
        .unwrap();
        assert_eq!((secured, policies, granted), (true, 1, true));
        let shadows: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_class WHERE relname LIKE 'letters%shadow%'")
            .fetch_one(hub.pool())
            .await
            .unwrap();
        assert_eq!(shadows, 0);
    }
    assert_eq!(hub.boxes().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_rebuild_at_a_time() {
    let hub = Hub::new().await;
    let projections = letters::<STRICT>();
    hub.post(1, &["sent"]).await;
    let mut other = hub.pool().acquire().await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(7236831, hashtext('letters'))").execute(&mut *other).await.unwrap();
    let refused = rebuild(hub.pool(), &Upcasters::default(), &projections, "letters", &|_, _| {}).await;
    assert!(matches!(refused, Err(RebuildError::Running("letters"))), "{refused:?}");
    drop(other.close().await);
    let unknown = rebuild(hub.pool(), &Upcasters::default(), &projections, "parcels", &|_, _| {}).await;
    assert!(matches!(unknown, Err(RebuildError::Unknown(_))), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_ends_at_the_whole() {
    let hub = Hub::new().await;
    hub.post(1, &["sent"; 50]).await;
    let seen = std::sync::Mutex::new(Vec::new());
    let progress = |done, total| seen.lock().unwrap().push((done, total));
    rebuild(hub.pool(), &Upcasters::default(), &letters::<STRICT>(), "letters", &progress).await.unwrap();
    assert_eq!(seen.into_inner().unwrap().last(), Some(&(50, 50)));
}
