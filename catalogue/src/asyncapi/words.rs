//! The parts of the document that do not come from the catalogue: servers, ways, control messages, security.

use serde_json::{Map, Value, json};

/// Media type of an event in structured mode.
pub(super) const CLOUD_EVENT: &str = "application/cloudevents+json";

/// What every event is.
pub(super) const CLOUD_EVENT_SCHEMA: &str = "#/components/schemas/CloudEvent";

/// A way on which events leave: a channel and the one operation on it.
pub(super) struct Way {
    pub(super) name: &'static str,
    pub(super) operation_name: &'static str,
    pub(super) channel: Value,
    pub(super) operation: Value,
    /// Whether it carries every event as a `CloudEvent`.
    pub(super) cloud_events: bool,
    /// What else it carries.
    pub(super) messages: &'static [&'static str],
}

/// What a stream says besides events.
const CONTROL: &[&str] = &["hello", "checkpoint", "end"];

pub(super) fn ways() -> Vec<Way> {
    vec![event_stream(), event_socket(), webhook(), nats()]
}

fn tenant_parameter() -> Value {
    json!({ "description": "The tenant's id, a UUID." })
}

fn event_stream() -> Way {
    Way {
        name: "event-stream",
        operation_name: "streamEvents",
        channel: json!({
            "address": "/v1/tenants/{tenant_id}/events/stream",
            "title": "Event stream",
            "description": "Server-Sent Events. `id` is the position in the tenant's log, `event` the event's type or the name of a control \
                            message, `data` the JSON of the message. A comment is sent after 15 s of silence. With `Last-Event-ID` or `?after=` \
                            the stream goes on behind what is already there.",
            "servers": [{ "$ref": "#/servers/api" }],
            "parameters": { "tenant_id": tenant_parameter() },
            "bindings": { "http": { "bindingVersion": "0.3.0" } },
        }),
        operation: json!({
            "action": "send",
            "summary": "A tenant's events, as they happen and from wherever the follower left off.",
            "security": [{ "$ref": "#/components/securitySchemes/bearer" }],
            "bindings": { "http": { "method": "GET", "bindingVersion": "0.3.0" } },
        }),
        cloud_events: true,
        messages: CONTROL,
    }
}

fn event_socket() -> Way {
    Way {
        name: "event-socket",
        operation_name: "streamEventsBySocket",
        channel: json!({
            "address": "/v1/tenants/{tenant_id}/events/socket",
            "title": "Event socket",
            "description": "The same over WebSocket, subprotocol `service-hub.v1`. Each message is one text frame; those that are no events say so by the \
                            member `control`. The close code says why the stream ends, too.",
            "servers": [{ "$ref": "#/servers/socket" }],
            "parameters": { "tenant_id": tenant_parameter() },
            "bindings": { "ws": { "method": "GET", "bindingVersion": "0.1.0" } },
        }),
        operation: json!({
            "action": "send",
            "summary": "A tenant's events over WebSocket.",
            "security": [{ "$ref": "#/components/securitySchemes/bearer" }],
        }),
        cloud_events: true,
        messages: CONTROL,
    }
}

fn webhook() -> Way {
    Way {
        name: "webhook",
        operation_name: "deliverToWebhook",
        channel: json!({
            "address": null,
            "title": "Webhook",
            "description": "The address that a tenant has registered. Deliveries are signed as Standard Webhooks has it: `webhook-id` stays the \
                            same over retries, `webhook-timestamp` is that of the attempt, `webhook-signature` has one signature for each secret. \
                            The endpoint's settings say whether it gets CloudEvents, or events in the shape that Standard Webhooks \
                            recommends (`full`, or `thin` without payload), and whether one by one or in arrays.",
            "bindings": { "http": { "bindingVersion": "0.3.0" } },
        }),
        operation: json!({
            "action": "send",
            "summary": "An event is delivered to the tenant's address; any 2xx answer accepts it.",
            "security": [{ "$ref": "#/components/securitySchemes/webhookSignature" }],
            "bindings": { "http": { "method": "POST", "bindingVersion": "0.3.0" } },
            "traits": [{ "description": "Retried with growing delays until it is accepted or too old." }],
        }),
        cloud_events: true,
        messages: &["event_batch", "standard_event", "standard_event_batch"],
    }
}

