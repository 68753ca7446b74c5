//! Who may ask what: each operation of the document is asked by everybody.

use serde_json::Value;
use uuid::Uuid;

use super::{ACME, Answer, Api, NOBODY, OTHER, Who, created, subscription};

/// A question whose words must not stand in an address; who may ask it is part of the table of all operations.
const ASKED_BY_POST: &str = "/v1/tenants/{tenant_id}/data-subjects/find";

/// The paths of all operations, with the ids of things that do not exist and of this tenant filled in.
fn uris(document: &Value, tenant_id: Uuid) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    // The catalogue of event types is open to anybody.
    let asked = |path: &str| path.starts_with("/v1/") && !path.starts_with("/v1/event-types") && path != ASKED_BY_POST;
    let queries = paths.iter().filter(|(path, _)| asked(path));
    let filled = queries.map(|(path, item)| {
        assert_eq!(item.as_object().unwrap().keys().collect::<Vec<_>>(), ["get"], "{path} is for reading only");
        let mut uri = path
            .replace("{tenant_id}", &tenant_id.to_string())
            .replace("{position}", "1")
            .replace("{framework_id}", "gdpr");
        for id in [
            "access_request_id",
            "api_key_id",
            "break_glass_id",
            "control_run_id",
            "duty_set_id",
            "erasure_id",
            "event_subscription_id",
            "finding_id",
            "identity_provider_id",
            "inbound_source_id",
            "legal_hold_id",
            "nats_credential_id",
            "role_id",
            "service_instance_id",
            "subject_id",
            "subscription_id",
            "support_access_id",
            "webhook_id",
        ] {
            uri = uri.replace(&format!("{{{id}}}"), &Uuid::from_u128(1).to_string());
        }
        let days = path.ends_with("analytics/events") || path.ends_with("analytics/revenue");
        let between = path.ends_with("/consistency");
        let query = if days {
            "?from=2026-01-01&to=2026-01-31"
        } else if between {
            "?from=1"
        } else {
            ""
        };
        (path.clone(), uri + query)
    });
    filled.collect()
}

#[tokio::test]
async fn nobody_is_answered_without_a_key_that_is_known() {
    let api = Api::without_projections(10).await;
    let uris = uris(&api.document, ACME);
    assert_eq!(uris.len(), 68, "{uris:?}");
    for (_, uri) in uris {
        api.ask(Who::Unknown, &uri, &[]).await.refused(401, "unauthenticated");
    }
}

#[tokio::test]
async fn another_tenant_is_answered_as_if_nothing_were_there() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    api.append(subscription(ACME, 1), &[created("mail", "EUR")]).await;
    api.register(OTHER, "other").await;
    let answers = async |tenant_id: Uuid| -> Vec<Answer> {
        let mut answers = Vec::new();
        for (path, uri) in uris(&api.document, tenant_id) {
            let mut answer = api.get(Who::Other, &uri).await;
            answer.headers.remove("x-request-id");
            if path.contains("{tenant_id}") {
                answer.refused(404, "not_found");
            } else {
                answer.refused(403, "forbidden");
            }
            answers.push(answer);
        }
        answers
    };
    assert_eq!(answers(ACME).await, answers(NOBODY).await);
}

#[tokio::test]
async fn a_thing_of_another_tenant_answers_as_one_that_does_not_exist() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    api.register(OTHER, "other").await;
    api.append(subscription(ACME, 1), &[created("mail", "EUR")]).await;
    let ask = async |id: u128| {
        let answer = api.get(Who::Other, &format!("/v1/tenants/{OTHER}/subscriptions/{}", Uuid::from_u128(id))).await;
        answer.refused(404, "not_found");
        answer.body
    };
    assert_eq!(ask(1).await, ask(99).await);
    api.get(Who::Acme, &format!("/v1/tenants/{ACME}/subscriptions/{}", Uuid::from_u128(1))).await.ok();
    api.get(Who::Acme, &format!("/v1/tenants/{ACME}/subscriptions/one")).await.refused(400, "invalid_uuid");
}
