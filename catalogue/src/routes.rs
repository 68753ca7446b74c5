//! `/v1/event-types`: the catalogue, open to anybody as the API's documents are, since it says nothing of any tenant.

use std::sync::LazyLock;

use aide::{
    axum::{ApiRouter, routing::get_with},
    transform::TransformOperation,
};
use axum::{
    Json,
    body::Bytes,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use hub_http::{Path, Problem, openapi::described};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event_type::{EventType, event_types};

/// The tag of these operations.
pub const TAG: &str = "event-types";

/// The ids of these operations, which anybody may call.
pub const OPERATIONS: &[&str] = &["listEventTypes", "showEventType"];

/// Every event type, in alphabetical order.
#[derive(Debug, Serialize, JsonSchema)]
struct EventTypes {
    items: &'static [EventType],
}

#[derive(Debug, Deserialize, JsonSchema)]
struct TypePath {
    /// `<aggregate type>.<event>`, such as `tenant.suspended`.
    event_type: String,
}

/// The list as it is sent; it is the same for everybody as long as the process lives.
static LIST: LazyLock<Bytes> = LazyLock::new(|| {
    Bytes::from(serde_json::to_vec(&EventTypes { items: event_types() }).expect("schemas are plain JSON"))
});

/// `GET /v1/event-types` and `GET /v1/event-types/{event_type}`, open to anybody.
pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .api_route("/v1/event-types", get_with(list, describe_list))
        .api_route("/v1/event-types/{event_type}", get_with(show, describe_show))
}

async fn list() -> aide::NoApi<Response> {
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    ([content_type], LIST.clone()).into_response().into()
}

async fn show(path: Path<TypePath>) -> Result<Json<&'static EventType>, Problem> {
    let TypePath { event_type } = path.0;
    let found = event_types().iter().find(|found| found.name == event_type);
    found.map(Json).ok_or_else(move || Problem::not_found().detail(format!("there is no event type `{event_type}`")))
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Every type of event that the log can hold, with the JSON Schema of each version of its data, an example, and since when \
                       it is deprecated, if it is. Needs no key.";
    described(operation, "listEventTypes", TAG, "List event types", description)
        .response_with::<200, Json<EventTypes>, _>(|response| {
            response.description("The catalogue, in alphabetical order.")
        })
}

fn describe_show(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "The type with the JSON Schema of each version of its data. Needs no key.";
    described(operation, "showEventType", TAG, "Show an event type", description)
}
