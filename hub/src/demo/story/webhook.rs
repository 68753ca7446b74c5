//! Where a tenant wants to be told of events.

use serde_json::{Value, json};

use super::Draft;

const NOUN: &str = "webhooks";

impl Draft {
    /// A webhook called `name`; a `busy` one is changed a good deal.
    pub(super) fn webhook_life(&mut self, name: &str, busy: bool) {
        self.next_work();
        let filters: &[&str] = match name {
            "billing" => &["subscription.*", "tenant.suspended", "tenant.resumed"],
            _ => &["service_instance.*", "subscription.*"],
        };
        let hook = format!("{name}-hook");
        let url = format!("https://hooks.{{slug}}.example/{name}");
        let body = json!({ "url": url, "events": filters, "description": format!("{name} to the intranet") });
        self.make(NOUN, &hook, body);
        if self.chance(40) {
            self.of(NOUN, &hook, "rotate-secret", json!({}));
        }
        if busy || self.chance(25) {
            self.of(NOUN, &hook, "pause", Value::Null);
            let url = format!("https://hooks.{{slug}}.example/v2/{name}");
            self.of(NOUN, &hook, "update", json!({ "url": url }));
            self.of(NOUN, &hook, "resume", Value::Null);
        }
        if busy && self.chance(50) {
            self.of(NOUN, &hook, "delete", Value::Null);
            self.of(NOUN, &hook, "resume", Value::Null).refused("webhook_deleted");
        }
    }
}