fn nats() -> Way {
    Way {
        name: "nats",
        operation_name: "publishEvents",
        channel: json!({
            "address": "hub.events.{partition}.{tenant}.{aggregate}.{event}",
            "title": "NATS subjects",
            "description": "Subjects of core NATS for integrators that the platform trusts. Their credentials may subscribe to \
                            `hub.events.*.<tenant>.>` of one tenant, publish nothing, and have no JetStream. A message is the event as the \
                            log has it, and no CloudEvent. What is published while nobody listens is not repeated: `tenant_position` tells \
                            what is missing, and the event stream has it.",
            "servers": [{ "$ref": "#/servers/nats" }],
            "parameters": {
                "partition": { "description": "A number that follows from the tenant; subscribe with `*`." },
                "tenant": { "description": "The tenant's id, 32 hexadecimal digits without hyphens." },
                "aggregate": { "description": "What it happened to, such as `subscription`." },
                "event": { "description": "What happened, such as `paused`: the event type behind its dot." },
            },
            "bindings": { "nats": { "bindingVersion": "0.1.0" } },
        }),
        operation: json!({
            "action": "send",
            "summary": "Every event of the log, in its order within a partition; at most once.",
            "security": [{ "$ref": "#/components/securitySchemes/nats" }],
        }),
        cloud_events: false,
        messages: &["logged_event"],
    }
}

pub(super) fn servers() -> Value {
    let host = json!({ "host": { "description": "The address of the platform.", "default": "localhost:8080" } });
    json!({
        "api": { "host": "{host}", "protocol": "https", "description": "The API.", "variables": host },
        "socket": { "host": "{host}", "protocol": "wss", "description": "The API, for WebSockets.", "variables": host },
        "nats": {
            "host": "{host}",
            "protocol": "nats",
            "description": "The broker, for trusted integrators.",
            "variables": { "host": { "description": "The address of the broker.", "default": "localhost:4222" } },
        },
    })
}

pub(super) fn security_schemes() -> Value {
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "hub_<id>_<secret>",
            "description": "A key of the platform, or of one tenant.",
        },
        "webhookSignature": {
            "type": "httpApiKey",
            "name": "webhook-signature",
            "in": "header",
            "description": "Standard Webhooks: `v1` is HMAC-SHA256 with the endpoint's secret, `v1a` is ed25519.",
        },
        "nats": {
            "type": "asymmetricEncryption",
            "description": "The user's key and its signed claims, in the `.creds` file that `POST /v1/tenants/{tenant_id}/nats-credentials` \
                            answers: the server sends a nonce, which the client signs with ed25519. Good for 30 days at most.",
        },
    })
}

/// The messages that are no event types.
pub(super) fn messages() -> Map<String, Value> {
    let plain = |title: &str, summary: &str, content_type: &str, schema: &str| {
        json!({
            "name": title,
            "title": title,
            "summary": summary,
            "contentType": content_type,
            "payload": { "$ref": format!("#/components/schemas/{schema}") },
        })
    };
    const JSON: &str = "application/json";
    const BATCH: &str = "application/cloudevents-batch+json";
    [
        ("hello", "The first message of a stream: where it begins.", JSON, "Hello"),
        (
            "checkpoint",
            "Everything up to a position has been looked at, and nothing of it was wanted.",
            JSON,
            "Checkpoint",
        ),
        ("end", "The platform ends the stream; the follower may come back.", JSON, "End"),
        ("event_batch", "Several events in one delivery, in order.", BATCH, "EventBatch"),
        ("standard_event", "An event in the shape that Standard Webhooks recommends.", JSON, "StandardEvent"),
        ("standard_event_batch", "Several of these in one delivery, in order.", JSON, "StandardEventBatch"),
        ("logged_event", "An event as the log has it.", JSON, "LoggedEvent"),
    ]
    .map(|(name, summary, content_type, schema)| (name.to_owned(), plain(name, summary, content_type, schema)))
    .into_iter()
    .collect()
}

/// The schemas that are no event types'.
pub(super) fn schemas() -> Map<String, Value> {
    let batch =
        |of: &str| json!({ "type": "array", "minItems": 1, "items": { "$ref": format!("#/components/schemas/{of}") } });
    [
        ("CloudEvent", cloud_event()),
        ("EventBatch", batch("CloudEvent")),
        ("StandardEvent", standard_event()),
        ("StandardEventBatch", batch("StandardEvent")),
        ("Hello", hello()),
        ("Checkpoint", checkpoint()),
        ("End", end()),
        ("LoggedEvent", logged_event()),
    ]
    .map(|(name, schema)| (name.to_owned(), schema))
    .into_iter()
    .collect()
}

fn cloud_event() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let uuid = |description: &str| json!({ "type": "string", "format": "uuid", "description": description });
    json!({
        "description": "An event of a tenant's log as a CloudEvent 1.0.",
        "type": "object",
        "properties": {
            "specversion": { "const": "1.0" },
            "id": uuid("Identifies the event."),
            "source": { "type": "string", "format": "uri-reference", "description": "`urn:service-hub:tenant:<tenant id>`." },
            "type": text("What happened, such as `tenant.suspended`."),
            "subject": text("What it happened to: `<aggregate type>/<aggregate id>`."),
            "time": { "type": "string", "format": "date-time", "description": "When it happened; informational, the order is `sequence`." },
            "datacontenttype": { "const": "application/json" },
            "dataschema": { "type": "string", "format": "uri", "description": "`urn:service-hub:event-type:<type>:<version>`." },
            "sequence": {
                "type": "string",
                "pattern": "^[0-9]{20}$",
                "description": "Place in the tenant's log, from 1 and without gaps, as 20 digits that sort as text.",
            },
            "partitionkey": uuid("The aggregate's id; events with the same one are delivered in order."),
            "streamsequence": text("Place among the events of the same aggregate, from 1."),
            "tenantid": uuid("Whose log."),
            "actor": text("Who caused it."),
            "correlationid": uuid("The conversation that it belongs to."),
            "causationid": uuid("What caused it."),
            "traceparent": text("The trace that it happened in, as W3C Trace Context has it."),
            "data": { "type": "object", "description": "What else is to be known, in the shape that `dataschema` names. Secrets are left out." },
        },
        "required": [
            "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "sequence", "partitionkey",
            "streamsequence", "tenantid", "data",
        ],
    })
}

