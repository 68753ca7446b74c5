//! What auditors take with them: who holds what, and what nobody uses.

use axum::{body::Body, http::Request};
use chrono::TimeDelta;
use hub_domain::id::PLATFORM_TENANT;
use hub_tests::kit::eventually;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Answer, LIMIT, Platform, with_key};

/// The lines of an answer in CSV, each as its cells. What is written here needs no quotes.
fn table(answer: &Answer) -> Vec<Vec<String>> {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8; header=present");
    let text = std::str::from_utf8(&answer.bytes).unwrap();
    assert!(text.ends_with("\r\n") && !text.contains('"'), "{text}");
    text.trim_end().split("\r\n").map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

impl Platform {
    /// As a spreadsheet asks.
    async fn csv(&self, key: &str, path: &str) -> Answer {
        let request = with_key(Request::get(path), key).header("consistency-token", self.seen());
        self.send(request.header("accept", "text/csv").body(Body::empty()).unwrap()).await
    }

    /// Writes what was noted, as a process does when it ends.
    async fn write_uses(&self) {
        let ended = CancellationToken::new();
        ended.cancel();
        self.uses.clone().run(self.clock.clock(), ended).await;
    }

    /// A use that was written by somebody.
    async fn used(&self, tenant_id: Uuid, home: &str, principal: &str, permission: &str, days_ago: i64) {
        sqlx::query("INSERT INTO permission_uses VALUES ($1, $2, $3, $4, $5)")
            .bind(tenant_id)
            .bind(home)
            .bind(principal)
            .bind(permission)
            .bind(self.clock.now() - TimeDelta::days(days_ago))
            .execute(&self.database.pool)
            .await
            .unwrap();
    }

    async fn unused_grants(&self, tenant_id: Uuid, days: u16) -> Value {
        let path = format!("/v1/tenants/{tenant_id}/authorization/unused-grants?days={days}");
        self.get(&self.administrator, &path).await.ok()
    }
}

/// What stands in a column of a report in JSON and of its line in CSV.
fn shown(report: &Value, row: &Value, column: &str) -> String {
    match row.get(column).unwrap_or(&report[column]) {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Fails unless the lines of the table say what the rows of the report say, column by column.
#[track_caller]
fn same(table: &[Vec<String>], report: &Value, rows: &str) {
    let (columns, lines) = table.split_first().unwrap();
    let rows = report[rows].as_array().unwrap();
    assert_eq!(lines.len(), rows.len());
    for (line, row) in lines.iter().zip(rows) {
        let expected: Vec<_> = columns.iter().map(|column| shown(report, row, column)).collect();
        assert_eq!(line, &expected);
        assert!(row.as_object().unwrap().keys().all(|name| columns.contains(name)), "a column is missing: {row}");
    }
}

#[tokio::test]
async fn an_access_review_is_answered_as_json_and_to_spreadsheets_as_csv() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let reading = platform.role(acme, "reading", &[]).await;
    platform.assign(acme, reading, "user:ada").await;
    let auditor = platform.key(acme, &["auditor"]).await;
    let path = format!("/v1/tenants/{acme}/authorization/review");
    let answer = platform.get(&auditor.text, &path).await;
    let report = answer.ok();
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["projection-position"].to_str().unwrap(), report["position"].to_string());
    assert_eq!(report["made_at"], json!(platform.clock.now()));
    let csv = platform.csv(&auditor.text, &path).await;
    same(&table(&csv), &report, "grants");
    let file = format!("attachment; filename=\"access-review-{acme}-{}.csv\"", report["position"]);
    assert_eq!(csv.headers["content-disposition"], file);
    assert_eq!(csv.headers["projection-position"], answer.headers["projection-position"]);
    let (header, lines) = (&table(&csv)[0], &table(&csv)[1..]);
    assert_eq!(
        header.join(","),
        "principal,home,role_id,role_key,source,granted_by_id,from,until,position,made_at,complete"
    );
    let of = |principal: &str| lines.iter().filter(|line| line[0] == principal).collect::<Vec<_>>();
    let ada = of("user:ada");
    assert_eq!((ada.len(), &*ada[0][2], &*ada[0][3], &*ada[0][4]), (1, &*reading.to_string(), "reading", "assignment"));
    assert_eq!(of(&format!("key:{}", auditor.id))[0][3..5], ["auditor", "api_key"]);
    // A role that is granted a moment later is in a later review.
    platform.assign(acme, reading, "user:bob").await;
    let later = table(&platform.csv(&auditor.text, &path).await);
    assert_eq!(later.len(), lines.len() + 2);
    assert!(later[1][8].parse::<i64>().unwrap() > lines[0][8].parse().unwrap());
}

#[tokio::test]
async fn who_may_not_see_a_review_is_answered_a_problem_whatever_he_accepts() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let viewer = platform.key(acme, &["viewer"]).await;
    let path = format!("/v1/tenants/{acme}/authorization/review");
    let answer = platform.csv(&viewer.text, &path).await;
    answer.refused(403, "forbidden");
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let platforms = format!("/v1/tenants/{}/authorization/review", PLATFORM_TENANT.0);
    platform.csv(&viewer.text, &platforms).await.refused(404, "not_found");
    assert_eq!(table(&platform.csv(&platform.administrator, &platforms).await).len(), 2);
}

