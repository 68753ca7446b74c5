//! A command that succeeds is sent three times: for the first time, again, and with another body under the same key.

use serde_json::Value;
use uuid::Uuid;

use super::{Answer, Api, platform_key};

impl Api {
    /// Executes a command and answers its body. Sent again it answers the same and appends nothing; the same key with
    /// other bytes is refused.
    pub(super) async fn done(&self, path: &str, body: Value) -> Value {
        let key = Uuid::new_v4().to_string();
        let headers = [("idempotency-key", key.as_str())];
        let before = self.head().await;
        let first = self.post_with(path, &headers, &body).await;
        assert!(first.status.is_success(), "{path}: {first:?}");
        assert!(!first.replayed(), "{path}");
        let appended = self.head().await - before;
        // Registering a tenant also makes its roles.
        let count = first.body["event_count"].as_i64().unwrap();
        assert!(appended == count || path == "/v1/tenants", "{path}: {appended} events, {count} told");
        assert_eq!(first.headers["etag"], format!("\"{}\"", first.body["sequence"]).as_str());
        let head = self.head().await;

        let again = self.post_with(path, &headers, &body).await;
        assert!(again.replayed(), "{path}: {again:?}");
        assert_eq!(essence(&again), essence(&first), "{path}");

        let other = if body.is_null() { " ".to_owned() } else { format!("{body} ") };
        self.send(Some(&platform_key()), path, &headers, &other).await.assert_code("idempotency_key_reused");
        assert_eq!(self.head().await, head, "{path}");
        first.body
    }
}

/// What the answer to a repetition has in common with the first one: all but a secret.
fn essence(answer: &Answer) -> (u16, Value, Vec<Option<String>>) {
    let mut body = answer.body.clone();
    if let Some(body) = body.as_object_mut() {
        body.remove("secret");
        body.remove("credentials");
    }
    let headers = ["etag", "consistency-token", "location"];
    let headers = headers.map(|name| answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned()));
    (answer.status.as_u16(), body, headers.to_vec())
}
