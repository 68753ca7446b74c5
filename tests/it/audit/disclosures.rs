//! What the verbs hand over stands in the log first, or is not handed over.

use std::fs;

use hub_tests::kit::run_hub;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Office, TENANT};

/// What was written down of disclosures, in order.
async fn disclosed(office: &Office) -> Vec<(String, Value)> {
    let query = "SELECT event_type, payload::jsonb FROM events WHERE aggregate_type = 'disclosure' AND tenant_id = $1 ORDER BY position";
    sqlx::query_as::<_, (String, sqlx::types::Json<Value>)>(query)
        .bind(TENANT)
        .fetch_all(&office.database.pool)
        .await
        .unwrap()
        .into_iter()
        .map(|(event_type, sqlx::types::Json(payload))| (event_type, payload))
        .collect()
}

#[tokio::test]
async fn what_is_handed_over_is_recorded_first() {
    let office = Office::open().await;
    let database = [("DATABASE_URL", &*office.database.url)];
    let run = async |arguments: &[&str]| {
        let done = run_hub(office.desk.path(), arguments, &database).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        done.stdout
    };
    let tenant = TENANT.to_string();
    run(&["audit", "export", "--tenant", &tenant, "--to", "10", "--output", "bundle"]).await;
    run(&["audit", "prove", "--tenant", &tenant, "--position", "7", "--output", "seven"]).await;
    let lines = run(&["events", "export", "--tenant", &tenant]).await;
    assert_eq!(lines.lines().count(), 14, "its own record comes behind what is exported");
    run(&["events", "export", "--type", "letter.*", "--output", "letters"]).await;
    let aggregate = Uuid::from_u128(10).to_string();
    let arguments =
        ["audit", "report", "history", "--tenant", &tenant, "--aggregate-type", "letter", "--aggregate-id", &aggregate];
    let said = run(&[&arguments[..], &["--format", "ndjson", "--output", "history.ndjson"]].concat()).await;
    assert_eq!(said, "6 rows, of the events 1 to 16 of 16, are in history.ndjson\n");
    let said = run(&["audit", "report", "activity", "--tenant", &tenant, "--principal", "operator:cli"]).await;
    assert_eq!(said.lines().filter(|line| line.starts_with("row,")).count(), 5, "{said}");

    let records = disclosed(&office).await;
    let kinds: Vec<_> = records
        .iter()
        .map(|(event_type, payload)| (&**event_type, payload["form"].as_str().or(payload["report"].as_str()).unwrap()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("disclosure.exported", "bundle"),
            ("disclosure.exported", "proof"),
            ("disclosure.exported", "events"),
            ("disclosure.exported", "events"),
            ("disclosure.report_run", "history"),
            ("disclosure.report_run", "activity"),
        ]
    );
    let bundle = &records[0].1;
    assert_eq!((&bundle["range"], &bundle["entry_count"]), (&json!({"from": 1, "to": 10}), &json!(10)));
    assert_eq!(bundle["checkpoint"]["size"], 12);
    assert_eq!(bundle["recipient"]["kind"], "operator");
    assert!(bundle["recipient"]["database_login"].as_str().is_some_and(|login| !login.is_empty()));
    assert_eq!((&records[2].1["range"], &records[2].1["entry_count"]), (&json!({"from": 1, "to": 14}), &json!(14)));
    let narrowed = &records[3].1;
    assert_eq!((&narrowed["tenant_id"], &narrowed["filter"]["event_type"]), (&Value::Null, &json!("letter.*")));
    // The same file is not written twice, and then nothing has left either.
    let again =
        run_hub(office.desk.path(), &[&arguments[..], &["--output", "history.ndjson"]].concat(), &database).await;
    assert_eq!((again.code, &*again.stderr), (Some(1), "hub: history.ndjson is there already\n"));
    assert_eq!(disclosed(&office).await.len(), 6);
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_handed_over() {
    let office = Office::open().await;
    for statement in [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the log is closed'; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()",
    ] {
        sqlx::query(statement).execute(&office.database.pool).await.unwrap();
    }
    let tenant = TENANT.to_string();
    let database = [("DATABASE_URL", &*office.database.url)];
    for (arguments, left) in [
        (&["audit", "export", "--tenant", &tenant, "--output", "bundle"][..], Some("bundle/manifest.json")),
        (&["audit", "prove", "--tenant", &tenant, "--position", "7", "--output", "seven"], Some("seven")),
        (&["events", "export", "--tenant", &tenant, "--output", "lines"], Some("lines")),
        (&["events", "export"], None),
        (&["audit", "report", "access", "--tenant", &tenant, "--output", "report"], Some("report")),
        (&["audit", "report", "access", "--tenant", &tenant], None),
    ] {
        let done = run_hub(office.desk.path(), arguments, &database).await;
        assert_eq!((done.code, &*done.stdout), (Some(1), ""), "{arguments:?}: {done:?}");
        assert!(done.stderr.contains("\nhub: nothing is handed over, because that cannot be recorded"), "{done:?}");
        assert!(left.is_none_or(|left| !office.place(left).exists()), "{arguments:?}");
    }
    let entries = fs::read_dir(office.place("bundle").join("entries")).map_or(0, Iterator::count);
    assert_eq!(entries, 0, "no entry has left");
}
