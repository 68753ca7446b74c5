//! A tenant's log, page by page.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    ACME, Api, OTHER, Who, api_key, api_key_issued, api_key_rotated, created, subscription, tenant, webhook,
    webhook_registered,
};

fn positions(page: &Value) -> Vec<i64> {
    page["items"].as_array().unwrap().iter().map(|event| event["position"].as_i64().unwrap()).collect()
}

/// Two tenants whose events take turns.
async fn two_tenants() -> Api {
    let api = Api::without_projections(10).await;
    api.register(OTHER, "other").await;
    api.register(ACME, "acme").await;
    for id in 1..=4 {
        api.append(subscription(OTHER, id), &[created("mail", "EUR")]).await;
        api.append(subscription(ACME, id), &[created("mail", "EUR")]).await;
    }
    api.append(tenant(ACME), &[("activated", json!({}))]).await;
    api
}

#[tokio::test]
async fn pages_count_only_the_tenants_own_events() {
    let api = two_tenants().await;
    let uri = format!("/v1/tenants/{ACME}/events");
    let first = api.get(Who::Acme, &format!("{uri}?limit=4")).await;
    assert_eq!(positions(first.ok()), [1, 2, 3, 4]);
    assert_eq!((&first.body["next_after"], &first.body["complete"]), (&json!(4), &json!(false)));
    let second = api.get(Who::Acme, &format!("{uri}?limit=4&after=4")).await;
    assert_eq!(positions(second.ok()), [5, 6]);
    assert_eq!((&second.body["next_after"], &second.body["complete"]), (&json!(6), &json!(true)));
    let end = api.get(Who::Acme, &format!("{uri}?after=6")).await;
    assert_eq!((positions(end.ok()), &end.body["complete"]), (vec![], &json!(true)));
    // Exactly full, and complete all the same.
    assert_eq!(api.get(Who::Acme, &format!("{uri}?limit=6")).await.ok()["complete"], true);
    assert_eq!(first.headers["projection-position"], "6", "the tenant's own position");
}

#[tokio::test]
async fn an_event_is_told_as_it_was_recorded() {
    let api = two_tenants().await;
    let page = api.get(Who::Acme, &format!("/v1/tenants/{ACME}/events?limit=1")).await;
    let event = &page.ok()["items"][0];
    let mut members: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    let expected = [
        "aggregate_id",
        "aggregate_type",
        "event_id",
        "event_type",
        "event_version",
        "metadata",
        "occurred_at",
        "payload",
        "position",
        "sequence",
    ];
    assert_eq!(members, expected);
    assert_eq!((&event["event_type"], &event["sequence"]), (&json!("tenant.registered"), &json!(1)));
    assert_eq!((&event["payload"]["slug"], &event["metadata"]["actor"]), (&json!("acme"), &json!("user:test")));
}

#[tokio::test]
async fn filters_go_by_type_and_aggregate() {
    let api = two_tenants().await;
    let uri = format!("/v1/tenants/{ACME}/events");
    let find = async |query: &str| positions(api.get(Who::Acme, &format!("{uri}?{query}")).await.ok());
    assert_eq!(find("event_type=subscription.created").await, [2, 3, 4, 5]);
    assert_eq!(find("event_type=tenant.*").await, [1, 6]);
    assert_eq!(find(&format!("aggregate_id={}", Uuid::from_u128(3))).await, [4]);
    assert_eq!(find("event_type=tenant.*&after=1").await, [6]);
    let page = api.get(Who::Acme, &format!("{uri}?event_type=role.created&limit=1")).await;
    assert_eq!((&page.ok()["next_after"], &page.body["complete"]), (&json!(6), &json!(true)), "what was looked at");
}

#[tokio::test]
async fn a_bad_position_limit_or_filter_is_refused() {
    let api = two_tenants().await;
    let uri = format!("/v1/tenants/{ACME}/events");
    for (query, code) in [
        ("after=7", "invalid_query"),
        ("after=-1", "invalid_query"),
        ("after=99999999999999999999", "invalid_query"),
        ("limit=0", "invalid_page_limit"),
        ("limit=501", "invalid_page_limit"),
        ("event_type=TENANT", "invalid_query"),
        ("aggregate_id=x", "invalid_query"),
        ("cursor=x", "invalid_query"),
    ] {
        api.get(Who::Acme, &format!("{uri}?{query}")).await.refused(400, code);
    }
}

