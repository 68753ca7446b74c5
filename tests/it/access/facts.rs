//! Facts are what the log leads to: what is missing or false is found, made again, and decides at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use futures::future::join3;
use hub::migrate::{migrate, sources};
use hub_event_store::facts::{FactReport, compare, repair};
use hub_replay_tools::import::{
    Options, import_postgres_es,
    mapping::{Mapping, TenantOf},
};
use hub_tests::kit::{Database, directory, eventually, run_hub, workspace};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{LIMIT, Platform};

async fn compared(pool: &PgPool) -> FactReport {
    compare(pool, &sources(), None).await.unwrap()
}

/// Whatever else goes on in the log meanwhile, such as the records of refusals.
fn settled(report: FactReport) -> FactReport {
    FactReport { head: 0, ..report }
}

async fn run(pool: &PgPool, statement: &str) {
    sqlx::raw_sql(statement).execute(pool).await.unwrap();
}

async fn repair_count(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT repair_count FROM facts_state").fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn facts_that_are_gone_are_named_and_decide_again_once_they_are_made() {
    let platform = Platform::start().await;
    let (acme, globex) = (platform.tenant("acme").await, platform.tenant("globex").await);
    let path = format!("/v1/tenants/{acme}/webhooks");
    let (key, other) = (platform.key(acme, &["viewer"]).await.text, platform.key(globex, &["viewer"]).await.text);
    platform.get(&key, &path).await.ok();
    let pool = &platform.database.pool;
    let whole = compared(pool).await;
    assert!(whole.passed() && whole.fact_count > 20, "{whole:?}");

    run(pool, &format!("DELETE FROM facts WHERE tenant_id = '{acme}'")).await;
    let gone = compared(pool).await;
    assert_eq!((gone.difference_count, gone.fact_count), (gone.differences.len(), whole.fact_count));
    assert!(gone.differences.iter().all(|one| one.tenant_id == acme && one.found.is_none() && one.expected.is_some()));
    let parts: Vec<_> = gone.differences.iter().map(|one| (one.aggregate_type.as_str(), one.part.as_str())).collect();
    assert!(parts.contains(&("role", "role")) && parts.contains(&("api_key", "credential")), "{parts:?}");
    // A process that has not seen the key before.
    let beside = platform.beside();
    eventually(LIMIT, async || (beside.get_at_once(&key, &path).await.status == 401).then_some(())).await;

    let made = repair(pool, &sources(), None).await.unwrap();
    assert_eq!((made.difference_count, made.tenants.len()), (gone.difference_count, 1));
    assert_eq!(settled(compared(pool).await), settled(whole.clone()));
    // Nothing was appended that would tell: all processes know all the same.
    eventually(LIMIT, async || (beside.get_at_once(&key, &path).await.status == 200).then_some(())).await;
    platform.get(&other, &format!("/v1/tenants/{globex}/webhooks")).await.ok();
    let again = repair(pool, &sources(), None).await.unwrap();
    assert_eq!(settled(again), settled(whole), "nothing is left to do");
    assert_eq!(repair_count(pool).await, 1, "nobody is told of nothing");
}

#[tokio::test]
async fn facts_that_somebody_wrote_are_found_and_decide_no_more_once_they_are_removed() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let path = format!("/v1/tenants/{acme}/audit");
    let key = platform.key(acme, &["viewer"]).await;
    let pool = &platform.database.pool;
    platform.get(&key.text, &path).await.refused(403, "forbidden");
    let owner = Uuid::new_v5(&acme, b"owner");
    let grant = json!({
        "kind": "grant", "principal": format!("key:{}", key.id), "home": "tenant", "role_id": owner,
        "from": "2020-01-01T00:00:00Z", "until": null, "source": "assignment",
    });
    let planted = Uuid::new_v4();
    sqlx::query("SELECT set_fact($1, 'role', $2, 'grant/eve', $3::json, 1)")
        .bind(acme)
        .bind(planted)
        .bind(grant.to_string())
        .execute(pool)
        .await
        .unwrap();
    let viewer = Uuid::new_v5(&acme, b"viewer");
    run(
        pool,
        &format!(
            "UPDATE facts SET fact = replace(fact::text, '\"read\"', '\"*\"')::json WHERE aggregate_id = '{viewer}'"
        ),
    )
    .await;
    let beside = platform.beside();
    eventually(LIMIT, async || (beside.get_at_once(&key.text, &path).await.status == 200).then_some(())).await;

    let found = compared(pool).await;
    let named: BTreeMap<_, _> =
        found.differences.iter().map(|one| ((one.aggregate_id, one.part.as_str()), one)).collect();
    assert_eq!((found.difference_count, named.len()), (2, 2), "{found:?}");
    let of_eve = named[&(planted, "grant/eve")];
    assert!(of_eve.expected.is_none() && of_eve.found == Some(grant.to_string()) && of_eve.tenant_id == acme);
    let changed = named[&(viewer, "role")];
    assert!(
        changed.expected.as_ref().unwrap().contains("\"read\"") && changed.found.as_ref().unwrap().contains("\"*\"")
    );

    repair(pool, &sources(), None).await.unwrap();
    assert!(compared(pool).await.passed());
    eventually(LIMIT, async || (beside.get_at_once(&key.text, &path).await.status == 403).then_some(())).await;
}

