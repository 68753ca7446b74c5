//! Tenants: nobody sees, moves or learns of a subscription of somebody else.

use serde_json::{Value, json};
use sqlx::Connection as _;
use uuid::Uuid;

use super::{OTHER, OTHERS_KEY, PLATFORM, Process, numbers};

const VERBS: [(&str, &str); 9] = [
    ("POST", "pull"),
    ("POST", "acknowledge"),
    ("POST", "reject"),
    ("POST", "extend"),
    ("POST", "reset"),
    ("GET", "lag"),
    ("GET", "parked"),
    ("POST", "parked/replay"),
    ("POST", "parked/discard"),
];

fn body(verb: &str) -> Value {
    match verb {
        "pull" => json!({ "consumer": "a" }),
        "acknowledge" | "reject" => json!({ "ack_ids": ["1.1.1"] }),
        "extend" => json!({ "ack_ids": ["1.1.1"], "seconds": 5 }),
        "reset" => json!({ "to": "earliest" }),
        "lag" | "parked" => Value::Null,
        _ => json!({ "all": true }),
    }
}

#[tokio::test]
async fn another_tenant_is_answered_as_if_nothing_were_there() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    letters.letters(&[1]).await;
    assert_eq!(numbers(&letters.pull("a", 10).await), [1]);
    // The other tenant is there as far as the log goes.
    process.append(OTHER, "letter", 1, json!({})).await;
    for (method, verb) in VERBS {
        let answer = process.send(OTHERS_KEY, method, &letters.path(verb), &body(verb)).await;
        answer.refused(404, "not_found");
        // Nor does the id lead anywhere in its own place.
        let own = format!("/v1/tenants/{OTHER}/event-subscriptions/{}/{verb}", letters.id);
        process.send(OTHERS_KEY, method, &own, &body(verb)).await.refused(404, "event_subscription_not_found");
        let unknown = format!("/v1/tenants/{}/event-subscriptions/{}/{verb}", letters.tenant_id, Uuid::from_u128(9));
        process.send(PLATFORM, method, &unknown, &body(verb)).await.refused(404, "event_subscription_not_found");
    }
    assert_eq!(letters.get("lag").await["in_flight"], 1, "nothing has moved");
}

#[tokio::test]
async fn the_role_that_consumes_sees_and_writes_one_tenant_only() {
    let process = Process::start().await;
    let (acme, other) = (process.subscription("acme", json!({})).await, process.subscription("other", json!({})).await);
    for letters in [acme, other] {
        letters.letters(&[1]).await;
        letters.pull("a", 10).await;
    }
    let options = process.database.pool.connect_options().as_ref().clone().options([("role", "hub_consume")]);
    let mut connection = sqlx::PgConnection::connect_with(&options).await.unwrap();
    let tables = ["events", "tenant_heads", "event_subscription_cursors", "event_subscription_messages"];
    for table in tables {
        let nobody = sqlx::query(&format!("SELECT FROM {table}")).execute(&mut connection).await.unwrap_err();
        assert!(nobody.to_string().contains("does not say whose rows it reads"), "{table}: {nobody}");
    }
    let mut transaction = connection.begin().await.unwrap();
    let set = format!("SET LOCAL hub.tenant_id = '{}'", acme.tenant_id);
    sqlx::raw_sql(&set).execute(&mut *transaction).await.unwrap();
    for table in tables {
        let count = format!("SELECT count(*) FILTER (WHERE tenant_id = $1), count(*) FROM {table}");
        let query = sqlx::query_as(&count).bind(acme.tenant_id);
        let (own, all): (i64, i64) = query.fetch_one(&mut *transaction).await.unwrap();
        assert!(own > 0 && own == all, "{table}: {own} of {all}");
    }
    let moved = sqlx::query("UPDATE event_subscription_cursors SET position = 0 WHERE tenant_id = $1")
        .bind(other.tenant_id)
        .execute(&mut *transaction)
        .await
        .unwrap();
    assert_eq!(moved.rows_affected(), 0);
    let smuggled = sqlx::query("UPDATE event_subscription_cursors SET tenant_id = $1")
        .bind(other.tenant_id)
        .execute(&mut *transaction)
        .await
        .unwrap_err();
    assert!(smuggled.to_string().contains("row-level security"), "{smuggled}");
}
