//! What a self-check says of each part of what is sealed when that alone is tampered with, and how the verb says it.

use hub_evidence::{
    checkpoint::{Checkpoint, Origin},
    tree::Hash,
};
use hub_seal::{
    PLATFORM_LOG, Signer,
    check::{Kind, Report, Scope, check},
};
use hub_tests::kit::{TestClock, run_hub};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::{LIMIT, Office, TENANT, eventually, key, tampering::tamper};

const NOT_SIGNED: &str = "no published key signed the checkpoint";
const ANOTHER: &str = "the checkpoint is not the one that was signed";
const NOT_THERE: &str = "the checkpoint is missing";
const LAST: &str = "its checkpoint is missing";
const ROOT: &str = "the sealed hashes do not have the root that was signed";
const NO_LEAF: &str = "the checkpoint does not stand in the platform's log";
const ABOVE: &str = "a hash above the leaves is another one, or missing";

async fn office() -> Office {
    let office = Office::open().await;
    publish(&office.database.pool).await;
    office
}

async fn publish(pool: &PgPool) {
    Signer::new(vec![key(1)]).unwrap().publish(pool, TestClock::default().now()).await.unwrap();
}

async fn full(office: &Office) -> Report {
    check(&office.database.pool, Scope::of_all(Kind::Full), |_, _| {}).await.unwrap()
}

/// Where the platform's log has the tenant's last checkpoint, from 1; it is the last of all.
async fn place(office: &Office) -> i64 {
    let query = sqlx::query_scalar("SELECT platform_index + 1 FROM checkpoints WHERE tenant_id = $1 AND size = 12");
    query.bind(TENANT).fetch_one(&office.database.pool).await.unwrap()
}

fn note(seed: u8, origin: Origin, size: u64) -> String {
    let checkpoint = Checkpoint::new(origin, size, Hash([7; 32])).unwrap();
    checkpoint.sign([&key(seed)]).to_string()
}

#[tokio::test]
async fn every_part_of_what_is_sealed_is_found_by_itself_when_it_is_tampered_with() {
    let (tenant, platform) = (Origin::tenant("hub.test", TENANT).unwrap(), Origin::platform("hub.test").unwrap());
    let of = |log: Uuid, size: i64| format!("WHERE tenant_id = '{log}' AND size = {size}");
    let tile = |log: Uuid| {
        format!("SET hashes = overlay(hashes PLACING sha256('x') FROM 1) WHERE tenant_id = '{log}' AND level = 0")
    };
    for case in 0..12 {
        let office = office().await;
        let clean = full(&office).await;
        assert_eq!((clean.log_count, clean.event_count, clean.finding_count), (1, 12, 0), "{clean:?}");
        let last = place(&office).await;
        assert_eq!(clean.checkpoint_count, 2 * last.unsigned_abs(), "each checkpoint, and one of the platform with it");
        let (statement, expected) = match case {
            0 => (
                format!(
                    "UPDATE checkpoints SET note = overlay(note PLACING 'AAAA' FROM length(note) - 8) {}",
                    of(TENANT, 12)
                ),
                vec![(TENANT, 12, NOT_SIGNED)],
            ),
            1 => (
                format!("UPDATE checkpoints SET note = '{}' {}", note(2, tenant.clone(), 12), of(TENANT, 12)),
                vec![(PLATFORM_LOG, last, ANOTHER), (TENANT, 12, NOT_SIGNED)],
            ),
            // Who can sign still does not reach the root and the leaf.
            2 => (
                format!("UPDATE checkpoints SET note = '{}' {}", note(1, tenant.clone(), 12), of(TENANT, 12)),
                vec![(PLATFORM_LOG, last, ANOTHER), (TENANT, 12, NO_LEAF), (TENANT, 12, ROOT)],
            ),
            3 => (
                format!("UPDATE checkpoints SET note = '{}' {}", note(1, platform.clone(), 12), of(TENANT, 12)),
                vec![(PLATFORM_LOG, last, ANOTHER), (TENANT, 12, "the checkpoint is of another log")],
            ),
            4 => (
                format!("UPDATE checkpoints SET note = '{}' {}", note(1, tenant.clone(), 11), of(TENANT, 12)),
                vec![(PLATFORM_LOG, last, ANOTHER), (TENANT, 12, "the checkpoint says another size")],
            ),
            5 => (
                format!("DELETE FROM checkpoints {}", of(TENANT, 12)),
                vec![(PLATFORM_LOG, last, NOT_THERE), (TENANT, 12, LAST)],
            ),
            6 => (format!("DELETE FROM checkpoints {}", of(PLATFORM_LOG, last)), vec![(PLATFORM_LOG, last, LAST)]),
            7 => (
                format!(
                    "UPDATE checkpoints SET note = '{}' {}",
                    note(1, platform.clone(), last.unsigned_abs()),
                    of(PLATFORM_LOG, last)
                ),
                vec![(PLATFORM_LOG, last, ROOT)],
            ),
            8 => (
                format!("UPDATE checkpoints SET platform_index = NULL {}", of(TENANT, 12)),
                vec![(PLATFORM_LOG, last, NOT_THERE), (TENANT, 12, NO_LEAF)],
            ),
            9 => (
                format!("UPDATE sealed_trees SET root = sha256('x') WHERE tenant_id = '{TENANT}'"),
                vec![(TENANT, 12, ROOT)],
            ),
            10 => (
                format!("UPDATE sealed_tiles {}", tile(TENANT)),
                vec![(TENANT, 1, "the event is not the one that was sealed")],
            ),
            _ => (format!("UPDATE sealed_tiles {}", tile(PLATFORM_LOG)), vec![(PLATFORM_LOG, 1, ANOTHER)]),
        };
        tamper(&office, &statement).await;
        let report = full(&office).await;
        let mut found: Vec<_> = report.findings.iter().map(|one| (one.tenant_id, one.position, one.what)).collect();
        if case >= 10 {
            // The first root that was signed over the leaf is another one then, too; and the checkpoint that was the leaf has none.
            let first = found.remove(0);
            assert_eq!(first, expected[0], "{report:?}");
            assert!(found.iter().any(|(_, _, what)| *what == ROOT), "{report:?}");
            assert!(found.iter().all(|(_, _, what)| [ROOT, NO_LEAF].contains(what)), "{report:?}");
        } else {
            assert_eq!(found, expected, "case {case}");
        }
    }
}