/// Of the grant of a role to a principal: its permissions, those used, and when.
fn of_grant(report: &Value, principal: &str, role_key: &str) -> (u64, u64, Value) {
    let grants = report["grants"].as_array().unwrap();
    let mut found = grants.iter().filter(|grant| grant["principal"] == principal && grant["role_key"] == role_key);
    let grant = found.next().unwrap_or_else(|| panic!("no {role_key} of {principal} in {report}"));
    assert!(found.next().is_none(), "{report}");
    let number = |name: &str| grant[name].as_u64().unwrap();
    (number("permission_count"), number("used_permission_count"), grant["last_used_at"].clone())
}

fn allow(resource: &str, action: &str) -> Value {
    json!({ "resource": resource, "actions": [action], "effect": "allow" })
}

#[tokio::test]
async fn grants_that_nobody_uses_come_first_and_used_ones_say_how_much_of_them_was_used_when() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let hooks = platform.role(acme, "hooks", &[allow("webhook", "read"), allow("webhook", "register")]).await;
    let instances = platform.role(acme, "instances", &[allow("service_instance", "read")]).await;
    let add_parent = format!("/v1/tenants/{acme}/roles/{hooks}/add-parent");
    platform.done(&add_parent, json!({ "parent_id": instances })).await;
    platform.assign(acme, hooks, "user:ada").await;
    let (busy, idle) =
        (platform.key(acme, &[&hooks.to_string()]).await, platform.key(acme, &[&hooks.to_string()]).await);
    let (busy_name, idle_name) = (format!("key:{}", busy.id), format!("key:{}", idle.id));
    let path = |rest: &str| format!("/v1/tenants/{acme}/{rest}");
    // A list, and a command that the gate lets through and its handler refuses.
    platform.get(&busy.text, &path("webhooks")).await.ok();
    platform.post(&busy.text, &path("webhooks"), json!({})).await.refused(422, "invalid_body");
    // None of these is a use of what the role permits.
    platform.get(&busy.text, &path("me")).await.ok();
    platform.get(&busy.text, &path("audit")).await.refused(403, "forbidden");
    let question = json!({ "checks": [{ "permission": "webhook:read", "principal": "user:ada" }] });
    platform.post(&platform.administrator, &path("authorization/check"), question).await.ok();
    let noted_at = platform.clock.now();
    assert_eq!(of_grant(&platform.unused_grants(acme, 90).await, &busy_name, "hooks"), (3, 0, Value::Null));
    platform.write_uses().await;
    let report = platform.unused_grants(acme, 90).await;
    assert_eq!(of_grant(&report, &busy_name, "hooks"), (3, 2, json!(noted_at)));
    for never in ["user:ada", &idle_name] {
        assert_eq!(of_grant(&report, never, "hooks"), (3, 0, Value::Null));
    }
    assert_eq!(report["complete"], json!(true));
    platform.clock.advance(TimeDelta::days(30));
    platform.get(&idle.text, &path("service-instances")).await.ok();
    platform.clock.advance(TimeDelta::days(61));
    platform.write_uses().await;
    let report = platform.unused_grants(acme, 90).await;
    assert_eq!(of_grant(&report, &busy_name, "hooks"), (3, 0, json!(noted_at)), "that was 91 days ago");
    assert_eq!(of_grant(&report, &idle_name, "hooks"), (3, 1, json!(noted_at + TimeDelta::days(30))));
    assert_eq!(of_grant(&platform.unused_grants(acme, 91).await, &busy_name, "hooks").1, 2);
    let order: Vec<_> = report["grants"].as_array().unwrap().iter().map(|grant| grant["principal"].clone()).collect();
    assert_eq!(order, [json!("user:ada"), json!(busy_name), json!(idle_name)]);
}

#[tokio::test]
async fn only_grants_that_hold_now_are_reported() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let hooks = platform.role(acme, "hooks", &[allow("webhook", "read")]).await;
    let (assign, now) = (format!("/v1/tenants/{acme}/roles/{hooks}/assign"), platform.clock.now());
    for (name, from, until) in [("early", 2, 3), ("held", 0, 4), ("over", 0, 1)] {
        let (from, until) = (now + TimeDelta::hours(from), now + TimeDelta::hours(until));
        let body = json!({ "principal": format!("user:{name}"), "from": from, "until": until });
        platform.done(&assign, body).await;
    }
    platform.clock.advance(TimeDelta::minutes(90));
    let report = platform.unused_grants(acme, 1).await;
    let principals: Vec<_> = report["grants"].as_array().unwrap().iter().map(|grant| &grant["principal"]).collect();
    assert_eq!(principals, ["user:held"]);
}

