//! One endpoint: what it is sent, and what becomes of it when it answers badly, or not.

use std::time::Duration;

use chrono::TimeDelta;
use hub_outbound::Reach;
use hub_tests::kit::eventually;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use super::{
    LIMIT, World,
    receiver::{Receiver, Reply},
};

#[tokio::test]
async fn an_event_arrives_signed_by_both_keys_and_once() {
    let world = World::start().await;
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    let receiver = Receiver::start().await;
    let hook = world.webhook(acme, &receiver, json!({ "signature": "both" })).await;
    world.role(other, "elsewhere").await;
    let role = world.role(acme, "night").await;

    let taken = receiver.accepts(1).await.remove(0);
    let now = world.clock.now().timestamp();
    assert!(taken.verifies_with(&hook.secret, now) && taken.verifies_with(&hook.public_key, now));
    let body = taken.json();
    assert_eq!((&body["type"], &body["data"]["aggregate_id"]), (&json!("role.created"), &json!(role)));
    assert_eq!(body["data"]["payload"]["key"], "night");
    assert_eq!(body["data"]["event_id"], taken.header("webhook-id"));

    world.role(acme, "day").await;
    let taken = receiver.accepts(2).await;
    let positions: Vec<_> = taken.iter().map(super::receiver::Taken::position).collect();
    assert!(positions[0] < positions[1], "{positions:?}");
    let attempts = eventually(LIMIT, async || {
        let attempts = world.attempts(&hook).await;
        (attempts.len() == 2).then_some(attempts)
    })
    .await;
    assert!(
        attempts.iter().all(|attempt| attempt["outcome"] == "delivered" && attempt["status"] == 204),
        "{attempts:?}"
    );
    assert_eq!(world.pending(&hook).await, 0);
}

#[tokio::test]
async fn thin_cloud_and_batched_payloads_look_as_they_should() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let (thin, cloud, batch) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    world.webhook(acme, &thin, json!({ "payload": "thin" })).await;
    world.webhook(acme, &cloud, json!({ "payload": "cloudevents" })).await;
    let batched = world.webhook(acme, &batch, json!({ "payload": "cloudevents", "batch_max": 10 })).await;
    world.role(acme, "night").await;

    let taken = thin.accepts(1).await.remove(0);
    assert_eq!(taken.json()["type"], "role.created");
    assert_eq!(taken.json()["data"]["payload"], Value::Null);
    let taken = cloud.accepts(1).await.remove(0);
    assert_eq!(taken.header("content-type"), "application/cloudevents+json");
    assert_eq!((&taken.json()["specversion"], &taken.json()["type"]), (&json!("1.0"), &json!("role.created")));

    world.done(&batched.path("/pause"), Value::Null).await;
    for number in 0..25 {
        world.role(acme, &format!("shift-{number}")).await;
    }
    world.done(&batched.path("/resume"), Value::Null).await;
    let events = eventually(LIMIT, async || {
        let taken = batch.accepted();
        let events: Vec<Value> = taken.iter().flat_map(|taken| taken.json().as_array().unwrap().clone()).collect();
        (events.len() >= 26).then_some((taken, events))
    })
    .await;
    let (taken, events) = events;
    assert_eq!(taken[0].header("content-type"), "application/cloudevents-batch+json");
    assert!(taken.iter().all(|taken| taken.json().as_array().unwrap().len() <= 10));
    assert!(taken.len() < 26, "what waited went out together");
    let sequences: Vec<_> = events.iter().map(|event| event["sequence"].as_str().unwrap()).collect();
    assert_eq!((sequences.len(), sequences.is_sorted()), (26, true));
}

#[tokio::test]
async fn what_fails_is_tried_again_under_the_same_id_until_it_is_taken() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::answering(|_, count| {
        if count < 3 { Reply::status(500).body("not today") } else { Reply::status(200).body("thanks") }
    })
    .await;
    let hook = world.webhook(acme, &receiver, json!({})).await;
    world.role(acme, "night").await;
    world.pass_until(async || (!receiver.accepted().is_empty()).then_some(())).await;
    let ids: Vec<_> = receiver.taken().iter().map(|taken| taken.header("webhook-id").to_owned()).collect();
    assert!(ids.len() == 4 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let attempts = eventually(LIMIT, async || {
        let attempts = world.attempts(&hook).await;
        (attempts.len() == 4).then_some(attempts)
    })
    .await;
    assert_eq!((&attempts[0]["outcome"], &attempts[0]["status"]), (&json!("retrying"), &json!(500)));
    assert_eq!((&attempts[0]["response_body"], &attempts[3]["response_body"]), (&json!("not today"), &json!("thanks")));
    assert!(attempts[0]["next_attempt_at"].is_string() && attempts[3]["next_attempt_at"].is_null());
    let (_, stats) = world.get(&hook.path("/stats?hours=720")).await;
    assert_eq!((&stats["pending"], &stats["consecutive_failures"]), (&json!(0), &json!(0)), "{stats}");
}

