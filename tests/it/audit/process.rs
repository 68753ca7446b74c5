//! The program as a process runs it, on a clock that a test moves: what it does by itself, and under which role of PostgreSQL.

use std::path::Path;

use hub::{
    config::{Config, Flags, Role},
    enrol::enrol_from_file,
    evidence_key, key,
    listener::Connections,
    nats::NatsServer,
    serve::{ServeOptions, Surroundings, run},
    telemetry,
};
use hub_outbound::Reach;
use hub_seal::Signer;
use hub_tests::kit::{Database, Nats, TestClock, directory, eventually, vault_in};
use serde_json::Value;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{LIMIT, tampering::disable_triggers};

/// Does something while the whole program runs on this database; it is given what shows the metrics.
async fn while_it_runs(pool: &PgPool, clock: &TestClock, files: &Path, work: impl AsyncFnOnce(&dyn Fn() -> String)) {
    let nats = Nats::start().await;
    let edge = Config::from_sources(&Flags::default(), &|_| None, None).unwrap().edge;
    let secret_key = key::secret(&files.join("secret.key")).unwrap();
    enrol_from_file(pool, &clock.clock(), &secret_key, &files.join("admin.key"), false).await.unwrap();
    let evidence_key = files.join("evidence.key");
    let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let metrics = telemetry::start_metrics().unwrap();
    let shown = metrics.clone();
    let show = move || shown.render();
    let options = ServeOptions {
        surroundings: Surroundings {
            listener: listen().await,
            metrics_listener: listen().await,
            metrics,
            pool: pool.clone(),
        },
        role: Role::All,
        nats: Some(NatsServer { url: nats.url(), credentials: None }),
        nats_issuing: None,
        connections: Connections::new(&edge).unwrap(),
        edge,
        clock: clock.clock(),
        secret_key,
        vault: Some(vault_in(pool)),
        signer: Some(Signer::new(evidence_key::signing_keys(&evidence_key, "hub.test").unwrap()).unwrap()),
        witness: Some(evidence_key::witness(&evidence_key)),
        loopback_providers: false,
        webhook_targets: Reach::Public,
        key_files: Vec::new(),
    };
    let shutdown = CancellationToken::new();
    let running = run(options, shutdown.clone(), |_| {});
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => panic!("it ended: {ended:?}"),
        () = work(&show) => {}
    }
    shutdown.cancel();
    running.await.unwrap();
}

async fn all_sealed(pool: &PgPool) {
    let query = "SELECT count(*) FROM tenant_heads h LEFT JOIN sealed_trees s USING (tenant_id) WHERE h.position > coalesce(s.size, 0)";
    eventually(LIMIT, async || {
        let open: i64 = sqlx::query_scalar(query).fetch_one(pool).await.unwrap();
        (open == 0).then_some(())
    })
    .await;
}

/// The results of self-checks that were written so far.
async fn checks(pool: &PgPool) -> Vec<Value> {
    let query = "SELECT payload::jsonb || jsonb_build_object('actor', metadata->>'actor') FROM events \
                 WHERE event_type = 'self_check.completed' ORDER BY position";
    sqlx::query_scalar(query).fetch_all(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_process_checks_itself_each_hour_and_each_night_and_writes_down_what_it_found() {
    let (database, files, clock) = (Database::new().await, directory(), TestClock::at("2026-01-01T12:30:00Z"));
    let pool = &database.pool;
    let next = async |count: usize, time: &str| {
        clock.set(time.parse().unwrap());
        eventually(LIMIT, async || checks(pool).await.get(count - 1).cloned()).await
    };
    while_it_runs(pool, &clock, files.path(), async |_| {
        // Whoever holds the lock has looked at the clock.
        eventually(LIMIT, async || {
            let query = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                         WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.granted \
                           AND (l.classid::bigint << 32 | l.objid::bigint) = 7236831006";
            let held: i64 = sqlx::query_scalar(query).fetch_one(pool).await.unwrap();
            (held == 1).then_some(())
        })
        .await;
        all_sealed(pool).await;
        assert_eq!(checks(pool).await.len(), 0);
        let hourly = next(1, "2026-01-01T13:00:00Z").await;
        assert_eq!((&hourly["scope"], &hourly["finding_count"]), (&"sample".into(), &0.into()), "{hourly}");
        assert!(hourly["event_count"].as_u64() > Some(0) && hourly["actor"] == "process:sealer", "{hourly}");
        all_sealed(pool).await;
        let nightly = next(2, "2026-01-02T02:00:00Z").await;
        assert_eq!((&nightly["scope"], &nightly["finding_count"]), (&"full".into(), &0.into()), "{nightly}");
        all_sealed(pool).await;
        disable_triggers(pool).await;
        sqlx::query("UPDATE events SET payload = '{}' WHERE position = 1").execute(pool).await.unwrap();
        let found = next(3, "2026-01-02T03:00:00Z").await;
        assert_eq!((&found["scope"], &found["finding_count"]), (&"sample".into(), &1.into()), "{found}");
        assert_eq!(found["findings"][0]["position"], 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_process_appends_seals_and_projects_each_under_its_own_role() {
    let (database, files, clock) = (Database::new().await, directory(), TestClock::default());
    let pool = &database.pool;
    for statement in [
        "CREATE TABLE seen (place name, role name, PRIMARY KEY (place, role))",
        "GRANT SELECT, INSERT ON seen TO PUBLIC",
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN INSERT INTO seen VALUES (TG_TABLE_NAME, current_user) ON CONFLICT DO NOTHING; RETURN NULL; END $$",
    ] {
        sqlx::query(statement).execute(pool).await.unwrap();
    }
    let places =
        ["api_keys", "checkpoints", "events", "evidence_keys", "projection_checkpoints", "sealed_tiles", "streams"];
    for place in places {
        let trigger =
            format!("CREATE TRIGGER see AFTER INSERT OR UPDATE ON {place} FOR EACH STATEMENT EXECUTE FUNCTION see()");
        sqlx::query(&trigger).execute(pool).await.unwrap();
    }
    let seen = async || -> Vec<(String, String)> {
        let query = "SELECT place::text, role::text FROM seen ORDER BY place::text COLLATE \"C\", role";
        sqlx::query_as(query).fetch_all(pool).await.unwrap()
    };
    let expected: Vec<_> = places
        .into_iter()
        .zip(["hub_project", "hub_seal", "hub_append", "hub_seal", "hub_project", "hub_seal", "hub_append"])
        .map(|(place, role)| (place.to_owned(), role.to_owned()))
        .collect();
    while_it_runs(pool, &clock, files.path(), async |_| {
        eventually(LIMIT, async || (seen().await.len() >= places.len()).then_some(())).await;
    })
    .await;
    assert_eq!(seen().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_tail_is_refused_by_the_sealer_before_anybody_looks() {
    let (database, files, clock) = (Database::new().await, directory(), TestClock::default());
    let pool = &database.pool;
    while_it_runs(pool, &clock, files.path(), async |metrics| {
        all_sealed(pool).await;
        assert!(!metrics().contains("\nhub_seal_refused 1"));
        disable_triggers(pool).await;
        for statement in [
            "DELETE FROM events e USING tenant_heads h WHERE h.tenant_id = e.tenant_id AND e.tenant_position = h.position",
            "UPDATE tenant_heads SET position = position - 1",
        ] {
            sqlx::query(statement).execute(pool).await.unwrap();
        }
        eventually(LIMIT, async || metrics().contains("\nhub_seal_refused 1").then_some(())).await;
    })
    .await;
}
