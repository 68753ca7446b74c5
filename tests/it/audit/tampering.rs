//! What a superuser can still do to the database, and what catches it: each is done, and then an officer does what he always does.

use hub_event_store::log::Log;
use hub_evidence::bundle::{CheckName, Outcome, Report};
use hub_replay_tools::evidence::Fault;
use sqlx::PgPool;

use super::{Office, TENANT, failed, request, verified};

/// Every table that a tenant's log and its seals are in.
pub(super) const TABLES: [&str; 8] = [
    "events",
    "streams",
    "tenant_heads",
    "log_head",
    "command_outcomes",
    "sealed_trees",
    "sealed_tiles",
    "checkpoints",
];

/// Changes the log as only the owner of the tables can, with the triggers off.
pub(super) async fn tamper(office: &Office, statements: &str) {
    let mut transaction = office.database.pool.begin().await.unwrap();
    let off = ["events", "checkpoints"].map(|table| format!("ALTER TABLE {table} DISABLE TRIGGER USER"));
    let on = ["events", "checkpoints"].map(|table| format!("ALTER TABLE {table} ENABLE TRIGGER USER"));
    let statements = statements.split(';').map(str::to_owned);
    for statement in off.into_iter().chain(statements).chain(on) {
        sqlx::query(&statement).execute(&mut *transaction).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    transaction.commit().await.unwrap();
}

/// Lets events and checkpoints be changed from now on.
pub(super) async fn disable_triggers(pool: &PgPool) {
    for table in ["events", "checkpoints"] {
        sqlx::query(&format!("ALTER TABLE {table} DISABLE TRIGGER USER")).execute(pool).await.unwrap();
    }
}

fn first_wrong(report: &Report) -> (u64, &str) {
    let wrong = report.first_wrong.as_ref().unwrap_or_else(|| panic!("{report:#?}"));
    (wrong.position, &wrong.what)
}

/// Makes the leaf hash of an event fit what it says now.
async fn fit_leaf_hash(office: &Office, position: i64) -> [u8; 32] {
    let events = Log::new(office.database.pool.clone()).page_of_tenant(TENANT, position - 1, 1).await.unwrap();
    let leaf = events[0].computed_leaf_hash();
    let hex: String = leaf.iter().map(|byte| format!("{byte:02x}")).collect();
    tamper(office, &format!("UPDATE events SET leaf_hash = '\\x{hex}' WHERE tenant_position = {position}")).await;
    leaf
}

#[tokio::test]
async fn an_edited_payload_is_named() {
    let office = Office::open().await;
    tamper(&office, "UPDATE events SET payload = '{\"to\":\"Eve\"}' WHERE tenant_position = 5").await;
    assert!(matches!(office.refused().await, Fault::Differs { position: 5, .. }));
    let report = office.as_is(None).await;
    assert_eq!((failed(&report), first_wrong(&report).0, report.wrong_count), (vec![CheckName::Entries], 5, 1));
}

#[tokio::test]
async fn an_edited_payload_whose_leaf_hash_is_edited_too_is_named() {
    let office = Office::open().await;
    tamper(&office, "UPDATE events SET payload = '{\"to\":\"Eve\"}' WHERE tenant_position = 5").await;
    let leaf = fit_leaf_hash(&office, 5).await;
    assert!(matches!(office.refused().await, Fault::Differs { position: 5, .. }));
    let report = office.as_is(None).await;
    assert_eq!((failed(&report), first_wrong(&report).0), (vec![CheckName::Entries], 5));
    // And the hash in the tile as well: then nothing says which, but the signed root is not reached.
    let hex: String = leaf.iter().map(|byte| format!("{byte:02x}")).collect();
    let tile = format!(
        "UPDATE sealed_tiles SET hashes = overlay(hashes PLACING '\\x{hex}'::bytea FROM 4 * 32 + 1) WHERE level = 0"
    );
    tamper(&office, &format!("{tile} AND tenant_id = '{TENANT}'")).await;
    assert_eq!(office.refused().await, Fault::Root);
    office.export(&super::Request { as_is: true, ..request() }, "tiles").await.unwrap();
    let report = verified(&office.place("tiles"), None);
    assert_eq!((failed(&report), &report.first_wrong), (vec![CheckName::Root], &None));
}

#[tokio::test]
async fn a_deleted_tail_is_named_and_with_its_seals_gone_the_kept_checkpoint_knows() {
    let office = Office::open().await;
    let (ten, twelve) = (office.note(10).await, office.note(12).await);
    tamper(&office, "DELETE FROM events WHERE tenant_position > 10; UPDATE tenant_heads SET position = 10").await;
    assert_eq!(office.refused().await, Fault::Missing(11));
    let report = office.as_is(None).await;
    assert_eq!((failed(&report), first_wrong(&report)), (vec![CheckName::Entries], (11, "it is missing")));
    let root =
        hub_evidence::checkpoint::Checkpoint::parse(hub_evidence::note::Note::parse(&ten).unwrap().text()).unwrap();
    tamper(
        &office,
        &format!(
            "DELETE FROM checkpoints WHERE tenant_id = '{TENANT}' AND size > 10; \
             UPDATE sealed_trees SET size = 10, root = '\\x{}' WHERE tenant_id = '{TENANT}'; \
             UPDATE sealed_tiles SET hashes = substr(hashes, 1, 320) WHERE tenant_id = '{TENANT}'",
            root.root()
        ),
    )
    .await;
    office.export(&request(), "shorter").await.unwrap();
    assert!(verified(&office.place("shorter"), Some(ten)).valid, "who has not seen more cannot know more");
    let report = verified(&office.place("shorter"), Some(twelve));
    assert_eq!(failed(&report), [CheckName::Last]);
}

#[tokio::test]
async fn an_event_that_is_deleted_in_the_middle_is_named() {
    let office = Office::open().await;
    tamper(&office, "DELETE FROM events WHERE tenant_position = 6").await;
    assert_eq!(office.refused().await, Fault::Missing(6));
    let report = office.as_is(None).await;
    assert_eq!((failed(&report), first_wrong(&report).0), (vec![CheckName::Entries], 6));
}

#[tokio::test]
async fn an_event_that_is_deleted_in_the_middle_with_the_others_moved_up_is_named() {
    let office = Office::open().await;
    tamper(
        &office,
        "DELETE FROM events WHERE tenant_position = 6; \
         UPDATE events SET tenant_position = -tenant_position + 1 WHERE tenant_position > 6; \
         UPDATE events SET tenant_position = -tenant_position WHERE tenant_position < 0",
    )
    .await;
    assert!(matches!(office.refused().await, Fault::Differs { position: 6, .. }));
    let report = office.as_is(None).await;
    assert_eq!((failed(&report), first_wrong(&report).0), (vec![CheckName::Entries], 6));
}

#[tokio::test]
async fn two_events_that_are_swapped_are_named() {
    let office = Office::open().await;
    tamper(
        &office,
        "UPDATE events SET tenant_position = -5 WHERE tenant_position = 4; \
         UPDATE events SET tenant_position = 4 WHERE tenant_position = 5; \
         UPDATE events SET tenant_position = 5 WHERE tenant_position = -5",
    )
    .await;
    assert!(matches!(office.refused().await, Fault::Differs { position: 4, .. }));
    let report = office.as_is(None).await;
    assert_eq!((failed(&report), first_wrong(&report).0, report.wrong_count), (vec![CheckName::Entries], 4, 2));
}

#[tokio::test]
async fn a_backup_that_is_played_back_is_known_to_whoever_kept_a_checkpoint() {
    let office = Office::open().await;
    let backup: Vec<String> = TABLES.iter().map(|table| format!("CREATE TABLE old_{table} AS TABLE {table}")).collect();
    tamper(&office, &backup.join(";")).await;
    office.write(12..15, "Ada").await;
    office.sealed(15).await;
    let seen = office.note(15).await;
    let restore: Vec<String> = TABLES
        .iter()
        .map(|table| format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM old_{table}"))
        .collect();
    tamper(&office, &restore.join(";")).await;
    office.export(&request(), "rolled-back").await.unwrap();
    let report = verified(&office.place("rolled-back"), Some(seen.clone()));
    assert_eq!(failed(&report), [CheckName::Last], "it has fewer entries than were seen");
    // The platform goes on, and comes past what was seen with another past.
    office.write(12..17, "Eve").await;
    office.sealed(17).await;
    office.export(&request(), "gone-on").await.unwrap();
    assert!(verified(&office.place("gone-on"), None).valid, "nothing in it is wrong");
    let report = verified(&office.place("gone-on"), Some(seen));
    assert_eq!(failed(&report), [CheckName::Last]);
    let last = report.checks.iter().find(|check| check.name == CheckName::Last).unwrap();
    assert_eq!(last.detail, "the first 15 entries are not those that were signed then");
}

#[tokio::test]
async fn a_log_that_is_rewritten_as_a_whole_needs_the_key_and_does_not_pass_a_kept_checkpoint_even_with_it() {
    for (seed, expected) in
        [(2, vec![CheckName::Signature, CheckName::Last, CheckName::Platform]), (1, vec![CheckName::Last])]
    {
        let mut office = Office::open().await;
        let seen = office.note(12).await;
        office.sealer = None;
        tamper(&office, "UPDATE events SET payload = '{\"to\":\"Eve\"}' WHERE tenant_position = 5").await;
        fit_leaf_hash(&office, 5).await;
        tamper(&office, "DELETE FROM sealed_trees; DELETE FROM sealed_tiles; DELETE FROM checkpoints").await;
        office.seal_with(seed);
        office.sealed(12).await;
        office.export(&request(), "rewritten").await.unwrap();
        let report = verified(&office.place("rewritten"), Some(seen));
        assert_eq!(failed(&report), expected, "{report:#?}");
        assert_eq!(report.outcome(CheckName::Entries), Some(Outcome::Passed));
    }
}
