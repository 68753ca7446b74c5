//! What an officer does: takes a part of the log away, verifies it with his key and his last checkpoint, and goes on where it was interrupted.

mod alerts;
mod disclosures;
mod million;
mod pace;
mod process;
mod reports;
mod roles;
mod self_check;
mod tampering;
mod witness;

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use hub_event_store::{
    append::Append,
    event::{Metadata, NewEvent, StreamId},
    store::EventStore,
    tail::Tail,
    upcast::Upcasters,
};
use hub_evidence::{
    bundle::{CheckName, ENTRIES, Outcome, Report, Trust, member_path, verify},
    key::{SigningKey, VerifierKeys},
};
use hub_replay_tools::evidence::{
    EvidenceError, Fault,
    export::{Bound, Exported, Request, export},
    prove::prove,
};
use hub_seal::{Sealer, Signer};
use hub_tests::kit::{Database, TestClock, directory, eventually, program, run_hub};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, value::RawValue};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;
use zeroize::Zeroizing;

const LIMIT: Duration = Duration::from_secs(60);
const TENANT: Uuid = Uuid::from_u128(1);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed("hub.test", Zeroizing::new([seed; 32])).unwrap()
}

/// A log of letters that is being sealed, and where an officer keeps what he takes away.
struct Office {
    database: Database,
    desk: TempDir,
    sealer: Option<DropGuard>,
}

impl Office {
    /// Sealed with ten events of two streams, and then with twelve.
    async fn open() -> Self {
        let mut office = Self { database: Database::new().await, desk: directory(), sealer: None };
        office.seal_with(1);
        office.write(0..10, "Ada").await;
        office.sealed(10).await;
        office.write(10..12, "Ada").await;
        office.sealed(12).await;
        office
    }

    /// Seals with this key from now on, and no other.
    fn seal_with(&mut self, seed: u8) {
        let end = CancellationToken::new();
        let signer = Signer::new(vec![key(seed)]).unwrap();
        let (pool, tail) = (self.database.pool.clone(), Tail::default());
        tokio::spawn({
            let (pool, tail, end) = (pool.clone(), tail.clone(), end.clone());
            async move { tail.run(pool, end).await }
        });
        tokio::spawn(Sealer::new(pool, tail, signer, TestClock::default().clock()).run(end.clone()));
        self.sealer = Some(end.drop_guard());
    }

    async fn write(&self, turns: std::ops::Range<i64>, to: &str) {
        let pool = self.database.pool.clone();
        let store = EventStore::start(pool, Tail::default(), Upcasters::default(), TestClock::default().clock());
        for turn in turns {
            store.append(letter(turn, to)).await.unwrap();
        }
    }

    async fn sealed(&self, size: i64) {
        eventually(LIMIT, async || {
            let query = sqlx::query_scalar("SELECT note FROM checkpoints WHERE tenant_id = $1 AND size = $2");
            query.bind(TENANT).bind(size).fetch_optional(&self.database.pool).await.unwrap().map(|_: String| ())
        })
        .await;
    }

    /// The checkpoint of this size, as an officer has kept it.
    async fn note(&self, size: i64) -> Vec<u8> {
        let query = sqlx::query_scalar("SELECT note FROM checkpoints WHERE tenant_id = $1 AND size = $2");
        let note: String = query.bind(TENANT).bind(size).fetch_one(&self.database.pool).await.unwrap();
        note.into_bytes()
    }

    fn place(&self, name: &str) -> PathBuf {
        self.desk.path().join(name)
    }

    async fn export(&self, request: &Request, name: &str) -> Result<Exported, EvidenceError> {
        export(&self.database.pool, request, &self.place(name), |_, _| {}).await
    }

    /// What an export of everything that refuses faults says first.
    async fn refused(&self) -> Fault {
        match self.export(&request(), "refused").await {
            Err(EvidenceError::Fault(fault)) => fault,
            other => panic!("{other:?}"),
        }
    }

    /// What is verified of an export that takes everything as it is.
    async fn as_is(&self, last: Option<Vec<u8>>) -> Report {
        let request = Request { as_is: true, ..request() };
        self.export(&request, "as-is").await.unwrap();
        verified(&self.place("as-is"), last)
    }
}