#[tokio::test]
async fn what_a_namesake_of_another_home_or_tenant_has_used_does_not_count() {
    let platform = Platform::start().await;
    let (acme, other) = (platform.tenant("acme").await, platform.tenant("other").await);
    for tenant in [acme, other] {
        let hooks = platform.role(tenant, "hooks", &[allow("webhook", "read")]).await;
        platform.assign(tenant, hooks, "user:ada").await;
    }
    platform.used(other, "tenant", "user:ada", "webhook:read", 1).await;
    platform.used(acme, "platform", "user:ada", "webhook:read", 1).await;
    platform.used(acme, "tenant", "user:bob", "webhook:read", 1).await;
    platform.used(acme, "tenant", "user:ada", "webhook:delete", 1).await;
    assert_eq!(of_grant(&platform.unused_grants(acme, 90).await, "user:ada", "hooks"), (1, 0, Value::Null));
    assert_eq!(of_grant(&platform.unused_grants(other, 90).await, "user:ada", "hooks").1, 1);
}

#[tokio::test]
async fn the_grants_of_the_platform_are_used_in_every_tenant() {
    let platform = Platform::start().await;
    let (acme, other) = (platform.tenant("acme").await, platform.tenant("other").await);
    platform.clock.advance(TimeDelta::minutes(2));
    for tenant in [acme, other] {
        platform.get(&platform.administrator, &format!("/v1/tenants/{tenant}/audit")).await.ok();
    }
    platform.write_uses().await;
    let report = platform.unused_grants(PLATFORM_TENANT.0, 1).await;
    let grants = report["grants"].as_array().unwrap();
    assert_eq!((grants.len(), &grants[0]["last_used_at"]), (1, &json!(platform.clock.now())), "{report}");
    // To register, to activate, to read audits; each once, in however many tenants.
    assert_eq!(grants[0]["used_permission_count"], 3, "{report}");
}

#[tokio::test]
async fn a_report_says_since_when_uses_are_recorded_and_older_ones_are_forgotten() {
    let platform = Platform::start().await;
    let (acme, now) = (platform.tenant("acme").await, platform.clock.now());
    let hooks = platform.role(acme, "hooks", &[allow("webhook", "read")]).await;
    for (principal, days_ago) in [("user:ada", 399), ("user:bob", 401)] {
        platform.assign(acme, hooks, principal).await;
        platform.used(acme, "tenant", principal, "webhook:read", days_ago).await;
    }
    let report = platform.unused_grants(acme, 400).await;
    assert_eq!(of_grant(&report, "user:bob", "hooks"), (1, 0, json!(now - TimeDelta::days(401))));
    for (begun, recorded) in [(30, 30), (500, 400)] {
        let begun = now - TimeDelta::days(begun);
        let update = sqlx::query("UPDATE permission_uses_begin SET recorded_since = $1").bind(begun);
        update.execute(&platform.database.pool).await.unwrap();
        let report = platform.unused_grants(acme, 400).await;
        assert_eq!(report["recorded_since"], json!(now - TimeDelta::days(recorded)));
    }
    let end = CancellationToken::new();
    tokio::spawn(platform.uses.clone().run(platform.clock.clock(), end.clone()));
    let _end = end.drop_guard();
    let forgotten = eventually(LIMIT, async || {
        let report = platform.unused_grants(acme, 400).await;
        (of_grant(&report, "user:bob", "hooks") == (1, 0, Value::Null)).then_some(report)
    });
    assert_eq!(of_grant(&forgotten.await, "user:ada", "hooks"), (1, 1, json!(now - TimeDelta::days(399))));
}

#[tokio::test]
async fn unused_grants_are_a_file_too_and_the_days_have_bounds() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let hooks = platform.role(acme, "hooks", &[allow("webhook", "read")]).await;
    for (principal, days_ago) in [("user:ada", 3), ("user:bob", 2)] {
        platform.assign(acme, hooks, principal).await;
        platform.used(acme, "tenant", principal, "webhook:read", days_ago).await;
    }
    platform.assign(acme, hooks, "user:eve").await;
    let path = format!("/v1/tenants/{acme}/authorization/unused-grants");
    let report = platform.get(&platform.administrator, &path).await.ok();
    assert_eq!(report["days"], 90);
    let csv = platform.csv(&platform.administrator, &path).await;
    same(&table(&csv), &report, "grants");
    let principals: Vec<_> = table(&csv)[1..].iter().map(|line| line[0].clone()).collect();
    assert_eq!(principals, ["user:eve", "user:ada", "user:bob"]);
    let file = csv.headers["content-disposition"].to_str().unwrap();
    assert!(file.starts_with("attachment; filename=\"unused-grants-"), "{file}");
    for days in ["1", "400"] {
        platform.get(&platform.administrator, &format!("{path}?days={days}")).await.ok();
    }
    for days in ["0", "401", "-1", "x", "70000", ""] {
        let answer = platform.get(&platform.administrator, &format!("{path}?days={days}")).await;
        answer.refused(400, "invalid_query");
        assert_eq!(answer.body()["parameter"], "days", "{answer:?}");
    }
    let viewer = platform.key(acme, &["viewer"]).await;
    platform.get(&viewer.text, &path).await.refused(403, "forbidden");
}
