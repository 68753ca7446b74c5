//! Reports for auditors and the records of who read what, as a whole process makes them.

use axum::{body::Body, http::Request};
use hub_domain::id::PLATFORM_TENANT;
use hub_tests::kit::eventually;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{Answer, Key, LIMIT, Platform, id_of, with_key};

impl Platform {
    /// Whoever reads what is sensitive is recorded, until this is dropped.
    fn recording_reads(&self) -> DropGuard {
        let end = CancellationToken::new();
        let (reads, records) = self.reads.clone();
        tokio::spawn({
            let end = end.clone();
            async move { reads.run(|draft| records.write(draft), end).await }
        });
        end.drop_guard()
    }

    /// The events of a tenant of this type, as soon as there are so many.
    async fn of_type(&self, tenant_id: Uuid, event_type: &str, count: usize) -> Vec<Value> {
        let path = format!("/v1/tenants/{tenant_id}/events?limit=200&event_type={event_type}");
        eventually(LIMIT, async || {
            let page = self.get(&self.administrator, &path).await.ok();
            let events = page["items"].as_array().unwrap().clone();
            (events.len() >= count).then_some(events)
        })
        .await
    }

    async fn report(&self, key: &str, tenant_id: Uuid, rest: &str) -> (Value, Vec<Value>) {
        let answer = self.get(key, &format!("/v1/tenants/{tenant_id}/audit/reports/{rest}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.headers["content-type"], "application/x-ndjson");
        records(&answer)
    }
}

/// What a report in NDJSON says of itself, and its rows.
fn records(answer: &Answer) -> (Value, Vec<Value>) {
    let text = std::str::from_utf8(&answer.bytes).unwrap();
    let mut records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let head = records.next().unwrap();
    assert_eq!(head["record"], "report");
    let rows: Vec<Value> = records.collect();
    assert!(rows.iter().all(|row| row["record"] == "row"));
    assert_eq!(head["row_count"], rows.len());
    (head, rows)
}

fn principal(key: &Key) -> String {
    format!("key:{}", key.id)
}

fn allowing(resource: &str) -> Value {
    json!({ "resource": resource, "actions": ["read"], "effect": "allow" })
}

#[tokio::test]
async fn an_access_report_says_who_held_what_and_what_it_permitted_then() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let reading = platform.role(acme, "reading", &[allowing("webhook")]).await;
    platform.assign(acme, reading, "user:ada").await;
    let roles = format!("/v1/tenants/{acme}/roles/{reading}");
    platform.done(&format!("{roles}/grant-permission"), allowing("billing")).await;
    platform.done(&format!("{roles}/unassign"), json!({ "principal": "user:ada" })).await;
    let auditor = platform.key(acme, &["auditor"]).await;

    let (head, rows) = platform.report(&auditor.text, acme, "access?principal=user:ada").await;
    assert_eq!((&head["report"], &head["complete"]), (&json!("access"), &json!(true)));
    let said: Vec<Value> = rows
        .iter()
        .map(|row| ["role_key", "source", "end", "permissions"].map(|name| row[name].clone()).into_iter().collect())
        .collect();
    assert_eq!(
        said,
        [
            json!(["reading", "assignment", "permissions_changed", ["webhook:read"]]),
            json!(["reading", "assignment", "taken", ["billing:read", "webhook:read"]]),
        ]
    );
    assert_eq!(rows[0]["held_until_position"], rows[1]["held_from_position"]);
    assert_eq!(rows[1]["given_position"], rows[0]["given_position"]);
    assert!(rows[1]["taken_by"].as_str().unwrap().starts_with("key:"), "{rows:?}");

    // After it was taken, there is nothing to be said of it; before it was given neither.
    let taken = rows[1]["held_until_position"].as_i64().unwrap();
    let later = format!("access?principal=user:ada&from={}", taken + 1);
    assert!(platform.report(&auditor.text, acme, &later).await.1.is_empty());
    let before = format!("access?principal=user:ada&to={}", rows[0]["given_position"].as_i64().unwrap() - 1);
    assert!(platform.report(&auditor.text, acme, &before).await.1.is_empty());
    // A period in which nothing happens still has an end, and whoever held something then is in it.
    let (head, rows) = platform.report(&auditor.text, acme, "access?from=2999-01-01T00:00:00Z").await;
    assert_eq!(head["from"].as_i64(), head["to"].as_i64().map(|to| to + 1));
    let key = rows.iter().find(|row| row["principal"] == principal(&auditor)).unwrap();
    assert_eq!((&key["source"], &key["role_key"], &key["end"]), (&json!("api_key"), &json!("auditor"), &Value::Null));
}

#[tokio::test]
async fn an_activity_report_has_commands_denials_and_what_was_taken_away() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let auditor = platform.key(acme, &["auditor"]).await;
    let admin = platform.key(acme, &["admin"]).await;
    let path = |rest: &str| format!("/v1/tenants/{acme}/{rest}");
    let made = platform.post(&admin.text, &path("roles"), json!({ "key": "mine", "name": "Mine" })).await;
    assert_eq!(made.status, 201, "{made:?}");
    platform.post(&admin.text, &path("archive"), json!({ "reason": "no" })).await.refused(403, "forbidden");
    platform.of_type(acme, "access_record.refused", 1).await;
    let who = principal(&admin);
    platform.report(&admin.text, acme, &format!("activity?principal={who}")).await;
    let (head, rows) = platform.report(&auditor.text, acme, &format!("activity?principal={who}")).await;
    assert_eq!(head["principal"], json!(who));
    let kinds: Vec<(&str, &str)> =
        rows.iter().map(|row| (row["kind"].as_str().unwrap(), row["event_type"].as_str().unwrap())).collect();
    assert_eq!(
        kinds,
        [("command", "role.created"), ("denial", "access_record.refused"), ("report", "disclosure.report_run"),]
    );
    assert_eq!(rows[1]["count"], 1);
}