#[tokio::test]
async fn what_fails_for_too_long_is_given_up_and_replayed_on_request() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::answering(|_, _| Reply::status(500)).await;
    let retry = json!({ "schedule_seconds": [60], "age_max_hours": 1 });
    let hook = world.webhook(acme, &receiver, json!({ "retry": retry })).await;
    world.role(acme, "night").await;
    world
        .pass_until(async || {
            let attempts = world.attempts(&hook).await;
            attempts.iter().any(|attempt| attempt["outcome"] == "given_up").then_some(())
        })
        .await;
    eventually(LIMIT, async || (world.pending(&hook).await == 0).then_some(())).await;
    receiver.answer(|_, _| Reply::status(204));
    world.done(&hook.path("/replay"), json!({ "only": "failed" })).await;
    world.pass_until(async || (!receiver.accepted().is_empty()).then_some(())).await;
    let first = receiver.taken()[0].header("webhook-id").to_owned();
    assert_eq!(receiver.accepted()[0].header("webhook-id"), first);
    // All of it once more, which is one event, since only what the filters want is delivered.
    world.done(&hook.path("/replay"), json!({ "from": 1 })).await;
    receiver.accepts(2).await;
}

#[tokio::test]
async fn an_endpoint_that_fails_for_days_is_disabled_and_gets_what_it_missed_when_it_is_enabled() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::answering(|_, _| Reply::status(500)).await;
    let retry = json!({ "age_max_hours": 168 });
    let hook = world.webhook(acme, &receiver, json!({ "retry": retry })).await;
    world.role(acme, "night").await;
    let row = world
        .pass_until(async || {
            let (_, row) = world.get(&hook.path("")).await;
            (row["status"] == "disabled").then_some(row)
        })
        .await;
    assert_eq!(row["disabled_reason"], "failing");
    assert!(row["failing_since"].is_string());
    world.role(acme, "missed").await;
    receiver.answer(|_, _| Reply::status(204));
    let (status, problem) = world.post(&hook.path("/test"), &Value::Null).await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("webhook_disabled")));
    world.done(&hook.path("/enable"), json!({ "replay_missed": true })).await;
    let keys = |taken: Vec<super::receiver::Taken>| -> Vec<Value> {
        taken.iter().map(|taken| taken.json()["data"]["payload"]["key"].clone()).collect()
    };
    let accepted = keys(receiver.accepts(1).await);
    assert!(accepted.contains(&json!("missed")) || receiver.accepts(2).await.len() == 2);
    world.hook_when(&hook, |row| row["status"] == "active").await;
}

#[tokio::test]
async fn gone_disables_at_once() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::answering(|_, _| Reply::status(410)).await;
    let hook = world.webhook(acme, &receiver, json!({})).await;
    world.role(acme, "night").await;
    let row = world.hook_when(&hook, |row| row["status"] == "disabled").await;
    assert_eq!(row["disabled_reason"], "gone");
    assert_eq!(receiver.taken().len(), 1);
}

#[tokio::test]
async fn who_asks_to_wait_is_left_alone_until_then() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::answering(|_, count| {
        if count == 0 { Reply::status(429).header("retry-after", "3600") } else { Reply::status(204) }
    })
    .await;
    let hook = world.webhook(acme, &receiver, json!({})).await;
    world.role(acme, "night").await;
    let attempt = eventually(LIMIT, async || world.attempts(&hook).await.into_iter().next()).await;
    let next = attempt["next_attempt_at"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert_eq!(next - world.clock.now(), TimeDelta::hours(1));
    world.role(acme, "day").await;
    world.clock.advance(TimeDelta::minutes(59));
    // Something that is delivered in the meantime shows that deliveries go on.
    let other = Receiver::start().await;
    let second = world.webhook(acme, &other, json!({})).await;
    world.done(&second.path("/test"), Value::Null).await;
    other.accepts(1).await;
    assert_eq!(receiver.taken().len(), 1);
    world.clock.advance(TimeDelta::minutes(2));
    receiver.accepts(2).await;
}

