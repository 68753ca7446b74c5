//! The stock repository of postgres-es reads and writes the log through `cqrs_events`.

use std::collections::HashMap;

use cqrs_es::{
    Aggregate, AggregateError, CqrsFramework, DomainEvent, EventStore as _,
    event_sink::EventSink,
    persist::{PersistedEventRepository, PersistedEventStore, PersistenceError, SerializedEvent},
};
use hub_domain::tenant::{self, Tenant};
use hub_tests::kit::Database;
use postgres_es::PostgresEventRepository;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

use super::{TENANT, assert_log_is_right, import, options, source, whole_log};

/// An aggregate as applications of cqrs-es write them: an enum with serde's own tags.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Account {
    open: bool,
    balance: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Event {
    Opened { owner: String },
    MoneyDeposited { amount: i64 },
    Closed,
}

enum Command {
    Open,
    Deposit(Vec<i64>),
    Close,
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the account is not open")]
struct NotOpen;

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        "Something".to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

impl Aggregate for Account {
    const TYPE: &'static str = "BankAccount";
    type Command = Command;
    type Event = Event;
    type Error = NotOpen;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), NotOpen> {
        let events = match command {
            Command::Open => vec![Event::Opened { owner: "Ada".to_owned() }],
            Command::Deposit(amounts) if self.open => {
                amounts.into_iter().map(|amount| Event::MoneyDeposited { amount }).collect()
            }
            Command::Close if self.open => vec![Event::Closed],
            Command::Deposit(_) | Command::Close => return Err(NotOpen),
        };
        for event in events {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Opened { .. } => self.open = true,
            Event::MoneyDeposited { amount } => self.balance += amount,
            Event::Closed => self.open = false,
        }
    }
}

/// Connections as an application of postgres-es opens them, with the tenant among their options.
async fn pool_of(database: &Database, tenant: Option<Uuid>) -> PgPool {
    let mut settings: PgConnectOptions = database.url.parse().unwrap();
    if let Some(tenant) = tenant {
        settings = settings.options([("hub.tenant_id", tenant.to_string())]);
    }
    PgPoolOptions::new().max_connections(4).connect_with(settings).await.unwrap()
}

fn repository(pool: &PgPool) -> PostgresEventRepository {
    PostgresEventRepository::new(pool.clone()).with_tables("cqrs_events", "snapshots")
}

fn framework(pool: &PgPool) -> CqrsFramework<Account, PersistedEventStore<PostgresEventRepository, Account>> {
    CqrsFramework::new(PersistedEventStore::new_event_store(repository(pool)), Vec::new(), ())
}

async fn state(pool: &PgPool, id: &str) -> (usize, Account) {
    let store = PersistedEventStore::<_, Account>::new_event_store(repository(pool));
    let context = store.load_aggregate(id).await.unwrap();
    (context.current_sequence, context.aggregate)
}

#[tokio::test]
async fn a_program_of_cqrs_es_commands_and_reloads_and_the_log_is_right() {
    let database = Database::new().await;
    let pool = pool_of(&database, Some(TENANT)).await;
    let accounts = framework(&pool);
    let id = Uuid::now_v7();
    let user = HashMap::from([("user".to_owned(), "ada".to_owned())]);
    for id in [id.to_string(), "a text".to_owned()] {
        accounts.execute_with_metadata(&id, Command::Open, user.clone()).await.unwrap();
        accounts.execute(&id, Command::Deposit(vec![5, 7, 30])).await.unwrap();
        assert_eq!(state(&pool, &id).await, (4, Account { open: true, balance: 42 }));
        accounts.execute(&id, Command::Close).await.unwrap();
        let refused = accounts.execute(&id, Command::Deposit(vec![1])).await.unwrap_err();
        assert!(matches!(refused, AggregateError::UserError(NotOpen)));
        assert_eq!(state(&pool, &id).await, (5, Account { open: false, balance: 42 }));
    }
    assert_log_is_right(&database.pool, 10).await;

    let events = whole_log(&database.pool).await;
    let types: Vec<_> = events[..5].iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(types[..2], ["bank_account.opened", "bank_account.money_deposited"]);
    assert_eq!((types[4], events[4].payload.get()), ("bank_account.closed", "{}"));
    assert_eq!((events[0].aggregate_id, events[0].event_id.get_version_num()), (id, 7));
    let commands: Vec<_> = events[..5].iter().map(|event| event.metadata().unwrap().command_id).collect();
    assert!(commands[1] == commands[2] && commands[2] == commands[3], "three events of one command");
    assert!(commands[0] != commands[1] && commands[3] != commands[4]);

    let first = &repository(&pool).get_events::<Account>("a text").await.unwrap()[0];
    assert_eq!((first.metadata.clone(), first.event_version.as_str()), (json!({ "user": "ada" }), "1.0"));
    assert_eq!(first.payload, json!({ "Opened": { "owner": "Ada" } }));
    assert_eq!(repository(&pool).get_last_events::<Account>("a text", 3).await.unwrap().len(), 2);
}

fn deposit(id: &str, sequence: usize) -> SerializedEvent {
    let payload = json!({ "MoneyDeposited": { "amount": 1 } });
    SerializedEvent::new(
        id.to_owned(),
        sequence,
        "BankAccount".to_owned(),
        "x".to_owned(),
        "1.0".to_owned(),
        payload,
        json!({}),
    )
}