#[tokio::test]
async fn a_history_has_each_field_before_and_after_and_no_secrets() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    platform.done(&format!("/v1/tenants/{acme}/rename"), json!({ "name": "=Acme SE" })).await;
    let auditor = platform.key(acme, &["auditor"]).await;
    let path = format!("history?aggregate_type=tenant&aggregate_id={acme}");
    let (_, rows) = platform.report(&auditor.text, acme, &path).await;
    let renamed = rows.iter().find(|row| row["event_type"] == "tenant.renamed").unwrap();
    assert_eq!((&renamed["before"], &renamed["after"]), (&json!("acme"), &json!("=Acme SE")), "{renamed}");
    assert_eq!(renamed["payload"], json!({ "name": "=Acme SE" }));
    // A key's own history shows that it has a secret, and not which.
    let path = format!("history?aggregate_type=api_key&aggregate_id={}", auditor.id);
    let (_, rows) = platform.report(&auditor.text, acme, &path).await;
    assert!(!rows.is_empty() && rows.iter().any(|row| row["event_type"] == "api_key.issued"));
    let text = serde_json::to_string(&rows).unwrap();
    let kept: String =
        sqlx::query_scalar("SELECT payload->>'sha256' FROM events WHERE aggregate_id = $1 AND sequence = 1")
            .bind(auditor.id)
            .fetch_one(&platform.database.pool)
            .await
            .unwrap();
    assert!(text.contains("[hidden]") && !text.contains(&kept), "{text}");

    // In a spreadsheet, no cell is a formula, and the statement is the first line below the names.
    let path = format!("/v1/tenants/{acme}/audit/reports/history?aggregate_type=tenant&aggregate_id={acme}");
    let request = with_key(Request::get(&path), &auditor.text).header("accept", "text/csv");
    let csv = platform.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8; header=present");
    let text = String::from_utf8(csv.bytes).unwrap();
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines[0], "record,position,at,by,event_type,sequence,field,before,after,payload,report");
    assert!(lines[1].starts_with("report,,,,,,,,,,\"{\"\"report\"\":\"\"history\"\""), "{}", lines[1]);
    assert!(text.contains(",/profile/name,acme,'=Acme SE,") || text.contains(",/name,acme,'=Acme SE,"), "{text}");
}

#[tokio::test]
async fn an_emergency_report_says_why_who_judged_and_what_was_done_with_it() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let (ada, bob) = (platform.key(acme, &["admin"]).await, platform.key(acme, &["admin"]).await);
    let role = platform.role(acme, "repair", &[]).await;
    let path = |rest: &str| format!("/v1/tenants/{acme}/{rest}");
    let body = json!({ "role_id": role, "reason": "mail is down", "ticket": "OPS-7", "minutes": 30 });
    let opened = platform.post(&ada.text, &path("break-glass"), body).await;
    assert_eq!(opened.status, 201, "{opened:?}");
    let id = id_of(&opened.body());
    let made = platform.post(&ada.text, &path("roles"), json!({ "key": "mine", "name": "Mine" })).await;
    assert_eq!(made.status, 201, "{made:?}");
    let closed = platform.post(&ada.text, &path(&format!("break-glass/{id}/close")), Value::Null).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    let after = platform.post(&ada.text, &path("roles"), json!({ "key": "other", "name": "Other" })).await;
    assert_eq!(after.status, 201, "{after:?}");
    let review = json!({ "verdict": "justified", "remark": "as agreed" });
    let reviewed = platform.post(&bob.text, &path(&format!("break-glass/{id}/review")), review).await;
    assert_eq!(reviewed.status, 200, "{reviewed:?}");
    let (_, rows) = platform.report(&bob.text, acme, "emergency").await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    let row = &rows[0];
    for (name, expected) in [
        ("kind", json!("break_glass")),
        ("principal", json!(principal(&ada))),
        ("reason", json!("mail is down")),
        ("ticket", json!("OPS-7")),
        ("end", json!("closed")),
        ("closed_by", json!(principal(&ada))),
        ("reviewed_by", json!(principal(&bob))),
        ("verdict", json!("justified")),
        ("event_count", json!(1)),
        ("event_types", json!({ "role.created": 1 })),
    ] {
        assert_eq!(row[name], expected, "{name}");
    }
}

