//! `?as_of=`: single things as they were, in the same shape, for the same people, and never by mistake.

use std::fs;

use chrono::TimeDelta;
use hub_event_store::event::StreamId;
use hub_tests::kit::workspace;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    ACME, Api, NOBODY, OTHER, Who, activated, api_key, api_key_issued, api_key_rotated, created, subscription, tenant,
    webhook, webhook_registered,
};

/// The kinds of things, where they are read, and the event that each begins with.
const KINDS: [(&str, &str, &str); 16] = [
    ("access_request", "access-requests", "submitted"),
    ("api_key", "api-keys", "issued"),
    ("break_glass", "break-glass", "opened"),
    ("duty_set", "duty-sets", "defined"),
    ("erasure", "erasures", "requested"),
    ("event_subscription", "event-subscriptions", "created"),
    ("identity_provider", "identity-providers", "registered"),
    ("inbound_source", "inbound-sources", "registered"),
    ("legal_hold", "legal-holds", "placed"),
    ("nats_credential", "nats-credentials", "issued"),
    ("role", "roles", "created"),
    ("service_instance", "service-instances", "provision_requested"),
    ("subscription", "subscriptions", "created"),
    ("support_access", "support-access", "granted"),
    ("tenant", "", "registered"),
    ("webhook", "webhooks", "registered"),
];

const ONE: Uuid = Uuid::from_u128(1);

fn golden(aggregate_type: &str, tag: &str) -> Value {
    let path = workspace().join(format!("domain/golden/{aggregate_type}/{tag}.v1.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn uri(plural: &str) -> String {
    if plural.is_empty() { format!("/v1/tenants/{ACME}") } else { format!("/v1/tenants/{ACME}/{plural}/{ONE}") }
}

fn position(answer: &super::Answer) -> i64 {
    answer.headers["projection-position"].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn every_single_thing_is_answered_as_of_now_as_it_is_answered_live() {
    let api = Api::start().await;
    // The tenant is there first, for those who ask for it.
    api.append(tenant(ACME), &[("registered", golden("tenant", "registered"))]).await;
    for (aggregate_type, _, tag) in KINDS.into_iter().filter(|(kind, ..)| *kind != "tenant") {
        let stream = StreamId { tenant_id: ACME, aggregate_type, aggregate_id: ONE };
        api.append(stream, &[(tag, golden(aggregate_type, tag))]).await;
    }
    for (aggregate_type, plural, _) in KINDS {
        let live = api.get(Who::Acme, &uri(plural)).await;
        let past = api.get(Who::Acme, &format!("{}?as_of=16", uri(plural))).await;
        assert_eq!(past.ok(), live.ok(), "{aggregate_type}");
        assert_eq!((&past.headers["etag"], position(&past)), (&live.headers["etag"], 16), "{aggregate_type}");
        let before = api.get(Who::Acme, &format!("{}?as_of=1", uri(plural))).await;
        if aggregate_type == "tenant" {
            assert_eq!(before.ok(), past.ok());
        } else {
            before.refused(404, "not_found");
        }
    }
    // Whatever has the parameter in the document is in the list above.
    let paths = api.document["paths"].as_object().unwrap().iter();
    let documented = paths.filter(|(_, item)| {
        let parameters = item["get"]["parameters"].as_array().cloned().unwrap_or_default();
        parameters.iter().any(|parameter| parameter["name"] == "as_of")
    });
    assert_eq!(documented.count(), KINDS.len());
}

#[tokio::test]
async fn a_thing_is_shown_as_it_was_at_a_position_and_at_a_time() {
    let api = Api::start().await;
    api.register(OTHER, "other").await;
    api.register(ACME, "acme").await;
    api.clock.advance(TimeDelta::hours(1));
    api.append(tenant(OTHER), &[("renamed", json!({"name": "Other SE"}))]).await;
    api.append(tenant(ACME), &[("renamed", json!({"name": "Acme SE"}))]).await;
    api.append(subscription(ACME, 1), &[created("mail", "EUR")]).await;
    api.clock.advance(TimeDelta::hours(1));
    api.append(subscription(ACME, 1), &[activated(3_000, "EUR")]).await;
    let tenant = async |moment: &str| api.get(Who::Acme, &format!("/v1/tenants/{ACME}?as_of={moment}")).await;
    let first = tenant("1").await;
    assert_eq!(
        (&first.ok()["name"], &first.headers["etag"], position(&first)),
        (&json!("acme"), &"\"1\"".parse().unwrap(), 2)
    );
    let second = tenant("2").await;
    assert_eq!((&second.ok()["name"], &second.body["sequence"], position(&second)), (&json!("Acme SE"), &json!(2), 4));
    for (time, name, at) in [
        ("2026-01-01T12:00:00Z", "acme", 2),
        ("2026-01-01T12:59:59.999999Z", "acme", 2),
        ("2026-01-01T14:00:00%2B01:00", "Acme SE", 5),
        ("2026-06-01T00:00:00Z", "Acme SE", 6),
    ] {
        let answer = tenant(time).await;
        assert_eq!((answer.ok()["name"].as_str().unwrap(), position(&answer)), (name, at), "{time}");
    }
    let stage = async |moment: &str| {
        let uri = format!("/v1/tenants/{ACME}/subscriptions/{ONE}?as_of={moment}");
        api.get(Who::Platform, &uri).await.ok()["stage"].clone()
    };
    assert_eq!((stage("3").await, stage("4").await), (json!("trialing"), json!("active")));
    let known = [("if-none-match", "\"1\"")];
    let unchanged = api.ask(Who::Acme, &format!("/v1/tenants/{ACME}?as_of=1"), &known).await;
    assert_eq!(unchanged.status, 304);
}

#[tokio::test]
async fn what_is_gone_now_is_there_as_it_was_and_without_its_secret() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    api.append(webhook(ACME, 1), &[webhook_registered(), ("deleted", json!({}))]).await;
    api.append(api_key(ACME, 1), &[api_key_issued(1), api_key_rotated(2)]).await;
    let uri = format!("/v1/tenants/{ACME}/webhooks/{ONE}");
    api.get(Who::Acme, &uri).await.refused(404, "not_found");
    api.get(Who::Acme, &format!("{uri}?as_of=3")).await.refused(404, "not_found");
    let hook = api.get(Who::Acme, &format!("{uri}?as_of=2")).await;
    assert_eq!(hook.ok()["url"], "https://hooks.acme.example/hub");
    let key = api.get(Who::Acme, &format!("/v1/tenants/{ACME}/api-keys/{ONE}?as_of=4")).await;
    assert_eq!((&key.ok()["secret_id"], &key.body["last_used_at"]), (&json!(format!("{:016x}", 1)), &Value::Null));
    let text = format!("{}{}", hook.body, key.body);
    assert!(!text.contains("sealed") && !text.contains("sha256") && !text.contains("5a5a"), "{text}");
}

#[tokio::test]
async fn a_moment_that_is_none_is_refused_with_its_parameter() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    for bad in
        ["", "0", "-1", "yesterday", "2026-01-01", "2", "99999999999999999999", "2999-01-01T00:00:00Z", "1&as_of=1"]
    {
        let answer = api.get(Who::Acme, &format!("/v1/tenants/{ACME}?as_of={bad}")).await;
        answer.refused(400, "invalid_query");
        assert_eq!(answer.body["parameter"], "as_of", "{bad}");
    }
    let beyond = api.get(Who::Acme, &format!("/v1/tenants/{ACME}?as_of=2")).await;
    assert_eq!(beyond.body["detail"], "the tenant's log ends at position 1, before 2");
    // Before the first event there was nothing.
    api.get(Who::Acme, &format!("/v1/tenants/{ACME}?as_of=2025-12-31T00:00:00Z")).await.refused(404, "not_found");
}

#[tokio::test]
async fn whatever_has_no_past_refuses_to_be_asked_about_it() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    let paths = api.document["paths"].as_object().unwrap().clone();
    let mut refused = 0;
    for (path, item) in paths.iter().filter(|(path, item)| path.starts_with("/v1/") && item["get"].is_object()) {
        let parameters = item["get"]["parameters"].as_array().cloned().unwrap_or_default();
        if parameters.iter().any(|parameter| parameter["name"] == "as_of") {
            continue;
        }
        let uri = path.replace("{tenant_id}", &ACME.to_string()).replace("{position}", "1");
        let answer = api.ask(Who::Platform, &format!("{uri}?as_of=1"), &[]).await;
        answer.refused(400, "invalid_query");
        assert_eq!(answer.body["parameter"], "as_of", "{path}");
        refused += 1;
    }
    assert!(refused >= 30, "{refused}");
}