fn letter(turn: i64, to: &str) -> Append {
    let command_id = Uuid::now_v7();
    Append {
        stream: StreamId {
            tenant_id: TENANT,
            aggregate_type: "letter",
            aggregate_id: Uuid::from_u128(10 + (turn % 2).unsigned_abs() as u128),
        },
        expected_sequence: Some(turn / 2),
        metadata: Metadata {
            actor: "user:test".to_owned(),
            command_id,
            correlation_id: command_id,
            causation_id: None,
            traceparent: None,
        },
        fingerprint: [0; 32],
        events: vec![NewEvent {
            event_id: Uuid::now_v7(),
            event_type: "letter.sent".to_owned(),
            event_version: 1,
            payload: RawValue::from_string(format!("{{ \"to\": \"{to} \\u00e4\", \"turn\":{turn}}}")).unwrap(),
        }],
        claims: Vec::new(),
        counters: Vec::new(),
        facts: Vec::new(),
        guards: Vec::new(),
        outcome: None,
    }
}

fn request() -> Request {
    Request { member_entry_count_max: 3, seal_wait: Duration::ZERO, ..Request::of_tenant(TENANT, "a test") }
}

/// As an officer does who trusts the first key.
fn verified(bundle: &Path, last: Option<Vec<u8>>) -> Report {
    let keys = VerifierKeys::new([key(1).verifier_key().clone()]).unwrap();
    verify(bundle, &Trust { keys, last }, &mut |_, _| {}).unwrap()
}

fn failed(report: &Report) -> Vec<CheckName> {
    let failed = report.checks.iter().filter(|check| check.outcome == Outcome::Failed);
    failed.map(|check| check.name).collect()
}

#[tokio::test]
async fn what_is_exported_is_valid_from_wherever_to_wherever() {
    let office = Office::open().await;
    let last = office.note(10).await;
    for (from, to) in [(None, None), (Some(1), Some(1)), (Some(4), Some(9)), (Some(11), None), (Some(12), Some(12))] {
        let (from, to) = (from.map(Bound::Position), to.map(Bound::Position));
        let name = format!("{from:?} {to:?}");
        let request = Request { from, to, last: Some(String::from_utf8(last.clone()).unwrap()), ..request() };
        let done = office.export(&request, &name).await.unwrap();
        let report = verified(&office.place(&name), Some(last.clone()));
        assert!(report.valid && done.faults.is_empty(), "{report:#?}");
        assert_eq!((report.entry_count, report.size), (done.to - done.from + 1, Some(12)));
        for name in [CheckName::Last, CheckName::Previous, CheckName::Platform, CheckName::Root] {
            assert_eq!(report.outcome(name), Some(Outcome::Passed), "{report:#?}");
        }
    }
    // The checkpoint before the range comes along by itself.
    office.export(&Request { from: Some(Bound::Position(12)), ..request() }, "tail").await.unwrap();
    assert_eq!(verified(&office.place("tail"), None).outcome(CheckName::Previous), Some(Outcome::Passed));
}

#[tokio::test]
async fn a_range_may_be_said_in_times_and_must_be_there_and_sealed() {
    let mut office = Office::open().await;
    let now = TestClock::default().now();
    let at = |days| Some(Bound::Time(now + chrono::TimeDelta::days(days)));
    let done = office.export(&Request { from: at(-1), to: at(1), ..request() }, "times").await.unwrap();
    assert_eq!((done.from, done.to), (1, 12));
    for (from, to) in
        [(at(1), None), (None, at(-1)), (None, Some(Bound::Position(13))), (Some(Bound::Position(0)), None)]
    {
        let refused = office.export(&Request { from, to, ..request() }, "none").await;
        assert!(matches!(refused, Err(EvidenceError::Range(_))), "{refused:?}");
    }
    let stranger = Request { tenant_id: Uuid::from_u128(2), ..request() };
    assert!(matches!(office.export(&stranger, "none").await, Err(EvidenceError::Range(_))));
    office.sealer = None;
    office.write(12..13, "Ada").await;
    let refused = office.export(&request(), "unsealed").await;
    assert!(matches!(refused, Err(EvidenceError::NotSealed { to: 13, sealed: 12 })), "{refused:?}");
}