#[tokio::test]
async fn hashes_above_the_leaves_are_held_to_the_tree() {
    let office = office().await;
    office.write(12..300, "Ada").await;
    office.sealed(300).await;
    assert_eq!(full(&office).await.finding_count, 0);
    for change in ["UPDATE sealed_tiles SET hashes = sha256('x')", "DELETE FROM sealed_tiles"] {
        tamper(&office, &format!("{change} WHERE tenant_id = '{TENANT}' AND level = 1")).await;
        let found = full(&office).await.findings;
        assert_eq!(found.iter().map(|one| (one.position, one.what)).collect::<Vec<_>>(), [(1, ABOVE)]);
    }
}

#[tokio::test]
async fn a_sample_finds_what_is_wrong_with_the_checkpoints_of_its_parts() {
    let office = office().await;
    let statement = format!("DELETE FROM checkpoints WHERE tenant_id = '{TENANT}' AND size = 12");
    tamper(&office, &statement).await;
    let last = sqlx::query_scalar::<_, i64>("SELECT size FROM sealed_trees WHERE tenant_id = $1").bind(PLATFORM_LOG);
    let last = last.fetch_one(&office.database.pool).await.unwrap();
    let report = check(&office.database.pool, Scope::of_all(Kind::Sample), |_, _| {}).await.unwrap();
    let found: Vec<_> = report.findings.iter().map(|one| (one.tenant_id, one.position, one.what)).collect();
    assert_eq!(found, [(PLATFORM_LOG, last, NOT_THERE)]);
}

#[tokio::test]
async fn the_verb_checks_now_writes_it_down_and_says_it_with_exact_exit_codes() {
    let office = office().await;
    let (desk, url) = (office.desk.path(), office.database.url.clone());
    let run = async |arguments: &[&str]| {
        run_hub(desk, &[&["audit", "self-check"], arguments].concat(), &[("DATABASE_URL", &url)]).await
    };
    let written = async || -> Vec<Value> {
        let query = "SELECT payload::jsonb || jsonb_build_object('actor', metadata->>'actor') FROM events \
                     WHERE event_type = 'self_check.completed' ORDER BY position";
        sqlx::query_scalar(query).fetch_all(&office.database.pool).await.unwrap()
    };
    let clean = run(&["--full"]).await;
    assert_eq!(clean.code, Some(0), "{clean:?}");
    assert!(
        clean
            .stdout
            .starts_with("scope        full of all tenants and the platform\nlogs         1\nevents       12\n")
    );
    assert!(clean.stdout.ends_with("findings     0\nclean\n"), "{clean:?}");
    let tenant = TENANT.to_string();
    // What it wrote is sealed itself, since the tenant of the tests is that of the platform.
    office.sealed(13).await;
    let sample = run(&["--sample", "--tenant", &tenant, "--format", "json"]).await;
    assert_eq!(sample.code, Some(0), "{sample:?}");
    let report: Value = serde_json::from_str(&sample.stdout).unwrap();
    assert_eq!(
        (&report["clean"], &report["scope"], &report["event_count"]),
        (&true.into(), &"sample".into(), &13.into())
    );
    let events = written().await;
    assert_eq!(events.len(), 2);
    assert_eq!((&events[0]["scope"], events[0].get("tenant_id")), (&"full".into(), None));
    assert_eq!((&events[1]["scope"], &events[1]["tenant_id"]), (&"sample".into(), &Value::from(&*tenant)));
    assert!(events.iter().all(|event| event["actor"] == "process:operator" && event["finding_count"] == 0));
    office.sealed(14).await;
    tamper(&office, "UPDATE events SET payload = '{}' WHERE tenant_position = 7").await;
    let found = run(&["--tenant", &tenant]).await;
    assert_eq!(found.code, Some(1), "{found:?}");
    let said = format!(
        "findings     1\n  tenant {tenant} at 7: the event is not the one that was sealed\nnot as it was sealed\n"
    );
    assert!(found.stdout.ends_with(&said), "{found:?}");
    eventually(LIMIT, async || (written().await.len() == 3).then_some(())).await;
    assert_eq!(written().await[2]["findings"][0]["position"], 7);
    let stranger = Uuid::from_u128(2).to_string();
    for (arguments, said) in [
        (&["--tenant", &stranger] as &[&str], "nothing of the tenant 00000000-0000-0000-0000-000000000002 is sealed"),
        (&["--tenant", &Uuid::nil().to_string()], "the nil id is no tenant's"),
        (&["--tenant", "acme"], "invalid value 'acme'"),
        (&["--sample", "--full"], "cannot be used with"),
    ] {
        let refused = run(arguments).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(said) && refused.stdout.is_empty(), "{refused:?}");
    }
    let nowhere = run_hub(desk, &["audit", "self-check"], &[("DATABASE_URL", "postgres://127.0.0.1:1/none")]).await;
    assert_eq!((nowhere.code, nowhere.stderr.lines().count()), (Some(2), 1), "{nowhere:?}");
    assert_eq!(written().await.len(), 3, "what was not checked is not written down");
}
