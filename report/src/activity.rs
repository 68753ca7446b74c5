//! Everything that one principal did: what its commands led to, what it was refused, what it read of what is sensitive, and what it took away.

use hub_event_store::event::Recorded;
use serde_json::{Value, json};

use crate::{Fold, shown};

pub(crate) const COLUMNS: &[&str] = &[
    "position",
    "at",
    "kind",
    "event_type",
    "aggregate_type",
    "aggregate_id",
    "sequence",
    "count",
    "first_at",
    "last_at",
    "command_id",
    "correlation_id",
    "causation_id",
    "payload",
];

/// One row for each event of the principal.
#[derive(Debug)]
pub(crate) struct Activity;

impl Fold for Activity {
    fn take(&mut self, event: &Recorded, _within: bool) -> Result<Vec<Value>, String> {
        let metadata = event.metadata().map_err(|error| error.to_string())?;
        let payload = shown::payload(event)?;
        let seen = &payload["seen"];
        let kind = kind(&event.event_type);
        Ok(vec![json!({
            "position": event.tenant_position,
            "at": event.occurred_at,
            "kind": kind,
            "event_type": event.event_type,
            "aggregate_type": event.aggregate_type,
            "aggregate_id": event.aggregate_id,
            "sequence": event.sequence,
            "count": if kind == "command" { Value::from(1) } else { seen.get("count").cloned().unwrap_or(Value::from(1)) },
            "first_at": if kind == "command" { &Value::Null } else { &seen["first_at"] },
            "last_at": if kind == "command" { &Value::Null } else { &seen["last_at"] },
            "command_id": metadata.command_id,
            "correlation_id": metadata.correlation_id,
            "causation_id": metadata.causation_id,
            "payload": payload,
        })])
    }

    fn end(self: Box<Self>) -> Vec<Value> {
        Vec::new()
    }
}

/// What a principal did that led to an event of this type.
fn kind(event_type: &str) -> &'static str {
    match event_type {
        "access_record.refused" => "denial",
        "access_record.sensitive_read" => "sensitive_read",
        "disclosure.exported" => "export",
        "disclosure.report_run" => "report",
        _ => "command",
    }
}
