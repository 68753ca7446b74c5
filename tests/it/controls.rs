//! Each check on a real database: it passes, or has nothing to look at, until one thing is not as demanded, and then names just that.

use std::path::Path;

use chrono::{DateTime, Utc};
use hub_compliance::{Configuration, catalogue, checks::evaluate};
use hub_domain::{
    control_check::{Evaluation, FINDING_COUNT_MAX, Outcome},
    id::PLATFORM_TENANT,
};
use hub_tests::kit::{Database, HubProcess, run_hub};
use sqlx::PgPool;
use uuid::Uuid;

use crate::isolation::insert;

const ACME: Uuid = Uuid::from_u128(0xac);

fn now() -> DateTime<Utc> {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

async fn checked(pool: &PgPool, control_id: &str) -> Evaluation {
    let control = catalogue().control(control_id).unwrap();
    evaluate(pool, control, Uuid::from_u128(1), now()).await.unwrap_or_else(|error| panic!("{control_id}: {error}"))
}

/// `tenant about` of everything that is found.
fn found(evaluation: &Evaluation) -> Vec<String> {
    assert!(evaluation.complete());
    let tenant = |id: Option<Uuid>| id.map_or("platform", |id| if id == ACME { "acme" } else { "another" });
    let findings = evaluation.findings.iter();
    findings.map(|one| format!("{} {}", tenant(one.tenant_id.map(|id| id.0)), one.about)).collect()
}

async fn run(pool: &PgPool, statements: &str) {
    sqlx::raw_sql(statements).execute(pool).await.unwrap_or_else(|error| panic!("{statements}: {error}"));
}

/// A row, whose columns are then set.
async fn row(pool: &PgPool, table: &str, set: &str) {
    let tenant_id = if set.contains("OF PLATFORM") { PLATFORM_TENANT.0 } else { ACME };
    insert(pool, table, tenant_id, 1).await;
    if !set.is_empty() {
        run(pool, &format!("UPDATE {table} SET {}", set.replace("OF PLATFORM", ""))).await;
    }
}

/// An event of a tenant.
async fn event(pool: &PgPool, tenant_id: Uuid, (position, at): (i64, &str), event_type: &str, payload: &str) {
    let (aggregate_type, _) = event_type.split_once('.').unwrap();
    let aggregate_id = Uuid::from_u128(position as u128);
    run(
        pool,
        &format!(
            "INSERT INTO events VALUES ({position}, {position}, '{aggregate_id}', '{tenant_id}', '{aggregate_id}', 1, '{at}', 1, \
             '{aggregate_type}', '{event_type}', '{payload}', '{{}}', '\\x00'); \
             INSERT INTO audit_entries (position, tenant_id, tenant_position, event_id, occurred_at, event_type, aggregate_type, \
             aggregate_id, sequence, actor, command_id, correlation_id, search) VALUES ({position}, '{tenant_id}', {position}, \
             '{aggregate_id}', '{at}', '{event_type}', '{aggregate_type}', '{aggregate_id}', 1, 'x', '{aggregate_id}', \
             '{aggregate_id}', ''); \
             INSERT INTO tenant_heads VALUES ('{tenant_id}', {position}) ON CONFLICT (tenant_id) DO UPDATE SET position = {position}"
        ),
    )
    .await;
}

async fn fact(pool: &PgPool, number: u128, aggregate_type: &str, part: &str, position: i64, fact: &str) {
    let id = Uuid::from_u128(number);
    let statement =
        format!("INSERT INTO facts VALUES ('{ACME}', '{aggregate_type}', '{id}', '{part}', {position}, '{fact}')");
    run(pool, &statement).await;
}

fn grant(principal: &str, role: u128, from: &str) -> String {
    let role_id = Uuid::from_u128(role);
    format!(
        r#"{{"kind":"grant","principal":"{principal}","home":"tenant","role_id":"{role_id}","from":"{from}","until":null,"source":"assignment"}}"#
    )
}

#[tokio::test]
async fn a_platform_on_which_nothing_has_happened_fails_no_control() {
    let database = Database::new().await;
    for control in &catalogue().controls {
        let evaluation = checked(&database.pool, &control.id).await;
        assert_ne!(evaluation.outcome, Outcome::Fail, "{evaluation:?}");
        assert_eq!(evaluation.checked_count == 0, evaluation.outcome == Outcome::NotApplicable);
        assert_eq!((evaluation.sealed, &evaluation.version), (None, &catalogue().version));
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_log_is_found() {
    let database = Database::new().await;
    let pool = &database.pool;
    event(pool, ACME, (1, "2026-05-01T00:00:00Z"), "tenant.registered", "{}").await;
    event(pool, ACME, (2, "2026-06-01T11:59:30Z"), "tenant.renamed", "{}").await;
    assert_eq!(found(&checked(pool, "log-sealed-in-time").await), ["acme log"]);
    row(pool, "sealed_trees", "size = 1, root = '\\x01'").await;
    assert_eq!(checked(pool, "log-sealed-in-time").await.outcome, Outcome::Pass, "the rest is not old enough");

    assert_eq!(found(&checked(pool, "self-check-on-time").await), ["platform self_check"]);
    assert_eq!(checked(pool, "self-check-clean").await.outcome, Outcome::NotApplicable);
    let clean = r#"{"scope":"full","log_count":1,"event_count":2,"finding_count":0,"findings":[]}"#;
    event(pool, PLATFORM_TENANT.0, (3, "2026-06-01T02:00:00Z"), "self_check.completed", clean).await;
    for control_id in ["self-check-on-time", "self-check-clean"] {
        assert_eq!(checked(pool, control_id).await.outcome, Outcome::Pass, "{control_id}");
    }
    let damaged = format!(
        r#"{{"scope":"sample","finding_count":1,"findings":[{{"tenant_id":"{ACME}","position":2,"what":"the event is missing"}}]}}"#
    );
    for position in [4, 5] {
        event(pool, PLATFORM_TENANT.0, (position, "2026-06-01T03:00:00Z"), "self_check.completed", &damaged).await;
    }
    let evaluation = checked(pool, "self-check-clean").await;
    assert_eq!(
        (found(&evaluation), &*evaluation.findings[0].what),
        (vec!["acme event/2".to_owned()], "the event is missing")
    );

    run(pool, "ALTER TABLE events DISABLE TRIGGER USER").await;
    assert_eq!(found(&checked(pool, "log-append-only").await), ["platform table/events"]);
    run(pool, "ALTER TABLE events ENABLE TRIGGER USER; ALTER TABLE webhooks NO FORCE ROW LEVEL SECURITY").await;
    assert_eq!(checked(pool, "log-append-only").await.outcome, Outcome::Pass);
    assert_eq!(found(&checked(pool, "tenants-kept-apart").await), ["platform table/webhooks"]);
    run(pool, "GRANT UPDATE ON webhooks TO hub_query").await;
    assert_eq!(found(&checked(pool, "query-roles-bounded").await), ["platform role/hub_query"]);

    let keys = "INSERT INTO evidence_keys VALUES ('hub+0011+AA', '2025-05-01', NULL), ('hub+0022+BB', '2024-01-01', '2025-05-02'), \
                ('hub+0033+CC', '2026-05-01', NULL)";
    run(pool, keys).await;
    assert_eq!(found(&checked(pool, "evidence-key-rotated").await), ["platform evidence_key/hub+0011"]);
}

#[tokio::test]
async fn what_processes_are_configured_with_is_held_to_the_controls() {
    let database = Database::new().await;
    let pool = &database.pool;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret.key");
    std::fs::write(&file, "key").unwrap();
    let with = |listen: &str, tls: bool, metrics: &str, key: bool| Configuration {
        listen: listen.parse().unwrap(),
        tls,
        metrics_listen: metrics.parse().unwrap(),
        key_files: key.then(|| ("secret_key_file", file.clone())).into_iter().collect(),
    };
    for (number, configuration) in [
        with("127.0.0.1:8080", false, "10.0.0.1:9090", false),
        with("0.0.0.0:8443", true, "127.0.0.1:9090", false),
        with("0.0.0.0:8080", false, "0.0.0.0:9090", true),
    ]
    .into_iter()
    .enumerate()
    {
        configuration.tell(pool, Uuid::from_u128(number as u128), now()).await.unwrap();
    }
    assert_eq!(found(&checked(pool, "traffic-encrypted").await), ["platform listener/0.0.0.0:8080"]);
    assert_eq!(found(&checked(pool, "metrics-not-public").await), ["platform metrics/0.0.0.0:9090"]);
    let key = "platform key_file/secret_key_file@0.0.0.0:8080";
    assert_eq!(found(&checked(pool, "key-files-private").await), [key]);
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, private).unwrap();
    with("0.0.0.0:8080", true, "127.0.0.1:9090", true).tell(pool, Uuid::from_u128(2), now()).await.unwrap();
    for control_id in ["traffic-encrypted", "metrics-not-public", "key-files-private"] {
        assert_eq!(checked(pool, control_id).await.outcome, Outcome::Pass, "{control_id}");
    }
    run(pool, "UPDATE process_configurations SET seen_at = seen_at - interval '6 minutes'").await;
    assert_eq!(checked(pool, "traffic-encrypted").await.outcome, Outcome::NotApplicable, "they are gone");
}

#[tokio::test]
async fn access_that_is_not_as_demanded_is_found() {
    let database = Database::new().await;
    let pool = &database.pool;
    row(
        pool,
        "break_glasses",
        "id = '00000000-0000-0000-0000-000000000001', status = 'unreviewed', updated_at = '2026-05-24'",
    )
    .await;
    let first = "00000000-0000-0000-0000-000000000001";
    assert_eq!(found(&checked(pool, "emergency-access-reviewed").await), [format!("acme break_glass/{first}")]);
    run(pool, "UPDATE break_glasses SET status = 'open', granted_until = '2026-06-01T11:58:00Z'").await;
    assert_eq!(checked(pool, "temporary-access-ends").await.outcome, Outcome::Pass, "it has some time");
    row(
        pool,
        "support_accesses",
        "id = '00000000-0000-0000-0000-000000000001', status = 'granted', granted_until = '2026-06-01T11:00:00Z'",
    )
    .await;
    row(pool, "access_requests", "status = 'approved', granted_until = '2026-06-02'").await;
    assert_eq!(found(&checked(pool, "temporary-access-ends").await), [format!("acme support_access/{first}")]);

    let key = "id = '00000000-0000-0000-0000-000000000001', status = 'valid', secret_id = 'one'";
    row(pool, "api_keys", &format!("{key}, issued_at = '2025-05-01'")).await;
    for control_id in ["api-keys-expire", "api-keys-used", "api-keys-rotated"] {
        assert_eq!(found(&checked(pool, control_id).await), [format!("acme api_key/{first}")], "{control_id}");
    }
    row(pool, "api_key_uses", "secret_id = 'one', last_used_at = '2026-05-20'").await;
    run(pool, "UPDATE api_keys SET expires_at = '2026-07-01', rotated_at = '2026-05-01'").await;
    for control_id in ["api-keys-expire", "api-keys-used", "api-keys-rotated"] {
        assert_eq!(checked(pool, control_id).await.outcome, Outcome::Pass, "{control_id}");
    }
    run(pool, "UPDATE api_keys SET status = 'revoked'").await;
    assert_eq!(checked(pool, "api-keys-used").await.outcome, Outcome::NotApplicable);
}

#[tokio::test]
async fn grants_that_should_not_be_are_found() {
    let database = Database::new().await;
    let pool = &database.pool;
    event(pool, ACME, (1, "2026-06-01T10:00:00Z"), "principal.ended", "{}").await;
    let owner = r#"{"kind":"role","key":"owner","system":true,"permissions":[],"parents":[]}"#;
    let other = r#"{"kind":"role","key":"other","system":false,"permissions":[],"parents":[]}"#;
    fact(pool, 10, "role", "role", 1, owner).await;
    fact(pool, 11, "role", "role", 1, other).await;
    fact(pool, 10, "role", "grant/1", 1, &grant("user:ada", 10, "2026-01-01T00:00:00Z")).await;
    row(pool, "tenants", "status = 'active'").await;
    assert_eq!(found(&checked(pool, "owners-doubled").await), ["acme role/owner"]);
    fact(pool, 10, "role", "grant/2", 1, &grant("user:bob", 10, "2026-05-31T00:00:00Z")).await;
    assert_eq!(checked(pool, "owners-doubled").await.outcome, Outcome::Pass);

    // Uses are written down for too short a time to say anything.
    run(pool, "UPDATE permission_uses_begin SET recorded_since = '2026-05-01'").await;
    assert_eq!(checked(pool, "grants-used").await.outcome, Outcome::NotApplicable);
    run(pool, "UPDATE permission_uses_begin SET recorded_since = '2025-05-01'").await;
    let grant_of_ada = format!("acme role/{}/grant/1", Uuid::from_u128(10));
    assert_eq!(found(&checked(pool, "grants-used").await), [grant_of_ada], "what is new has time to be used");
    row(pool, "permission_uses", "home = 'tenant', principal = 'user:ada', last_used_at = '2026-05-30'").await;
    assert_eq!(checked(pool, "grants-used").await.outcome, Outcome::Pass);

    let roles = [10, 11].map(|role| format!("\"{}\"", Uuid::from_u128(role))).join(",");
    let set = format!(r#"{{"kind":"duty_set","key":"payments","roles":[{roles}],"held_max":1}}"#);
    fact(pool, 20, "duty_set", "set", 1, &set).await;
    assert_eq!(checked(pool, "duties-separated").await.outcome, Outcome::Pass);
    fact(pool, 11, "role", "grant/3", 1, &grant("user:ada", 11, "2026-05-31T00:00:00Z")).await;
    assert_eq!(found(&checked(pool, "duties-separated").await), ["acme duty_set/payments"]);

    fact(pool, 30, "principal", "ended", 1, r#"{"kind":"ended","principal":"user:eve"}"#).await;
    assert_eq!(checked(pool, "leavers-hold-nothing").await.outcome, Outcome::Pass);
    fact(pool, 11, "role", "grant/4", 1, &grant("user:eve", 11, "2026-05-31T00:00:00Z")).await;
    let eve = format!("acme principal/{}", Uuid::from_u128(30));
    assert_eq!(found(&checked(pool, "leavers-hold-nothing").await), [eve]);
}

#[tokio::test]
async fn refusals_that_stand_out_are_found() {
    let database = Database::new().await;
    let pool = &database.pool;
    let failed = |count: u32| format!(r#"{{"reason":"unknown_key","seen":{{"count":{count}}}}}"#);
    event(pool, ACME, (1, "2026-05-30T00:00:00Z"), "access_record.login_failed", &failed(5_000)).await;
    event(pool, ACME, (2, "2026-06-01T00:00:00Z"), "access_record.login_failed", &failed(999)).await;
    assert_eq!(checked(pool, "failed-logins-bounded").await.outcome, Outcome::Pass);
    event(pool, ACME, (3, "2026-06-01T01:00:00Z"), "access_record.login_failed", &failed(2)).await;
    assert_eq!(found(&checked(pool, "failed-logins-bounded").await), ["acme logins"]);
    let refused = |reason: &str| format!(r#"{{"reason":"{reason}","seen":{{"count":3}}}}"#);
    event(pool, ACME, (4, "2026-06-01T02:00:00Z"), "access_record.refused", &refused("no_role")).await;
    assert_eq!(checked(pool, "decisions-without-errors").await.outcome, Outcome::Pass);
    event(pool, ACME, (5, "2026-06-01T03:00:00Z"), "access_record.refused", &refused("error")).await;
    assert_eq!(found(&checked(pool, "decisions-without-errors").await), ["acme decisions"]);
}

#[tokio::test]
async fn work_that_is_left_undone_is_found() {
    let database = Database::new().await;
    let pool = &database.pool;
    event(pool, ACME, (1, "2026-06-01T11:00:00Z"), "tenant.registered", "{}").await;
    let checkpoint = "INSERT INTO projection_checkpoints (projection, version, position, epoch, status, updated_at) \
                      VALUES ('webhooks', 1, 0, 1, 'running', now())";
    run(pool, checkpoint).await;
    assert_eq!(found(&checked(pool, "read-models-current").await), ["platform projection/webhooks"]);
    assert_eq!(found(&checked(pool, "log-published").await), ["platform relay"]);
    assert_eq!(checked(pool, "events-not-parked").await.outcome, Outcome::Pass);
    row(pool, "parked_events", "projection = 'webhooks'").await;
    assert_eq!(found(&checked(pool, "events-not-parked").await), ["platform projection/webhooks"]);
    run(pool, "UPDATE projection_checkpoints SET position = 1; UPDATE relay_cursor SET position = 1").await;
    for control_id in ["read-models-current", "log-published"] {
        assert_eq!(checked(pool, control_id).await.outcome, Outcome::Pass, "{control_id}");
    }

    let first = "00000000-0000-0000-0000-000000000001";
    row(
        pool,
        "scheduler_due",
        &format!("aggregate_type = 'role', aggregate_id = '{first}', due_at = '2026-06-01T11:00:00Z'"),
    )
    .await;
    assert_eq!(found(&checked(pool, "due-work-done").await), [format!("acme role/{first}")]);
    run(pool, "UPDATE scheduler_due SET due_at = '2026-06-01T11:58:00Z'").await;
    assert_eq!(checked(pool, "due-work-done").await.outcome, Outcome::Pass);

    let open = format!(
        "id = '{first}', severity = 'high', status = 'acknowledged', opened_at = '2026-04-01', concerned_tenant_id = '{ACME}'"
    );
    row(pool, "findings", &open).await;
    assert_eq!(found(&checked(pool, "findings-remediated").await), [format!("acme finding/{first}")]);
    run(pool, "UPDATE findings SET reopened_at = '2026-05-30'").await;
    assert_eq!(checked(pool, "findings-remediated").await.outcome, Outcome::Pass);

    row(pool, "webhooks", &format!("id = '{first}', url = 'http://hooks.acme.example/'")).await;
    row(pool, "identity_providers", "jwks_uri = 'https://id.acme.example/keys'").await;
    assert_eq!(found(&checked(pool, "outbound-encrypted").await), [format!("acme webhook/{first}")]);
}

#[tokio::test]
async fn findings_are_counted_in_full_and_listed_up_to_a_bound() {
    let database = Database::new().await;
    let many = FINDING_COUNT_MAX + 5;
    let rows = format!(
        "INSERT INTO scheduler_due SELECT '{ACME}', 'role', gen_random_uuid(), '2026-01-01', '2026-01-01' FROM generate_series(1, {many})"
    );
    run(&database.pool, &rows).await;
    let evaluation = checked(&database.pool, "due-work-done").await;
    assert_eq!((evaluation.finding_count, evaluation.findings.len()), (many as u64, FINDING_COUNT_MAX));
    assert!(!evaluation.complete());
}

#[tokio::test]
async fn the_verb_has_the_platform_that_runs_check_itself() {
    let hub = HubProcess::start().await;
    let directory = hub.directory();
    let arguments = ["compliance", "run", "--reason", "a test", "--directory", directory.to_str().unwrap()];
    let outcome = run_hub(Path::new("/"), &arguments, &[]).await;
    assert_eq!(outcome.code, Some(1), "the administrator's key has no end: {outcome:?}");
    assert!(outcome.stdout.contains("FAIL  api-keys-expire "), "{outcome:?}");
    for control_id in ["key-files-private", "log-append-only", "metrics-not-public", "traffic-encrypted"] {
        assert!(outcome.stdout.contains(&format!("pass  {control_id} ")), "{control_id}: {outcome:?}");
    }
    assert!(outcome.stdout.contains("not a certification"), "{outcome:?}");
}