#[tokio::test]
async fn the_program_names_what_is_wrong_with_facts_and_makes_them_again() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let files = directory();
    let variables = [("DATABASE_URL", platform.database.url.as_str())];
    let hub = async |arguments: &[&str]| run_hub(files.path(), &[&["replay"], arguments].concat(), &variables).await;
    let right = hub(&["facts"]).await;
    assert!(right.code == Some(0) && right.stdout.ends_with("all is well\n"), "{right:?}");
    let owner = Uuid::new_v5(&acme, b"owner");
    run(&platform.database.pool, &format!("DELETE FROM facts WHERE aggregate_id = '{owner}'")).await;
    for verb in ["facts", "verify"] {
        let wrong = hub(&[verb]).await;
        let named =
            format!("  tenant {acme} role {owner} role\n    found    no fact\n    expected {{\"kind\":\"role\"");
        assert!(wrong.code == Some(1) && wrong.stdout.contains(&named), "{wrong:?}");
    }
    let made = hub(&["facts", "--repair"]).await;
    assert!(made.code == Some(0) && made.stdout.ends_with("1 facts were made anew, all is well now\n"), "{made:?}");
    let json = hub(&["facts", "--format", "json"]).await;
    let report: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(json.code == Some(0) && report["difference_count"] == 0 && report["fact_count"] != 0, "{json:?}");
}

#[tokio::test]
async fn roles_that_were_imported_decide_without_a_further_event() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let path = format!("/v1/tenants/{acme}/audit");
    let key = platform.key(acme, &["viewer"]).await;
    platform.get(&key.text, &path).await.refused(403, "forbidden");
    let source = Database::new().await;
    run(
        &source.pool,
        "CREATE TABLE old_events (aggregate_type text NOT NULL, aggregate_id text NOT NULL, sequence bigint NOT NULL, \
         event_type text NOT NULL, event_version text NOT NULL, payload json NOT NULL, metadata json NOT NULL, \
         PRIMARY KEY (aggregate_type, aggregate_id, sequence))",
    )
    .await;
    let permission = json!({ "id": Uuid::from_u128(5), "resource": "audit", "actions": ["read"], "effect": "allow" });
    let role = Uuid::from_u128(0x51);
    for (sequence, event) in (1_i64..).zip([
        json!({ "Created": {
            "key": "reader", "name": "Reader", "description": "", "system": false, "permissions": [],
        } }),
        json!({ "PermissionGranted": { "permission": permission } }),
        json!({ "Assigned": {
            "assignment_id": Uuid::from_u128(6), "principal": format!("key:{}", key.id), "from": "2020-01-01T00:00:00Z",
            "until": null,
        } }),
    ]) {
        sqlx::query("INSERT INTO old_events VALUES ('Role', $1, $2, 'x', '1', $3::json, '{}')")
            .bind(role.to_string())
            .bind(sequence)
            .bind(event.to_string())
            .execute(&source.pool)
            .await
            .unwrap();
    }
    let options = Options {
        source_url: source.url.clone(),
        table: "old_events".to_owned(),
        mapping: Mapping {
            tenant: TenantOf::All(acme),
            time_key: None,
            aggregate_types: BTreeMap::new(),
            event_versions: BTreeMap::new(),
        },
        batch_size: 2,
        dry_run: false,
        facts: sources(),
    };
    let pool = &platform.database.pool;
    let import =
        async || import_postgres_es(pool, &options, &platform.clock.clock(), &|_| Ok(()), &|_, _, _| {}).await.unwrap();
    let report = import().await;
    assert!(report.passed() && report.fact_count == 2, "{report:?}");
    assert!(compared(pool).await.passed());
    eventually(LIMIT, async || (platform.get_at_once(&key.text, &path).await.status == 200).then_some(())).await;
    // As if the first run had been killed before the facts were made.
    run(pool, &format!("DELETE FROM facts WHERE aggregate_id = '{role}'")).await;
    assert_eq!(import().await.fact_count, 2);
    assert!(compared(pool).await.passed());
}

#[tokio::test]
async fn facts_of_an_older_program_are_made_once_however_many_processes_start() {
    let platform = Platform::start().await;
    platform.tenant("acme").await;
    let pool = &platform.database.pool;
    let whole = compared(pool).await;
    migrate(pool).await.unwrap();
    assert_eq!(repair_count(pool).await, 0, "they were right");
    run(pool, "DELETE FROM facts; UPDATE facts_state SET version = 0").await;
    let (one, two, three) = join3(migrate(pool), migrate(pool), migrate(pool)).await;
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!((compared(pool).await, repair_count(pool).await), (whole, 1));
    // The version is not behind, so a start trusts what is there.
    run(pool, "DELETE FROM facts").await;
    migrate(pool).await.unwrap();
    assert!(!compared(pool).await.passed());
}