#[tokio::test]
async fn who_asks_to_wait_is_left_alone_also_when_something_older_succeeds_after_that() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::answering(|_, count| match count {
        0 => Reply::status(204).after(Duration::from_secs(1)),
        1 => Reply::status(429).header("retry-after", "3600"),
        _ => Reply::status(204),
    })
    .await;
    let hook = world.webhook(acme, &receiver, json!({})).await;
    world.done(&hook.path("/pause"), Value::Null).await;
    for key in ["night", "day"] {
        world.role(acme, key).await;
    }
    eventually(LIMIT, async || (world.pending(&hook).await == 2).then_some(())).await;
    world.done(&hook.path("/resume"), Value::Null).await;
    eventually(LIMIT, async || (world.attempts(&hook).await.len() == 2).then_some(())).await;
    world.role(acme, "late").await;
    eventually(LIMIT, async || (world.pending(&hook).await == 2).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.count(), 2);
    world.clock.advance(TimeDelta::minutes(61));
    receiver.accepts(3).await;
}

#[tokio::test]
async fn asking_for_no_wait_at_all_makes_none_shorter() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::answering(|_, _| Reply::status(503).header("retry-after", "0")).await;
    let hook = world.webhook(acme, &receiver, json!({ "retry": { "schedule_seconds": [600] } })).await;
    world.role(acme, "night").await;
    let attempt = eventually(LIMIT, async || world.attempts(&hook).await.into_iter().next()).await;
    let next = attempt["next_attempt_at"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert!(next - world.clock.now() >= TimeDelta::minutes(8), "{attempt}");
    let (_, stats) = world.get(&hook.path("/stats")).await;
    assert_eq!(stats["consecutive_failures"], 1, "{stats}");
}

#[tokio::test]
async fn what_the_address_of_before_answers_says_nothing_of_the_new_one() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let old = Receiver::answering(|_, _| Reply::status(410).after(Duration::from_secs(3))).await;
    let new = Receiver::start().await;
    let hook = world.webhook(acme, &old, json!({})).await;
    world.role(acme, "night").await;
    eventually(LIMIT, async || (old.count() == 1).then_some(())).await;
    world.done(&hook.path("/update"), json!({ "url": new.url() })).await;
    let attempt = eventually(LIMIT, async || world.attempts(&hook).await.into_iter().next()).await;
    assert_eq!((&attempt["status"], &attempt["outcome"]), (&json!(410), &json!("retrying")), "{attempt}");
    let (_, stats) = world.get(&hook.path("/stats")).await;
    assert_eq!((&stats["consecutive_failures"], &stats["failing_since"]), (&json!(0), &Value::Null), "{stats}");
    world.pass_until(async || (new.accepted().len() == 1).then_some(())).await;
    assert_eq!(world.get(&hook.path("")).await.1["status"], "active");
}

#[tokio::test]
async fn a_ping_verifies_who_answers_with_the_challenge() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::start().await;
    let hook = world.webhook(acme, &receiver, json!({})).await;
    world.done(&hook.path("/ping"), Value::Null).await;
    receiver.accepts(1).await;
    assert_eq!(world.get(&hook.path("")).await.1["verified_at"], Value::Null);
    receiver.answer(|body, _| {
        let challenge = body["data"]["payload"]["challenge"].as_str().unwrap_or_default();
        Reply::status(200).body(format!("challenge={challenge}"))
    });
    world.done(&hook.path("/ping"), Value::Null).await;
    world.hook_when(&hook, |row| row["verified_at"].is_string()).await;
}

#[tokio::test]
async fn filters_and_dry_run_agree() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::start().await;
    let hook = world.webhook(acme, &receiver, json!({})).await;
    let night = world.role(acme, "night").await;
    receiver.accepts(1).await;
    let filter = json!({ "filters": [{ "sql": format!("subject = 'role/{night}'") }] });
    world.done(&hook.path("/update"), json!({ "filter": filter })).await;
    world.role(acme, "day").await;
    world.grant(acme, night, "webhook").await;
    let taken = receiver.accepts(2).await;
    assert_eq!(taken[1].json()["type"], "role.permission_granted");
    let row = world.hook_when(&hook, |row| row["filter"] == filter).await;
    assert_eq!(row["filters"], json!(["role.*", "tenant.renamed", "webhook.tested"]));
    let (_, dry) = world.get(&hook.path("/dry-run")).await;
    assert_eq!(
        (&dry["wanted"], &dry["latest"][0]["event_type"]),
        (&json!(2), &json!("role.permission_granted")),
        "{dry}"
    );
}

