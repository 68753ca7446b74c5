//! Importing a table of postgres-es, and the stock repository of postgres-es on the log itself.

mod bulk;
mod stock;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures::TryStreamExt;
use hub_event_store::{event::Recorded, log::Log};
use hub_replay_tools::{
    import::{
        ImportError, Options, Report, import_postgres_es,
        mapping::{Mapping, SourceRow, TenantOf, aggregate_id, snake_case},
    },
    verify::verify_log,
};
use hub_tests::kit::{Database, TestClock, directory, eventually, run_hub};
use sqlx::PgPool;
use uuid::Uuid;

const TENANT: Uuid = Uuid::from_u128(7);

/// The table of postgres-es, as its `init.sql` makes it, beside the tables of the log.
const TABLE: &str = "CREATE SCHEMA app; CREATE TABLE app.events ( \
     aggregate_type text NOT NULL, aggregate_id text NOT NULL, sequence bigint CHECK (sequence >= 0) NOT NULL, \
     event_type text NOT NULL, event_version text NOT NULL, payload json NOT NULL, metadata json NOT NULL, \
     PRIMARY KEY (aggregate_type, aggregate_id, sequence))";

/// Streams of ten events in three types, of two tenants, whose times run across the streams.
const FILL: &str = r#"INSERT INTO app.events
     SELECT (ARRAY['BankAccount', 'customer', 'HTTPCheck'])[1 + n % 3],
            CASE WHEN n % 3 = 1 THEN lpad(to_hex(n), 8, '0') || '-0000-7000-8000-000000000000' ELSE 'no-' || n END,
            s, 'Something', CASE WHEN n % 2 = 0 THEN '1.0' ELSE '1' END,
            CASE s WHEN 1 THEN '{ "Opened":  {"owner": "Ada Łovelace", "n": ' || n || '} }'
                   WHEN 10 THEN '"Closed"'
                   ELSE '{"MoneyDeposited":{"amount":' || s || '}}' END::json,
            ('{"tenant":"00000000-0000-0000-0000-00000000000' || 1 + n % 2 || '","at":"' ||
                to_char(timestamp '2025-01-01' + s * interval '1 day' + n * interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
                || '"}')::json
     FROM generate_series(1, $1) AS n, generate_series(1, 10) AS s"#;

async fn source(streams: i32) -> Database {
    let database = Database::new().await;
    for statement in TABLE.split("; ") {
        sqlx::query(statement).execute(&database.pool).await.unwrap();
    }
    sqlx::query(FILL).bind(streams).execute(&database.pool).await.unwrap();
    database
}

fn options(source: &Database) -> Options {
    Options {
        source_url: source.url.clone(),
        table: "app.events".to_owned(),
        mapping: Mapping {
            tenant: TenantOf::All(TENANT),
            time_key: None,
            aggregate_types: BTreeMap::new(),
            event_versions: BTreeMap::new(),
        },
        batch_size: 500,
        dry_run: false,
        facts: hub::migrate::sources(),
    }
}

async fn import(target: &PgPool, options: &Options) -> Result<Report, ImportError> {
    import_postgres_es(target, options, &TestClock::default().clock(), &|_| Ok(()), &|_, _, _| {}).await
}

async fn whole_log(pool: &PgPool) -> Vec<Recorded> {
    Log::new(pool.clone()).read(0, i64::MAX).try_collect().await.unwrap()
}

async fn assert_log_is_right(pool: &PgPool, event_count: i64) {
    let report = verify_log(pool, |_, _| {}).await.unwrap();
    assert!(report.passed(), "{report:?}");
    assert_eq!(report.event_count, event_count);
}

async fn tamper(pool: &PgPool, statement: &str) {
    let mut transaction = pool.begin().await.unwrap();
    for statement in ["ALTER TABLE events DISABLE TRIGGER USER", statement, "ALTER TABLE events ENABLE TRIGGER USER"] {
        sqlx::query(statement).execute(&mut *transaction).await.unwrap();
    }
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn a_whole_table_is_in_the_log_and_every_event_is_as_it_was() {
    let (source, target) = (source(300).await, Database::new().await);
    let report = import(&target.pool, &options(&source)).await.unwrap();
    assert!(report.passed(), "{report:?}");
    assert_eq!(
        (report.row_count, report.stream_count, report.imported_count, report.verified_count),
        (3_000, 300, 3_000, 3_000)
    );
    assert_eq!(report.kinds.len(), 9);
    assert_eq!(report.kinds[&("HTTPCheck".to_owned(), "http_check.money_deposited".to_owned())], 800);
    assert_log_is_right(&target.pool, 3_000).await;

    let events = whole_log(&target.pool).await;
    let first = &events[0];
    assert_eq!((first.aggregate_type.as_str(), first.event_type.as_str()), ("bank_account", "bank_account.opened"));
    assert!(first.payload.get().starts_with(r#"{"owner": "Ada Łovelace", "n": "#), "byte for byte: {}", first.payload);
    assert_eq!(first.metadata().unwrap().actor, "import:postgres-es");
    assert_eq!(first.occurred_at, TestClock::default().now());
    let closed = events.iter().find(|event| event.event_type == "customer.closed").unwrap();
    assert_eq!((closed.payload.get(), closed.sequence), ("{}", 10));
    let ids: Vec<Uuid> = events.iter().map(|event| event.aggregate_id).collect();
    assert!(
        ids.contains(&aggregate_id("no-3")) && ids.contains(&"00000004-0000-7000-8000-000000000000".parse().unwrap())
    );
}

#[tokio::test]
async fn an_import_that_was_cut_off_anywhere_is_taken_up_without_loss_or_repetition() {
    let (source, target) = (source(200).await, Database::new().await);
    let options = Options { batch_size: 37, ..options(&source) };
    let mut runs = 0;
    for stop_at in [1, 300, 301, 1_111, 1_999] {
        let cut = async { import(&target.pool, &options).await };
        let reached = async {
            eventually(Duration::from_secs(30), async || {
                let head = Log::new(target.pool.clone()).head().await.unwrap();
                (head >= stop_at).then_some(())
            })
            .await;
        };
        tokio::select! {
            biased;
            () = reached => runs += 1,
            done = cut => drop(done.unwrap()),
        }
    }
    assert!(runs >= 1, "nothing was cut off");
    let report = import(&target.pool, &options).await.unwrap();
    assert!(report.passed(), "{report:?}");
    assert_eq!(report.present_count + report.imported_count, 2_000);
    assert_log_is_right(&target.pool, 2_000).await;
}

#[tokio::test]
async fn rows_that_were_added_since_are_imported_by_one_more_run() {
    let (source, target) = (source(30).await, Database::new().await);
    import(&target.pool, &options(&source)).await.unwrap();
    sqlx::query(
        "INSERT INTO app.events VALUES ('BankAccount', 'no-3', 11, 'Reopened', '2.0', '{\"Reopened\":{}}', '{}'), \
         ('BankAccount', 'aa', 1, 'Opened', '1.0', '{\"Opened\":{}}', '{}')",
    )
    .execute(&source.pool)
    .await
    .unwrap();
    let report = import(&target.pool, &options(&source)).await.unwrap();
    assert!(report.passed());
    assert_eq!((report.present_count, report.imported_count, report.verified_count), (300, 2, 302));
    assert_eq!(whole_log(&target.pool).await[301].event_version, 2);
    assert_log_is_right(&target.pool, 302).await;
}

#[tokio::test]
async fn with_a_time_key_the_log_is_in_the_order_of_time_and_each_stream_in_its_own() {
    let (source, target) = (source(60).await, Database::new().await);
    // A time that goes back does not take an event out of its stream's order.
    sqlx::query("UPDATE app.events SET metadata = '{\"tenant\":\"00000000-0000-0000-0000-000000000001\",\"at\":\"2024-01-01T00:00:00.5+01:00\"}' \
                 WHERE aggregate_id = 'no-6' AND sequence = 5")
        .execute(&source.pool)
        .await
        .unwrap();
    let mapping = Mapping {
        tenant: TenantOf::Key("tenant".to_owned()),
        time_key: Some("at".to_owned()),
        ..options(&source).mapping
    };
    let options = Options { mapping, ..options(&source) };
    let report = import(&target.pool, &options).await.unwrap();
    assert!(report.passed(), "{report:?}");
    assert_log_is_right(&target.pool, 600).await;
    let events = whole_log(&target.pool).await;
    let odd = |event: &&Recorded| event.aggregate_id == aggregate_id("no-6") && event.sequence == 5;
    assert_eq!(events.iter().find(odd).unwrap().occurred_at.to_rfc3339(), "2023-12-31T23:00:00.500+00:00");
    let times: Vec<_> = events.iter().filter(|event| !odd(event)).map(|event| event.occurred_at).collect();
    assert!(times.is_sorted(), "the order of time");
    let tenants: std::collections::BTreeSet<_> = events.iter().map(|event| event.tenant_id.as_u128()).collect();
    assert_eq!(tenants.into_iter().collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn what_cannot_be_imported_is_named_and_nothing_is_written() {
    let cases = [
        (
            "UPDATE app.events SET payload = '[1]' WHERE aggregate_id = 'no-9' AND sequence = 4",
            "BankAccount no-9 sequence 4: the payload",
        ),
        (
            "UPDATE app.events SET payload = '{\"A\":1,\"B\":2}' WHERE aggregate_id = 'no-9' AND sequence = 4",
            "the payload",
        ),
        (
            "UPDATE app.events SET event_version = '1.1' WHERE aggregate_id = 'no-9' AND sequence = 4",
            "sequence 4: event version `1.1`",
        ),
        (
            "DELETE FROM app.events WHERE aggregate_id = 'no-9' AND sequence = 4",
            "no-9 sequence 5: it follows sequence 3",
        ),
        (
            "DELETE FROM app.events WHERE aggregate_id = 'no-9' AND sequence = 1",
            "no-9 sequence 2: the stream does not begin with 1",
        ),
        ("UPDATE app.events SET aggregate_type = 'bank account' WHERE aggregate_id = 'no-9'", "needs another name"),
        (
            "UPDATE app.events SET aggregate_type = 'bankAccount' WHERE aggregate_id = 'no-9'",
            "`BankAccount` is already",
        ),
    ];
    for (statement, message) in cases {
        let (source, target) = (source(30).await, Database::new().await);
        sqlx::query(statement).execute(&source.pool).await.unwrap();
        let error = import(&target.pool, &options(&source)).await.unwrap_err().to_string();
        assert!(
            error.contains(message) || (message.contains("already") && error.contains("is already")),
            "{statement}: {error}"
        );
        assert_eq!(Log::new(target.pool.clone()).head().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_stream_that_somebody_else_has_made_is_a_conflict_before_anything_is_written() {
    let (source, target) = (source(30).await, Database::new().await);
    let other =
        Options { mapping: Mapping { tenant: TenantOf::All(TENANT), ..options(&source).mapping }, ..options(&source) };
    sqlx::query("CREATE TABLE one AS SELECT * FROM app.events WHERE aggregate_id = 'no-27'")
        .execute(&source.pool)
        .await
        .unwrap();
    import(&target.pool, &Options { table: "one".to_owned(), ..other }).await.unwrap();
    let error = import(&target.pool, &options(&source)).await.unwrap_err();
    assert!(matches!(&error, ImportError::Conflict { sequence: 10, .. }), "{error}");
    assert_log_is_right(&target.pool, 10).await;
}

#[tokio::test]
async fn the_same_table_with_another_mapping_is_refused() {
    let (source, target) = (source(3).await, Database::new().await);
    import(&target.pool, &options(&source)).await.unwrap();
    let mapping = Mapping { time_key: Some("at".to_owned()), ..options(&source).mapping };
    let error = import(&target.pool, &Options { mapping, ..options(&source) }).await.unwrap_err();
    assert!(error.to_string().contains("was begun as"), "{error}");
}

#[tokio::test]
async fn the_comparison_finds_what_was_changed_in_the_log_or_at_the_source() {
    let (source, target) = (source(30).await, Database::new().await);
    import(&target.pool, &options(&source)).await.unwrap();
    tamper(&target.pool, "UPDATE events SET payload = '{\"amount\": 2}' WHERE position = 5").await;
    sqlx::query("UPDATE app.events SET metadata = '{}' WHERE aggregate_id = 'no-9' AND sequence = 4")
        .execute(&source.pool)
        .await
        .unwrap();
    let report = import(&target.pool, &options(&source)).await.unwrap();
    assert!(!report.passed());
    assert_eq!((report.finding_count, report.verified_count), (2, 298));
    let what: Vec<_> = report.findings.iter().map(|finding| finding.what.as_str()).collect();
    assert!(what.contains(&"at position 5 it differs in its payload"), "{what:?}");
    assert!(what.iter().any(|what| what.ends_with("differs in its metadata, leaf hash")), "{what:?}");
}

#[tokio::test]
async fn the_program_imports_is_killed_imports_on_and_says_what_is_wrong() {
    let (source, target) = (source(400).await, Database::new().await);
    let files = directory();
    let tenant = TENANT.to_string();
    let variables = [("DATABASE_URL", target.url.as_str())];
    let arguments = [
        "import",
        "postgres-es",
        "--source-url",
        &source.url,
        "--table",
        "app.events",
        "--tenant",
        &tenant,
        "--batch-size",
        "20",
    ];
    let run = async |more: &[&str]| run_hub(files.path(), &[&arguments, more].concat(), &variables).await;

    let dry = run(&["--dry-run"]).await;
    assert!(dry.code == Some(0) && dry.stdout.contains("4000 events of 400 streams"), "{dry:?}");
    assert_eq!(Log::new(target.pool.clone()).head().await.unwrap(), 0);

    // Dropping the run kills the process without any warning.
    tokio::select! {
        outcome = run(&[]) => panic!("it ended before it was killed: {outcome:?}"),
        () = eventually(Duration::from_secs(60), async || {
            (Log::new(target.pool.clone()).head().await.unwrap() >= 200).then_some(())
        }) => {}
    }
    let done = run(&[]).await;
    assert!(
        done.code == Some(0) && done.stdout.ends_with("all is well\n") && !done.stderr.contains("to go"),
        "{done:?}"
    );
    assert!(!done.stdout.contains("imported   4000 events"), "it went on, it did not begin anew: {}", done.stdout);
    assert_log_is_right(&target.pool, 4_000).await;

    tamper(&target.pool, "UPDATE events SET payload = '{}' WHERE position = 7").await;
    let found = run(&[]).await;
    assert!(found.code == Some(1) && found.stdout.contains("at position 7 it differs in its payload"), "{found:?}");
}

#[tokio::test]
async fn the_program_says_in_one_line_why_it_cannot_import() {
    let (source, target) = (source(3).await, Database::new().await);
    let files = directory();
    let tenant = TENANT.to_string();
    let nowhere = "postgres://hub:secret@127.0.0.1:1/none";
    sqlx::query("CREATE TABLE app.own AS SELECT 'tenant' AS aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata \
                 FROM app.events")
        .execute(&source.pool)
        .await
        .unwrap();
    for (url, more, message) in [
        (nowhere, vec!["--tenant", &tenant], "cannot connect to the source"),
        ("no url", vec!["--tenant", &tenant], "the URL of the source cannot be read"),
        (&source.url, vec!["--tenant", &tenant, "--table", "nothing"], "there is no table `nothing`"),
        (&source.url, vec!["--tenant", &tenant], "is no table of postgres-es: `aggregate_id` is uuid"),
        (&source.url, vec!["--tenant", &tenant, "--table", "app.own"], "an aggregate of the platform itself"),
        (
            &source.url,
            vec!["--tenant", &tenant, "--table", "app.own", "--own-aggregates"],
            "cannot read it as tenant.opened",
        ),
        (
            &source.url,
            vec!["--tenant", &tenant, "--table", "app.events", "--batch-size", "10001"],
            "the batch size is from 1",
        ),
        (&source.url, vec!["--tenant-key", "nobody", "--table", "app.events"], "the metadata has no `nobody`"),
        (&source.url, vec![], "required"),
    ] {
        let arguments = [vec!["import", "postgres-es", "--source-url", url], more].concat();
        let outcome = run_hub(files.path(), &arguments, &[("DATABASE_URL", target.url.as_str())]).await;
        assert!(outcome.code != Some(0) && outcome.stderr.contains(message), "{arguments:?}: {outcome:?}");
        assert!(!outcome.stderr.contains("secret"), "{outcome:?}");
    }
    assert_eq!(Log::new(target.pool.clone()).head().await.unwrap(), 0);
}

#[test]
fn a_row_becomes_an_event_as_the_table_in_the_module_says() {
    let mapping = Mapping {
        tenant: TenantOf::All(TENANT),
        time_key: None,
        aggregate_types: BTreeMap::from([("Konto".to_owned(), "account".to_owned())]),
        event_versions: BTreeMap::from([("1.1".to_owned(), 2)]),
    };
    let map = |payload: &str, version: &str| {
        let row = SourceRow {
            aggregate_type: "Konto".to_owned(),
            aggregate_id: "1".to_owned(),
            sequence: 1,
            event_type: "Any".to_owned(),
            event_version: version.to_owned(),
            payload: payload.to_owned(),
            metadata: "{}".to_owned(),
        };
        let event = mapping.map(&row, TestClock::default().now())?;
        Ok::<_, hub_replay_tools::import::mapping::RowError>((
            event.event_type,
            event.payload.get().to_owned(),
            event.event_version,
        ))
    };
    let is = |event_type: &str, payload: &str, version| Ok((event_type.to_owned(), payload.to_owned(), version));
    assert_eq!(map(r#"{"MoneyIn": { "a" :1}}"#, "1.0"), is("account.money_in", r#"{ "a" :1}"#, 1));
    assert_eq!(map(r#"{"Renamed":"x"}"#, "3"), is("account.renamed", "\"x\"", 3));
    assert_eq!(map("\"Closed\"", "2.0.0"), is("account.closed", "{}", 2));
    assert_eq!(map(r#"{"type":"closed","data":{"by":1}}"#, "1.1"), is("account.closed", r#"{"by":1}"#, 2));
    for (payload, version) in [
        ("{}", "1"),
        ("7", "1"),
        (r#"{"type":"x"}"#, "1"),
        (r#"{"A":{}}"#, "0"),
        (r#"{"A":{}}"#, "x"),
        (r#"{"Ä b":{}}"#, "1"),
    ] {
        assert!(map(payload, version).is_err(), "{payload} {version}");
    }
}

#[tokio::test]
async fn both_functions_for_names_do_the_same() {
    let database = Database::new().await;
    for name in [
        "BankAccount",
        "bankAccount",
        "bank_account",
        "HTTPCheck",
        "ABc",
        "A",
        "V2Opened",
        "OpenedV2",
        "checkHTTP",
        "x1Y",
    ] {
        let there: String =
            sqlx::query_scalar("SELECT cqrs_snake_case($1)").bind(name).fetch_one(&database.pool).await.unwrap();
        assert_eq!(there, snake_case(name));
    }
}

#[tokio::test]
async fn the_progress_is_told_of_all_passes_to_their_ends() {
    let (source, target) = (source(30).await, Database::new().await);
    let ends = Arc::new(AtomicI64::new(0));
    let told = ends.clone();
    let progress = move |_, done: i64, all: i64| {
        if done == all {
            told.fetch_add(1, Ordering::Relaxed);
        }
    };
    import_postgres_es(&target.pool, &options(&source), &TestClock::default().clock(), &|_| Ok(()), &progress)
        .await
        .unwrap();
    assert_eq!(ends.load(Ordering::Relaxed), 3);
}