#[tokio::test]
async fn an_interrupted_export_goes_on_and_keeps_what_was_finished() {
    let office = Office::open().await;
    // Every future is left at some point: what is there then is what the next one finds.
    let mut at = 0;
    let done = loop {
        at += 1;
        let request = request();
        let seen = std::sync::atomic::AtomicI64::new(0);
        let place = office.place("resumed");
        let work = export(&office.database.pool, &request, &place, |done, _| {
            seen.store(done, std::sync::atomic::Ordering::SeqCst);
        });
        tokio::pin!(work);
        let mut polls = 0;
        let left = std::future::poll_fn(|context| match work.as_mut().poll(context) {
            std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
            std::task::Poll::Pending if polls >= at * 2 => std::task::Poll::Ready(None),
            std::task::Poll::Pending => {
                polls += 1;
                std::task::Poll::Pending
            }
        });
        if let Some(done) = left.await {
            break done.unwrap();
        }
    };
    assert!(at > 1, "it was interrupted");
    assert_eq!((done.entry_count, done.to), (12, 12));
    assert!(verified(&office.place("resumed"), None).valid);
    let again = office.export(&request(), "resumed").await;
    assert!(matches!(again, Err(EvidenceError::Directory { what: "holds a finished bundle already", .. })));
}

#[tokio::test]
async fn members_that_are_right_are_kept_and_others_are_written_anew() {
    let office = Office::open().await;
    tampering::tamper(&office, "UPDATE events SET event_version = 2 WHERE tenant_position = 8").await;
    let Err(EvidenceError::Fault(Fault::Differs { position: 8, .. })) = office.export(&request(), "kept").await else {
        panic!("the eighth is another one");
    };
    tampering::tamper(&office, "UPDATE events SET event_version = 1 WHERE tenant_position = 8").await;
    // Meanwhile the log goes on, and somebody has written into a member.
    office.write(12..14, "Ada").await;
    office.sealed(14).await;
    let member = office.place("kept").join(member_path(1));
    let mut bytes = fs::read(&member).unwrap();
    bytes.truncate(20);
    fs::write(&member, bytes).unwrap();
    let other = Request { to: Some(Bound::Position(5)), ..request() };
    let refused = office.export(&other, "kept").await;
    assert!(matches!(refused, Err(EvidenceError::Directory { what: "holds another export that is not finished", .. })));
    let done = office.export(&request(), "kept").await.unwrap();
    assert_eq!((done.kept_member_count, done.to, done.size), (1, 12, 12));
    assert!(verified(&office.place("kept"), None).valid);
    fs::create_dir(office.place("mine")).unwrap();
    fs::write(office.place("mine").join("letter.txt"), "hello").unwrap();
    let refused = office.export(&request(), "mine").await;
    assert!(matches!(refused, Err(EvidenceError::Directory { what: "holds something else", .. })));
    assert!(office.place("mine").join("letter.txt").exists());
}

#[tokio::test]
async fn one_event_is_proven_alone_if_it_is_the_one_that_was_sealed() {
    let office = Office::open().await;
    let keys = VerifierKeys::new([key(1).verifier_key().clone()]).unwrap();
    let proof = prove(&office.database.pool, TENANT, 7).await.unwrap();
    let origin = hub_evidence::checkpoint::Origin::tenant("hub.test", TENANT).unwrap();
    let (entry, _) = proof.verify_entry(&origin, &keys).unwrap();
    assert_eq!((entry.tenant_position, entry.sequence), (7, 4));
    for position in [0, 13] {
        let refused = prove(&office.database.pool, TENANT, position).await;
        assert!(matches!(refused, Err(EvidenceError::Range(_))));
    }
    tampering::tamper(&office, "UPDATE events SET payload = '{}' WHERE tenant_position = 7").await;
    let refused = prove(&office.database.pool, TENANT, 7).await;
    assert!(matches!(refused, Err(EvidenceError::Fault(Fault::Differs { position: 7, .. }))));
}

#[tokio::test]
async fn ctrl_c_leaves_an_export_that_goes_on() {
    let mut office = Office::open().await;
    office.sealer = None;
    office.write(12..13, "Ada").await;
    let tenant = TENANT.to_string();
    let arguments = ["audit", "export", "--tenant", &tenant, "--output", "slow"];
    // It waits for the seal of the last event.
    let mut child = Command::new(program("hub_under_test"))
        .args(arguments)
        .current_dir(office.desk.path())
        .env("DATABASE_URL", &office.database.url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    eventually(LIMIT, async || office.place("slow").join(ENTRIES).exists().then_some(())).await;
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let status = eventually(LIMIT, async || child.try_wait().unwrap()).await;
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(130), "{said}");
    assert_eq!(said, "interrupted: the same command goes on with what is in slow\n");
    office.seal_with(1);
    let done = run_hub(office.desk.path(), &arguments, &[("DATABASE_URL", &office.database.url)]).await;
    assert_eq!(
        (done.code, &*done.stdout),
        (Some(0), "13 events, from 1 to 13 of 13 sealed, are in slow\n"),
        "{done:?}"
    );
}