#[tokio::test]
async fn during_a_rotation_both_secrets_sign() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::start().await;
    let hook = world.webhook(acme, &receiver, json!({ "signature": "both" })).await;
    let rotated = world.done(&hook.path("/rotate-secret"), json!({ "grace_seconds": 60 })).await;
    let secret = rotated["secret"].as_str().unwrap();
    world.role(acme, "night").await;
    let taken = receiver.accepts(1).await.remove(0);
    let now = world.clock.now().timestamp();
    assert!(taken.verifies_with(secret, now) && taken.verifies_with(&hook.secret, now));
    assert!(taken.verifies_with(rotated["public_key"].as_str().unwrap(), now));
    world.clock.advance(TimeDelta::seconds(61));
    world.role(acme, "day").await;
    let taken = receiver.accepts(2).await.remove(1);
    let now = world.clock.now().timestamp();
    assert!(taken.verifies_with(secret, now) && !taken.verifies_with(&hook.secret, now));
}

#[tokio::test]
async fn addresses_that_are_not_public_are_refused_when_they_are_given_and_when_they_are_used() {
    let world = World::reaching(Reach::Public).await;
    let acme = world.tenant("acme").await;
    let hooks = format!("/v1/tenants/{acme}/webhooks");
    for url in [
        "http://hooks.acme.example/",
        "https://127.0.0.1/",
        "https://169.254.169.254/latest",
        "https://[::ffff:10.0.0.1]/",
        "https://localhost/",
    ] {
        let (status, problem) = world.post(&hooks, &json!({ "url": url, "events": ["*"] })).await;
        assert_eq!((status.as_u16(), &problem["code"]), (422, &json!("webhook_address_refused")), "{url}: {problem}");
    }
    // One that came in while more was allowed.
    let mut lax = World::on(world.database.clone(), world.clock.clone(), Reach::PublicAndLoopback);
    let receiver = Receiver::start().await;
    let hook = lax.webhook(acme, &receiver, json!({})).await;
    lax.stop_delivering();
    world.role(acme, "night").await;
    let attempt = eventually(LIMIT, async || world.attempts(&hook).await.into_iter().next()).await;
    assert_eq!((&attempt["status"], attempt["outcome"].as_str()), (&Value::Null, Some("retrying")));
    assert!(receiver.taken().is_empty());
}

#[tokio::test]
async fn redirects_are_not_followed_and_hanging_trickling_and_closing_endpoints_fail_in_time() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let inside = Receiver::start().await;
    let url = inside.url();
    let redirecting = Receiver::answering(move |_, _| Reply::status(302).header("location", url.clone())).await;
    let hanging = Receiver::answering(|_, _| Reply::status(204).after(Duration::from_secs(3_600))).await;
    let delivery = json!({ "timeout_seconds": 1 });
    let redirected = world.webhook(acme, &redirecting, delivery.clone()).await;
    let hung = world.webhook(acme, &hanging, delivery.clone()).await;
    let (trickling, closing) = (raw(Raw::Trickle).await, raw(Raw::Close).await);
    let trickled = world.webhook_at(acme, &trickling, delivery.clone()).await;
    let closed = world.webhook_at(acme, &closing, delivery).await;
    world.role(acme, "night").await;
    for (hook, status, error) in [
        (&redirected, json!(302), "redirects are not followed"),
        (&hung, Value::Null, "no answer in time"),
        (&trickled, Value::Null, "no answer in time"),
        (&closed, Value::Null, "no answer"),
    ] {
        let attempt = eventually(LIMIT, async || world.attempts(hook).await.into_iter().next()).await;
        assert_eq!((&attempt["status"], &attempt["outcome"]), (&status, &json!("retrying")), "{attempt}");
        assert!(attempt["error"].as_str().unwrap().starts_with(error), "{attempt}");
        assert!(attempt["latency_ms"].as_i64().unwrap() < 20_000, "{attempt}");
    }
    assert!(inside.taken().is_empty());
}

/// What a server does that speaks no proper HTTP.
#[derive(Clone, Copy)]
enum Raw {
    Trickle,
    Close,
}

async fn raw(manner: Raw) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                match manner {
                    Raw::Close => drop(stream),
                    Raw::Trickle => {
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await.ok();
                        while stream.write_all(b".").await.is_ok() {
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                    }
                }
            });
        }
    });
    url
}