#[tokio::test]
async fn a_stream_that_cannot_be_read_keeps_its_facts_and_is_named_until_it_can() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let pool = &platform.database.pool;
    let facts = compared(pool).await.fact_count;
    let (owner, viewer) = (Uuid::new_v5(&acme, b"owner"), Uuid::new_v5(&acme, b"viewer"));
    run(
        pool,
        &format!(
            "ALTER TABLE events DISABLE TRIGGER USER; UPDATE events SET payload = '{{}}' WHERE aggregate_id = '{owner}'; \
             ALTER TABLE events ENABLE TRIGGER USER; DELETE FROM facts WHERE aggregate_id = '{viewer}'; \
             UPDATE facts_state SET version = 0"
        ),
    )
    .await;
    migrate(pool).await.unwrap();
    let left = compared(pool).await;
    assert_eq!((left.unreadable_count, left.difference_count, left.fact_count), (1, 0, facts - 1));
    assert_eq!((left.unreadable[0].tenant_id, left.unreadable[0].aggregate_id), (acme, owner));
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM facts").fetch_one(pool).await.unwrap();
    assert_eq!(usize::try_from(kept).unwrap(), facts);
    let version: i32 = sqlx::query_scalar("SELECT version FROM facts_state").fetch_one(pool).await.unwrap();
    assert_eq!(version, 0, "the next start tries again");
}

#[tokio::test]
async fn a_repair_of_some_tenants_leaves_the_others_as_they_are() {
    let platform = Platform::start().await;
    let (acme, globex) = (platform.tenant("acme").await, platform.tenant("globex").await);
    let pool = &platform.database.pool;
    let whole = compared(pool).await;
    run(pool, &format!("DELETE FROM facts WHERE tenant_id IN ('{acme}', '{globex}')")).await;
    let gone = compared(pool).await;
    assert_eq!(gone.tenants, BTreeSet::from([acme, globex]));
    let made = repair(pool, &sources(), Some(&BTreeSet::from([acme]))).await.unwrap();
    assert_eq!(made.tenants, BTreeSet::from([acme]));
    assert_eq!(compared(pool).await.tenants, BTreeSet::from([globex]));
    repair(pool, &sources(), None).await.unwrap();
    assert_eq!(compared(pool).await, whole);
}

#[tokio::test]
async fn a_stream_longer_than_a_page_is_read_whole() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let pool = &platform.database.pool;
    let role = platform.role(acme, "long", &[]).await;
    let path = format!("/v1/tenants/{acme}/roles/{role}");
    platform.done(&format!("{path}/assign"), json!({ "principal": "user:ada" })).await;
    // The longest history of a role that comes and goes, written as an append would.
    run(
        pool,
        &format!(
            "INSERT INTO events (position, tenant_position, event_id, tenant_id, aggregate_id, sequence, occurred_at, \
             event_version, aggregate_type, event_type, payload, metadata, leaf_hash) \
             SELECT l.position + n, t.position + n, gen_random_uuid(), '{acme}', '{role}', 2 + n, now(), 1, 'role', \
             CASE WHEN n % 2 = 1 THEN 'role.parent_added' ELSE 'role.parent_removed' END, \
             json_build_object('parent', '{acme}'), '{{}}', '' \
             FROM log_head l, tenant_heads t, generate_series(1, 2501) AS n WHERE t.tenant_id = '{acme}'; \
             UPDATE log_head SET position = position + 2501; \
             UPDATE tenant_heads SET position = position + 2501 WHERE tenant_id = '{acme}'; \
             UPDATE streams SET sequence = 2503 WHERE aggregate_id = '{role}'"
        ),
    )
    .await;
    let found = compared(pool).await;
    assert_eq!(found.difference_count, 1, "{found:?}");
    let parents = format!("\"parents\":[\"{acme}\"]");
    assert!(found.differences[0].expected.as_ref().unwrap().contains(&parents), "the last event counts: {found:?}");
    repair(pool, &sources(), None).await.unwrap();
    assert!(compared(pool).await.passed());
}

#[test]
fn every_aggregate_that_shows_facts_is_among_their_sources() {
    let listed = sources();
    let shows =
        Command::new("grep").args(["-rl", "Effect::Show {", "domain/src"]).current_dir(workspace()).output().unwrap();
    let files = String::from_utf8(shows.stdout).unwrap();
    let mut showing: Vec<&str> = files.lines().filter_map(|file| file.split('/').nth(2)).collect();
    showing.retain(|context| !context.contains('.'));
    showing.sort_unstable();
    showing.dedup();
    assert!(showing.len() >= 7, "{showing:?}");
    let mut types = listed.aggregate_types();
    types.sort_unstable();
    assert_eq!(types, showing);
}
