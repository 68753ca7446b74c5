//! A read model of parcels for the tests of rebuilds and of parked events: some cannot be taken in by some versions of the fold.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use hub_event_store::{
    append::Append,
    event::{Metadata, NewEvent, Recorded, StreamId},
    store::EventStore,
    tail::Tail,
    upcast::Upcasters,
};
use hub_projections::{
    checkpoint,
    keyed::KeyedProjection,
    model::{AggregateKey, FoldError, ReadModel},
    projection::{Difference, Projection},
    runner::{Runner, Settings},
    status::{self, ProjectionStatus},
    verify::{Verified, verify},
};
use hub_tests::kit::{Database, TestClock, eventually};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

pub(crate) const LIMIT: Duration = Duration::from_secs(60);

const TENANT: Uuid = Uuid::from_u128(9);

const PROMPT: Settings = Settings {
    lease: Duration::from_secs(2),
    poll_interval: Duration::from_millis(100),
    grace: Duration::from_millis(50),
    batch_size_max: 100,
};

/// The parcels of one customer: how many came, what they weigh, and what is written on the last one.
pub(crate) struct Parcels<const KIND: u8>;

/// A lost parcel cannot be taken in.
pub(crate) const STRICT: u8 = 0;
/// Lost parcels are parcels too.
pub(crate) const LENIENT: u8 = 1;
/// As lenient, and counts by tens.
pub(crate) const SECOND_VERSION: u8 = 2;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ParcelsRow {
    tenant_id: Uuid,
    id: Uuid,
    count: i64,
    label: String,
    heavy: bool,
    tags: Value,
    returned_at: Option<DateTime<Utc>>,
    last_at: DateTime<Utc>,
}

impl<const KIND: u8> ReadModel for Parcels<KIND> {
    type Row = ParcelsRow;
    type Key = AggregateKey;
    const NAME: &'static str = "parcels";
    const TABLE: &'static str = "parcels";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;
    const VERSION: i32 = if KIND == SECOND_VERSION { 2 } else { 1 };

    fn concerns(event_type: &str) -> bool {
        event_type.starts_with("parcel.")
    }