#[tokio::test]
async fn the_secret_of_a_webhook_is_left_out() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    let rotated =
        json!({"secret_id": Uuid::from_u128(6), "sealed_secret": "c2VhbGVk", "rotated_at": "2026-01-01T00:00:00Z"});
    api.append(webhook(ACME, 1), &[webhook_registered(), ("secret_rotated", rotated)]).await;
    let page = api.get(Who::Platform, &format!("/v1/tenants/{ACME}/events?event_type=webhook.*")).await;
    assert_eq!(positions(page.ok()), [2, 3]);
    let text = page.body.to_string();
    assert!(!text.contains("sealed_secret") && !text.contains("c2VhbGVk"), "{text}");
    assert_eq!(page.body["items"][1]["payload"]["secret_id"], json!(Uuid::from_u128(6)));
}

#[tokio::test]
async fn the_hash_of_an_api_key_is_left_out() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    api.append(api_key(ACME, 1), &[api_key_issued(1), api_key_rotated(2)]).await;
    let page = api.get(Who::Platform, &format!("/v1/tenants/{ACME}/events?event_type=api_key.*")).await;
    assert_eq!(positions(page.ok()), [2, 3]);
    assert!(!page.body.to_string().contains("sha256"), "{}", page.body);
    assert_eq!(page.body["items"][1]["payload"]["secret_id"], json!(format!("{:016x}", 2)));
}

const BATCH: &str = "application/cloudevents-batch+json";

