//! The witness beside the key: a database that was played back, or rewritten, is refused until somebody decides otherwise.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use hub_event_store::tail::Tail;
use hub_evidence::checkpoint::OrderError;
use hub_seal::{
    PLATFORM_LOG, Sealer, Signer, WitnessFile,
    witness::{Contradiction, contradiction},
};
use hub_tests::kit::{HubProcess, TestClock, run_hub};
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    LIMIT, Office, TENANT, eventually, key,
    tampering::{TABLES, tamper},
};

type Found = watch::Receiver<Option<Contradiction>>;

impl Office {
    fn witness(&self) -> WitnessFile {
        WitnessFile::new(self.place("evidence.witness"))
    }

    /// Seals with the first key and the witness from now on.
    fn seal_with_witness(&mut self) -> Found {
        let (end, tail, pool) = (CancellationToken::new(), Tail::default(), self.database.pool.clone());
        tokio::spawn({
            let (pool, tail, end) = (pool.clone(), tail.clone(), end.clone());
            async move { tail.run(pool, end).await }
        });
        let signer = Signer::new(vec![key(1)]).unwrap();
        let sealer = Sealer::new(pool, tail, signer, TestClock::default().clock()).with_witness(self.witness());
        let found = sealer.contradiction();
        tokio::spawn(sealer.run(end.clone()));
        self.sealer = Some(end.drop_guard());
        found
    }

    /// The witness when it is the last checkpoint of the platform's log.
    async fn witnessed(&self) -> Vec<u8> {
        eventually(LIMIT, async || {
            let query =
                sqlx::query_scalar("SELECT note FROM checkpoints WHERE tenant_id = $1 ORDER BY size DESC LIMIT 1");
            let last: String = query.bind(PLATFORM_LOG).fetch_one(&self.database.pool).await.unwrap();
            self.witness().read().unwrap().filter(|kept| *kept == last.as_bytes())
        })
        .await
    }

    async fn back_up(&self) {
        let copies = TABLES.iter().map(|table| format!("CREATE TABLE old_{table} AS TABLE {table}"));
        tamper(self, &copies.collect::<Vec<_>>().join(";")).await;
    }