    fn key_of(row: &ParcelsRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(row: Option<ParcelsRow>, key: &AggregateKey, event: &Recorded) -> Result<Option<ParcelsRow>, FoldError> {
        #[derive(Deserialize)]
        struct Parcel {
            label: String,
        }
        match event.event_type.as_str() {
            "parcel.lost" if KIND == STRICT => return Err(FoldError::OutOfRange("the parcel is lost".to_owned())),
            "parcel.forgotten" => return Ok(None),
            _ => {}
        }
        let parcel: Parcel = serde_json::from_str(event.payload.get()).expect("the test writes parcels");
        let step = if KIND == SECOND_VERSION { 10 } else { 1 };
        Ok(Some(ParcelsRow {
            tenant_id: key.tenant_id,
            id: key.id,
            count: row.map_or(0, |row| row.count) + step,
            heavy: parcel.label.contains("heavy"),
            tags: if parcel.label.is_empty() { Value::Null } else { json!([parcel.label, { "nested": null }]) },
            label: parcel.label,
            returned_at: (event.event_type == "parcel.returned").then_some(event.occurred_at),
            last_at: event.occurred_at,
        }))
    }
}

pub(crate) fn parcels<const KIND: u8>() -> Vec<Arc<dyn Projection>> {
    vec![Arc::new(KeyedProjection::<Parcels<KIND>>::new())]
}

/// A database with the table of parcels, and a store on it.
pub(crate) struct Depot {
    pub(crate) database: Database,
    pub(crate) store: EventStore,
}

impl Depot {
    pub(crate) async fn new() -> Self {
        let database = Database::new().await;
        for statement in [
            "CREATE TABLE parcels (tenant_id uuid, id uuid, count bigint NOT NULL, label text NOT NULL, heavy boolean NOT NULL, \
             tags jsonb, returned_at timestamptz, last_at timestamptz NOT NULL, \
             length bigint NOT NULL GENERATED ALWAYS AS (length(label)) STORED, PRIMARY KEY (tenant_id, id)) WITH (fillfactor = 80)",
            "CREATE INDEX parcels_label ON parcels (label) WHERE heavy",
        ] {
            sqlx::query(statement).execute(&database.pool).await.unwrap();
        }
        let clock = TestClock::default().clock();
        let store = EventStore::start(database.pool.clone(), Tail::default(), Upcasters::default(), clock);
        Self { database, store }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    /// Events of one customer, `tag label`; answers the last position.
    pub(crate) async fn send(&self, customer: u128, events: &[(&str, &str)]) -> i64 {
        let stream = StreamId { tenant_id: TENANT, aggregate_type: "parcel", aggregate_id: Uuid::from_u128(customer) };
        let sequence = self.store.log().page_of_stream(&stream, 0, 10_000).await.unwrap().len();
        let command_id = Uuid::now_v7();
        let events = events.iter().map(|(tag, label)| NewEvent {
            event_id: Uuid::now_v7(),
            event_type: format!("parcel.{tag}"),
            event_version: 1,
            payload: RawValue::from_string(json!({ "label": label }).to_string()).unwrap(),
        });
        let append = Append {
            stream,
            expected_sequence: Some(i64::try_from(sequence).unwrap()),
            metadata: Metadata {
                actor: "user:test".to_owned(),
                command_id,
                correlation_id: command_id,
                causation_id: None,
                traceparent: None,
            },
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

    /// Five events each of so many customers, with labels that COPY would misread; answers the last position.
    pub(crate) async fn fill(&self, customers: u128) -> i64 {
        let mut last = 0;
        for customer in 1..=customers {
            let events = [
                ("sent", "a\tb\\N\nheavy"),
                ("returned", ""),
                ("sent", "\\."),
                ("sent", "\"quoted\" 'too' \u{1F4E6}"),
                if customer % 3 == 0 { ("forgotten", "") } else { ("returned", "heavy") },
            ];
            last = self.send(customer, &events).await;
        }
        last
    }

    /// Runs the projections until the answer is dropped.
    pub(crate) fn run(&self, projections: &[Arc<dyn Projection>]) -> Running {
        let shutdown = CancellationToken::new();
        let tail = self.store.tail().clone();
        let (pool, projections) = (self.pool().clone(), projections.to_vec());
        let runner = Runner::new(pool.clone(), None, tail.clone(), Upcasters::default(), projections);
        let token = shutdown.clone();
        let follow = tokio::spawn(async move { tail.run(pool, token).await });
        let run = tokio::spawn(runner.with_settings(PROMPT).run(shutdown.clone()));
        Running { _shutdown: shutdown.drop_guard(), tasks: vec![run, follow] }
    }

    pub(crate) async fn reaches(&self, position: i64) {
        eventually(LIMIT, async || {
            let reached = checkpoint::position(self.pool(), "parcels").await.unwrap();
            (reached >= position).then_some(())
        })
        .await;
    }

    /// How many parcels each customer has.
    pub(crate) async fn counts(&self) -> Vec<i64> {
        sqlx::query_scalar("SELECT count FROM parcels ORDER BY id").fetch_all(self.pool()).await.unwrap()
    }

    pub(crate) async fn status(&self, projections: &[Arc<dyn Projection>]) -> ProjectionStatus {
        status::list(self.pool(), projections).await.unwrap().remove(0)
    }

    pub(crate) async fn verify(&self, projections: &[Arc<dyn Projection>]) -> Verified {
        let name = projections[0].name();
        verify(self.pool(), &Upcasters::default(), projections, name, &|_, _| {}).await.unwrap()
    }

    pub(crate) async fn differences(&self, projections: &[Arc<dyn Projection>]) -> Vec<Difference> {
        self.verify(projections).await.differences
    }
}

/// Tasks that end when it is dropped; `stop` waits for that.
pub(crate) struct Running {
    _shutdown: DropGuard,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        drop(self._shutdown);
        for task in self.tasks {
            tokio::time::timeout(LIMIT, task).await.unwrap().unwrap();
        }
    }
}