#[tokio::test]
async fn a_batch_of_cloud_events_has_its_cursor_in_headers() {
    let api = two_tenants().await;
    let mut uri = format!("/v1/tenants/{ACME}/events?limit=4&types=subscription.*,tenant.*");
    let mut sequences = Vec::new();
    for complete in ["false", "true"] {
        let page = api.ask(Who::Acme, &uri, &[("accept", BATCH)]).await;
        let events = page.ok().as_array().unwrap();
        assert!(events.iter().all(|event| event["specversion"] == "1.0" && event["tenantid"] == json!(ACME)));
        sequences.extend(events.iter().map(|event| event["sequence"].as_str().unwrap().to_owned()));
        assert_eq!(page.headers["content-type"], BATCH);
        assert_eq!(page.headers["events-complete"], complete);
        let link = page.headers["link"].to_str().unwrap();
        uri = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
        assert!(uri.ends_with(&format!("&after={}", page.headers["events-next-after"].to_str().unwrap())), "{uri}");
    }
    assert_eq!(sequences, (1..=6).map(|position| format!("{position:020}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_event_is_answered_in_every_form() {
    let api = two_tenants().await;
    let uri = format!("/v1/tenants/{ACME}/events/2");
    let page = api.get(Who::Acme, &format!("/v1/tenants/{ACME}/events?after=1&limit=1")).await;
    let recorded = api.get(Who::Acme, &uri).await;
    assert_eq!(recorded.ok(), &page.ok()["items"][0]);
    let structured = api.ask(Who::Acme, &uri, &[("accept", "application/cloudevents+json")]).await;
    assert_eq!(structured.headers["content-type"], "application/cloudevents+json");
    assert_eq!(
        (&structured.ok()["type"], &structured.body["data"]),
        (&json!("subscription.created"), &recorded.body["payload"])
    );
    let binary = api.ask(Who::Acme, &uri, &[("accept", "application/json; mode=binary")]).await;
    assert_eq!(binary.ok(), &recorded.body["payload"]);
    assert_eq!(binary.headers["content-type"], "application/json");
    for name in ["specversion", "id", "source", "type", "subject", "time", "dataschema", "sequence", "tenantid"] {
        assert_eq!(binary.headers[format!("ce-{name}")].to_str().unwrap(), structured.body[name], "{name}");
    }
    for position in ["0", "7", "99999999999999999999"] {
        let answer = api.get(Who::Acme, &format!("/v1/tenants/{ACME}/events/{position}")).await;
        assert!([400, 404].contains(&answer.status), "{}", answer.body);
    }
    api.get(Who::Other, &uri).await.refused(404, "not_found");
}

#[tokio::test]
async fn pages_begin_at_either_end_or_at_a_time_and_take_filters() {
    let api = two_tenants().await;
    let uri = format!("/v1/tenants/{ACME}/events");
    let find = async |query: &str| positions(api.get(Who::Acme, &format!("{uri}?{query}")).await.ok());
    assert_eq!(find("after=earliest").await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(find("after=latest").await, Vec::<i64>::new());
    assert_eq!(find("after=1970-01-01T00:00:00Z&limit=1").await, [1]);
    assert_eq!(find("types=tenant.*").await, [1, 6]);
    assert_eq!(find(&format!("subjects=subscription/{}", Uuid::from_u128(3))).await, [4]);
    assert_eq!(find("filter=type%20%3D%20'tenant.activated'").await, [6]);
    assert_eq!(find("filters=[%7B%22suffix%22:%7B%22type%22:%22.created%22%7D%7D]&limit=2").await, [2, 3]);
    assert_eq!(find("filter=sequence%20LIKE%20'%255'&event_type=subscription.*").await, [5]);
    for bad in ["types=a%20b", "filter=%3D", "filters=%7B%7D", "after=soon", "wait=31", "wait=x"] {
        api.get(Who::Acme, &format!("{uri}?{bad}")).await.refused(400, "invalid_query");
    }
}

#[tokio::test]
async fn a_long_poll_answers_as_soon_as_something_is_wanted() {
    let api = two_tenants().await;
    let uri = format!("/v1/tenants/{ACME}/events?after=6&wait=30");
    let began = std::time::Instant::now();
    let (all, some, ()) = tokio::join!(
        api.ask(Who::Acme, &uri, &[]),
        async {
            let uri = format!("{uri}&types=webhook.*");
            api.ask(Who::Acme, &uri, &[("accept", BATCH)]).await
        },
        async {
            api.append(subscription(OTHER, 9), &[created("mail", "EUR")]).await;
            api.append(subscription(ACME, 9), &[created("mail", "EUR")]).await;
            api.append(webhook(ACME, 9), &[webhook_registered()]).await;
        },
    );
    assert_eq!(positions(all.ok())[0], 7);
    assert_eq!(some.ok()[0]["type"], "webhook.registered");
    assert_eq!((some.body.as_array().unwrap().len(), &some.headers["events-next-after"].to_str().unwrap()), (1, &"8"));
    assert!(began.elapsed().as_secs() < 20, "nobody waits for the end of the time");
}

#[tokio::test]
async fn a_long_poll_that_finds_nothing_says_how_far_it_looked() {
    let api = two_tenants().await;
    let uri = format!("/v1/tenants/{ACME}/events?after=6&types=webhook.*&wait=2");
    let (page, _) = tokio::join!(api.ask(Who::Acme, &uri, &[]), async {
        api.append(subscription(ACME, 9), &[created("mail", "EUR")]).await
    },);
    assert_eq!((positions(page.ok()), &page.body["next_after"]), (vec![], &json!(7)));
    assert_eq!(page.body["complete"], true);
    // What is there already is not waited for.
    assert_eq!(
        positions(api.ask(Who::Acme, &format!("/v1/tenants/{ACME}/events?after=5&wait=30"), &[]).await.ok()),
        [6, 7]
    );
}

#[tokio::test]
async fn a_page_ends_after_some_megabytes_and_the_next_one_goes_on() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    let large = json!({ "text": "x".repeat(300 << 10) });
    for id in 0..31 {
        api.append(subscription(ACME, id), &[("created", large.clone())]).await;
    }
    let uri = format!("/v1/tenants/{ACME}/events");
    for filter in ["", "&types=tenant.*,subscription.*"] {
        let (mut seen, mut after) = (Vec::new(), json!(0));
        while seen.len() < 32 {
            let page = api.get(Who::Acme, &format!("{uri}?after={after}&limit=500{filter}")).await.ok().clone();
            let positions = positions(&page);
            assert!((1..20).contains(&positions.len()), "{} events of 300 KiB", positions.len());
            assert_eq!(page["complete"], json!(positions.last() == Some(&32)));
            seen.extend(positions);
            after = page["next_after"].clone();
        }
        assert!(seen.iter().copied().eq(1..=32), "{seen:?}");
    }
}