fn standard_event() -> Value {
    json!({
        "description": "An event as endpoints get it whose payload is `full` or `thin`.",
        "type": "object",
        "properties": {
            "type": { "type": "string", "description": "What happened, such as `tenant.suspended`." },
            "timestamp": { "type": "string", "format": "date-time", "description": "When it happened." },
            "data": {
                "type": "object",
                "properties": {
                    "event_id": { "type": "string", "format": "uuid", "description": "Identifies the event." },
                    "tenant_id": { "type": "string", "format": "uuid", "description": "Whose log." },
                    "position": { "type": "integer", "minimum": 1, "description": "Place in the tenant's log, without gaps." },
                    "aggregate_type": { "type": "string" },
                    "aggregate_id": { "type": "string", "format": "uuid" },
                    "sequence": { "type": "integer", "minimum": 1, "description": "Place among the events of the same aggregate." },
                    "event_version": { "type": "integer", "minimum": 1, "description": "With `full` only." },
                    "actor": { "type": "string", "description": "Who caused it; with `full` only." },
                    "correlation_id": { "type": "string", "format": "uuid", "description": "With `full` only." },
                    "payload": { "type": "object", "description": "As `data` of the CloudEvent; with `full` only." },
                },
                "required": ["event_id", "tenant_id", "position", "aggregate_type", "aggregate_id", "sequence"],
            },
        },
        "required": ["type", "timestamp", "data"],
    })
}

/// How a message over WebSocket says that it is no event.
fn control(name: &str) -> Value {
    json!({ "const": name, "description": "Over WebSocket only." })
}

fn hello() -> Value {
    json!({
        "type": "object",
        "properties": {
            "control": control("hello"),
            "tenant": { "type": "string", "format": "uuid", "description": "Whose log." },
            "position": { "type": "integer", "minimum": 0, "description": "Events after this position follow." },
            "head": { "type": "integer", "minimum": 0, "description": "Where the log ended when the stream began." },
            "heartbeat_seconds": { "type": "integer", "description": "A sign of life comes after so much silence." },
            "checkpoint_seconds": { "type": "integer", "description": "A checkpoint comes when nothing was wanted for so long." },
        },
        "required": ["tenant", "position", "head"],
    })
}

fn checkpoint() -> Value {
    json!({
        "type": "object",
        "properties": {
            "control": control("checkpoint"),
            "position": { "type": "integer", "minimum": 0, "description": "Go on behind this position." },
        },
        "required": ["position"],
    })
}

fn end() -> Value {
    json!({
        "type": "object",
        "properties": {
            "control": control("end"),
            "position": { "type": "integer", "minimum": 0, "description": "Go on behind this position." },
            "reason": { "type": "string", "description": "Why, such as `token_expired`, `forbidden`, `shutdown` or `too_slow`." },
        },
        "required": ["reason"],
    })
}

fn logged_event() -> Value {
    json!({
        "description": "An event as the log has it. When it was too large for the broker payload and metadata are null.",
        "type": "object",
        "properties": {
            "position": { "type": "integer", "description": "Place in the log of the whole platform; use `tenant_position`." },
            "tenant_position": { "type": "integer", "minimum": 1, "description": "Place in the tenant's log, without gaps." },
            "event_id": { "type": "string", "format": "uuid" },
            "tenant_id": { "type": "string", "format": "uuid" },
            "aggregate_type": { "type": "string" },
            "aggregate_id": { "type": "string", "format": "uuid" },
            "sequence": { "type": "integer", "minimum": 1, "description": "Place among the events of the same aggregate." },
            "event_type": { "type": "string", "description": "As `type` of the CloudEvent; its payload is described there." },
            "event_version": { "type": "integer", "minimum": 1 },
            "occurred_at": { "type": "string", "format": "date-time" },
            "payload": { "type": ["object", "null"] },
            "metadata": { "type": ["object", "null"], "description": "Who caused it, and in which conversation." },
        },
        "required": [
            "position", "tenant_position", "event_id", "tenant_id", "aggregate_type", "aggregate_id", "sequence", "event_type",
            "event_version", "occurred_at", "payload", "metadata",
        ],
    })
}
