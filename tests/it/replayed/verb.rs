//! `hub audit replay` as a program: what it says, how it ends, and that it leaves nothing behind.

use std::process::{Command, Stdio};

use hub_tests::kit::{directory, eventually, program, run_hub};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ACME, Archive, LIMIT, MAIL, OTHER};

#[tokio::test(flavor = "multi_thread")]
async fn the_verb_replays_compares_keeps_and_cleans() {
    let archive = Archive::filled().await;
    archive.project().await;
    let (desk, acme, other) = (directory(), ACME.to_string(), OTHER.to_string());
    let database = [("DATABASE_URL", &*archive.database.url)];
    let replay =
        async |arguments: &[&str]| run_hub(desk.path(), &[&["audit", "replay"], arguments].concat(), &database).await;
    let done = replay(&["--tenant", &acme, "--as-of", "5", "--aggregate", "subscription"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let head = format!("tenant {acme} as of event 5 of 7, 2026-01-01T16:00:00Z\n");
    assert!(done.stdout.starts_with(&head) && done.stdout.contains("  tenants              1 row\n"), "{done:?}");
    assert!(done.stdout.contains(&format!("subscription {MAIL}\n  last event 5 subscription.activated by user:bob")));
    let done = replay(&["--tenant", &acme, "--as-of", "2026-01-01T13:00:00Z", "--format", "json"]).await;
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&report["as_of"]["position"], &report["tenant_id"]), (&json!(2), &json!(acme)));
    let done = replay(&["--tenant", &acme, "--as-of", "2", "--against", "7"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains("name: \"Acme SE\" -> \"Acme AG\""), "{done:?}");
    assert!(done.stdout.contains("by 7 tenant.renamed by user:bob at 2026-01-01T18:00:00Z"), "{done:?}");

    for arguments in [&["--tenant", &*acme, "--compare"][..], &["--platform", "--compare"]] {
        let done = replay(arguments).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.stdout.ends_with("the read models are what the log leads to\n"), "{done:?}");
    }
    archive.tamper(&format!("UPDATE tenants SET name = 'Evil' WHERE tenant_id = '{ACME}'")).await;
    let done = replay(&["--tenant", &acme, "--compare"]).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stdout.contains("name: \"Evil\", not \"Acme AG\""), "{done:?}");
    assert!(done.stdout.contains("no event explains what stands there"), "{done:?}");
    assert_eq!(replay(&["--tenant", &other, "--compare"]).await.code, Some(0));
    let nobody = Uuid::nil().to_string();
    for arguments in [
        &["--tenant", &*acme, "--as-of", "8"][..],
        &["--tenant", &*nobody, "--compare"],
        &["--tenant", &*acme, "--compare", "--as-of", "3"],
        &["--as-of", "3"],
        &["--tenant", &*acme],
        &["--tenant", &*acme, "--as-of", "3", "--aggregate", "letter"],
    ] {
        let done = replay(arguments).await;
        assert_eq!((done.code, done.stdout.is_empty()), (Some(2), true), "{arguments:?} {done:?}");
    }
    assert_eq!(archive.schemas().await, [""; 0]);

    let done = replay(&["--tenant", &acme, "--as-of", "3", "--against", "7", "--keep"]).await;
    let schema = archive.schemas().await.remove(0);
    assert!(done.stdout.ends_with(&format!("the tables are kept in {schema}; --clean removes them\n")), "{done:?}");
    let names = format!(
        "SELECT (SELECT name FROM {schema}.tenants_before) || ', ' || (SELECT name FROM {schema}.tenants), \
         has_schema_privilege('hub_query', '{schema}', 'USAGE')"
    );
    let found: (String, bool) = sqlx::query_as(&names).fetch_one(&archive.database.pool).await.unwrap();
    assert_eq!(found, ("Acme SE, Acme AG".to_owned(), false));
    let done = replay(&["--tenant", &acme, "--as-of", "3"]).await;
    assert!(done.stdout.contains(&format!("{schema} is left from before (Service Hub: replay of the tenant {acme}")));
    let done = replay(&["--clean"]).await;
    assert!(done.code == Some(0) && done.stdout.starts_with(&format!("removed {schema} (")), "{done:?}");
    assert_eq!(archive.schemas().await, [""; 0]);
    assert_eq!(replay(&["--clean"]).await.stdout, "no schema was kept\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_interrupted_or_killed_leaves_nothing_behind() {
    let archive = Archive::filled().await;
    let (desk, acme) = (directory(), ACME.to_string());
    for (signal, code) in [(Signal::INT, Some(130)), (Signal::KILL, None)] {
        // Somebody has the last table, so the replay waits there, with all others made.
        let mut holder = archive.database.pool.begin().await.unwrap();
        sqlx::query("LOCK TABLE webhooks IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await.unwrap();
        let child = Command::new(program("hub_under_test"))
            .args(["audit", "replay", "--tenant", &acme, "--as-of", "3", "--keep"])
            .current_dir(desk.path())
            .env("DATABASE_URL", &archive.database.url)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let count = async || sqlx::query_scalar::<_, i64>(waiting).fetch_one(&archive.database.pool).await.unwrap();
        eventually(LIMIT, async || (count().await == 1).then_some(())).await;
        kill_process(Pid::from_child(&child), signal).unwrap();
        let ended = tokio::task::spawn_blocking(move || {
            let mut child = child;
            child.wait().unwrap()
        });
        assert_eq!(ended.await.unwrap().code(), code);
        holder.rollback().await.unwrap();
        eventually(LIMIT, async || (count().await == 0).then_some(())).await;
        assert_eq!(archive.schemas().await, [""; 0]);
    }
}
