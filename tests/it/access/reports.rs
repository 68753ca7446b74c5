//! What auditors take with them: the review of who holds what.

use axum::{body::Body, http::Request};
use hub_domain::id::PLATFORM_TENANT;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Answer, Platform, with_key};

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

    /// Assigns a role of the tenant.
    async fn assign(&self, tenant_id: Uuid, role_id: Uuid, principal: &str) -> Value {
        let path = format!("/v1/tenants/{tenant_id}/roles/{role_id}/assign");
        self.done(&path, json!({ "principal": principal })).await
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