    async fn play_back(&self) {
        let copies =
            TABLES.iter().map(|table| format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM old_{table}"));
        tamper(self, &copies.collect::<Vec<_>>().join(";")).await;
    }

    async fn checkpoint_count(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM checkpoints").fetch_one(&self.database.pool).await.unwrap()
    }

    async fn compared(&self, kept: &[u8]) -> Option<Contradiction> {
        let signer = Signer::new(vec![key(1)]).unwrap();
        let mut connection = self.database.pool.acquire().await.unwrap();
        contradiction(&mut connection, &signer, Some(kept)).await.unwrap()
    }
}

async fn refused(found: &mut Found) -> Contradiction {
    let found = tokio::time::timeout(LIMIT, found.wait_for(Option::is_some)).await.unwrap().unwrap();
    found.clone().unwrap()
}

#[tokio::test]
async fn a_backup_that_is_played_back_is_refused_and_sealed_on_once_its_loss_is_accepted() {
    let mut office = Office::open().await;
    office.back_up().await;
    let _unhindered = office.seal_with_witness();
    office.write(12..15, "Ada").await;
    office.sealed(15).await;
    office.witnessed().await;
    office.sealer = None;
    office.play_back().await;
    office.write(12..14, "Eve").await;
    let before = office.checkpoint_count().await;
    let mut found = office.seal_with_witness();
    let refused = refused(&mut found).await;
    assert!(matches!(refused, Contradiction::Past(OrderError::Shrunk { .. })), "{refused}");
    assert_eq!(office.checkpoint_count().await, before, "nothing is signed");
    // Another process of this machine, or of any other one, does not take its place meanwhile.
    let elected: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_lock(7236831004)").fetch_one(&office.database.pool).await.unwrap();
    assert!(!elected);
    let kept = office.witness().give_up(refused.kept_size()).unwrap();
    office.sealed(14).await;
    assert_eq!(*found.borrow(), None);
    assert_ne!(office.witnessed().await, fs::read(kept).unwrap());
}

#[tokio::test]
async fn a_backup_that_is_played_back_while_the_sealer_works_is_refused_before_the_next_signature() {
    let mut office = Office::open().await;
    office.back_up().await;
    let mut found = office.seal_with_witness();
    office.write(12..15, "Ada").await;
    office.sealed(15).await;
    office.witnessed().await;
    office.play_back().await;
    let before = office.checkpoint_count().await;
    office.write(12..17, "Eve").await;
    refused(&mut found).await;
    assert_eq!(office.checkpoint_count().await, before);
}

#[tokio::test]
async fn another_history_is_told_from_a_later_one_whatever_its_size() {
    let mut office = Office::open().await;
    let old = office.note_of_platform().await;
    let _followed = office.seal_with_witness();
    for turn in 12..15 {
        office.write(turn..turn + 1, "Ada").await;
        office.sealed(turn + 1).await;
    }
    let kept = office.witnessed().await;
    assert_eq!(office.compared(&old).await, None, "an older witness is fine: others may have sealed since");
    assert_eq!(office.compared(&kept).await, None);
    office.sealer = None;
    // Somebody who has the key, but not this machine, makes everything anew.
    tamper(&office, "DELETE FROM sealed_trees; DELETE FROM sealed_tiles; DELETE FROM checkpoints").await;
    office.seal_with(1);
    office.sealed(15).await;
    let size: i64 = sqlx::query_scalar("SELECT size FROM sealed_trees WHERE tenant_id = $1")
        .bind(PLATFORM_LOG)
        .fetch_one(&office.database.pool)
        .await
        .unwrap();
    let gone = office.compared(&kept).await.unwrap();
    assert!(matches!(gone, Contradiction::Past(OrderError::Shrunk { .. })), "{gone}");
    let missing = gone.kept_size() - size.unsigned_abs();
    let mut turn = 15;
    for _ in 0..missing {
        office.write(turn..turn + 1, "Eve").await;
        turn += 1;
        office.sealed(turn).await;
    }
    let gone = office.compared(&kept).await.unwrap();
    assert!(matches!(gone, Contradiction::Past(OrderError::Forked { .. })), "{gone}");
    office.write(turn..turn + 1, "Eve").await;
    office.sealed(turn + 1).await;
    let gone = office.compared(&kept).await.unwrap();
    assert!(matches!(gone, Contradiction::Past(OrderError::Inconsistent { .. })), "{gone}");
    tamper(&office, &format!("DELETE FROM sealed_tiles WHERE tenant_id = '{PLATFORM_LOG}'")).await;
    let gone = office.compared(&kept).await.unwrap();
    assert!(matches!(gone, Contradiction::Unproven { .. }), "{gone}");
    fs::write(office.witness().path(), "half a note").unwrap();
    let mut found = office.seal_with_witness();
    let gone = refused(&mut found).await;
    assert!(matches!(gone, Contradiction::Unreadable(_)), "{gone}");
}

impl Office {
    async fn note_of_platform(&self) -> Vec<u8> {
        let query = sqlx::query_scalar("SELECT note FROM checkpoints WHERE tenant_id = $1 ORDER BY size DESC LIMIT 1");
        let note: String = query.bind(PLATFORM_LOG).fetch_one(&self.database.pool).await.unwrap();
        note.into_bytes()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    own(from, to);
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy(&entry.path(), &place),
            kind if kind.is_file() => {
                fs::copy(entry.path(), &place).unwrap();
                own(&entry.path(), &place);
            }
            _ => {}
        }
    }
}

/// The servers run as a user of their own where the tests do not.
fn own(from: &Path, to: &Path) {
    let metadata = fs::metadata(from).unwrap();
    fs::set_permissions(to, metadata.permissions()).unwrap();
    std::os::unix::fs::chown(to, Some(metadata.uid()), Some(metadata.gid())).unwrap();
}

/// Sizes of what is sealed of the platform's tenant and of its log.
async fn sizes(hub: &HubProcess) -> (i64, i64) {
    let mut connection = PgConnection::connect(hub.database_url()).await.unwrap();
    let query = "SELECT coalesce(max(s.size), 0), max(h.position) FROM tenant_heads h LEFT JOIN sealed_trees s USING (tenant_id) WHERE h.tenant_id = $1";
    sqlx::query_as(query).bind(TENANT).fetch_one(&mut connection).await.unwrap()
}

async fn all_sealed(hub: &HubProcess) {
    eventually(LIMIT, async || {
        let (sealed, head) = sizes(hub).await;
        (sealed == head).then_some(())
    })
    .await;
}

/// Waits until the witness is the last checkpoint of the platform's log.
async fn witnessed(hub: &HubProcess) {
    let mut connection = PgConnection::connect(hub.database_url()).await.unwrap();
    let query = "SELECT note FROM checkpoints WHERE tenant_id = $1 ORDER BY size DESC LIMIT 1";
    eventually(LIMIT, async || {
        let last: String = sqlx::query_scalar(query).bind(PLATFORM_LOG).fetch_one(&mut connection).await.unwrap();
        let kept = fs::read(hub.directory().join("evidence.witness")).ok();
        (kept.as_deref() == Some(last.as_bytes())).then_some(())
    })
    .await;
}