#[tokio::test]
async fn each_report_is_an_event_of_the_tenant_before_it_is_answered() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let auditor = platform.key(acme, &["auditor"]).await;
    let path = format!("/v1/tenants/{acme}/audit/reports/access?format=csv");
    let answer = platform.get(&auditor.text, &path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let position: u64 = answer.headers["projection-position"].to_str().unwrap().parse().unwrap();
    let run = platform.of_type(acme, "disclosure.report_run", 1).await.remove(0);
    assert_eq!(run["metadata"]["actor"], json!(principal(&auditor)));
    let payload = &run["payload"];
    assert_eq!(payload["recipient"], json!({"kind": "principal", "principal": principal(&auditor), "home": "tenant"}));
    assert_eq!((&payload["report"], &payload["format"]), (&json!("access"), &json!("csv")));
    assert_eq!(payload["range"], json!({"from": 1, "to": position}));
    assert_eq!(run["position"], json!(position + 1));
    // A report that is refused is none.
    for (rest, status, code) in [
        ("activity", 400, "invalid_query"),
        ("history?aggregate_type=tenant", 400, "invalid_query"),
        ("access?from=yesterday", 400, "invalid_query"),
        ("access?from=9&to=3", 400, "invalid_query"),
        ("access?to=100000", 400, "invalid_query"),
        ("access?shape=round", 400, "invalid_query"),
        ("weather", 400, "invalid_path"),
    ] {
        let path = format!("/v1/tenants/{acme}/audit/reports/{rest}");
        platform.get(&auditor.text, &path).await.refused(status, code);
    }
    let viewer = platform.key(acme, &["viewer"]).await;
    platform.get(&viewer.text, &path).await.refused(403, "forbidden");
    assert_eq!(platform.of_type(acme, "disclosure.report_run", 1).await.len(), 1);
}

#[tokio::test]
async fn who_reads_what_is_sensitive_is_counted_in_the_log_that_was_read() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let auditor = platform.key(acme, &["auditor"]).await;
    let _recording = platform.recording_reads();
    let path = |rest: &str| format!("/v1/tenants/{acme}/{rest}");
    platform.get(&auditor.text, &path("authorization/review")).await.ok();
    platform.get(&auditor.text, &path(&format!("api-keys/{}", auditor.id))).await.ok();
    platform.get(&platform.administrator, &path("audit?q=acme")).await.ok();
    // Neither of these is sensitive.
    platform.get(&auditor.text, &path("webhooks")).await.ok();
    platform.get(&auditor.text, &path("events")).await.ok();
    let records = platform.of_type(acme, "access_record.sensitive_read", 3).await;
    let mut said: Vec<Value> = records
        .iter()
        .map(|record| {
            ["home", "permission", "resource_ids"].map(|name| record["payload"][name].clone()).into_iter().collect()
        })
        .collect();
    said.sort_by_key(Value::to_string);
    assert_eq!(
        said,
        [
            json!(["platform", "audit:read", []]),
            json!(["tenant", "api_key:read", [auditor.id]]),
            json!(["tenant", "authorization:read", []]),
        ]
    );
    // What reads all tenants is the platform's affair.
    platform.get(&platform.administrator, "/v1/audit").await.ok();
    let records = platform.of_type(PLATFORM_TENANT.0, "access_record.sensitive_read", 1).await;
    assert_eq!(records[0]["payload"]["permission"], "audit:read");
}

#[test]
fn every_sensitive_read_is_asked_for_by_a_route() {
    let catalogue = hub::api::catalogue();
    for permission in hub_access::sensitive::SENSITIVE {
        assert!(catalogue.iter().any(|entry| entry.permission == *permission), "{permission}");
    }
}
