//! When a key was last used, and for what: noted by the gate, written by the program, shown in lists and reports.

use std::time::Duration;

use hub_tests::kit::{HubProcess, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

/// The platform's own tenant, where the administrator's key is.
const PLATFORM: &str = "/v1/tenants/00000000-0000-0000-0000-000000000001";

async fn keys(hub: &HubProcess) -> Value {
    let request = reqwest::Client::new().get(format!("{}{PLATFORM}/api-keys", hub.url())).bearer_auth(hub.admin_key());
    request.send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn the_use_of_a_key_is_shown_after_some_seconds_and_written_when_the_program_ends() {
    let mut hub = HubProcess::start().await;
    let shown = eventually(Duration::from_secs(60), async || {
        let keys = keys(&hub).await;
        let used = keys["items"][0]["last_used_at"].as_str()?.to_owned();
        Some((keys, used))
    });
    let (list, first) = shown.await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list["items"][0]["previous_secret_last_used_at"], Value::Null);
    let secret_id = list["items"][0]["secret_id"].as_str().unwrap();
    assert!(hub.admin_key().starts_with(&format!("hub_{secret_id}_")));
    let first: chrono::DateTime<chrono::Utc> = first.parse().unwrap();

    keys(&hub).await;
    let stopped = hub.stop(Signal::TERM).await;
    assert_eq!(stopped.code(), Some(0));
    hub.start_again().await;
    let mut connection = PgConnection::connect(hub.database_url()).await.unwrap();
    let last: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("SELECT last_used_at FROM api_key_uses WHERE secret_id = $1")
            .bind(secret_id)
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert!(last > first, "what was noted last is written at the end: {last}, {first}");
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM api_key_uses").fetch_one(&mut connection).await.unwrap();
    assert_eq!(json!(count), json!(1));
    let used = "SELECT home || ' ' || permission FROM permission_uses WHERE principal LIKE 'key:%'";
    let used: Vec<String> = sqlx::query_scalar(used).fetch_all(&mut connection).await.unwrap();
    assert_eq!(used, ["platform api_key:read"], "what the key was used for is written, too");
}
