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
use hub_http::{NoFilter, Path, Problem, Query, openapi::described};
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

async fn list(_: Query<NoFilter>) -> aide::NoApi<Response> {
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    ([content_type], LIST.clone()).into_response().into()
}

async fn show(path: Path<TypePath>, _: Query<NoFilter>) -> Result<Json<&'static EventType>, Problem> {
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

#[cfg(test)]
mod tests {
    use axum::{
        Router,
        body::Body,
        http::{Request, StatusCode},
    };
    use http_body_util::BodyExt as _;
    use serde_json::Value;
    use tower::ServiceExt as _;

    use super::routes;

    async fn get(path: &str) -> (StatusCode, Value) {
        let router: Router = routes().into();
        let response = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn the_list_has_every_type() {
        let (status, body) = get("/v1/event-types").await;
        assert_eq!(status, StatusCode::OK);
        let items = body["items"].as_array().unwrap();
        assert_eq!(items.len(), super::event_types().len());
        assert!(items.is_sorted_by_key(|item| item["type"].as_str().unwrap()));
    }

    #[tokio::test]
    async fn a_type_is_shown_with_every_version() {
        let (status, body) = get("/v1/event-types/tenant.registered").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!((&body["aggregate_type"], &body["version"]), (&"tenant".into(), &2.into()));
        assert_eq!(body["personal_data"], Value::from(vec!["contact_email"]));
        assert_eq!(body["deprecated"], Value::Null);
        let versions = body["versions"].as_array().unwrap();
        let ids: Vec<_> = versions.iter().map(|version| version["dataschema"].as_str().unwrap()).collect();
        assert_eq!(
            ids,
            ["urn:service-hub:event-type:tenant.registered:2", "urn:service-hub:event-type:tenant.registered:1"]
        );
        for version in versions {
            assert_eq!(version["schema"]["$id"], version["dataschema"]);
            assert_eq!(version["example"]["slug"], "acme");
        }
    }

    #[tokio::test]
    async fn what_is_secret_is_neither_described_nor_shown() {
        for path in ["/v1/event-types/webhook.registered", "/v1/event-types/api_key.issued"] {
            let text = get(path).await.1.to_string();
            assert!(!text.contains("sealed_secret") && !text.contains("sha256"), "{path}: {text}");
        }
    }

    #[tokio::test]
    async fn what_they_do_not_know_is_refused() {
        for path in ["/v1/event-types?type=tenant.*", "/v1/event-types/tenant.registered?as_of=1"] {
            let (status, body) = get(path).await;
            assert_eq!((status, &body["code"]), (StatusCode::BAD_REQUEST, &"invalid_query".into()), "{path}");
        }
    }

    #[tokio::test]
    async fn an_unknown_type_is_not_found() {
        let (status, body) = get("/v1/event-types/tenant.nothing").await;
        assert_eq!((status, &body["code"]), (StatusCode::NOT_FOUND, &"not_found".into()));
    }
}