#[tokio::test]
async fn the_past_of_another_tenant_is_as_unknown_as_its_present() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    api.register(OTHER, "other").await;
    api.append(webhook(ACME, 1), &[webhook_registered()]).await;
    let mut answers = Vec::new();
    for tenant_id in [ACME, NOBODY] {
        for path in [format!("/v1/tenants/{tenant_id}"), format!("/v1/tenants/{tenant_id}/webhooks/{ONE}")] {
            for moment in ["1", "99", "2026-01-01T12:00:00Z", "nonsense"] {
                let mut answer = api.get(Who::Other, &format!("{path}?as_of={moment}")).await;
                answer.refused(404, "not_found");
                answer.headers.remove("x-request-id");
                answers.push(answer);
            }
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "nothing tells one that exists from one that does not: {answers:?}");
    // A thing of Acme's is none of the other tenant's, in the other tenant's own past.
    let own = format!("/v1/tenants/{OTHER}/webhooks/{ONE}?as_of=1");
    api.get(Who::Other, &own).await.refused(404, "not_found");
}

#[tokio::test]
async fn a_history_that_is_too_long_is_not_told() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    let renamed: Vec<_> = (0..2_000).map(|turn| ("renamed", json!({"name": format!("Acme {turn}")}))).collect();
    for _ in 0..5 {
        api.append(tenant(ACME), &renamed).await;
    }
    let answer = api.get(Who::Acme, &format!("/v1/tenants/{ACME}?as_of=10000")).await;
    assert_eq!((&answer.ok()["name"], &answer.body["sequence"]), (&json!("Acme 1998"), &json!(10_000)));
    let answer = api.get(Who::Acme, &format!("/v1/tenants/{ACME}?as_of=10001")).await;
    answer.refused(422, "history_too_long");
    assert_eq!(answer.body["event_count_max"], 10_000);
}
