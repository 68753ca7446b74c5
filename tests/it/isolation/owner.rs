//! A login that is no superuser owns the schema: it works although its own tables are closed to it, and its queries cannot become it.

use std::time::Duration;

use hub::migrate::MIGRATOR;
use hub_event_store::upcast::Upcasters;
use hub_event_store::{store::EventStore, tail::Tail};
use hub_projections::{
    positions::Positions,
    rebuild::rebuild,
    runner::{Runner, Settings},
};
use hub_tests::kit::{Database, TestClock, eventually};
use serde_json::Value;
use sqlx::{
    Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::api::{Api, register};

const LIMIT: Duration = Duration::from_secs(60);

/// Logins without any special right, and a database that the first one owns; all of it is removed at the end.
struct Place {
    server: PgConnection,
    options: PgConnectOptions,
    owner: String,
    reader: String,
    database: String,
    /// Keeps the server's roles in being: its template was migrated.
    _migrated: Database,
}

impl Place {
    async fn new() -> Self {
        let migrated = Database::new().await;
        let options: PgConnectOptions = migrated.url.parse().unwrap();
        let mut server = PgConnection::connect_with(&options).await.unwrap();
        let name = Uuid::new_v4().simple().to_string();
        let (owner, reader, database) = (format!("owner_{name}"), format!("reader_{name}"), format!("owned_{name}"));
        for statement in [
            format!("CREATE ROLE {owner} LOGIN PASSWORD 'secret'"),
            format!("CREATE ROLE {reader} LOGIN PASSWORD 'secret'"),
            format!(
                "GRANT hub_query, hub_platform, hub_worker, hub_append, hub_seal, hub_project, hub_consume TO {owner}"
            ),
            format!("GRANT hub_query TO {reader}"),
            format!("CREATE DATABASE {database} OWNER {owner}"),
        ] {
            sqlx::raw_sql(&statement).execute(&mut server).await.unwrap();
        }
        Self { server, options, owner, reader, database, _migrated: migrated }
    }

    async fn pool(&self, login: &str) -> PgPool {
        let options = self.options.clone().username(login).password("secret").database(&self.database);
        PgPoolOptions::new().max_connections(12).connect_with(options).await.unwrap()
    }

    async fn remove(mut self) {
        for statement in [
            format!("DROP DATABASE {} WITH (FORCE)", self.database),
            format!("DROP ROLE {}", self.owner),
            format!("DROP ROLE {}", self.reader),
        ] {
            sqlx::raw_sql(&statement).execute(&mut self.server).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_is_no_superuser_writes_projects_rebuilds_and_answers() {
    let mut place = Place::new().await;
    let pool = place.pool(&place.owner).await;
    MIGRATOR.run(&pool).await.unwrap();

    let clock = TestClock::default().clock();
    let store = EventStore::start(pool.clone(), Tail::default(), Upcasters::default(), clock);
    let end = CancellationToken::new();
    let positions = Positions::default();
    let pace = Settings { poll_interval: Duration::from_millis(50), ..Settings::default() };
    let runner = Runner::new(pool.clone(), None, store.tail().clone(), Upcasters::default(), hub_projections::all())
        .with_settings(pace)
        .with_positions(positions);
    let running = tokio::spawn(runner.run(end.clone()));
    let (acme, other) = (Uuid::from_u128(0xac), Uuid::from_u128(0x07));
    register(&store, acme, "acme").await;
    register(&store, other, "other").await;

    let api = Api::on(store, pool.clone());
    let seen = async || -> Vec<Value> {
        let answer = api.get(1, &format!("/v1/tenants/{acme}")).await;
        (answer.status == 200).then_some(answer.body).into_iter().collect()
    };
    let body = eventually(LIMIT, async || seen().await.pop()).await;
    assert_eq!((body["slug"].as_str(), body["tenant_id"].as_str()), (Some("acme"), Some(acme.to_string().as_str())));
    for name in ["tenants", "audit_entries"] {
        rebuild(&pool, &Upcasters::default(), &hub_projections::all(), name, &|_, _| {}).await.unwrap();
    }
    let listed = eventually(LIMIT, async || {
        let answer = api.get(1, "/v1/tenants").await;
        (answer.status == 200).then(|| answer.body["items"].as_array().unwrap().len())
    });
    assert_eq!(listed.await, 2);
    end.cancel();
    running.await.unwrap();

    // What lets the owner in is its membership, nothing else.
    let counted = "SELECT count(*) FROM events";
    let count: i64 = sqlx::query_scalar(counted).fetch_one(&pool).await.unwrap();
    assert_eq!(count, 2);
    let roles = "hub_worker, hub_query, hub_platform, hub_append, hub_seal, hub_project, hub_consume";
    let revoke = format!("REVOKE {roles} FROM {}", place.owner);
    sqlx::raw_sql(&revoke).execute(&mut place.server).await.unwrap();
    let fresh = place.pool(&place.owner).await;
    let count: i64 = sqlx::query_scalar(counted).fetch_one(&fresh).await.unwrap();
    assert_eq!(count, 0);
    fresh.close().await;
    drop(api);
    pool.close().await;
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_only_queries_cannot_become_anybody_else() {
    let place = Place::new().await;
    let owner = place.pool(&place.owner).await;
    MIGRATOR.run(&owner).await.unwrap();
    let reader = place.pool(&place.reader).await;
    let roles = ["hub_platform".to_owned(), "hub_worker".to_owned(), place.owner.clone(), "postgres".to_owned()];
    for role in roles {
        for change in [format!("SET ROLE {role}"), format!("SET SESSION AUTHORIZATION {role}")] {
            let refused = sqlx::raw_sql(&change).execute(&reader).await.unwrap_err();
            let code = refused.as_database_error().and_then(|error| error.code()).unwrap().into_owned();
            // A role that this server does not have cannot be become either.
            assert!(code == "42501" || code == "22023", "{change}: {refused}");
        }
    }
    sqlx::raw_sql("SET ROLE hub_query; RESET ROLE").execute(&reader).await.unwrap();
    let refused = sqlx::raw_sql("SELECT FROM facts").execute(&reader).await.unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");
    reader.close().await;
    owner.close().await;
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_databases_of_one_server_can_be_migrated_at_once() {
    let migrated = Database::new().await;
    let options: PgConnectOptions = migrated.url.parse().unwrap();
    let place = async || {
        let mut server = PgConnection::connect_with(&options).await.unwrap();
        let name = format!("beside_{}", Uuid::new_v4().simple());
        sqlx::raw_sql(&format!("CREATE DATABASE {name}")).execute(&mut server).await.unwrap();
        let mut connection = PgConnection::connect_with(&options.clone().database(&name)).await.unwrap();
        let outcome = MIGRATOR.run(&mut connection).await;
        connection.close().await.unwrap();
        sqlx::raw_sql(&format!("DROP DATABASE {name} WITH (FORCE)")).execute(&mut server).await.unwrap();
        outcome
    };
    let (one, two, three) = tokio::join!(place(), place(), place());
    one.and(two).and(three).unwrap();
}