#[tokio::test]
async fn a_lost_race_is_an_optimistic_lock_error_and_leaves_no_gap() {
    let database = Database::new().await;
    let pool = pool_of(&database, Some(TENANT)).await;
    framework(&pool).execute("one", Command::Open).await.unwrap();
    // The first of both is right, so its place is taken back with the second.
    let lost = repository(&pool).persist::<Account>(&[deposit("one", 2), deposit("one", 1)], None).await.unwrap_err();
    assert!(matches!(lost, PersistenceError::OptimisticLockError), "{lost}");
    let gap = repository(&pool).persist::<Account>(&[deposit("one", 3)], None).await.unwrap_err();
    assert!(gap.to_string().contains("would leave a gap"), "{gap}");
    let raced = futures::future::join_all((0..8).map(|_| async {
        let accounts = framework(&pool);
        for _ in 0..5 {
            match accounts.execute("one", Command::Deposit(vec![1, 1])).await {
                Ok(()) => return 1,
                Err(AggregateError::AggregateConflict) => {}
                Err(error) => panic!("{error}"),
            }
        }
        0
    }));
    let won: i64 = raced.await.into_iter().sum();
    assert!(won >= 1);
    assert_eq!(state(&pool, "one").await.1.balance, won * 2);
    assert_log_is_right(&database.pool, 1 + won * 2).await;
}

#[tokio::test]
async fn without_a_tenant_there_is_an_error_and_of_other_tenants_nothing() {
    let database = Database::new().await;
    let nobody = pool_of(&database, None).await;
    for _ in 0..2 {
        let missing = repository(&nobody).get_events::<Account>("one").await.unwrap_err();
        assert!(missing.to_string().contains("hub.tenant_id does not name a tenant"), "{missing}");
        let missing = repository(&nobody).persist::<Account>(&[deposit("one", 1)], None).await.unwrap_err();
        assert!(missing.to_string().contains("hub.tenant_id"), "{missing}");
        framework(&pool_of(&database, Some(TENANT)).await)
            .execute(&Uuid::now_v7().to_string(), Command::Open)
            .await
            .unwrap();
    }
    let one = pool_of(&database, Some(TENANT)).await;
    framework(&one).execute("one", Command::Open).await.unwrap();
    let stranger = pool_of(&database, Some(Uuid::from_u128(8))).await;
    assert_eq!(state(&stranger, "one").await, (0, Account::default()));
    framework(&stranger).execute("one", Command::Open).await.unwrap();
    assert_eq!((state(&one, "one").await.0, state(&stranger, "one").await.0), (1, 1));
    assert_log_is_right(&database.pool, 4).await;
}

#[tokio::test]
async fn what_was_imported_is_gone_on_with_under_its_old_names() {
    let (source, database) = (source(9).await, Database::new().await);
    import(&database.pool, &options(&source)).await.unwrap();
    let pool = pool_of(&database, Some(TENANT)).await;
    let (sequence, account) = state(&pool, "no-3").await;
    assert_eq!((sequence, account.balance, account.open), (10, 44, false));
    framework(&pool).execute("no-3", Command::Open).await.unwrap();
    assert_eq!(state(&pool, "no-3").await, (11, Account { open: true, balance: 44 }));

    // Every row of the old table is there, column by column.
    let rows = "SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload::jsonb::text, metadata::jsonb::text FROM ";
    type Row = (String, String, i64, String, String, String, String);
    let order = " WHERE sequence <= 10 ORDER BY 1, 2, 3";
    let old: Vec<Row> = sqlx::query_as(&format!("{rows} app.events {order}")).fetch_all(&source.pool).await.unwrap();
    let new: Vec<Row> = sqlx::query_as(&format!("{rows} cqrs_events {order}")).fetch_all(&pool).await.unwrap();
    assert_eq!(old, new);
    assert_log_is_right(&database.pool, 91).await;
}

#[tokio::test]
async fn the_platforms_own_streams_are_read_and_gone_on_with() {
    let database = Database::new().await;
    let id = Uuid::now_v7();
    let mut import = hub_event_store::import::Import::open(
        &database.pool,
        hub_event_store::import::Identity { import_id: Uuid::from_u128(1), actor: "import:test".to_owned() },
        "a test",
        hub_tests::kit::TestClock::default().now(),
    )
    .await
    .unwrap();
    let event = |sequence, tag: &str, payload: serde_json::Value| hub_event_store::import::ImportEvent {
        tenant_id: TENANT,
        aggregate_type: "tenant".to_owned(),
        aggregate_id: id,
        sequence,
        event_type: format!("tenant.{tag}"),
        event_version: 1,
        occurred_at: hub_tests::kit::TestClock::default().now(),
        payload: serde_json::value::to_raw_value(&payload).unwrap(),
        source: None,
        origin: None,
    };
    let registered = json!({ "slug": "acme", "name": "Acme", "contact_email": "a@acme.example", "tier": "starter", "region": "eu", "currency": "EUR" });
    let events = [event(1, "registered", registered), event(2, "activated", json!({}))];
    import.append(&events, hub_tests::kit::TestClock::default().now()).await.unwrap();

    let pool = pool_of(&database, Some(TENANT)).await;
    let store = PersistedEventStore::<_, Tenant>::new_event_store(repository(&pool));
    let context = store.load_aggregate(&id.to_string()).await.unwrap();
    assert_eq!(context.current_sequence, 2);
    store.commit(vec![tenant::Event::Archived {}], context, HashMap::new()).await.unwrap();
    assert_eq!(store.load_events(&id.to_string()).await.unwrap().len(), 3);
    let events = whole_log(&database.pool).await;
    assert_eq!((events[2].event_type.as_str(), events[2].payload.get()), ("tenant.archived", "{}"));
    assert_log_is_right(&database.pool, 3).await;
}