async fn self_check(hub: &HubProcess) {
    let database = [("DATABASE_URL", hub.database_url())];
    let done = run_hub(&hub.directory(), &["audit", "self-check"], &database).await;
    assert_eq!(done.code, Some(0), "{done:?}");
}

async fn ready(hub: &HubProcess) -> Value {
    reqwest::get(format!("{}/health/ready", hub.url())).await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn a_hub_on_a_restored_backup_says_so_serves_on_and_seals_when_the_operator_has_decided() {
    let mut hub = HubProcess::start().await;
    all_sealed(&hub).await;
    hub.stop(Signal::TERM).await;
    let backup = hub_tests::kit::directory();
    copy(&hub.directory(), backup.path());
    hub.start_again().await;
    self_check(&hub).await;
    all_sealed(&hub).await;
    witnessed(&hub).await;
    hub.stop(Signal::TERM).await;
    // The backup set is everything but the key and the witness beside it.
    let kept: Vec<_> =
        ["evidence.key", "evidence.witness"].map(|name| (name, fs::read(hub.directory().join(name)).unwrap())).into();
    fs::remove_dir_all(hub.directory()).unwrap();
    copy(backup.path(), &hub.directory());
    for (name, bytes) in &kept {
        fs::write(hub.directory().join(name), bytes).unwrap();
    }
    hub.start_again().await;
    let report =
        eventually(LIMIT, async || Some(ready(&hub).await).filter(|report| report["status"] == "degraded")).await;
    let seals = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "seals").unwrap();
    assert_eq!(seals["detail"], "the platform's log is shorter than what was signed");
    assert!(hub.output().contains("nothing is sealed any more"), "{}", hub.output());
    let metrics = reqwest::get(hub.metrics_url()).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\nhub_seal_witness_contradicted 1"), "{metrics}");
    let mut connection = PgConnection::connect(hub.database_url()).await.unwrap();
    let written =
        "SELECT payload::jsonb FROM events WHERE event_type = $1 AND payload->>'scope' IS NOT DISTINCT FROM $2";
    let finding: Value = eventually(LIMIT, async || {
        let query = sqlx::query_scalar(written).bind("self_check.completed").bind(Some("witness"));
        query.fetch_optional(&mut connection).await.unwrap()
    })
    .await;
    assert_eq!(finding["findings"][0]["what"], "the platform's log is shorter than what was signed");

    // What is measured goes on when the sealer stands still.
    eventually(LIMIT, async || {
        let metrics = reqwest::get(hub.metrics_url()).await.unwrap().text().await.unwrap();
        let mut lines = metrics.lines().filter_map(|line| line.strip_prefix("hub_seal_lag_seconds "));
        lines.any(|value| value.parse::<f64>().unwrap() > 0.0).then_some(())
    })
    .await;

    let directory = hub.directory();
    let run = async |more: &[&str]| {
        let arguments = [&["audit", "accept-rollback", "--directory", directory.to_str().unwrap()], more].concat();
        run_hub(&directory, &arguments, &[]).await
    };
    assert_eq!(run(&[]).await.code, Some(2), "it wants a reason");
    let shown = run(&["--reason", "the disk was lost"]).await;
    assert_eq!(shown.code, Some(1), "{shown:?}");
    assert!(shown.stdout.contains("lost are the last") && shown.stdout.contains("--yes"), "{shown:?}");
    assert!(directory.join("evidence.witness").exists());
    let (sealed, head) = sizes(&hub).await;
    assert!(sealed < head, "nothing was sealed meanwhile");
    let done = run(&["--reason", "the disk was lost", "--yes"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    all_sealed(&hub).await;
    let query = sqlx::query_scalar(written).bind("self_check.rollback_accepted").bind(None::<&str>);
    let event: Value = query.fetch_one(&mut connection).await.unwrap();
    assert_eq!(event["reason"], json!("the disk was lost"));
    assert!(event["kept_size"].as_u64() > event["found_size"].as_u64(), "{event}");
    assert_eq!(event["kept_note"], json!(String::from_utf8(kept[1].1.clone()).unwrap()));
    eventually(LIMIT, async || Some(ready(&hub).await).filter(|report| report["status"] == "ready")).await;
    let again =
        eventually(LIMIT, async || Some(run(&["--reason", "again"]).await).filter(|done| done.code == Some(0))).await;
    assert!(again.stdout.contains("there is nothing to accept"), "{again:?}");
}