#[tokio::test]
async fn the_verbs_say_what_they_found_with_exact_exit_codes() {
    let office = Office::open().await;
    let desk = office.desk.path();
    fs::write(office.place("old.note"), office.note(10).await).unwrap();
    fs::write(office.place("officer.keys"), format!("# mine\n{}\n", key(1).verifier_key())).unwrap();
    let database = [("DATABASE_URL", &*office.database.url)];
    let tenant = TENANT.to_string();
    let online = async |arguments: &[&str]| run_hub(desk, &[&["audit"], arguments].concat(), &database).await;
    // Without any database, and with a configuration that nobody could read.
    let offline = async |arguments: &[&str]| {
        run_hub(desk, &[&["audit"], arguments].concat(), &[("HUB_CONFIG", "/nowhere"), ("DATABASE_URL", "nonsense")])
            .await
    };
    let done = online(&["export", "--tenant", &tenant, "--output", "bundle"]).await;
    assert_eq!(
        (done.code, &*done.stdout),
        (Some(0), "12 events, from 1 to 12 of 12 sealed, are in bundle\n"),
        "{done:?}"
    );
    let again = online(&["export", "--tenant", &tenant, "--output", "bundle"]).await;
    assert_eq!((again.code, &*again.stderr), (Some(1), "hub: bundle holds a finished bundle already\n"));
    let key_text = key(1).verifier_key().to_string();
    for trusted in ["officer.keys", &key_text] {
        let done = offline(&["verify", "bundle", "--key", trusted, "--last", "old.note"]).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.stdout.ends_with("valid\n") && done.stdout.contains("last        passed"), "{done:?}");
    }
    let done = offline(&["verify", "bundle", "--key", "officer.keys", "--format", "json"]).await;
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&report["valid"], &report["entry_count"]), (&Value::from(true), &Value::from(12)));
    let stranger = key(2).verifier_key().to_string();
    let done = offline(&["verify", "bundle", "--key", &stranger]).await;
    assert_eq!(done.code, Some(1));
    assert!(done.stdout.contains("signature   FAILED   no trusted key signed the note\n"), "{done:?}");
    for arguments in [
        ["verify", "nowhere", "--key", "officer.keys"],
        ["verify", "bundle", "--key", "not a key"],
        ["verify-proof", "nowhere", "--key", "officer.keys"],
    ] {
        let done = offline(&arguments).await;
        assert_eq!((done.code, done.stderr.lines().count()), (Some(2), 1), "{done:?}");
    }
    let done = online(&["prove", "--tenant", &tenant, "--position", "7", "--output", "seven.tlog-proof"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let done = offline(&["verify-proof", "seven.tlog-proof", "--key", "officer.keys"]).await;
    assert!(done.code == Some(0) && done.stdout.contains("event       7 of "), "{done:?}");
    let done = offline(&["verify-proof", "seven.tlog-proof", "--key", &stranger]).await;
    assert_eq!((done.code, &*done.stdout), (Some(1), "no trusted key signed the note\nnot valid\n"));
    sqlx::query("INSERT INTO evidence_keys (verifier_key, added_at) VALUES ($1, now())")
        .bind(&key_text)
        .execute(&office.database.pool)
        .await
        .unwrap();
    fs::write(office.place("published.keys"), online(&["keys"]).await.stdout).unwrap();
    assert_eq!(offline(&["verify", "bundle", "--key", "published.keys"]).await.code, Some(0));
    tampering::tamper(&office, "UPDATE events SET payload = '{}' WHERE tenant_position = 7").await;
    let done = online(&["export", "--tenant", &tenant, "--output", "changed"]).await;
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.starts_with("hub: the event 7 is not the one that was sealed there"), "{done:?}");
    let done = online(&["export", "--tenant", &tenant, "--as-is", "--output", "as-is"]).await;
    assert_eq!(done.code, Some(1));
    let done = offline(&["verify", "as-is", "--key", "officer.keys"]).await;
    assert_eq!(done.code, Some(1));
    assert!(
        done.stdout
            .contains("entries     FAILED   the first wrong entry is 7: it is not the entry that was sealed here")
    );
}
