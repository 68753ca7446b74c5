//! The `AsyncAPI` 3.0 document: on which ways events leave, and what they look like there.
//!
//! It is made of the published schemas once, and served like the OpenAPI document. What requests look like is told there, not here.

mod schemas;
mod words;

use axum::{
    Router,
    body::Bytes,
    http::{HeaderValue, header},
    response::IntoResponse,
    routing::get,
};
use serde_json::{Map, Value, json};

use self::schemas::Schemas;
use crate::event_type::{EventType, event_types};

/// Where `serve` puts the document.
pub const DOCUMENT_PATH: &str = "/asyncapi.json";

/// The version of the specification.
const ASYNCAPI: &str = "3.0.0";

const DESCRIPTION: &str = "\
Every event of a tenant, on each way it leaves the platform.

Events are CloudEvents 1.0. A stream (Server-Sent Events or WebSocket) is followed by the integrator, a webhook is called by the platform, and NATS is \
for integrators that the platform trusts with its broker. All of them deliver at least once and in the order of the tenant's log, `sequence`, which has no \
gaps unless a filter made them. The requests that open streams and register webhooks are described by `/openapi.json`, \
the types of events by `/v1/event-types`.";

/// The document for this version of the interface.
#[must_use]
pub fn document(version: &str) -> Value {
    let mut schemas = Schemas::new(words::schemas());
    let mut messages = words::messages();
    let mut event_messages = Vec::new();
    for event_type in event_types() {
        messages.insert(event_type.name.clone(), message(event_type, &mut schemas));
        event_messages.push(event_type.name.clone());
    }
    let (channels, operations) = channels(&event_messages);
    json!({
        "asyncapi": ASYNCAPI,
        "id": "urn:service-hub",
        "info": {
            "title": "Service Hub events",
            "version": version,
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" },
        },
        "defaultContentType": words::CLOUD_EVENT,
        "servers": words::servers(),
        "channels": channels,
        "operations": operations,
        "components": {
            "schemas": schemas.into_components(),
            "messages": messages,
            "securitySchemes": words::security_schemes(),
        },
    })
}

/// Adds `GET /asyncapi.json`, written once.
pub fn serve(router: Router, document: &Value) -> Router {
    let text = Bytes::from(serde_json::to_vec(document).expect("the document is plain JSON"));
    let handler = async move || {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        (headers, text).into_response()
    };
    router.route(DOCUMENT_PATH, get(handler))
}

/// An event type as a message: a `CloudEvent` whose data is of one of the type's versions.
fn message(event_type: &EventType, schemas: &mut Schemas) -> Value {
    let versions: Vec<Value> = event_type
        .versions
        .iter()
        .map(|version| json!({ "$ref": schemas.add(&format!("{}.v{}", event_type.name, version.version), &version.schema) }))
        .collect();
    let ids: Vec<&str> = event_type.versions.iter().map(|version| version.dataschema.as_str()).collect();
    let data = if versions.len() == 1 { versions[0].clone() } else { json!({ "anyOf": versions }) };
    json!({
        "name": event_type.name,
        "title": event_type.name,
        "summary": event_type.description,
        "contentType": words::CLOUD_EVENT,
        "deprecated": event_type.deprecated.is_some(),
        "payload": {
            "allOf": [
                { "$ref": words::CLOUD_EVENT_SCHEMA },
                {
                    "type": "object",
                    "properties": {
                        "type": { "const": event_type.name },
                        "dataschema": { "enum": ids },
                        "data": data,
                    },
                },
            ],
        },
    })
}

/// Channels and operations by name: every channel with the messages that it carries, and the one thing that the platform does with it.
fn channels(events: &[String]) -> (Map<String, Value>, Map<String, Value>) {
    let mut channels = Map::new();
    let mut operations = Map::new();
    for mut way in words::ways() {
        let own = if way.cloud_events { events } else { &[] };
        let names = own.iter().map(String::as_str).chain(way.messages.iter().copied());
        let references =
            names.map(|name| (name.to_owned(), json!({ "$ref": format!("#/components/messages/{name}") })));
        way.channel["messages"] = Value::Object(references.collect());
        way.operation["channel"] = json!({ "$ref": format!("#/channels/{}", way.name) });
        channels.insert(way.name.to_owned(), way.channel);
        operations.insert(way.operation_name.to_owned(), way.operation);
    }
    (channels, operations)
}

#[cfg(test)]
mod tests;
